//! gRPC probes of servers by others, and of peers without manners.

use std::time::Duration as StdDuration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;

use super::*;
use crate::check::outcome::Outcome;
use crate::check::support::{Manners, grpc_check, listen, probe};
use crate::model::{CheckSpec, Duration};

/// What a probe makes of a peer: nothing when it passes, else the reason.
async fn reason(target: SocketAddr, check: &CheckSpec) -> Option<String> {
    match probe(target, check).await {
        Outcome::Passed => None,
        Outcome::Failed(failure) => {
            let text = failure.to_string();
            assert!(text.len() <= 200 && !text.contains(char::is_control), "{text:?}");
            Some(text.replace(&target.to_string(), "TARGET"))
        }
        Outcome::Abandoned => panic!("abandoned"),
    }
}

async fn serve<F: Future<Output = ()> + Send + 'static>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    address
}

#[tokio::test]
async fn the_health_service_of_others_is_understood() {
    let (reporter, service) = health_reporter();
    reporter.set_service_status("well", ServingStatus::Serving).await;
    reporter.set_service_status("ill", ServingStatus::NotServing).await;
    reporter.set_service_status("odd", ServingStatus::Unknown).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    for (name, expected) in [
        ("", None),
        ("well", None),
        ("ill", Some("gRPC health is NOT_SERVING, expected SERVING")),
        ("odd", Some("gRPC health is UNKNOWN, expected SERVING")),
        ("nobody", Some("gRPC status NOT_FOUND: the service asked for is not known")),
    ] {
        assert_eq!(reason(target, &grpc_check(name)).await.as_deref(), expected, "{name}");
    }
    reporter.set_service_status("well", ServingStatus::NotServing).await;
    assert!(reason(target, &grpc_check("well")).await.is_some(), "each probe asks anew");
}

#[tokio::test]
async fn a_server_without_a_health_service_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let routes = tonic::service::Routes::default();
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(TcpIncoming::from(listener)));
    let refused = reason(target, &grpc_check("")).await.unwrap();
    assert_eq!(refused, "gRPC status UNIMPLEMENTED: there is no health service");
}

type Respond = h2::server::SendResponse<Bytes>;

/// A server of HTTP/2 that answers each request as it is told.
async fn answering(answer: impl Fn(Respond) + Copy + Send + Sync + 'static) -> SocketAddr {
    serve(move |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, respond))) = connection.accept().await {
            answer(respond);
        }
    })
    .await
}

fn head(status: u16, fields: &[(&str, &str)]) -> http::Response<()> {
    let head = http::Response::builder().status(status);
    fields.iter().fold(head, |head, (name, value)| head.header(*name, *value)).body(()).unwrap()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

/// Answers with a message and a status after it.
fn tell(mut respond: Respond, message: &'static [u8], status: &str) {
    let mut body = respond.send_response(head(200, &[GRPC]), false).unwrap();
    body.send_data(Bytes::from_static(message), false).unwrap();
    body.send_trailers(head(200, &[("grpc-status", status)]).headers().clone()).unwrap();
}

#[tokio::test]
async fn answers_are_judged_by_all_that_grpc_says() {
    let of = async |answer: fn(Respond)| {
        let target = answering(answer).await;
        reason(target, &grpc_check("")).await
    };
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\x02\x08\x01", "0")).await, None);
    let not_grpc = Some("the answer of TARGET is not gRPC".to_owned());
    let health = |text: &str| Some(format!("gRPC health is {text}, expected SERVING"));
    let status = |text: &str| Some(format!("gRPC status {text}, expected OK"));
    // Fields that a later version may add do no harm; the health of an empty message is 0.
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\x06\x12\x02hi\x08\x01", "0")).await, None);
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\0", "0")).await, health("UNKNOWN"));
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\x02\x08\x03", "0")).await, health("SERVICE_UNKNOWN"));
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\x02\x08\x07", "0")).await, health("7"));
    for message in [
        &b""[..],
        b"\0\0\0\0",
        b"\x01\0\0\0\x02\x08\x01",
        b"\0\0\0\0\x03\x08\x01",
        b"\0\xff\xff\xff\xff\x08\x01",
        b"\0\0\0\0\x01\x08",
        b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x01",
    ] {
        let target = answering(move |respond| tell(respond, message, "0")).await;
        assert_eq!(reason(target, &grpc_check("")).await, not_grpc, "{message:?}");
    }
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\x02\x08\x01", "14")).await, status("UNAVAILABLE"));
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\x02\x08\x01", "99")).await, status("99"));
    assert_eq!(of(|respond| tell(respond, b"\0\0\0\0\x02\x08\x01", "-1")).await, not_grpc);
    let trailers_only = |mut respond: Respond| {
        respond.send_response(head(200, &[GRPC, ("grpc-status", "16")]), true).unwrap();
    };
    assert_eq!(of(trailers_only).await, status("UNAUTHENTICATED"));
    let no_status = |mut respond: Respond| {
        respond.send_response(head(200, &[GRPC]), true).unwrap();
    };
    assert_eq!(of(no_status).await, not_grpc);
    let html = |mut respond: Respond| {
        respond.send_response(head(200, &[("content-type", "text/html")]), true).unwrap();
    };
    assert_eq!(of(html).await, not_grpc);
    let redirect = |mut respond: Respond| {
        respond.send_response(head(302, &[("location", "http://10.0.0.1/")]), true).unwrap();
    };
    assert_eq!(of(redirect).await.unwrap(), "status 302, expected 200");
}

#[tokio::test]
async fn calls_that_a_peer_ends_say_why() {
    let refusing = |mut respond: Respond| respond.send_reset(h2::Reason::REFUSED_STREAM);
    let refused = reason(answering(refusing).await, &grpc_check("")).await.unwrap();
    assert!(refused.starts_with("the call was ended by HTTP/2 with TARGET: refused stream"), "{refused}");
    let leaving = serve(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let _request = connection.accept().await;
        connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
        let _ = connection.accept().await;
    });
    let left = reason(leaving.await, &grpc_check("")).await.unwrap();
    assert!(left.starts_with("the call was ended by HTTP/2 with TARGET: "), "{left}");
    let closing = serve(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let _request = connection.accept().await;
    });
    let closed = reason(closing.await, &grpc_check("")).await.unwrap();
    assert!(closed.starts_with("connection "), "closed or reset: {closed}");
    assert_eq!(reason(listen(Manners::Reset).await, &grpc_check("")).await.unwrap(), "connection reset by TARGET");
}

