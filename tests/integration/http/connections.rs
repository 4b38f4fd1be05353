//! Connections: how many, for how long, and who goes when there are too many.

use std::time::Duration;

use rollcall::api::Settings;
use rollcall::net::{ConnectionLimits, Pace};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::wire::{Server, response};
use crate::support::world::World;

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn settings(total: usize) -> Settings {
    Settings { connections: ConnectionLimits { per_client: total, total }, ..Settings::default() }
}

async fn is_served(stream: &mut TcpStream) -> bool {
    let written = stream.write_all(GET).await;
    written.is_ok() && response(stream).await.is_some_and(|heard| heard.starts_with("HTTP/1.1 200 "))
}

/// Waits until the server has closed a connection.
async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "still open");
}

#[tokio::test]
async fn the_connection_that_is_idle_longest_makes_room() {
    let server = Server::start(settings(3)).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        assert!(is_served(&mut stream).await);
        streams.push(stream);
    }
    assert!(is_served(&mut streams[0]).await, "the first is now the youngest");
    let mut newcomer = server.connect().await;
    assert!(is_served(&mut newcomer).await);
    is_closed(&mut streams[1]).await;
    assert!(is_served(&mut streams[0]).await);
    assert!(is_served(&mut streams[2]).await);
}

#[tokio::test]
async fn a_connection_is_idle_again_after_every_kind_of_answer() {
    for request in [
        "GET /v1/services HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "HEAD /v1/services HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "DELETE /v1/services/web/instances/i1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /v1/leases HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"ttl\":\"15s\"}",
    ] {
        let server = Server::start(settings(1)).await;
        let mut first = server.connect().await;
        first.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        while !heard.windows(4).any(|four| four == b"\r\n\r\n") {
            first.read_buf(&mut heard).await.unwrap();
        }
        let mut second = server.connect().await;
        assert!(is_served(&mut second).await, "{request}");
        is_closed(&mut first).await;
    }
}

#[tokio::test]
async fn work_is_not_cut_off_to_make_room() {
    let server = Server::start(settings(1)).await;
    let mut busy = server.connect().await;
    let put = "PUT /v1/services/web/instances/i1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\
               expect: 100-continue\r\n\r\n";
    busy.write_all(put.as_bytes()).await.unwrap();
    // The server says so once the request is being worked on.
    assert!(response(&mut busy).await.unwrap().starts_with("HTTP/1.1 100 "));
    is_closed(&mut server.connect().await).await;
    busy.write_all(br#"{"port":80}"#).await.unwrap();
    assert!(response(&mut busy).await.unwrap().starts_with("HTTP/1.1 201 "));
    assert!(is_served(&mut server.connect().await).await, "idle again, so it makes room");
}

#[tokio::test]
async fn two_thousand_idle_connections_harm_nobody() {
    let server = Server::start(settings(64)).await;
    let mut idle = Vec::new();
    for _ in 0..2000 {
        idle.push(server.connect().await);
        if idle.len() > 200 {
            idle.remove(0);
        }
    }
    assert!(is_served(&mut server.connect().await).await);
}

#[tokio::test]
async fn a_head_that_dribbles_is_given_up() {
    let server = Server::start(Settings { head_within: Duration::from_millis(50), ..Settings::default() }).await;
    let mut silent = server.connect().await;
    let mut dribbling = server.connect().await;
    dribbling.write_all(b"GET /healthz HTTP/1.1\r\nhost").await.unwrap();
    let mut kept = server.connect().await;
    assert!(is_served(&mut kept).await);
    is_closed(&mut silent).await;
    is_closed(&mut dribbling).await;
    is_closed(&mut kept).await;
}

/// A server whose list of `web` has some five million octets.
async fn with_large_list(world: World, settings: Settings) -> Server {
    let server = Server::serving(world, settings).await;
    let meta: serde_json::Map<_, _> = (0..15).map(|n| (format!("k{n:02}"), "v".repeat(250).into())).collect();
    for n in 0..1000 {
        let path = format!("/v1/services/web/instances/i{n:04}");
        server.world.put(&path, &json!({"port": 80, "meta": meta, "shared_address": true})).await;
    }
    server
}

/// A connection that takes a few octets at a time only.
async fn narrow(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(server.address).await.unwrap()
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_left() {
    let pace = Pace { patience: Duration::from_millis(50), octets_per_second: 1 << 20 };
    let server = with_large_list(World::new().await, Settings { pace, ..settings(1) }).await;
    let mut lazy = narrow(&server).await;
    lazy.write_all(b"GET /v1/services/web HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut heard = [0; 12];
    lazy.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"HTTP/1.1 200");
    // The only place is busy with an answer that nobody takes; newcomers are served once it is given up.
    let served =
        tokio::time::timeout(Duration::from_secs(20), async { while !is_served(&mut server.connect().await).await {} });
    assert!(served.await.is_ok(), "the place is never given up");
    let mut rest = Vec::new();
    let _ = lazy.read_to_end(&mut rest).await;
    assert!(rest.len() < 3 << 20, "the rest never came");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_left() {
    let pace = Pace { patience: Duration::from_millis(50), octets_per_second: 1 << 20 };
    let server = with_large_list(World::new().await, Settings { pace, ..settings(1) }).await;
    let mut lazy = narrow(&server).await;
    lazy.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut heard = [0; 12];
    lazy.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"HTTP/1.1 200");
    let left = async {
        while server.world.waiting.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), left).await.is_ok(), "its place is never given up");
}

#[tokio::test]
async fn what_slow_readers_hold_together_is_bounded() {
    let load = rollcall::api::Load::bounded(8 << 20);
    let server = with_large_list(World::under(load).await, Settings::default()).await;
    let list = b"GET /v1/services/web HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut lazy = narrow(&server).await;
    lazy.write_all(list).await.unwrap();
    let mut heard = [0; 12];
    lazy.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"HTTP/1.1 200");

    let mut brisk = server.connect().await;
    brisk.write_all(list).await.unwrap();
    let refused = response(&mut brisk).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("urn:rollcall:busy"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n") && refused.contains("x-rollcall-revision: "), "{refused}");
    assert!(is_served(&mut brisk).await, "small answers are none of it");

    // Once the first client has gone there is room again, and again after every answer that was read.
    drop(lazy);
    for _ in 0..3 {
        let answered = async {
            loop {
                brisk.write_all(list).await.unwrap();
                let heard = response(&mut brisk).await.unwrap();
                if heard.starts_with("HTTP/1.1 200 ") {
                    break;
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), answered).await.is_ok(), "the room is never given back");
    }
}

#[tokio::test]
async fn closing_lets_begun_requests_end() {
    let server = Server::start(Settings::default()).await;
    let mut idle = server.connect().await;
    assert!(is_served(&mut idle).await);
    let mut busy = server.connect().await;
    let put = "PUT /v1/services/web/instances/i1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\
               expect: 100-continue\r\n\r\n";
    busy.write_all(put.as_bytes()).await.unwrap();
    assert!(response(&mut busy).await.unwrap().starts_with("HTTP/1.1 100 "));
    server.closing.send_replace(true);
    is_closed(&mut idle).await;
    busy.write_all(br#"{"port":80}"#).await.unwrap();
    assert!(response(&mut busy).await.unwrap().starts_with("HTTP/1.1 201 "));
    is_closed(&mut busy).await;
    assert!(tokio::time::timeout(Duration::from_secs(20), server.serving).await.is_ok());
}
