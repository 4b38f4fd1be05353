//! Opening DNS sockets and serving on them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::{Handler, tcp, udp};
use crate::net::{BindError, ConnectionLimits, Connections, local_addresses, tcp_listener, udp_socket};

/// How often the addresses of the machine are looked at when a listener is on all of them.
const ADDRESS_SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Tries to find a port that is free for TCP and UDP, when any will do.
const ANY_PORT_TRIES: usize = 32;

/// Limits of the listeners.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// TCP connections.
    pub connections: ConnectionLimits,
    /// How long a TCP connection may be without a whole question.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connections: ConnectionLimits { per_client: 256, total: 1024 }, idle: Duration::from_secs(10) }
    }
}

/// Open sockets that nobody reads yet.
#[derive(Debug)]
pub struct Listeners {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    /// Addresses that stand for all of a family; their UDP sockets come and go with the machine's addresses.
    wildcards: Vec<SocketAddr>,
}

/// The local addresses that a listener is reached at.
fn addresses_of(listener: SocketAddr) -> Vec<SocketAddr> {
    if !listener.ip().is_unspecified() {
        return vec![listener];
    }
    let mut addresses = local_addresses().unwrap_or_else(|error| {
        tracing::warn!(error = %error, "the addresses of this machine are not known");
        Vec::new()
    });
    addresses.retain(|address| address.is_ipv4() == listener.is_ipv4());
    for address in &mut addresses {
        address.set_port(listener.port());
    }
    addresses
}

impl Listeners {
    /// Opens TCP and UDP on every address. TCP comes first: it notices a server that is there already.
    ///
    /// # Errors
    /// The first address that cannot be opened.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut listeners = Self { tcp: Vec::new(), udp: Vec::new(), wildcards: Vec::new() };
        for address in addresses {
            listeners.bind_one(*address)?;
        }
        Ok(listeners)
    }

    fn bind_one(&mut self, address: SocketAddr) -> Result<(), BindError> {
        let mut tries = if address.port() == 0 { ANY_PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let tcp = tcp_listener(address)?;
            let bound = tcp.local_addr().map_err(|source| BindError { address, source })?;
            match addresses_of(bound).into_iter().map(udp_socket).collect::<Result<Vec<_>, _>>() {
                Ok(sockets) => {
                    self.tcp.push(tcp);
                    self.udp.extend(sockets);
                    if bound.ip().is_unspecified() {
                        self.wildcards.push(bound);
                    }
                    return Ok(());
                }
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Where the listeners are, one address for each that was asked for.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Answers until `closing` turns true.
    pub async fn serve(self, handler: Arc<Handler>, settings: Settings, mut closing: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let connections = Connections::new(settings.connections);
        for listener in self.tcp {
            let serving = tcp::serve(listener, handler.clone(), connections.clone(), settings.idle, closing.clone());
            tasks.spawn(serving);
        }
        let mut sockets: HashMap<SocketAddr, AbortHandle> = HashMap::new();
        for socket in self.udp {
            if let Ok(address) = socket.local_addr() {
                sockets.insert(address, tasks.spawn(udp::serve(socket, handler.clone())));
            }
        }
        loop {
            tokio::select! {
                () = crate::net::closing(&mut closing) => break,
                () = tokio::time::sleep(ADDRESS_SCAN_INTERVAL), if !self.wildcards.is_empty() => {}
                Some(ended) = tasks.join_next() => match ended {
                    // A listener that ends is one that nobody answers on: the server ends with it.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _ => continue,
                },
            }
            let wanted: Vec<SocketAddr> = self.wildcards.iter().flat_map(|address| addresses_of(*address)).collect();
            let of_wildcard = |address: &SocketAddr| {
                self.wildcards.iter().any(|w| w.port() == address.port() && w.is_ipv4() == address.is_ipv4())
            };
            sockets.retain(|address, task| {
                let keep = wanted.contains(address) || !of_wildcard(address);
                if !keep {
                    task.abort();
                }
                keep
            });
            for address in wanted {
                if sockets.contains_key(&address) {
                    continue;
                }
                match udp_socket(address) {
                    Ok(socket) => {
                        tracing::info!(dns.address = %address, "answering on an address that is new on this machine");
                        sockets.insert(address, tasks.spawn(udp::serve(socket, handler.clone())));
                    }
                    Err(error) => tracing::warn!(error = %error, "a new address is not served"),
                }
            }
        }
        tasks.shutdown().await;
    }
}
