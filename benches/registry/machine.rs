//! Cores, processes, and what they use.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The core of the servers, and that of the load.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn stay_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cores)
        .expect("two cores are needed, one for the servers and one for the load");
}

/// Keeps this thread, and what it starts from now on, to the core of the load.
pub(crate) fn be_the_load() {
    stay_on(LOAD_CORE);
}

/// An address on loopback that nothing listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn cpu_of(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program, in parentheses, may hold anything.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
    let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
    let per_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// A server on a core of its own, ended when this is dropped.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        // A child begins on the cores of the thread that starts it.
        stay_on(SERVER_CORE);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        stay_on(LOAD_CORE);
        Self(child.unwrap())
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// Processor time used so far, by user and system.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.0.id())
    }

    /// The same with all that it has started.
    pub(crate) fn cpu_of_all(&self) -> Duration {
        let mut of_all = vec![self.0.id()];
        let mut next = 0;
        while let Some(id) = of_all.get(next) {
            let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
            let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
            let children: Vec<String> = children.collect();
            of_all.extend(children.iter().flat_map(|ids| ids.split_whitespace()).map(|id| id.parse::<u32>().unwrap()));
            next += 1;
        }
        of_all.into_iter().map(cpu_of).sum()
    }

    /// MiB by the name of the field: `VmRSS` or `VmHWM` of `status`.
    pub(crate) fn memory(&self, field: &str) -> f64 {
        let status = self.read("status");
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Ends it as an operator would, and waits for its end.
    pub(crate) fn stop(mut self) {
        nix::sys::signal::kill(Pid::from_raw(self.0.id() as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
