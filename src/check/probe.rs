//! One probe, with one deadline for all of it.

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::outcome::{Failure, Outcome, failure_of};
use super::{http, tcp};
use crate::model::{CheckKind, CheckSpec};

/// Probes an address as a check describes, with one deadline for all of it.
pub(super) async fn probe(target: SocketAddr, check: &CheckSpec) -> Outcome {
    let deadline = Instant::now() + check.timeout.std();
    let stream = match timeout_at(deadline, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_want(&error) => return Outcome::Abandoned,
        Ok(Err(error)) => return Outcome::Failed(failure_of(&error, target)),
        Err(_) => return Outcome::Failed(Failure::NoConnection(target, check.timeout)),
    };
    if is_own_echo(&stream) {
        return Outcome::Failed(Failure::Refused(target));
    }
    let exchange = async {
        match &check.kind {
            CheckKind::Tcp => {
                tcp::close(stream);
                Ok(())
            }
            CheckKind::Http(http) => http::exchange(stream, target, http).await,
        }
    };
    match timeout_at(deadline, exchange).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(failure)) => Outcome::Failed(failure),
        Err(_) => Outcome::Failed(Failure::NoAnswer(target, check.timeout)),
    }
}

/// Whether a connection ends where it begins. A connection to a local port on which nothing listens succeeds when the
/// kernel happens to choose that very port for our side (simultaneous open, RFC 9293 §3.5).
fn is_own_echo(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
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
        assert!(is_own_echo(&stream));
    }
}
