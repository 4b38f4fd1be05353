//! Sockets and connections, for every server that Rollcall runs. Knows no protocol.

mod accept;
mod bind;
mod connections;
mod paced;

pub use accept::{Acceptor, Row};
pub use bind::{BindError, granted_less, is_linked, local_addresses, tcp_listener, udp_sockets};
pub use connections::{ConnectionLimits, Connections, Slot};
pub use paced::{Pace, Paced};

/// Waits until a server is told to close, or nobody is left who could tell it.
pub async fn closing(signal: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = signal.wait_for(|closing| *closing).await;
}
