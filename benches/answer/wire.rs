//! Datagrams in batches, for the load and the reflector.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

pub(crate) const BATCH: usize = 32;
const OCTETS_MAX: usize = 1500;

/// A batch of datagrams, and where each came from.
pub(crate) struct Batch {
    headers: MultiHeaders<SockaddrIn>,
    octets: Box<[[u8; OCTETS_MAX]; BATCH]>,
    came: Vec<(usize, SocketAddr)>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let octets = Box::new([[0; OCTETS_MAX]; BATCH]);
        Self { headers: MultiHeaders::preallocate(BATCH, None), octets, came: Vec::with_capacity(BATCH) }
    }

    /// Waits for one datagram and takes those that came meanwhile. How many.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> std::io::Result<usize> {
        self.came.clear();
        let mut slices = self.octets.each_mut().map(|octets| [IoSliceMut::new(octets)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        for message in recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)? {
            let from = message.address.map(std::net::SocketAddrV4::from).expect("IPv4");
            self.came.push((message.bytes, from.into()));
        }
        Ok(self.came.len())
    }

    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.came.iter().zip(self.octets.iter()).map(|((length, from), octets)| (&octets[..*length], *from))
    }
}

/// Sends at most a batch, each datagram to its own address.
pub(crate) fn send<'a>(socket: &UdpSocket, datagrams: impl Iterator<Item = (&'a [u8], SocketAddr)>) {
    let datagrams: Vec<([IoSlice<'_>; 1], SocketAddrAny)> =
        datagrams.map(|(octets, to)| ([IoSlice::new(octets)], to.into())).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = datagrams.iter().map(|_| Default::default()).collect();
    let parts = datagrams.iter().zip(&mut controls);
    let mut messages: Vec<MMsgHdr<'_>> =
        parts.map(|((slices, to), control)| MMsgHdr::new_with_addr(to, slices, control)).collect();
    let mut sent = 0;
    while sent < messages.len() {
        sent += sendmmsg(socket, &mut messages[sent..], SendFlags::empty()).unwrap();
    }
}

/// Returns what comes as it is, until it is killed.
pub(crate) fn reflect(address: SocketAddr) -> ! {
    let socket = UdpSocket::bind(address).unwrap();
    let mut batch = Batch::new();
    loop {
        if batch.receive(&socket).is_ok() {
            send(&socket, batch.datagrams());
        }
    }
}
