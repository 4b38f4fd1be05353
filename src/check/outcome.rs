//! What a probe found, and why it failed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::TargetRefused;
use crate::model::{Duration, Remark, StatusRanges};

/// What a probe found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The instance does what the check expects.
    Passed,
    /// It does not.
    Failed(Failure),
    /// This machine could not make the probe, for want of descriptors or memory. That says nothing of the instance.
    Abandoned,
}

impl Outcome {
    /// The `result` labels of the metrics. Silence is told apart because it may be the network's fault, or ours.
    pub(super) const RESULTS: [&str; 4] = ["passed", "failed", "silent", "abandoned"];

    /// Which of those it is.
    pub(super) fn result(&self) -> usize {
        match self {
            Self::Passed => 0,
            Self::Failed(failure) if failure.is_silence() => 2,
            Self::Failed(_) => 1,
            Self::Abandoned => 3,
        }
    }
}

/// Why a probe failed. Its text is one short sentence of our own: nothing that a peer sent is repeated in it, but for what
/// a service says of itself, which is a [`Remark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing listens there.
    Refused(SocketAddr),
    /// The connection was reset.
    Reset(SocketAddr),
    /// The connection ended before the answer did.
    Closed(SocketAddr),
    /// No connection came about in time.
    NoConnection(SocketAddr, Duration),
    /// A connection did, but no whole answer.
    NoAnswer(SocketAddr, Duration),
    /// There is no way to the host, or one that is barred.
    Unreachable(SocketAddr),
    /// The answer is none of HTTP/1.
    NotHttp(SocketAddr),
    /// The header section of the answer is larger than a probe reads.
    HeadTooLarge(SocketAddr),
    /// The status is not among those that mean success.
    Status(u16, StatusRanges),
    /// The body, as far as it is read, does not contain what it should.
    BodyWithoutText,
    /// The check may not aim where it does, so nothing was sent.
    TargetRefused(TargetRefused),
    /// The service says so itself.
    Reported(Option<Remark>),
    /// The service has said nothing of itself for so long.
    Unreported(Duration),
}

impl Failure {
    /// Whether nothing was heard, which a broken network here explains as well as a dead instance there. Everything
    /// else is proof: somebody answered, and not as they should.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::NoConnection(..) | Self::NoAnswer(..) | Self::Unreachable(_) | Self::Unreported(_))
    }

    /// The text for the registry.
    pub(super) fn reason(&self) -> Arc<str> {
        self.to_string().into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(target) => write!(f, "connection refused by {target}"),
            Self::Reset(target) => write!(f, "connection reset by {target}"),
            Self::Closed(target) => write!(f, "connection closed by {target} before the end of its answer"),
            Self::NoConnection(target, timeout) => write!(f, "no connection to {target} within {timeout}"),
            Self::NoAnswer(target, timeout) => write!(f, "no complete answer from {target} within {timeout}"),
            Self::Unreachable(target) => write!(f, "host unreachable: {target}"),
            Self::NotHttp(target) => write!(f, "the answer of {target} is not HTTP/1"),
            Self::HeadTooLarge(target) => write!(f, "the header section that {target} sends is too large"),
            Self::Status(status, expected) => write!(f, "status {status}, expected {expected}"),
            Self::BodyWithoutText => f.write_str("body does not contain the expected text"),
            Self::TargetRefused(refused) => refused.fmt(f),
            Self::Reported(Some(remark)) => write!(f, "reported as failing: {remark}"),
            Self::Reported(None) => f.write_str("reported as failing"),
            Self::Unreported(span) => write!(f, "not reported for {span}"),
        }
    }
}

/// What an error of the network means.
pub(super) fn failure_of(error: &io::Error, target: SocketAddr) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused(target),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Failure::Reset(target)
        }
        io::ErrorKind::UnexpectedEof => Failure::Closed(target),
        // No route, no address of that family, a local filter, or an end of the kernel's own patience.
        _ => Failure::Unreachable(target),
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn errors_of_the_network_are_told_apart() {
        let target = "10.0.0.4:80".parse().unwrap();
        for (errno, reason, silence) in [
            (Errno::ECONNREFUSED, "connection refused by 10.0.0.4:80", false),
            (Errno::ECONNRESET, "connection reset by 10.0.0.4:80", false),
            (Errno::EPIPE, "connection reset by 10.0.0.4:80", false),
            (Errno::EHOSTUNREACH, "host unreachable: 10.0.0.4:80", true),
            (Errno::ENETUNREACH, "host unreachable: 10.0.0.4:80", true),
            (Errno::EPERM, "host unreachable: 10.0.0.4:80", true),
        ] {
            let failure = failure_of(&io::Error::from_raw_os_error(errno as i32), target);
            assert_eq!((failure.to_string().as_str(), failure.is_silence()), (reason, silence));
        }
    }
}
