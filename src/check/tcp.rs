//! TCP probes: whoever accepts a connection passes.

use std::task::Poll;

use super::dialogue::{Dialogue, Line};
use super::outcome::Failure;

/// Nothing is said: the connection has served its purpose by being made.
#[derive(Debug)]
pub(super) struct Silence;

impl Dialogue for Silence {
    fn advance(&mut self, _: &mut Line<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Failure, Outcome};
    use super::super::support::{Manners, listen, probe, refusing, tcp_check};
    use crate::model::Duration;

    #[tokio::test]
    async fn listener_that_accepts_passes() {
        let target = listen(Manners::Hang).await;
        assert_eq!(probe(target, &tcp_check()).await, Outcome::Passed);
    }

    #[tokio::test]
    async fn refused_connection_is_proof() {
        let (target, _held) = refusing();
        assert_eq!(probe(target, &tcp_check()).await, Outcome::Failed(Failure::Refused(target)));
    }

    #[tokio::test]
    async fn host_that_drops_everything_is_silent_until_the_deadline() {
        // A full accept queue drops further handshakes, like a host that is gone.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let target = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let mut check = tcp_check();
        check.timeout = Duration::from_millis(50);
        let silent = loop {
            let connect = tokio::time::timeout(check.timeout.std(), tokio::net::TcpStream::connect(target));
            match connect.await {
                Ok(stream) if queued.len() < 16 => queued.push(stream.unwrap()),
                _ => break probe(target, &check).await,
            }
        };
        let Outcome::Failed(failure) = silent else { panic!("{silent:?}") };
        assert_eq!(failure.to_string(), format!("no connection to {target} within 50ms"));
        assert!(failure.is_silence());
    }
}
