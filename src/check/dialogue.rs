//! What a probe does on a connection, once there is one.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::task::Poll;

use super::outcome::Failure;
use crate::model::Duration;

/// Octets of an answer that are read at most, whatever they mean.
pub(super) const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// A kind of probe: asks and judges, without ever waiting for the peer.
pub(super) trait Dialogue: fmt::Debug + Send {
    /// Goes on as far as the line lets it. Called when the connection has come about, and whenever the peer or the
    /// line has got further; ready when the probe has found out what it wants to know.
    fn advance(&mut self, line: &mut Line<'_>) -> Poll<Result<(), Failure>>;

    /// What it has found out when its time is up, if that is enough.
    fn found(&mut self) -> Option<Result<(), Failure>> {
        None
    }

    /// What its peer has failed to do when the time is up and nothing was found out.
    fn missed(&self) -> fn(SocketAddr, Duration) -> Failure {
        Failure::NoAnswer
    }
}

/// What carries octets to a peer and back, and never waits for it.
pub(super) trait Wire: Read + Write + fmt::Debug {}

impl<T: Read + Write + fmt::Debug> Wire for T {}

/// A connection, and room for what comes over it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) stream: &'a mut dyn Wire,
    /// Whether something has come, or the peer has ended its side.
    pub(super) readable: bool,
    /// At least [`ANSWER_OCTETS_MAX`] octets, which anybody may write over.
    pub(super) scratch: &'a mut [u8],
}

impl Line<'_> {
    /// Reads into the room, up to so many octets. Nothing has come yet when the outer result is pending; no octets
    /// mean that the peer has ended its side.
    pub(super) fn read(&mut self, octets_max: usize) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.read(&mut self.scratch[..octets_max]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return Poll::Ready(read),
            }
        }
    }
}
