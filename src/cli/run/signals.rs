//! Signals, as they come.

use std::io::{self, IsTerminal};

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Signals that wait; of more than that, none says anything new.
const WAITING_MAX: usize = 16;

/// What ends a program.
const ENDING: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];
/// What is the program's business alone.
const PASSED_ON: [Signal; 3] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
/// The same, but sent by a terminal to all of its programs, so that it is the program's already where there is one.
const OF_TERMINALS: [Signal; 2] = [Signal::SIGQUIT, Signal::SIGWINCH];

/// The signals that this process is sent. From the moment that this exists they do nothing else.
#[derive(Debug)]
pub(super) struct Signals {
    received: mpsc::Receiver<Signal>,
    _listeners: JoinSet<()>,
}

impl Signals {
    /// Listens.
    pub(super) fn listen(is_first_process: bool) -> io::Result<Self> {
        let (send, received) = mpsc::channel(WAITING_MAX);
        let mut listeners = JoinSet::new();
        let children = is_first_process.then_some(Signal::SIGCHLD);
        for wanted in ENDING.into_iter().chain(PASSED_ON).chain(OF_TERMINALS).chain(children) {
            let mut stream = signal(SignalKind::from_raw(wanted as i32))?;
            let send = send.clone();
            let unheard = OF_TERMINALS.contains(&wanted) && io::stdin().is_terminal();
            listeners.spawn(async move {
                while stream.recv().await.is_some() {
                    if !unheard {
                        let _ = send.try_send(wanted);
                    }
                }
            });
        }
        Ok(Self { received, _listeners: listeners })
    }

    /// The next one. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Signal {
        match self.received.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}
