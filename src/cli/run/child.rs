//! The program that is run: started so that it does not outlive us unnoticed, signalled, and its end as a shell says it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The word by which this program asks itself to become another.
#[cfg(target_os = "linux")]
const TIED: &str = "--tied-to";

/// A program that cannot be started, and its exit code: 127 where there is none, 126 for any other reason.
fn cannot_start(program: &OsStr, error: &io::Error) -> (String, u8) {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    (format!("{} cannot be started: {error}", program.display()), code)
}

/// Becomes another program that is ended when the process that started it dies, if the words ask for that: what it is
/// tied by outlives `exec`, and has to be asked for by the process itself.
#[cfg(target_os = "linux")]
pub(in crate::cli) fn tied(words: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut words = words.into_iter().skip(1);
    if words.next()? != TIED {
        return None;
    }
    let parent: i32 = words.next()?.to_str()?.parse().ok()?;
    let program = words.next()?;
    // Whatever cannot be tied runs all the same. A parent that is dead already cannot tell any more.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
    if Pid::parent().as_raw() != parent {
        return Some(ExitCode::from(126));
    }
    let error = Command::new(&program).args(words).exec();
    let (sentence, code) = cannot_start(&program, &error);
    let _ = io::stderr().write_all(format!("rollcall: {sentence}\n").as_bytes());
    Some(ExitCode::from(code))
}

/// Only Linux tells a process that its parent died.
#[cfg(not(target_os = "linux"))]
pub(in crate::cli) fn tied(_words: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    None
}

/// What runs the program.
#[cfg(target_os = "linux")]
fn command(program: &OsStr) -> Command {
    // This file, also when another was installed in its place since.
    let ourselves = "/proc/self/exe";
    if !std::path::Path::new(ourselves).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(ourselves);
    command.arg0("rollcall").arg(TIED).arg(std::process::id().to_string()).arg(program);
    command
}

#[cfg(not(target_os = "linux"))]
fn command(program: &OsStr) -> Command {
    Command::new(program)
}

/// A program that runs on the terminal and the streams of this one.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    id: Pid,
}

impl Child {
    /// Starts it. Where the words have no program, or it cannot be started: a sentence and an exit code.
    pub(super) fn start(words: &[OsString], environment: &[(&str, &str)]) -> Result<Self, (String, u8)> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(("there is no program to run".to_owned(), 127));
        };
        let mut command = command(program);
        command.args(arguments).envs(environment.iter().copied());
        let process = tokio::process::Command::from(command).spawn().map_err(|error| cannot_start(program, &error))?;
        let id = process.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        Ok(Self { process, id: Pid::from_raw(id) })
    }

    /// Waits for its end. Dropping the future loses nothing.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Passes a signal on. One that has ended needs none.
    pub(super) fn signal(&self, signal: Signal) {
        if self.process.id().is_some() && self.id.as_raw() > 0 {
            let _ = kill(self.id, signal);
        }
    }

    /// Takes the ends of others' children in, whose parents died before them: nobody else does for the first process of
    /// a container.
    pub(super) fn reap_orphans(&self) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
        // Looked at first, because the end of our own child is for `wait`.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, flags) {
            match status.pid() {
                Some(orphan) if orphan != self.id => {
                    let _ = waitpid(orphan, Some(WaitPidFlag::WNOHANG));
                }
                _ => return,
            }
        }
    }
}

/// The exit code of an end as shells have it: 128 and the number of the signal, for one that died of it.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
