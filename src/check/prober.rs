//! The probes under way: sockets that nobody waits for one by one.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Token, Waker};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::time::Instant;

use super::dialogue::{ANSWER_OCTETS_MAX, Dialogue, Line};
use super::kind::Kinds;
use super::outcome::{Failure, Outcome, failure_of};
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
        let begun = connect(target).and_then(|stream| {
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

/// Begins to connect.
fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let (domain, protocol) = (Domain::for_address(target), Some(Protocol::TCP));
    #[cfg(target_os = "linux")]
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), protocol)?;
    #[cfg(not(target_os = "linux"))]
    let socket = {
        let socket = Socket::new(domain, Type::STREAM, protocol)?;
        socket.set_nonblocking(true)?;
        socket
    };
    // The last segment of the handshake goes with the request, or not at all: a probe that only connects never bothers
    // the service itself, whose system has said by then that it listens.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_quickack(false);
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Whether a connection that was begun has come about already; the error when it never will.
#[cfg(target_os = "linux")]
fn is_established(stream: &TcpStream, target: SocketAddr) -> io::Result<bool> {
    match SockRef::from(stream).connect(&target.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EALREADY as i32) => Ok(false),
        Err(error) if error.raw_os_error() == Some(Errno::EISCONN as i32) => Ok(true),
        connected => connected.map(|()| true),
    }
}

/// Elsewhere asking again is an error in itself.
#[cfg(not(target_os = "linux"))]
fn is_established(_: &TcpStream, _: SocketAddr) -> io::Result<bool> {
    Ok(false)
}

/// Has a connection end by a reset when it is dropped.
///
/// An ordinary close would leave every probe in TIME_WAIT on our side for a minute, which is hundreds of thousands of
/// sockets at a few thousand probes a second.
fn reset(stream: &TcpStream) {
    // Without the option the close is an ordinary one, which is only less thrifty.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Whether a connection ends where it begins. A connection to a local port on which nothing listens succeeds when the
/// kernel happens to choose that very port for our side (simultaneous open, RFC 9293 §3.5).
fn is_own_echo(stream: &TcpStream, target: SocketAddr) -> bool {
    // Ports that a kernel chooses, in whatever range it was told to, are none that need a privilege.
    target.port() >= 1024 && stream.local_addr().is_ok_and(|local| local == target)
}

/// Whether an error is about what this machine lacks.
fn is_want(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_our_own_says_nothing_of_the_instance() {
        for (errno, want) in [(Errno::EMFILE, true), (Errno::ENOMEM, true), (Errno::ECONNREFUSED, false)] {
            assert_eq!(is_want(&io::Error::from_raw_os_error(errno as i32)), want, "{errno}");
        }
    }

    // Elsewhere a socket cannot be made to do this on purpose.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connection_to_itself_is_no_listener() {
        let (address, socket) = super::super::support::refusing();
        let stream = socket.connect(address).await.unwrap();
        assert!(is_own_echo(&TcpStream::from_std(stream.into_std().unwrap()), address));
    }
}
