//! The probes under way, and connections that are held: sockets that nobody waits for one by one.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Token, Waker};
use socket2::Socket;
use tokio::time::Instant;

use super::dialogue::{ANSWER_OCTETS_MAX, Dialogue, Line};
use super::held::{ConnectionId, Held, News, Unheld};
use super::kind::Kinds;
use super::outcome::{Failure, Outcome, failure_of};
use super::socket::{connect, is_established, is_own_echo, is_want, reset};
use crate::model::{CheckSpec, Duration as CheckDuration};

/// The token by which others wake the prober; those of probes are smaller.
const WAKE: Token = Token(usize::MAX);
/// Events that are taken at once.
const EVENTS_MAX: usize = 1024;

/// A probe under way.
#[derive(Debug)]
struct Flight {
    entry: u32,
    target: SocketAddr,
    timeout: CheckDuration,
    stream: TcpStream,
    connected: bool,
    dialogue: Box<dyn Dialogue>,
}

/// Makes probes, each on a connection of its own, all from one thread. Whoever begins one gives it up when its time is
/// over: here is no clock.
#[derive(Debug)]
pub(super) struct Prober {
    poll: mio::Poll,
    events: Events,
    waker: Arc<Waker>,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    scratch: Box<[u8]>,
    kinds: Kinds,
    held: Held,
}

impl Prober {
    pub(super) fn new(kinds: Kinds) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        Ok(Self {
            waker: Arc::new(Waker::new(poll.registry(), WAKE)?),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            flights: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; ANSWER_OCTETS_MAX].into(),
            kinds,
            held: Held::default(),
        })
    }

    /// Ends a wait from another thread.
    pub(super) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Begins a probe for somebody's entry; the outcome when it ends right away.
    pub(super) fn begin(
        &mut self,
        entry: u32,
        target: SocketAddr,
        check: &CheckSpec,
        timeout: CheckDuration,
        now: Instant,
    ) -> Result<u32, Outcome> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            (self.flights.len() - 1) as u32
        });
        let begun = connect(target, probe_only).and_then(|stream| {
            let dialogue = self.kinds.dialogue(&check.kind, target, now)?;
            Ok(Flight { entry, target, timeout, stream, connected: false, dialogue })
        });
        let outcome = begun.and_then(|mut flight| {
            // Whoever is on this machine has answered already, which saves waiting for it.
            if is_established(&flight.stream, target)?
                && let Poll::Ready(outcome) = outcome_of(|| flight.connect_and_advance(false, &mut self.scratch))
            {
                reset(&flight.stream);
                return Ok(Some(outcome));
            }
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut flight.stream, Token(place as usize), interest)?;
            self.flights[place as usize] = Some(flight);
            Ok(None)
        });
        let outcome = match outcome {
            Ok(None) => return Ok(place),
            Ok(Some(outcome)) => outcome,
            Err(error) if is_want(&error) => Outcome::Abandoned,
            Err(error) => Outcome::Failed(failure_of(&error, target)),
        };
        self.free.push(place);
        Err(outcome)
    }

    /// Waits until something has happened, or for so long at most, and adds the probes that have ended, by the entries
    /// that they were begun for.
    pub(super) fn wait(&mut self, most: Option<Duration>, ended: &mut Vec<(u32, Outcome)>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, most) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        // No probe begins meanwhile, so a token is of the probe that it was given to, or of none.
        for event in self.events.iter().filter(|event| event.token() != WAKE) {
            if let Some(place) = Held::place_of(event.token()) {
                self.held.happened(place, event, &mut self.scratch);
                continue;
            }
            let place = event.token().0;
            let Some(Some(flight)) = self.flights.get_mut(place) else { continue };
            let Poll::Ready(outcome) = outcome_of(|| flight.happened(event, &mut self.scratch)) else { continue };
            if !event.is_read_closed() {
                reset(&flight.stream);
            }
            ended.push((flight.entry, outcome));
            self.flights[place] = None;
            self.free.push(place as u32);
        }
        Ok(())
    }

    /// Begins to hold a connection for somebody's entry; whether it has come about already.
    pub(super) fn hold(
        &mut self,
        entry: u32,
        target: SocketAddr,
        interval: Duration,
    ) -> Result<(ConnectionId, bool), Unheld> {
        self.held.open(self.poll.registry(), entry, target, interval)
    }

    /// Closes a connection that is held, if it still is.
    pub(super) fn let_go(&mut self, connection: ConnectionId) {
        self.held.close(connection);
    }

    /// What has happened to connections that are held, by the entries that they are held for.
    pub(super) fn news(&mut self) -> Vec<(u32, ConnectionId, News)> {
        self.held.news()
    }

    /// Gives up a probe that has not ended; what that says of its target.
    pub(super) fn give_up(&mut self, flight: u32) -> Outcome {
        let ended = self.flights.get_mut(flight as usize).and_then(Option::take);
        let Some(Flight { target, timeout, stream, connected, mut dialogue, .. }) = ended else {
            return Outcome::Abandoned;
        };
        self.free.push(flight);
        reset(&stream);
        match dialogue.found() {
            Some(Ok(())) => return Outcome::Passed,
            Some(Err(failure)) => return Outcome::Failed(failure),
            None => {}
        }
        let failure = if connected { dialogue.missed() } else { Failure::NoConnection };
        Outcome::Failed(failure(target, timeout))
    }
}

/// Has the last segment of the handshake go with the request, or not at all: a probe that only connects never bothers the
/// service itself, whose system has said by then that it listens.
fn probe_only(socket: &Socket) {
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_quickack(false);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// The outcome of a probe that goes on.
fn outcome_of(advance: impl FnOnce() -> Poll<Result<(), Failure>>) -> Poll<Outcome> {
    // A peer that makes a probe panic must not end all others. It is logged by the panic itself.
    match catch_unwind(AssertUnwindSafe(advance)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(()))) => Poll::Ready(Outcome::Passed),
        Ok(Poll::Ready(Err(failure))) => Poll::Ready(Outcome::Failed(failure)),
        Err(_) => Poll::Ready(Outcome::Abandoned),
    }
}

impl Flight {
    /// Goes on after something has happened.
    fn happened(&mut self, event: &mio::event::Event, scratch: &mut [u8]) -> Poll<Result<(), Failure>> {
        let readable = event.is_readable() || event.is_read_closed();
        if self.connected {
            return self.advance(readable, scratch);
        }
        // Elsewhere an event alone does not say that the connection came about.
        if event.is_error() || event.is_write_closed() || cfg!(not(target_os = "linux")) {
            match self.stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return Poll::Ready(Err(failure_of(&error, self.target))),
            }
        }
        if event.is_writable() { self.connect_and_advance(readable, scratch) } else { Poll::Pending }
    }

    /// Goes on now that the connection has come about.
    fn connect_and_advance(&mut self, readable: bool, scratch: &mut [u8]) -> Poll<Result<(), Failure>> {
        if is_own_echo(&self.stream, self.target) {
            return Poll::Ready(Err(Failure::Refused(self.target)));
        }
        self.connected = true;
        self.advance(readable, scratch)
    }

    fn advance(&mut self, readable: bool, scratch: &mut [u8]) -> Poll<Result<(), Failure>> {
        self.dialogue.advance(&mut Line { stream: &mut self.stream, readable, scratch })
    }
}
