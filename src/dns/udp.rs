//! Questions in datagrams: one socket for each local address, so that the reply leaves from where it was asked.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::{Handler, Protocol};

/// Octets of the largest datagram.
const DATAGRAM_OCTETS_MAX: usize = 65_535;

/// Answers what comes to a socket until the task is aborted.
pub(super) async fn serve(socket: UdpSocket, handler: Arc<Handler>) {
    let mut datagram = vec![0; DATAGRAM_OCTETS_MAX];
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((length, client)) => {
                if let Some(reply) = handler.respond(&datagram[..length], client, Protocol::Udp).await {
                    // The client may be gone; whoever still waits asks again.
                    if let Err(error) = socket.send_to(&reply, client).await {
                        tracing::debug!(client = %client, error = %error, "a reply could not be sent");
                    }
                }
            }
            // An earlier reply found nobody (ICMP port unreachable). That concerns no other client.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::warn!(error = %error, "receiving failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
