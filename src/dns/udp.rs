//! Questions in datagrams: one socket for each local address, so that the reply leaves from where it was asked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::handler::Begun;
use super::{Handler, Protocol};

/// Octets of the largest datagram.
const DATAGRAM_OCTETS_MAX: usize = 65_535;

/// Whether an error says that an earlier reply found nobody (ICMP unreachable). That concerns no other client.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

/// Answers what comes to a socket until the task is aborted. A question that waits for an upstream holds up no other.
pub(super) async fn serve(socket: UdpSocket, handler: Arc<Handler>) {
    let socket = Arc::new(socket);
    // As many as the forwarder lets wait; they end with this task.
    let mut waiting = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_OCTETS_MAX];
    let mut failing = false;
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((length, client)) => {
                failing = false;
                match handler.begin(&datagram[..length], client, Protocol::Udp) {
                    Begun::Nothing => {}
                    Begun::Reply(reply) => send(&socket, &reply, client).await,
                    Begun::Later(later) => {
                        while waiting.try_join_next().is_some() {}
                        let socket = socket.clone();
                        waiting.spawn(async move { send(&socket, &later.reply().await, client).await });
                    }
                }
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                // Said once, not at every try.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = %error, "receiving failed");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    // The client may be gone; whoever still waits asks again.
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(client = %client, error = %error, "a reply could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_client_are_told_from_those_of_the_socket() {
        for (number, of_one) in [(111, true), (113, true), (101, true), (100, false), (12, false)] {
            // ECONNREFUSED, EHOSTUNREACH, ENETUNREACH; ENETDOWN, ENOMEM.
            assert_eq!(concerns_one_client(&io::Error::from_raw_os_error(number)), of_one, "{number}");
        }
    }
}
