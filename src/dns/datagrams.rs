//! Datagrams in batches: one call of the kernel takes what has come, one sends what there is to say.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

/// Datagrams of one batch.
const BATCH: usize = 32;
/// Octets of the largest datagram.
const OCTETS_MAX: usize = 65_535;
/// From where one datagram is written to where the next is. Not a power of two, or all would want the same places of the
/// processor's caches.
const STRIDE: usize = OCTETS_MAX + 1 + 5 * 64;

/// The address of a client as the kernel writes it, by family.
pub(super) trait Client: SockaddrLike + Copy {
    fn address(&self) -> SocketAddr;
}

impl Client for SockaddrIn {
    fn address(&self) -> SocketAddr {
        SocketAddrV4::from(*self).into()
    }
}

impl Client for SockaddrIn6 {
    fn address(&self) -> SocketAddr {
        SocketAddrV6::from(*self).into()
    }
}

/// What came, and room for what comes next.
pub(super) struct Inbox<C> {
    headers: MultiHeaders<C>,
    /// Of which the system gives what is written to: a page for each datagram of a batch, unless large ones come.
    octets: Box<[u8]>,
    came: Vec<(usize, SocketAddr)>,
}

impl<C: Client> Inbox<C> {
    pub(super) fn new() -> Self {
        let octets = vec![0; STRIDE * BATCH].into_boxed_slice();
        Self { headers: MultiHeaders::preallocate(BATCH, None), octets, came: Vec::with_capacity(BATCH) }
    }

    /// Waits until a datagram has come, and takes it with those that came meanwhile.
    ///
    /// # Errors
    /// What the system says; that it waited as long as the socket is to wait, too.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.came.clear();
        let mut places = self.octets.chunks_exact_mut(STRIDE);
        let mut slices: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(&mut places.next().unwrap_or_default()[..OCTETS_MAX])]);
        let received =
            recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        for message in received {
            // One from nowhere takes its place all the same.
            let address = message.address.map(|client| client.address());
            self.came.push((message.bytes, address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))));
        }
        Ok(())
    }

    /// The datagrams of the last batch, with who sent them.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let came = self.came.iter().zip(self.octets.chunks_exact(STRIDE));
        came.map(|((length, client), octets)| (&octets[..*length], *client))
    }
}

/// Replies that wait to be sent together.
#[derive(Default)]
pub(super) struct Outbox {
    replies: Vec<(Vec<u8>, SocketAddrAny)>,
}

impl Outbox {
    pub(super) fn push(&mut self, reply: Vec<u8>, client: SocketAddr) {
        self.replies.push((reply, client.into()));
    }

    /// Sends all of them. One that cannot be sent is told to `failed` and left out: the client may be gone, and whoever
    /// still waits asks again.
    pub(super) fn send(&mut self, socket: &UdpSocket, mut failed: impl FnMut(io::Error)) {
        for replies in self.replies.chunks(BATCH) {
            send(socket, replies, &mut failed);
        }
        self.replies.clear();
    }
}

fn send(socket: &UdpSocket, replies: &[(Vec<u8>, SocketAddrAny)], failed: &mut impl FnMut(io::Error)) {
    const NOTHING: &[u8] = &[];
    let slices: [_; BATCH] =
        std::array::from_fn(|n| [IoSlice::new(replies.get(n).map_or(NOTHING, |(reply, _)| reply))]);
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
        std::array::from_fn(|_| SendAncillaryBuffer::default());
    let nobody = SocketAddrAny::from(SocketAddr::from(([0, 0, 0, 0], 0)));
    let mut places = slices.iter().zip(controls.iter_mut()).enumerate();
    let mut messages: [MMsgHdr<'_>; BATCH] = std::array::from_fn(|_| {
        let (n, (slice, control)) = places.next().unwrap_or_else(|| unreachable!("as many as there are"));
        MMsgHdr::new_with_addr(replies.get(n).map_or(&nobody, |(_, client)| client), slice, control)
    });
    let mut rest = &mut messages[..replies.len()];
    while !rest.is_empty() {
        let sent = match sendmmsg(socket, rest, SendFlags::empty()) {
            Ok(sent) => sent,
            Err(error) if error == rustix::io::Errno::INTR => 0,
            Err(error) => {
                failed(error.into());
                1
            }
        };
        rest = &mut rest[sent..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: &str) -> (UdpSocket, UdpSocket) {
        (UdpSocket::bind(address).unwrap(), UdpSocket::bind(address).unwrap())
    }

    fn echo<C: Client>(address: &str) {
        let (server, client) = pair(address);
        let (mut inbox, mut outbox) = (Inbox::<C>::new(), Outbox::default());
        let messages: Vec<Vec<u8>> = (0..70).map(|n| vec![n; 1 + usize::from(n) * 3]).collect();
        for message in &messages {
            client.send_to(message, server.local_addr().unwrap()).unwrap();
        }
        let mut taken = 0;
        while taken < messages.len() {
            inbox.receive(&server).unwrap();
            for (octets, from) in inbox.datagrams() {
                assert_eq!((octets, from), (&messages[taken][..], client.local_addr().unwrap()));
                outbox.push(octets.to_vec(), from);
                taken += 1;
            }
        }
        outbox.send(&server, |error| panic!("{error}"));
        let mut octets = [0; 1024];
        for message in &messages {
            let (length, from) = client.recv_from(&mut octets).unwrap();
            assert_eq!((&octets[..length], from), (&message[..], server.local_addr().unwrap()));
        }
    }

    #[test]
    fn many_datagrams_are_taken_and_sent_in_order() {
        echo::<SockaddrIn>("127.0.0.1:0");
        echo::<SockaddrIn6>("[::1]:0");
    }

    #[test]
    fn one_that_cannot_be_sent_holds_up_no_other() {
        let (server, client) = pair("127.0.0.1:0");
        let mut outbox = Outbox::default();
        let here = client.local_addr().unwrap();
        // No datagram is as long, and no host is there.
        outbox.push(vec![0; 70_000], here);
        outbox.push(b"one".to_vec(), here);
        outbox.push(vec![0; 70_000], here);
        outbox.push(b"two".to_vec(), here);
        let mut failed = 0;
        outbox.send(&server, |_| failed += 1);
        assert_eq!(failed, 2);
        let mut octets = [0; 16];
        for expected in [b"one", b"two"] {
            let length = client.recv(&mut octets).unwrap();
            assert_eq!(&octets[..length], expected);
        }
    }

    #[test]
    fn the_largest_datagram_is_read_to_its_end() {
        let (server, client) = pair("127.0.0.1:0");
        let largest = [vec![7; 65_506], vec![8]].concat();
        client.send_to(&largest, server.local_addr().unwrap()).unwrap();
        let mut inbox = Inbox::<SockaddrIn>::new();
        inbox.receive(&server).unwrap();
        assert!(inbox.datagrams().map(|(octets, _)| octets).eq([&largest[..]]));
    }
}
