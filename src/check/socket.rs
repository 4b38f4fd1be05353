//! What probes and held connections do with sockets of the system.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Begins to connect, perhaps in an unusual way.
pub(super) fn connect(target: SocketAddr, prepare: impl FnOnce(&Socket)) -> io::Result<TcpStream> {
    let (domain, protocol) = (Domain::for_address(target), Some(Protocol::TCP));
    #[cfg(target_os = "linux")]
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), protocol)?;
    #[cfg(not(target_os = "linux"))]
    let socket = {
        let socket = Socket::new(domain, Type::STREAM, protocol)?;
        socket.set_nonblocking(true)?;
        socket
    };
    prepare(&socket);
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Whether a connection that was begun has come about already; the error when it never will.
#[cfg(target_os = "linux")]
pub(super) fn is_established(stream: &TcpStream, target: SocketAddr) -> io::Result<bool> {
    match SockRef::from(stream).connect(&target.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EALREADY as i32) => Ok(false),
        Err(error) if error.raw_os_error() == Some(Errno::EISCONN as i32) => Ok(true),
        connected => connected.map(|()| true),
    }
}

/// Elsewhere asking again is an error in itself.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_established(_: &TcpStream, _: SocketAddr) -> io::Result<bool> {
    Ok(false)
}

/// Has a connection end by a reset when it is dropped.
///
/// An ordinary close would leave every probe in TIME_WAIT on our side for a minute, which is hundreds of thousands of
/// sockets at a few thousand probes a second.
pub(super) fn reset(stream: &TcpStream) {
    // Without the option the close is an ordinary one, which is only less thrifty.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Whether a connection ends where it begins. A connection to a local port on which nothing listens succeeds when the
/// kernel happens to choose that very port for our side (simultaneous open, RFC 9293 §3.5).
pub(super) fn is_own_echo(stream: &TcpStream, target: SocketAddr) -> bool {
    // Ports that a kernel chooses, in whatever range it was told to, are none that need a privilege.
    target.port() >= 1024 && stream.local_addr().is_ok_and(|local| local == target)
}

/// Whether an error is about what this machine lacks.
pub(super) fn is_want(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_our_own_says_nothing_of_the_instance() {
        for (errno, want) in [(Errno::EMFILE, true), (Errno::ENOMEM, true), (Errno::ECONNREFUSED, false)] {
            assert_eq!(is_want(&io::Error::from_raw_os_error(errno as i32)), want, "{errno}");
        }
    }

    // Elsewhere a socket cannot be made to do this on purpose.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connection_to_itself_is_no_listener() {
        let (address, socket) = super::super::support::refusing();
        let stream = socket.connect(address).await.unwrap();
        assert!(is_own_echo(&TcpStream::from_std(stream.into_std().unwrap()), address));
    }
}
