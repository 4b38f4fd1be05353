//! The connections that are held beside probes: nothing is ever sent on them, and what comes is thrown away.

use std::io::{self, Read};
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};
use nix::errno::Errno;
use socket2::{Socket, TcpKeepalive};

use super::dialogue::ANSWER_OCTETS_MAX;
use super::socket::{connect, is_established, is_own_echo, is_want, reset};

/// Octets that a peer may send over the life of a connection.
const OCTETS_MAX: usize = ANSWER_OCTETS_MAX;
/// What tells tokens of these connections from those of probes.
const MARK: usize = 1 << (usize::BITS - 2);
/// Between questions whether a peer that does not answer them is there, and how many of those there are.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long a connection has to be quiet before the first of them: the interval of its check, within these bounds.
const KEEPALIVE_AFTER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Names one connection, and no later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionId {
    place: u32,
    serial: u64,
}

/// Why no connection can be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unheld {
    /// Nothing listens there.
    Refused,
    /// There is no way to it.
    Unreached,
    /// This machine lacks descriptors or memory.
    Want,
}

/// What has happened to a connection. It is no more, except when it has come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It has come about.
    Opened,
    /// It was refused.
    Refused,
    /// It has not come about.
    Unreached,
    /// The peer has ended it, or does not answer any more.
    Ended,
    /// The peer sends more than is listened to.
    Flooded,
}

#[derive(Debug)]
struct Connection {
    entry: u32,
    serial: u64,
    target: SocketAddr,
    stream: TcpStream,
    connected: bool,
    /// Octets that have come.
    heard: usize,
}

/// Connections that are held. Here is no clock: who opens one sees to it that it comes about in time.
#[derive(Debug, Default)]
pub(super) struct Held {
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    serial: u64,
    news: Vec<(u32, ConnectionId, News)>,
}

impl Held {
    /// The place of a connection that a token is of, if it is of one.
    pub(super) fn place_of(token: Token) -> Option<usize> {
        (token.0 & MARK != 0).then_some(token.0 & !MARK)
    }

    /// Begins a connection for somebody's entry; whether it has come about already.
    pub(super) fn open(
        &mut self,
        registry: &mio::Registry,
        entry: u32,
        target: SocketAddr,
        interval: Duration,
    ) -> Result<(ConnectionId, bool), Unheld> {
        let mut stream = connect(target, |socket| keep_alive(socket, interval)).map_err(|error| unheld(&error))?;
        let connected = is_established(&stream, target).map_err(|error| unheld(&error))?;
        if connected && is_own_echo(&stream, target) {
            reset(&stream);
            return Err(Unheld::Refused);
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            (self.connections.len() - 1) as u32
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if registry.register(&mut stream, Token(place as usize | MARK), interest).is_err() {
            self.free.push(place);
            return Err(Unheld::Want);
        }
        self.serial += 1;
        let serial = self.serial;
        self.connections[place as usize] = Some(Connection { entry, serial, target, stream, connected, heard: 0 });
        Ok((ConnectionId { place, serial }, connected))
    }

    /// Takes what has happened at a place.
    pub(super) fn happened(&mut self, place: usize, event: &mio::event::Event, scratch: &mut [u8]) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        let id = ConnectionId { place: place as u32, serial: connection.serial };
        let entry = connection.entry;
        if !connection.connected {
            match connection.come_about(event) {
                None => return,
                Some(News::Opened) => self.news.push((entry, id, News::Opened)),
                Some(over) => return self.end(id, over),
            }
        }
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        if (event.is_readable() || event.is_read_closed() || event.is_error())
            && let Some(over) = connection.listen(scratch)
        {
            self.end(id, over);
        }
    }

    /// Closes a connection, if it is still there, in the way that no peer takes for a fault.
    pub(super) fn close(&mut self, ConnectionId { place, serial }: ConnectionId) {
        let slot = self.connections.get_mut(place as usize);
        if slot.is_some_and(|slot| slot.take_if(|connection| connection.serial == serial).is_some()) {
            self.free.push(place);
        }
    }

    /// What has happened since this was asked last.
    pub(super) fn news(&mut self) -> Vec<(u32, ConnectionId, News)> {
        mem::take(&mut self.news)
    }

    /// Ends a connection that is over, so that nothing of it stays behind: whoever starts there again finds its port free.
    fn end(&mut self, id: ConnectionId, over: News) {
        if let Some(connection) = self.connections[id.place as usize].take() {
            reset(&connection.stream);
            self.free.push(id.place);
            self.news.push((connection.entry, id, over));
        }
    }
}

impl Connection {
    /// Whether it has come about by now, or never will.
    fn come_about(&mut self, event: &mio::event::Event) -> Option<News> {
        // Elsewhere an event alone does not say that the connection came about.
        if event.is_error() || event.is_write_closed() || cfg!(not(target_os = "linux")) {
            match self.stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => {
                    let refused = unheld(&error) == Unheld::Refused;
                    return Some(if refused { News::Refused } else { News::Unreached });
                }
            }
        }
        if !event.is_writable() {
            return None;
        }
        if is_own_echo(&self.stream, self.target) {
            return Some(News::Refused);
        }
        self.connected = true;
        Some(News::Opened)
    }

    /// Throws away what has come; whether that is the end.
    fn listen(&mut self, scratch: &mut [u8]) -> Option<News> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Some(News::Ended),
                Ok(octets) => self.heard += octets,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Some(News::Ended),
            }
            if self.heard > OCTETS_MAX {
                return Some(News::Flooded);
            }
        }
    }
}

/// Has the system ask now and then whether the peer is still there, because a host without power says nothing.
fn keep_alive(socket: &Socket, interval: Duration) {
    let (least, most) = KEEPALIVE_AFTER;
    let keepalive = TcpKeepalive::new()
        .with_time(interval.clamp(least, most))
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    // Without it the interval of the check has to do.
    let _ = socket.set_tcp_keepalive(&keepalive);
}

fn unheld(error: &io::Error) -> Unheld {
    match error.raw_os_error().map(Errno::from_raw) {
        _ if is_want(error) => Unheld::Want,
        Some(Errno::ECONNREFUSED | Errno::ECONNRESET) => Unheld::Refused,
        _ => Unheld::Unreached,
    }
}
