//! A network of its own, with loopback and nothing beyond it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use super::server::{ROLLCALL, Server};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace whose programs see a `resolv.conf` of their own. Both go when this is dropped, so it has to be
/// declared before the programs that run in it.
pub(crate) struct Namespace {
    name: String,
}

/// Runs a command to its end, which has to be a good one.
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    assert!(output.status.success(), "{command:?} ended with {}: {output:?}", output.status);
    output
}

impl Namespace {
    pub(crate) fn new(resolv_conf: &str) -> Self {
        let name = format!("rollcall-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let namespace = Self { name };
        // `ip netns exec` shows the files in there to its program as if they were in /etc.
        std::fs::create_dir_all(namespace.files()).unwrap();
        std::fs::write(namespace.files().join("resolv.conf"), resolv_conf).unwrap();
        std::fs::write(namespace.files().join("nsswitch.conf"), "hosts: files dns\n").unwrap();
        succeed(Command::new("ip").args(["netns", "add", &namespace.name]));
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Its name, for `ip`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn files(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.name)
    }

    /// Changes its interfaces and addresses.
    pub(crate) fn ip(&self, words: &[&str]) {
        succeed(Command::new("ip").args(["-n", &self.name]).args(words));
    }

    /// A program that runs in it. `ip` becomes the program, so signals reach it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// A server in it, with HTTP on any port of loopback.
    pub(crate) fn serve(&self, dns: &str) -> Server {
        Server::launch(self.command(ROLLCALL).args(["serve", "--memory", "--dns", dns, "--http=127.0.0.1:0"]))
    }

    /// A client command for a server in it.
    pub(crate) fn rollcall(&self, server: &Server, words: &[&str]) {
        succeed(self.command(ROLLCALL).args(words).env("ROLLCALL_HTTP_ADDR", server.http.to_string()));
    }

    /// What the system's resolver says: exit code and lines with single blanks.
    pub(crate) fn getent(&self, words: &[&str]) -> (Option<i32>, Vec<String>) {
        let output = self.command("getent").args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        (output.status.code(), lines.collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test that fails half way may not have made both.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
        let _ = std::fs::remove_dir_all(self.files());
    }
}
