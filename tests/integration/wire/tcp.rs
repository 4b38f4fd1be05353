//! Connections: framing, slow and silent clients, too many of them.

use std::time::Duration;

use rollcall::dns::Settings;
use rollcall::net::ConnectionLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::udp::{PATIENCE, Served, ask, serve, serve_big, web};
use super::*;

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

async fn receive(stream: &mut TcpStream) -> Reply {
    let receiving = async {
        let mut reply = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut reply).await.map(|_| reply)
    };
    read(timeout(PATIENCE, receiving).await.expect("a reply").unwrap())
}

/// Waits until the server has closed; what it sent before does not matter.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good an end as any.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes");
}

/// Asks and gets the answer.
async fn converse(stream: &mut TcpStream) {
    stream.write_all(&framed(&web())).await.unwrap();
    assert_eq!(receive(stream).await.sections[0].len(), 1);
}

fn idle(idle: Duration) -> Settings {
    Settings { idle, ..Settings::default() }
}

#[tokio::test]
async fn questions_in_one_segment_are_answered_in_order() {
    let served = serve(Settings::default()).await;
    let mut stream = connect(&served).await;
    let mut second = web();
    second[1] = 0x35;
    stream.write_all(&[framed(&web()), framed(&second)].concat()).await.unwrap();
    assert_eq!(receive(&mut stream).await.id, 0x1234);
    assert_eq!(receive(&mut stream).await.id, 0x1235);
}

#[tokio::test]
async fn a_question_may_come_octet_by_octet() {
    let served = serve(Settings::default()).await;
    let mut stream = connect(&served).await;
    stream.set_nodelay(true).unwrap();
    for octet in framed(&web()) {
        stream.write_all(&[octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(receive(&mut stream).await.sections[0].len(), 1);
}

#[tokio::test]
async fn the_largest_messages_go_both_ways() {
    let served = serve_big(Settings::default()).await;
    let mut stream = connect(&served).await;
    let asked = question(&wire("big.svc.internal"), SRV);
    let padding = 65_535 - asked.len() - 11 - 4;
    let options = [&[0, 12][..], &(padding as u16).to_be_bytes(), &vec![0; padding]].concat();
    let asked = with_opt(asked, 512, 0, &options);
    assert_eq!(asked.len(), 65_535);
    stream.write_all(&framed(&asked)).await.unwrap();
    let reply = receive(&mut stream).await;
    assert!(reply.octets.len() > 65_000 && reply.truncated, "{} octets", reply.octets.len());
    converse(&mut stream).await;
}

#[tokio::test]
async fn what_cannot_be_a_question_closes_the_connection() {
    let served = serve(Settings::default()).await;
    let mut response = web();
    response[2] |= 0x80;
    for octets in [vec![0, 0], framed(&[1, 2, 3]), framed(&response)] {
        let mut stream = connect(&served).await;
        stream.write_all(&octets).await.unwrap();
        closed(&mut stream).await;
    }
    // A promise of 65,535 octets that the client does not keep.
    let mut stream = connect(&served).await;
    stream.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    stream.shutdown().await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn other_protocols_and_silence_end_at_the_idle_timeout() {
    let served = serve(idle(Duration::from_millis(200))).await;
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let request = b"GET / HTTP/1.1\r\nHost: rollcall\r\n\r\n";
    for octets in [&request[..], &hello, &[0xff, 0xff], &[0], &[]] {
        let mut stream = connect(&served).await;
        stream.write_all(octets).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_half_closed_connection_gets_its_reply() {
    let served = serve(Settings::default()).await;
    let mut stream = connect(&served).await;
    stream.write_all(&framed(&web())).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(receive(&mut stream).await.sections[0].len(), 1);
    closed(&mut stream).await;
}

#[tokio::test]
async fn resets_stop_nobody() {
    let limits = ConnectionLimits { per_client: 2, total: 2 };
    let served = serve(Settings { connections: limits, idle: PATIENCE }).await;
    for sent in [&framed(&web())[..], &framed(&web())[..9], &[]].repeat(30) {
        let mut stream = connect(&served).await;
        stream.write_all(sent).await.unwrap();
        // Linger of zero: closing sends RST.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let mut stream = connect(&served).await;
    converse(&mut stream).await;
}

#[tokio::test]
async fn the_longest_idle_of_a_client_makes_room_for_its_next() {
    let served = serve(idle(PATIENCE)).await;
    let mut open = Vec::new();
    for _ in 0..256 {
        let mut stream = connect(&served).await;
        converse(&mut stream).await;
        open.push(stream);
    }
    converse(&mut connect(&served).await).await;
    closed(&mut open[0]).await;
    // The next in line speaks, so the turn is that of the one after it.
    converse(&mut open[1]).await;
    let mut newcomers = [connect(&served).await, connect(&served).await];
    for newcomer in &mut newcomers {
        converse(newcomer).await;
    }
    closed(&mut open[2]).await;
    converse(&mut open[1]).await;
    assert_eq!(ask(served.address).await.rcode, NOERROR, "UDP is served all the while");
}

#[tokio::test]
async fn connections_in_all_are_bounded() {
    let limits = ConnectionLimits { per_client: 9, total: 3 };
    let served = serve(Settings { connections: limits, idle: PATIENCE }).await;
    let mut open = Vec::new();
    for client in 1..=6u8 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, client], 0).into()).unwrap();
        let mut stream = socket.connect(served.address).await.unwrap();
        converse(&mut stream).await;
        open.push(stream);
    }
    for stream in &mut open[..3] {
        closed(stream).await;
    }
}

/// A client that asks for the largest replies and reads none of them.
async fn never_reads(served: &Served) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut stream = socket.connect(served.address).await.unwrap();
    let big = framed(&question(&wire("big.svc.internal"), SRV));
    // Until the server reads no further: its own buffers hold some replies, it holds one, and no more questions.
    let asking = async {
        loop {
            if stream.write_all(&big).await.is_err() {
                return;
            }
        }
    };
    let _ = timeout(Duration::from_millis(300), asking).await;
    stream
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed() {
    let served = serve_big(idle(Duration::from_millis(500))).await;
    let mut stuck = never_reads(&served).await;
    assert_eq!(ask(served.address).await.rcode, NOERROR, "others are served meanwhile");
    let mut fresh = connect(&served).await;
    converse(&mut fresh).await;
    let closing = async {
        // Writing fails once the server has closed; reading would let it go on.
        while stuck.write_all(&[0; 512]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closing).await.expect("the server closes");
}

#[tokio::test]
async fn clients_that_never_read_make_room() {
    let limits = ConnectionLimits { per_client: 2, total: 2 };
    let served = serve_big(Settings { connections: limits, idle: PATIENCE }).await;
    let _stuck = (never_reads(&served).await, never_reads(&served).await);
    let mut fresh = connect(&served).await;
    converse(&mut fresh).await;
}
