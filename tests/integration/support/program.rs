//! A program in the foreground, its output, and its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::until;

/// A child process. It is ended when this is dropped, also by a test that fails.
pub(crate) struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// Keeps what a stream says, so that a full pipe never stops the program.
fn read(stream: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        // What the developer has set for a server of their own is not meant for this one.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ROLLCALL_") && !command.get_envs().any(|(set, _)| set == name) {
                command.env_remove(name);
            }
        }
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            read(child.stdout.take().expect("stdout is a pipe"), lines.clone()),
            read(child.stderr.take().expect("stderr is a pipe"), lines.clone()),
        ];
        Self { child, lines, readers }
    }

    /// Everything it has said so far, on stdout and stderr.
    pub(crate) fn output(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits for a line in which `find` finds something.
    pub(crate) fn line<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        until(what, || {
            // In this order: nothing is said after the end, so what is not found then never will be.
            let ended = self.readers.iter().all(JoinHandle::is_finished);
            let output = self.output();
            match output.lines().find_map(&find) {
                Some(found) => Ok(found),
                None if ended => panic!("ended before this: {what}; it said:\n{output}"),
                None => Err(output),
            }
        })
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().expect("process ids are positive"));
        kill(id, signal).expect("a child that nobody has waited for can be signalled");
    }

    /// Waits for its end; its exit code and all that it said.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let status = self.status();
        for reader in self.readers.drain(..) {
            reader.join().expect("reading lines does not panic");
        }
        (status.code(), self.output())
    }

    fn status(&mut self) -> ExitStatus {
        until("the program ends", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("still running; it said:\n{}", self.output())),
            Err(error) => panic!("a child can be waited for: {error}"),
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGKILL);
            // After SIGKILL there is nothing that could last.
            let _ = self.child.wait();
        }
    }
}
