//! Whether the program listens yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::net::local_addresses;

/// Between two tries, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_millis(250);
/// How long one try may take; to this machine it takes none.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Addresses of this machine that are tried.
const ADDRESSES_MAX: usize = 16;

/// Waits until one of the addresses takes connections at this port; without any, one of this machine's.
pub(super) async fn listening(addresses: Vec<IpAddr>, port: u16) {
    let mut pause = PAUSE_FIRST;
    loop {
        let places = if addresses.is_empty() { ours(port) } else { given(&addresses, port) };
        for place in places {
            if matches!(timeout(CONNECT_TIMEOUT, TcpStream::connect(place)).await, Ok(Ok(_))) {
                return;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LONGEST);
    }
}

fn given(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|&address| SocketAddr::new(address, port)).collect()
}

/// Loopback, where most listen that listen everywhere, and then the others.
fn ours(port: u16) -> Vec<SocketAddr> {
    let mut places = given(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], port);
    for mut place in local_addresses().unwrap_or_default() {
        place.set_port(port);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.truncate(ADDRESSES_MAX);
    places
}
