//! Raw octets on a real socket: whatever comes in, the server answers with an error or closes, and goes on serving.

use std::net::SocketAddr;

use rollcall::api::{Listeners, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::world::World;

/// A server on a port of its own. It ends with the test's runtime.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) closing: watch::Sender<bool>,
    pub(super) serving: tokio::task::JoinHandle<()>,
    pub(super) world: World,
}

impl Server {
    pub(super) async fn start(settings: Settings) -> Self {
        Self::serving(World::new().await, settings).await
    }

    pub(super) async fn serving(world: World, settings: Settings) -> Self {
        let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listeners.addresses()[0];
        let (closing, signal) = watch::channel(false);
        let serving = tokio::spawn(listeners.serve(world.api.clone(), settings, signal));
        Self { address, closing, serving, world }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends octets and reads until the server closes or has answered `answers` requests.
    async fn say(&self, octets: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has read everything; that is an answer too.
        let _ = stream.write_all(octets).await;
        let _ = stream.shutdown().await;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        String::from_utf8_lossy(&heard).into_owned()
    }

    async fn assert_alive(&self) {
        let heard = self.say(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    }
}

/// Reads one response with a content length.
pub(super) async fn response(stream: &mut TcpStream) -> Option<String> {
    let mut heard = Vec::new();
    loop {
        let mut octet = [0; 1];
        if stream.read(&mut octet).await.ok()? == 0 {
            return None;
        }
        heard.push(octet[0]);
        if heard.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8(heard).unwrap();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.ok()?;
            return Some(head + &String::from_utf8(body).unwrap());
        }
    }
}

#[tokio::test]
async fn whatever_comes_in_is_answered_with_an_error_or_closed() {
    let server = Server::start(Settings::default()).await;
    let put = "PUT /v1/services/web/instances/i1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("1,000 headers", format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(1000)).into()),
        ("a header of 1 MB", format!("GET / HTTP/1.1\r\nhost: localhost\r\na: {}\r\n\r\n", "b".repeat(1 << 20)).into()),
        ("a path of 1 MB", format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "b".repeat(1 << 20)).into()),
        ("a header without end", format!("GET / HTTP/1.1\r\nhost: localhost\r\na: {}", "b".repeat(100_000)).into()),
        ("two lengths", format!("{put}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}x").into()),
        ("two lengths in one", format!("{put}content-length: 2, 3\r\n\r\n{{}}x").into()),
        ("a length that is none", format!("{put}content-length: +2\r\n\r\n{{}}").into()),
        ("a negative length", format!("{put}content-length: -1\r\n\r\n").into()),
        ("a length beyond counting", format!("{put}content-length: 99999999999999999999999\r\n\r\n").into()),
        ("1 GiB", format!("{put}content-length: 1073741824\r\n\r\n").into()),
        ("1 GiB, asked for first", format!("{put}content-length: 1073741824\r\nexpect: 100-continue\r\n\r\n").into()),
        (
            "both framings",
            format!(
                "{put}content-length: 5\r\n{chunked}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
            )
            .into(),
        ),
        ("a coding nobody knows", format!("{put}transfer-encoding: gzip\r\n\r\nx").into()),
        ("chunked is not last", format!("{put}transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n").into()),
        ("a chunk of no size", format!("{put}{chunked}\r\nx\r\n{{}}\r\n0\r\n\r\n").into()),
        ("a chunk of any size", format!("{put}{chunked}\r\nffffffffffffffffff\r\n{{}}").into()),
        ("a body cut short", format!("{put}content-length: 50\r\n\r\n{{").into()),
        ("chunks cut short", format!("{put}{chunked}\r\n5\r\n{{").into()),
        (
            "chunks beyond the largest body",
            format!("{put}{chunked}\r\n{}", format!("1000\r\n{}\r\n", " ".repeat(0x1000)).repeat(32)).into(),
        ),
        ("no host", b"GET /healthz HTTP/1.1\r\n\r\n".to_vec()),
        ("two hosts", b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_vec()),
        ("a folded header", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\na: b\r\n c\r\n\r\n".to_vec()),
        ("a space before the colon", b"GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n".to_vec()),
        ("NUL in a header", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\na: \0\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec()),
        ("HTTP/0.9 alone", b"GET /healthz\r\n".to_vec()),
        ("HTTP/3.0", b"GET /healthz HTTP/3.0\r\nhost: localhost\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a method that is none", b"G@T /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("a method nobody knows", b"BREW /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n".to_vec()),
        ("asterisk form", b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("no path", b"GET  HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("a path with a space", b"GET /v1/services/a b HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("a path of bare octets", b"GET /v1/services/\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("a path of escaped octets", b"GET /v1/services/%ff%fe HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        (
            "a DNS question",
            b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03svc\x08internal\x00\x00\x06\x00\x01".to_vec(),
        ),
        ("zeros", vec![0; 100_000]),
        ("nothing", Vec::new()),
        ("line ends", b"\r\n".repeat(50_000)),
    ];
    for (name, octets) in cases {
        let heard = server.say(&octets).await;
        let status: u16 = heard.get(9..12).map_or(0, |status| status.parse().unwrap_or(0));
        assert!(heard.is_empty() || (400..600).contains(&status), "{name}: {heard}");
        assert!(!heard.contains("100 Continue"), "{name}: nothing was asked for");
        assert_eq!(
            heard.lines().filter(|line| line.starts_with("HTTP/1.")).count(),
            usize::from(!heard.is_empty()),
            "{name}: one answer: {heard}"
        );
        let length = heard.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_some_and(|length| length != "0") {
            assert!(heard.contains("content-type: application/problem+json\r\n"), "{name}: {heard}");
        }
        server.assert_alive().await;
    }
    assert_eq!(server.world.held().await[0], 0, "nothing was half-registered");
}

#[tokio::test]
async fn tricks_with_paths_lead_nowhere() {
    let server = Server::start(Settings::default()).await;
    server.world.put("/v1/services/web/instances/i1", &serde_json::json!({"port": 80})).await;
    for (path, status) in [
        ("/v1/services/../status", 404),
        ("/v1/services/./web", 404),
        ("//v1/status", 404),
        ("/v1//status", 404),
        ("/v1/services//instances", 405),
        ("/v1/services/web%2finstances%2fi1", 422),
        ("/v1%2fstatus", 404),
        ("/v1/services/..%2f..%2fstatus", 422),
        ("/v1/services/%2e%2e/instances/i1", 422),
        ("/v1/services/web%5c", 422),
        ("/v1/services/web;x=1", 422),
        ("/v1/services/web%00", 422),
        ("/v1/services/web%0d%0ax:y", 422),
        ("/v1/services/%zz", 422),
        ("/v1/services/web%", 422),
        ("/v1/services/web/instances/%252e", 422),
        ("/v1/services/%ff", 400),
        ("/v1/services/web/instances/%c0%af", 400),
        ("/v1/services/web?tag=%ff", 422),
        ("/v1/services/%77eb", 200),
        ("/V1/status", 404),
        ("http://localhost/v1/status", 200),
        ("http://elsewhere/v1/status", 421),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let heard = server.say(request.as_bytes()).await;
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {heard}");
        let media_type = if status == 200 { "application/json" } else { "application/problem+json" };
        assert!(heard.contains(&format!("content-type: {media_type}\r\n")), "{path}: {heard}");
    }
}

#[tokio::test]
async fn a_request_after_a_refused_body_is_not_taken_from_within_it() {
    let server = Server::start(Settings::default()).await;
    let inner = "DELETE /v1/services/web HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let outer = format!(
        "PUT /v1/services/web/instances/i1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{inner}",
        inner.len()
    );
    let heard = server.say(outer.as_bytes()).await;
    assert!(heard.starts_with("HTTP/1.1 415 ") && heard.matches("HTTP/1.1").count() == 1, "{heard}");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::start(Settings::default()).await;
    let mut stream = server.connect().await;
    for n in 0..50 {
        let body = r#"{"port":80}"#;
        let request = format!(
            "PUT /v1/services/web/instances/i{n} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let heard = response(&mut stream).await.unwrap();
        assert!(heard.starts_with("HTTP/1.1 201 ") && heard.contains(r#""addresses":["127.0.0.1"]"#), "{heard}");
    }
}

#[tokio::test]
async fn a_name_that_may_be_anybodys_is_misdirected_on_this_machine() {
    let server = Server::start(Settings::default()).await;
    // What a page of evil.test makes a browser send once evil.test resolves to 127.0.0.1: origin and Host agree.
    for head in [
        "GET /v1/services HTTP/1.1\r\nhost: evil.test:8500",
        "PUT /v1/services/web/instances/i1 HTTP/1.1\r\nhost: evil.test\r\norigin: http://evil.test\r\ncontent-length: 0",
        "GET /metrics HTTP/1.0\r\nhost: localhost.evil.test",
        "GET http://evil.test/v1/status HTTP/1.1\r\nhost: localhost",
        "GET http://localhost/v1/status HTTP/1.1\r\nhost: evil.test",
    ] {
        let heard = server.say(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(heard.contains(" 421 ") && heard.contains(r#""type":"urn:rollcall:misdirected""#), "{head}: {heard}");
    }
    for host in [server.address.to_string(), "localhost:8500".into(), "rollcall.localhost".into(), "[::1]:1".into()] {
        let heard =
            server.say(format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(heard.starts_with("HTTP/1.1 200 "), "{host}: {heard}");
    }
    let elsewhere = server.world.get("/v1/services").await;
    assert_eq!(elsewhere.status, 200, "rollcall.test is what other machines may call it");
}
