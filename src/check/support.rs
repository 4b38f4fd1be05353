//! What tests of checks share: instances to probe, and peers of good and bad manners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Trust;
use super::kind::Kinds;
use super::outcome::Outcome;
use super::prober::Prober;
use crate::model::{
    Addresses, CheckKind, CheckSpec, CheckState, Duration, Health, HttpCheck, HttpMethod, HttpsCheck, Instance, Meta,
    Registration, RequestHeaders, Revision, State, StatusRanges, Timestamp, Transport, Unsaid,
};

/// A TCP check with the defaults of the API.
pub(super) fn tcp_check() -> CheckSpec {
    CheckSpec {
        name: "tcp".parse().unwrap(),
        kind: CheckKind::Tcp { hold: false },
        interval: Duration::from_secs(5),
        fast_interval: Duration::from_millis(500),
        timeout: Duration::from_secs(5),
        rise: 1,
        fall: 3,
        unsaid: Unsaid::default(),
        port: None,
    }
}

/// A check that waits for reports, with the defaults of the API.
pub(super) fn ttl_check() -> CheckSpec {
    CheckSpec { name: "ttl".parse().unwrap(), kind: CheckKind::Ttl, fall: 1, ..tcp_check() }
}

/// The HTTP exchange of a check with the defaults of the API, adjusted.
fn exchange(adjust: impl FnOnce(&mut HttpCheck)) -> HttpCheck {
    let mut http = HttpCheck {
        path: "/healthz".parse().unwrap(),
        target: None,
        method: HttpMethod::Get,
        headers: RequestHeaders::default(),
        expect_status: StatusRanges::default(),
        expect_body: None,
    };
    adjust(&mut http);
    http
}

/// An HTTP check with the defaults of the API, adjusted.
pub(super) fn http_check(adjust: impl FnOnce(&mut HttpCheck)) -> CheckSpec {
    let kind = CheckKind::Http(Box::new(exchange(adjust)));
    CheckSpec { name: "http".parse().unwrap(), kind, ..tcp_check() }
}

/// An HTTPS check with the defaults of the API, adjusted.
pub(super) fn https_check(adjust: impl FnOnce(&mut HttpsCheck)) -> CheckSpec {
    let mut https = HttpsCheck { http: exchange(|_| ()), tls_verify: true, server_name: None };
    adjust(&mut https);
    CheckSpec { name: "https".parse().unwrap(), kind: CheckKind::Https(Box::new(https)), ..tcp_check() }
}

/// A gRPC check of a service with the defaults of the API.
pub(super) fn grpc_check(service: &str) -> CheckSpec {
    let kind = CheckKind::Grpc(service.parse().unwrap());
    CheckSpec { name: "grpc".parse().unwrap(), kind, ..tcp_check() }
}

pub(super) fn registration(own: SocketAddr, checks: impl IntoIterator<Item = CheckSpec>) -> Registration {
    Registration {
        addresses: Addresses::new([own.ip()]).unwrap(),
        port: own.port(),
        protocol: Transport::Tcp,
        ports: Arc::default(),
        priority: 0,
        weight: 1,
        tags: Arc::default(),
        meta: Meta::default(),
        ttl: None,
        https: false,
        checks: checks.into_iter().collect(),
        initial_health: Health::Unknown,
        evict_after: None,
        generation: None,
        shared_address: true,
    }
}

/// An instance of `web` that has just registered at revision 1.
pub(super) fn instance(id: &str, checks: impl IntoIterator<Item = CheckSpec>) -> Arc<Instance> {
    let registration = registration("127.0.0.1:9".parse().unwrap(), checks);
    let at = Timestamp::from_millis(0);
    let unknown = CheckState { health: Health::Unknown, since: at, last_error: None };
    Arc::new(Instance {
        amended_from: None,
        service: "web".parse().unwrap(),
        id: id.parse().unwrap(),
        checks: vec![unknown; registration.checks.len()].into(),
        registration,
        lease: None,
        state: State::Up,
        state_until: None,
        health_since: at,
        registered_at: at,
        revision: Revision(1),
        epoch: Revision(1),
    })
}

/// One probe, as the checker makes it.
pub(super) async fn probe(target: SocketAddr, check: &CheckSpec) -> Outcome {
    probe_trusting(&Trust::default(), target, check).await
}

/// The same for a checker that trusts somebody.
pub(super) async fn probe_trusting(trust: &Trust, target: SocketAddr, check: &CheckSpec) -> Outcome {
    let (check, kinds) = (check.clone(), Kinds::new(trust));
    let probe = move || {
        let (mut prober, mut ended) = (Prober::new(kinds).unwrap(), Vec::new());
        let flight = match prober.begin(7, target, &check, check.timeout, Instant::now()) {
            Ok(flight) => flight,
            Err(outcome) => return outcome,
        };
        let deadline = Instant::now() + check.timeout.std();
        while ended.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return prober.give_up(flight);
            }
            prober.wait(Some(left), &mut ended).unwrap();
        }
        assert_eq!((ended.len(), ended[0].0), (1, 7));
        ended.remove(0).1
    };
    tokio::task::spawn_blocking(probe).await.unwrap()
}

/// How a peer treats a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manners {
    /// Accepts, and says nothing for as long as it is listened to.
    Hang,
    /// Says this, without being asked, and then nothing.
    Greet(&'static str),
    /// Says the first, without being asked, and then the second without end.
    Flood(&'static str, &'static str),
    /// Resets at once.
    Reset,
    /// Reads a request, says this, and closes.
    Say(&'static str),
    /// Says the first, and then the second without end.
    Repeat(&'static str, &'static str),
    /// Says this, and then an octet every few milliseconds without end.
    Dribble(&'static str),
}

/// Reads a request up to the end of its header section.
pub(super) async fn read_request(stream: &mut TcpStream) -> String {
    let (mut request, mut octet) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut octet).await.is_ok_and(|read| read > 0) {
        request.extend_from_slice(&octet);
    }
    String::from_utf8(request).unwrap()
}

/// Treats one connection; returns when the peer has had enough.
async fn treat(mut stream: TcpStream, manners: Manners) -> std::io::Result<()> {
    match manners {
        Manners::Hang => std::future::pending().await,
        Manners::Greet(text) => {
            stream.write_all(text.as_bytes()).await?;
            std::future::pending().await
        }
        Manners::Reset => stream.set_zero_linger(),
        Manners::Say(text) => {
            read_request(&mut stream).await;
            stream.write_all(text.as_bytes()).await
        }
        Manners::Repeat(first, piece) | Manners::Flood(first, piece) => {
            if matches!(manners, Manners::Repeat(..)) {
                read_request(&mut stream).await;
            }
            stream.write_all(first.as_bytes()).await?;
            let piece = piece.repeat(1000);
            loop {
                stream.write_all(piece.as_bytes()).await?;
            }
        }
        Manners::Dribble(first) => {
            read_request(&mut stream).await;
            stream.write_all(first.as_bytes()).await?;
            let mut pace = tokio::time::interval(StdDuration::from_millis(5));
            loop {
                pace.tick().await;
                stream.write_all(b"x").await?;
            }
        }
    }
}

/// A listener that treats every connection alike until the test ends.
pub(super) async fn listen(manners: Manners) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream, manners));
        }
    });
    address
}

/// A listener that answers one request, and what it heard.
pub(super) async fn heard(answer: &'static str) -> (SocketAddr, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        sender.send(read_request(&mut stream).await).unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    (address, receiver)
}

/// An address that refuses connections for as long as the socket is kept: bound, so that nobody else gets the port,
/// and not listening.
pub(super) fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}
