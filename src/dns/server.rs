//! Opening DNS sockets and serving on them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::{Handler, tcp, udp};
use crate::net::{
    BindError, ConnectionLimits, Connections, Row, granted_less, local_addresses, tcp_listener, udp_sockets,
};

/// How often the addresses of the machine are looked at when a listener is on all of them.
const ADDRESS_SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Tries to find a port that is free for TCP and UDP, when any will do.
const ANY_PORT_TRIES: usize = 32;
/// Sockets of one address, and so threads, at most.
const SOCKETS_MAX: usize = 8;

/// Sockets of each of so many addresses: one for each core that no other address has.
fn sockets_of_each(addresses: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / addresses.max(1)).clamp(1, SOCKETS_MAX)
}

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

/// The addresses of the machine that a listener is reached at.
///
/// # Errors
/// When it is on all of them and they are not known.
fn addresses_of(
    listener: SocketAddr,
    local: impl FnOnce() -> io::Result<Vec<SocketAddr>>,
) -> io::Result<Vec<SocketAddr>> {
    if !listener.ip().is_unspecified() {
        return Ok(vec![listener]);
    }
    let mut addresses = local()?;
    addresses.retain(|address| address.is_ipv4() == listener.is_ipv4());
    for address in &mut addresses {
        address.set_port(listener.port());
    }
    Ok(addresses)
}

/// The UDP sockets that are answered on. Those of listeners on all addresses come and go with the machine's addresses.
struct Sockets<S> {
    /// Begins to answer on a socket.
    serve: S,
    wildcards: Vec<SocketAddr>,
    answered: HashMap<SocketAddr, Vec<AbortHandle>>,
    /// New addresses that could not be opened, each of which was said.
    refused: HashSet<SocketAddr>,
    /// Scans that did not learn the addresses.
    blind: Row,
}

impl<S: Fn(UdpSocket, &mut JoinSet<()>) -> AbortHandle> Sockets<S> {
    fn new(serve: S, wildcards: Vec<SocketAddr>) -> Self {
        let (answered, refused) = (HashMap::new(), HashSet::new());
        Self { serve, wildcards, answered, refused, blind: Row::default() }
    }

    fn answer_on(&mut self, socket: UdpSocket, tasks: &mut JoinSet<()>) {
        if let Ok(address) = socket.local_addr() {
            self.answered.entry(address).or_default().push((self.serve)(socket, tasks));
        }
    }

    /// Follows the addresses of the machine. While they are not known, everything stays as it is: a machine without
    /// descriptors still has its addresses.
    fn follow(&mut self, local: io::Result<Vec<SocketAddr>>, tasks: &mut JoinSet<()>) {
        let local = match local {
            Ok(local) => local,
            Err(error) => {
                if self.blind.begins() {
                    tracing::warn!(error = %error, "the addresses of this machine are not known; new ones wait");
                }
                return;
            }
        };
        self.blind.ends();
        let of = |wildcard: &SocketAddr| addresses_of(*wildcard, || Ok(local.clone())).unwrap_or_default();
        let wanted: HashSet<SocketAddr> = self.wildcards.iter().flat_map(of).collect();
        let of_wildcard = |address: &SocketAddr| {
            self.wildcards.iter().any(|w| w.port() == address.port() && w.is_ipv4() == address.is_ipv4())
        };
        self.answered.retain(|address, of_address| {
            let keep = wanted.contains(address) || !of_wildcard(address);
            if !keep {
                of_address.iter().for_each(AbortHandle::abort);
            }
            keep
        });
        self.refused.retain(|address| wanted.contains(address));
        for address in wanted {
            if self.answered.contains_key(&address) {
                continue;
            }
            match udp_sockets(address, 1) {
                Ok(sockets) => {
                    tracing::info!(dns.address = %address, "answering on an address that is new on this machine");
                    self.refused.remove(&address);
                    for socket in sockets {
                        self.answer_on(socket, tasks);
                    }
                }
                Err(error) => {
                    if self.refused.insert(address) {
                        tracing::warn!(error = %error, "a new address is not served");
                    }
                }
            }
        }
    }
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
            let reached = addresses_of(bound, local_addresses).map_err(|source| BindError { address, source })?;
            let count = sockets_of_each(reached.len());
            match reached.into_iter().map(|address| udp_sockets(address, count)).collect::<Result<Vec<_>, _>>() {
                Ok(sockets) => {
                    self.tcp.push(tcp);
                    self.udp.extend(sockets.into_iter().flatten());
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
        if let Some(granted) = self.udp.iter().find_map(granted_less) {
            tracing::info!(
                dns.buffer_octets = granted,
                "the system grants less room for questions that come at once than was asked for (net.core.rmem_max)"
            );
        }
        let answer = |socket, tasks: &mut JoinSet<()>| tasks.spawn(udp::serve(socket, handler.clone()));
        let mut sockets = Sockets::new(answer, self.wildcards);
        for socket in self.udp {
            sockets.answer_on(socket, &mut tasks);
        }
        loop {
            tokio::select! {
                () = crate::net::closing(&mut closing) => break,
                () = tokio::time::sleep(ADDRESS_SCAN_INTERVAL), if !sockets.wildcards.is_empty() => {}
                Some(ended) = tasks.join_next() => match ended {
                    // A listener that ends is one that nobody answers on: the server ends with it.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _ => continue,
                },
            }
            sockets.follow(local_addresses(), &mut tasks);
        }
        tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_stay_while_the_addresses_are_not_known() {
        let listeners = Listeners::bind(&["0.0.0.0:0".parse().unwrap()]).unwrap();
        let mut tasks = JoinSet::new();
        let hold = |socket: UdpSocket, tasks: &mut JoinSet<()>| {
            tasks.spawn(async move {
                let _held = socket;
                std::future::pending().await
            })
        };
        let mut sockets = Sockets::new(hold, listeners.wildcards);
        for socket in listeners.udp {
            sockets.answer_on(socket, &mut tasks);
        }
        let before = sockets.answered.len();
        assert!(before > 0);
        for _ in 0..2 {
            sockets.follow(Err(io::Error::from_raw_os_error(24)), &mut tasks);
            assert_eq!(sockets.answered.len(), before);
        }
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        // An address of nobody here: it is tried again and again, and said once.
        let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
        sockets.follow(Ok(vec![loopback, foreign]), &mut tasks);
        sockets.follow(Ok(vec![loopback, foreign]), &mut tasks);
        assert_eq!((sockets.answered.len(), sockets.refused.len()), (1, 1));
        sockets.follow(Ok(vec![loopback]), &mut tasks);
        assert_eq!((sockets.answered.len(), sockets.refused.len()), (1, 0));
    }

    #[test]
    fn a_listener_on_all_addresses_needs_to_know_them() {
        let unknown = || Err(io::Error::from_raw_os_error(24));
        assert!(addresses_of("0.0.0.0:53".parse().unwrap(), unknown).is_err());
        let one = "127.0.0.1:53".parse().unwrap();
        assert_eq!(addresses_of(one, unknown).unwrap(), [one], "one that is on its own address does not ask");
    }
}
