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
    /// A connection did, but TLS did not.
    NoHandshake(SocketAddr, Duration),
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
    /// It sends more than a probe reads.
    TooMuch(SocketAddr),
    /// TLS did not come about, or broke.
    Tls(SocketAddr, TlsFault),
    /// The answer is none of HTTP/2.
    NotHttp2(SocketAddr),
    /// The call was ended before its answer, for this reason of HTTP/2 (RFC 9113 §7).
    Http2(SocketAddr, h2::Reason),
    /// The answer is none of gRPC.
    NotGrpc(SocketAddr),
    /// The status of the call is not 0.
    GrpcStatus(u32),
    /// The health that was told is not 1.
    Health(i32),
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
        matches!(
            self,
            Self::NoConnection(..)
                | Self::NoAnswer(..)
                | Self::NoHandshake(..)
                | Self::Unreachable(_)
                | Self::Unreported(_)
        )
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
            Self::NoHandshake(target, timeout) => write!(f, "no TLS handshake with {target} within {timeout}"),
            Self::TooMuch(target) => write!(f, "{target} sends more than a probe reads"),
            Self::Tls(target, fault) => fault.write(*target, f),
            Self::NotHttp2(target) => write!(f, "the answer of {target} is not HTTP/2"),
            Self::Http2(target, reason) => write!(f, "the call was ended by HTTP/2 with {target}: {reason}"),
            Self::NotGrpc(target) => write!(f, "the answer of {target} is not gRPC"),
            Self::GrpcStatus(5) => f.write_str("gRPC status NOT_FOUND: the service asked for is not known"),
            Self::GrpcStatus(12) => f.write_str("gRPC status UNIMPLEMENTED: there is no health service"),
            Self::GrpcStatus(code) => match GRPC_STATUSES.get(*code as usize) {
                Some(name) => write!(f, "gRPC status {name}, expected OK"),
                None => write!(f, "gRPC status {code}, expected OK"),
            },
            Self::Health(told) => match usize::try_from(*told).ok().and_then(|told| GRPC_HEALTH.get(told)) {
                Some(name) => write!(f, "gRPC health is {name}, expected SERVING"),
                None => write!(f, "gRPC health is {told}, expected SERVING"),
            },
            Self::TargetRefused(refused) => refused.fmt(f),
            Self::Reported(Some(remark)) => write!(f, "reported as failing: {remark}"),
            Self::Reported(None) => f.write_str("reported as failing"),
            Self::Unreported(span) => write!(f, "not reported for {span}"),
        }
    }
}

/// What goes on between the parts of a probe travels as an error of IO.
impl std::error::Error for Failure {}

/// Names of the status codes of gRPC.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Names of the health that `grpc.health.v1` knows.
const GRPC_HEALTH: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Why TLS with a peer did not come about, or broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsFault {
    /// It speaks something else.
    Plain,
    /// The certificate has run out.
    Expired,
    /// The certificate is of the future.
    NotYetValid,
    /// Nobody who is trusted has signed the certificate.
    UnknownIssuer,
    /// The certificate is for others than this name or address.
    NotFor(Arc<str>),
    /// The certificate is malformed, or none for servers.
    Unusable,
    /// There is no version or cipher that both sides know.
    NothingInCommon,
    /// It ended the handshake: nothing in common, or, before TLS 1.3, no certificate of ours.
    HandshakeFailure,
    /// It wants to see a certificate of ours, and there is none.
    WantsCertificate,
    /// It knows no server of this name.
    NameUnknown(Arc<str>),
    /// It does not speak HTTP/1.1 over TLS.
    NoHttp,
    /// It said no.
    Refused,
    /// What it sends is against the rules.
    Broken,
}

impl TlsFault {
    /// The sentence; of a long name only the beginning.
    fn write(&self, target: SocketAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => write!(f, "{target} does not speak TLS"),
            Self::Expired => write!(f, "the certificate of {target} has expired"),
            Self::NotYetValid => write!(f, "the certificate of {target} is not valid yet"),
            Self::UnknownIssuer => write!(f, "the certificate of {target} is by an unknown issuer, see --check-ca"),
            Self::NotFor(name) => write!(f, "the certificate of {target} is not for {name:.100}"),
            Self::Unusable => write!(f, "the certificate of {target} is malformed or not one of a server"),
            Self::NothingInCommon => write!(f, "no version or cipher of TLS in common with {target}"),
            Self::HandshakeFailure => {
                write!(f, "{target} ended the TLS handshake: no cipher in common, or it wants a client certificate")
            }
            Self::WantsCertificate => write!(f, "{target} wants a client certificate"),
            Self::NameUnknown(name) => write!(f, "{target} knows no server {name:.100}"),
            Self::NoHttp => write!(f, "{target} does not speak HTTP/1.1 over TLS"),
            Self::Refused => write!(f, "TLS was refused by {target}"),
            Self::Broken => write!(f, "what {target} sends breaks TLS"),
        }
    }
}

/// What an error of the network means.
pub(super) fn failure_of(error: &io::Error, target: SocketAddr) -> Failure {
    if let Some(failure) = error.get_ref().and_then(|error| error.downcast_ref::<Failure>()) {
        return failure.clone();
    }
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
