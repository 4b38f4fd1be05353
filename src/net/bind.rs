//! Opening sockets so that a second server on the port is noticed and a restart is not.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Octets of receive buffer asked for: a burst of some 10,000 questions. The kernel may grant less.
const UDP_RECEIVE_BUFFER: usize = 4 << 20;
/// How long a read waits for a datagram.
const UDP_PATIENCE: Duration = Duration::from_millis(250);

/// An address that could not be opened.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "{address} is in use: stop the other server there or choose another port")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "{address} may not be opened: ports below 1024 need the capability CAP_NET_BIND_SERVICE or root"
            ),
            io::ErrorKind::AddrNotAvailable => write!(f, "{address} is not an address of this machine"),
            _ => write!(f, "{address} cannot be opened: {}", self.source),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // The IPv4 addresses have sockets of their own.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Listens for connections, with SO_REUSEADDR and without SO_REUSEPORT.
///
/// # Errors
/// When the address is taken, not ours, or not permitted.
pub fn tcp_listener(address: SocketAddr) -> Result<tokio::net::TcpListener, BindError> {
    let listen = || {
        let socket = open(address, Type::STREAM, Protocol::TCP)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        tokio::net::TcpListener::from_std(socket.into())
    };
    listen().map_err(|source| BindError { address, source })
}

/// Opens sockets for datagrams to one address, which the kernel shares out among them by client; they block for a moment
/// at most.
///
/// # Errors
/// When the address is taken, not ours, or not permitted.
pub fn udp_sockets(address: SocketAddr, count: usize) -> Result<Vec<UdpSocket>, BindError> {
    let bind = |shared: bool| {
        let socket = open(address, Type::DGRAM, Protocol::UDP)?;
        socket.set_reuse_port(shared)?;
        socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER)?;
        socket.bind(&address.into())?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(UDP_PATIENCE))?;
        Ok(socket.into())
    };
    let all = || match count {
        0 | 1 => Ok(vec![bind(false)?]),
        _ => {
            // One that shares the port would not notice another server that does.
            let alone: UdpSocket = bind(false)?;
            drop(alone);
            (0..count).map(|_| bind(true)).collect()
        }
    };
    all().map_err(|source: io::Error| BindError { address, source })
}

/// Octets of receive buffer that the kernel granted, when they are fewer than were asked for.
pub fn granted_less(socket: &UdpSocket) -> Option<usize> {
    let granted = SockRef::from(socket).recv_buffer_size().ok()?;
    (granted < UDP_RECEIVE_BUFFER).then_some(granted)
}

/// The addresses of this machine's interfaces, with the scope of link-local ones.
///
/// # Errors
/// When the kernel does not tell.
pub fn local_addresses() -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(storage) = interface.address else { continue };
        let address = if let Some(v4) = storage.as_sockaddr_in() {
            SocketAddr::new(IpAddr::V4(v4.ip()), 0)
        } else if let Some(v6) = storage.as_sockaddr_in6() {
            std::net::SocketAddrV6::new(v6.ip(), 0, 0, v6.scope_id()).into()
        } else {
            continue;
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Whether an interface that leads elsewhere is up, has its carrier, and has an address that others can reach.
///
/// # Errors
/// When the kernel does not tell.
pub fn is_linked() -> io::Result<bool> {
    use nix::net::if_::InterfaceFlags;
    let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let leads_elsewhere = nix::ifaddrs::getifaddrs()?
        .filter(|interface| interface.flags.contains(up) && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|interface| interface.address)
        .any(|address| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => !v4.ip().is_loopback(),
            (_, Some(v6)) => !v6.ip().is_loopback() && !v6.ip().is_unicast_link_local(),
            _ => false,
        });
    Ok(leads_elsewhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_server_on_a_port_is_noticed() {
        let first = tcp_listener("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = tcp_listener(first.local_addr().unwrap()).unwrap_err();
        assert!(second.to_string().contains("is in use"), "{second}");
        for count in [1, 3] {
            let first = udp_sockets("127.0.0.1:0".parse().unwrap(), 1).unwrap();
            let address = first[0].local_addr().unwrap();
            assert!(udp_sockets(address, count).is_err());
            drop(first);
            let first = udp_sockets(address, count).unwrap();
            assert_eq!(first.len(), count);
            assert!(udp_sockets(address, 1).is_err() && udp_sockets(address, 2).is_err());
        }
    }

    #[test]
    fn loopback_is_among_the_local_addresses() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.iter().any(|address| address.ip().is_loopback()), "{addresses:?}");
    }
}
