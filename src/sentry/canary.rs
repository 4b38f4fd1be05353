//! Listening to one canary: an address that is well as long as the network is.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::guard::{Guard, Moment};

/// Between two tries.
const EVERY: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(1);
/// Tries after which one that was never heard is told of.
const DOUBTFUL_AFTER: u32 = 10;

/// Whether anything is heard of an address. Whoever refuses has been heard.
async fn sings(address: SocketAddr) -> bool {
    match timeout(WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Without the option the close is an ordinary one, which is only less thrifty.
            let _ = stream.set_zero_linger();
            true
        }
        Ok(Err(error)) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset),
        Err(_) => false,
    }
}

pub(super) async fn listen(guard: Guard, address: SocketAddr) {
    let (mut tries, mut was_heard) = (0_u32, false);
    loop {
        let is_heard = sings(address).await;
        guard.canary(address, is_heard, Moment::now());
        was_heard |= is_heard;
        tries = tries.saturating_add(1);
        if tries == DOUBTFUL_AFTER && !was_heard {
            tracing::warn!(canary = %address, "this canary has never been heard, so its silence says nothing");
        }
        sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn who_accepts_and_who_refuses_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(sings(listener.local_addr().unwrap()).await);
        let refusing = TcpSocket::new_v4().unwrap();
        refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(sings(refusing.local_addr().unwrap()).await);
    }
}