#[tokio::test]
async fn peers_that_speak_something_else_are_recognised() {
    for greeting in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let target = listen(Manners::Greet(greeting)).await;
        assert_eq!(reason(target, &grpc_check("")).await.unwrap(), "the answer of TARGET is not HTTP/2");
    }
}

/// A beginning of HTTP/2: an empty SETTINGS frame.
const BEGINNING: &str = "\0\0\0\u{4}\0\0\0\0\0";

#[tokio::test]
async fn silent_and_slow_peers_are_given_up() {
    for manners in [Manners::Hang, Manners::Greet(BEGINNING)] {
        let check = CheckSpec { timeout: Duration::from_millis(100), ..grpc_check("") };
        let target = listen(manners).await;
        assert_eq!(reason(target, &check).await.unwrap(), "no complete answer from TARGET within 100ms");
    }
    let dribbling = serve(|mut stream| async move {
        let mut pace = tokio::time::interval(StdDuration::from_millis(5));
        let frame = "\0\u{3e}\0\u{77}\0\0\0\0\0";
        for octet in BEGINNING.bytes().chain(frame.bytes()).chain(std::iter::repeat(0)) {
            pace.tick().await;
            if tokio::io::AsyncWriteExt::write_all(&mut stream, &[octet]).await.is_err() {
                return;
            }
        }
    });
    let check = CheckSpec { timeout: Duration::from_millis(100), ..grpc_check("") };
    let given_up = reason(dribbling.await, &check).await.unwrap();
    assert_eq!(given_up, "no complete answer from TARGET within 100ms");
}

#[tokio::test]
async fn floods_end() {
    let ended = async |manners| {
        let reason = reason(listen(manners).await, &grpc_check("")).await.unwrap();
        let bounded = reason == "TARGET sends more than a probe reads"
            || reason.starts_with("the call was ended by HTTP/2 with TARGET: ")
            || reason.starts_with("connection ");
        assert!(bounded, "{manners:?}: {reason}");
    };
    // PING, SETTINGS, WINDOW_UPDATE of nothing, frames of no known type; HEADERS that CONTINUATION goes on from.
    ended(Manners::Flood(BEGINNING, "\0\0\u{8}\u{6}\0\0\0\0\0pingpong")).await;
    ended(Manners::Flood(BEGINNING, BEGINNING)).await;
    ended(Manners::Flood(BEGINNING, "\0\0\u{4}\u{8}\0\0\0\0\0\0\0\0\0")).await;
    ended(Manners::Flood(BEGINNING, "\0\0\u{1}\u{77}\0\0\0\0\0x")).await;
    let continued = "\0\0\0\u{4}\0\0\0\0\0\0\0\0\u{1}\0\0\0\0\u{1}";
    ended(Manners::Flood(continued, "\0\0\0\u{9}\0\0\0\0\u{1}")).await;
    ended(Manners::Flood(continued, "\0\0\u{4}\u{9}\0\0\0\0\u{1}\0\u{1}a\0")).await;
}

#[tokio::test]
async fn large_answers_end() {
    let large = |mut respond: Respond| {
        let value = "x".repeat(1000);
        let fields: Vec<_> = (0..30).map(|n| (format!("x-{n}"), value.clone())).collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        respond.send_response(head(200, &fields), true).unwrap();
    };
    let reason_of = async |target| reason(target, &grpc_check("")).await.unwrap();
    let refused = reason_of(answering(large).await).await;
    assert!(refused.starts_with("the call was ended by HTTP/2 with TARGET: "), "{refused}");
    let endless = |mut respond: Respond| {
        let mut body = respond.send_response(head(200, &[GRPC]), false).unwrap();
        tokio::spawn(async move {
            loop {
                body.reserve_capacity(10_000);
                match std::future::poll_fn(|context| body.poll_capacity(context)).await {
                    Some(Ok(room)) => body.send_data(Bytes::from(vec![0; room]), false).unwrap(),
                    _ => return,
                }
            }
        });
    };
    assert_eq!(reason_of(answering(endless).await).await, "TARGET sends more than a probe reads");
}

#[test]
fn the_question_is_as_the_protocol_has_it() {
    let framed = framed(&Question { service: "a.B".to_owned() });
    assert_eq!(framed, b"\0\0\0\0\x05\x0a\x03a.B");
    assert_eq!(super::framed(&Question::default()), b"\0\0\0\0\0", "the server as a whole");
}
