//! TCP probes: whoever accepts a connection passes.

use tokio::net::TcpStream;

/// Ends a connection that has served its purpose by being made.
///
/// With a reset: an ordinary close would leave every probe in TIME_WAIT on our side for a minute, which is hundreds
/// of thousands of sockets at a few thousand probes a second.
pub(super) fn close(stream: TcpStream) {
    // Without the option the close is an ordinary one, which is only less thrifty.
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Failure, Outcome};
    use super::super::probe::probe;
    use super::super::support::{Manners, listen, refusing, tcp_check};
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
