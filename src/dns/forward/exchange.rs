//! One question to one upstream: over UDP from a socket of its own, then over TCP if that does not settle it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::Times;
use super::failure::Failure;
use super::reply::{FORMERR, Reply};
use super::upstream::Upstream;
use super::wire::{Asked, Match, Query, question_end};

/// Octets of a datagram that are looked at: more than an upstream was told that it may send.
const DATAGRAM_OCTETS_MAX: usize = 4096;
/// Datagrams that answer nothing, after which somebody seems to be guessing and TCP is used, where there is nothing
/// to guess.
const STRAY_DATAGRAMS_MAX: usize = 16;

/// What came over UDP.
enum Datagram {
    Reply(Reply),
    /// A forgery cannot be told from the truth.
    Doubtful,
}

/// Asks an upstream, until `deadline` at most.
pub(super) async fn exchange(
    upstream: &Upstream,
    asked: &Asked,
    times: &Times,
    ttl_max: u32,
    deadline: Instant,
) -> Result<Reply, Failure> {
    let udp_deadline = deadline.min(Instant::now() + times.attempt);
    let mut edns = true;
    loop {
        let query = Query::new(asked, upstream.keeps_case(), edns);
        let received = timeout_at(udp_deadline, over_udp(upstream.address(), &query, asked, ttl_max)).await;
        match received.map_err(|_| Failure::Silent)?.map_err(Failure::Network)? {
            // A server from before EDNS (RFC 6891 §7).
            Datagram::Reply(reply) if reply.rcode == FORMERR && !reply.edns && edns => edns = false,
            Datagram::Reply(reply) if !reply.truncated => return Ok(reply),
            Datagram::Reply(_) | Datagram::Doubtful => break,
        }
    }
    let tcp_deadline = deadline.min(Instant::now() + 2 * times.attempt);
    let query = Query::new(asked, true, edns);
    let received = timeout_at(tcp_deadline, over_tcp(upstream, &query, asked, ttl_max)).await;
    received.map_err(|_| Failure::Silent)?.map_err(Failure::Network)
}

/// A socket for each exchange, so that its port is as hard to guess as the id.
async fn over_udp(upstream: SocketAddr, query: &Query, asked: &Asked, ttl_max: u32) -> io::Result<Datagram> {
    let any: SocketAddr =
        if upstream.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(query.octets()).await?;
    let mut datagram = vec![0; DATAGRAM_OCTETS_MAX];
    for _ in 0..STRAY_DATAGRAMS_MAX {
        let (length, source) = socket.recv_from(&mut datagram).await?;
        // What came before the socket was connected may be from anybody.
        if source.ip() != upstream.ip() || source.port() != upstream.port() {
            continue;
        }
        let message = &datagram[..length];
        match query.matches(message) {
            Match::None => {}
            Match::OtherCase => return Ok(Datagram::Doubtful),
            Match::Exact => {
                if let Some(reply) = Reply::parse(message, question_end(asked), ttl_max) {
                    return Ok(Datagram::Reply(reply));
                }
            }
        }
    }
    Ok(Datagram::Doubtful)
}

/// Over a connection the reply is the upstream's, whatever it does to letters; which is how it is found out.
async fn over_tcp(upstream: &Upstream, query: &Query, asked: &Asked, ttl_max: u32) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(upstream.address()).await?;
    let octets = query.octets();
    let mut framed = Vec::with_capacity(2 + octets.len());
    framed.extend_from_slice(&(octets.len() as u16).to_be_bytes());
    framed.extend_from_slice(octets);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut message = Vec::new();
    stream.take(length.into()).read_to_end(&mut message).await?;
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "a reply over TCP that does not fit the question");
    let matched = query.matches(&message);
    if matched == Match::None || message.len() < length.into() {
        return Err(unreadable());
    }
    let reply = Reply::parse(&message, question_end(asked), ttl_max).filter(|reply| !reply.truncated);
    let reply = reply.ok_or_else(unreadable)?;
    if matched == Match::OtherCase {
        upstream.loses_case();
    }
    Ok(reply)
}
