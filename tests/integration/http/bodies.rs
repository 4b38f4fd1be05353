//! Bodies: what is no JSON, what is too large, what comes too slowly, what says a thing twice.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use hyper::body::{Frame, SizeHint};
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep};

use super::{SMALL, WEB1, with_field};
use crate::support::dialogue::is_like;
use crate::support::world::{Reply, World};

/// A body that never ends: a chunk, then a pause, and so on. It may claim a size.
struct Endless {
    chunk: Bytes,
    pause: Duration,
    pausing: Pin<Box<Sleep>>,
    claimed: Option<u64>,
    octets_read: Arc<AtomicUsize>,
}

impl Endless {
    fn new(octets: usize, pause: Duration, claimed: Option<u64>) -> (Self, Arc<AtomicUsize>) {
        let octets_read = Arc::new(AtomicUsize::new(0));
        let chunk = Bytes::from(vec![b' '; octets]);
        (Self { chunk, pause, pausing: Box::pin(sleep(pause)), claimed, octets_read: octets_read.clone() }, octets_read)
    }
}

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.pause.is_zero() {
            std::task::ready!(self.pausing.as_mut().poll(cx));
            let next = Instant::now() + self.pause;
            self.pausing.as_mut().reset(next);
        }
        self.octets_read.fetch_add(self.chunk.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
    fn size_hint(&self) -> SizeHint {
        self.claimed.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

async fn send(world: &World, method: &str, path: &str, body: Body) -> Reply {
    let request = Request::builder().method(method).uri(path).header("host", "rollcall.test");
    world.send(request.header("content-type", "application/json").body(body).unwrap()).await
}

/// Every call that reads a body, with or without use for one.
const READERS: [(&str, &str); 8] = [
    ("PUT", WEB1),
    ("PATCH", WEB1),
    ("POST", "/v1/services/web/instances"),
    ("POST", "/v1/leases"),
    ("POST", "/v1/leases/renew"),
    ("DELETE", WEB1),
    ("DELETE", "/v1/services/web"),
    ("POST", "/v1/leases/0000000000000001/renew"),
];

#[tokio::test(start_paused = true)]
async fn a_large_body_is_refused_before_it_is_read() {
    let world = World::new().await;
    for (method, path) in READERS {
        let (body, read) = Endless::new(1, Duration::ZERO, Some(1 << 30));
        let reply = send(&world, method, path, Body::new(body)).await;
        assert!(reply.is_problem(413, "too-large"), "{method} {path}: {reply:?}");
        assert_eq!((reply.header("connection"), read.load(Ordering::Relaxed)), ("close", 0));
        assert!(reply.body["detail"].as_str().unwrap().contains("65536"));

        let (body, read) = Endless::new(1000, Duration::ZERO, None);
        let reply = send(&world, method, path, Body::new(body)).await;
        assert!(reply.is_problem(413, "too-large"), "{method} {path}: {reply:?}");
        assert!(read.load(Ordering::Relaxed) <= (64 << 10) + 1000, "no more is read than fits");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_the_largest_size_is_read() {
    let world = World::new().await;
    let padded = |octets: usize| format!("{SMALL}{}", " ".repeat(octets - SMALL.len()));
    assert_eq!(world.call("PUT", WEB1, Some(&padded(64 << 10))).await.status, 201);
    world.refused("PUT", WEB1, Some(&padded((64 << 10) + 1)), 413, "too-large").await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_dribbles_is_given_up() {
    let world = World::new().await;
    for (method, path) in READERS {
        let (body, read) = Endless::new(1, Duration::from_secs(1), Some(10_000));
        let began = Instant::now();
        let reply = send(&world, method, path, Body::new(body)).await;
        assert!(reply.is_problem(408, "too-slow"), "{method} {path}: {reply:?}");
        assert_eq!((began.elapsed().as_secs(), reply.header("connection")), (10, "close"));
        assert!(read.load(Ordering::Relaxed) <= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_is_told_from_what_says_something_impossible() {
    let world = World::new().await;
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(15_000), close.repeat(15_000));
    let mut texts: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "nonsense",
        r#"{"port":80"#,
        r#"{"port":80}}"#,
        r#"{"port":80} x"#,
        r#"{"port":80}{"port":81}"#,
        r#"{"port":080}"#,
        r#"{"port":1e999999}"#,
        r#"{"port":NaN}"#,
        r#"{"port":80,}"#,
        r#"{'port':80}"#,
        r#"{"port":80} // comment"#,
        "\u{feff}{\"port\":80}",
        r#"{"address":"\ud800","port":80}"#,
        r#"{"address":"\udc00\ud800","port":80}"#,
        r#"{"address":"\x31","port":80}"#,
        "{\"address\":\"10.0.0.1\n\",\"port\":80}",
        // A value that is impossible stands before the place where JSON ends.
        r#"{"port":"80", nonsense"#,
        r#"{"unknown":[}"#,
        &nested("[", "]"),
        &r#"{"port":"#.repeat(8_000),
        &format!(r#"{{"port":{}}}"#, nested("[", "]")),
        &format!(r#"{{"unknown":{}}}"#, nested("[", "]")),
        &format!(r#"{{"meta":{{"a":{}}}}}"#, nested("[", "]")),
        &"[".repeat(60_000),
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    texts.push(b"{\"address\":\"\xff\xfe\",\"port\":80}".to_vec());
    texts.push(b"\xff\xfe{\x00}\x00".to_vec());
    texts.push(b"{\"port\":80,\"meta\":{\"\xc0\x80\":\"\"}}".to_vec());
    for text in texts {
        let shown = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        let before = world.held().await;
        let reply = send(&world, "PUT", WEB1, Body::from(text)).await;
        assert!(reply.is_problem(400, "not-json"), "{shown}: {reply:?}");
        assert_eq!(world.held().await, before, "{shown}");
    }
    let deep = "[".repeat(100_000);
    world.refused("PUT", WEB1, Some(&deep), 413, "too-large").await;
}

#[tokio::test(start_paused = true)]
async fn json_that_is_no_registration_points_at_the_field() {
    let world = World::new().await;
    for (body, pointer) in [
        ("null", ""),
        ("[]", ""),
        ("80", ""),
        (r#""text""#, ""),
        ("{}", "/port"),
        (r#"{"port":null}"#, "/port"),
        // The fields in their order are no registration.
        (r#"[null,null,80,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null]"#, ""),
        (
            r#"{"port":80,"checks":[["tcp","tcp",null,null,null,null,null,null,null,null,null,null,null,null,null,null]]}"#,
            "/checks/0",
        ),
        (r#"{"port":80,"chekcs":[]}"#, "/chekcs"),
        (r#"{"port":80,"state":"up"}"#, "/state"),
        (r#"{"port":80,"checks":[{"type":"tcp","intervall":"5s"}]}"#, "/checks/0/intervall"),
        (r#"{"port":80,"checks":[{"interval":"5s"}]}"#, "/checks/0"),
        (r#"{"port":80,"checks":{}}"#, "/checks"),
        (r#"{"port":80,"tags":"a"}"#, "/tags"),
        (r#"{"port":80,"tags":["a",1]}"#, "/tags/1"),
        (r#"{"port":80,"meta":{"a/b~":1}}"#, "/meta/a~1b~0"),
        (r#"{"port":80,"meta":[["a","b"]]}"#, "/meta"),
        (r#"{"port":80,"https":"yes"}"#, "/https"),
        (r#"{"port":80,"generation":-1}"#, "/generation"),
        (r#"{"port":80,"generation":1.5}"#, "/generation"),
    ] {
        let reply = world.refused("PUT", WEB1, Some(body), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), pointer, "{body}: {}", reply.body);
    }
    let million = format!(r#"{{"port":80,"tags":[{}]}}"#, vec!["1"; 30_000].join(","));
    world.refused("PUT", WEB1, Some(&million), 422, "invalid-value").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_body_got_wrong_is_said_in_words_of_the_api() {
    let world = World::new().await;
    for (body, detail) in [
        (r#"{"port":"80"}"#, "a number is expected here, without quotes"),
        (r#"{"port":80.5}"#, "a whole number is expected here"),
        (r#"{"port":18446744073709551615}"#, "the number is too large"),
        (r#"{"port":[80]}"#, "a number is expected here"),
        (r#"{"port":80,"generation":-1}"#, "a number that is not negative is expected here"),
        (r#"{"port":80,"lease_ttl":15}"#, "a text such as \"15s\" is expected here"),
        (r#"{"port":80,"tags":[1]}"#, "a text is expected here, in quotes"),
        (r#"{"port":80,"tags":"a"}"#, "a list is expected here: [...]"),
        (r#"{"port":80,"meta":"a"}"#, "an object is expected here: {...}"),
        (r#"{"port":80,"https":"yes"}"#, "true or false is expected here, without quotes"),
        (r#"[]"#, "an object is expected here: {...}"),
        (r#"{"port":80,"checks":["tcp"]}"#, "an object is expected here: {...}"),
        (r#"{"port":80,"port":80}"#, "the field `port` stands twice"),
        (r#"{"port":80,"checks":[{"path":"/"}]}"#, "the field `type` is missing"),
        (r#"{"port":80,"checks":[{"type":"http","pth":"/"}]}"#, "there is no field `pth`; did you mean `path`?"),
        (r#"{"port":80,"state":"up"}"#, "an instance is up when it registers; PATCH changes its `state`"),
        (r#"{"port":80,"a`, expected `b":1}"#, "there is no field `a`, expected `b`, but `address`, `addresses`, *"),
        (
            r#"{"port":80,"checks":[{"type":"tcp","x":1}]}"#,
            "there is no field `x`, but `name`, `type`, `interval`, `fast_interval`, `timeout`, `rise`, `fall`, `port`, \
             `hold`, `path`, `url`, `method`, `headers`, `expect_status`, `expect_body`, `tls_verify`, `server_name`, `service`",
        ),
    ] {
        let reply = world.refused("PUT", WEB1, Some(body), 422, "invalid-value").await;
        let said = reply.body["detail"].as_str().unwrap();
        assert!(is_like(detail, said), "{body}: {said}");
    }
    let reply = world.refused("PUT", "/v1/services/web/settings", Some(r#"{"tll":"5s"}"#), 422, "invalid-value").await;
    assert_eq!(reply.body["detail"], "there is no field `tll`; did you mean `ttl`?");
    for (body, detail) in [
        ("", "the body is empty: send a JSON object"),
        (" \n", "the body is empty: send a JSON object"),
        (r#"{"port":"#, "the body ends before its JSON does, at line 1 column 8"),
        (r#"{"port":80} x"#, "something follows the JSON object, at line 1 column 13"),
        (r#"{"port":80,}"#, "a comma too many, at line 1 column 12"),
        ("{'port':80}", "this is no JSON, at line 1 column 2"),
    ] {
        let reply = world.refused("PUT", WEB1, Some(body), 400, "not-json").await;
        assert_eq!(reply.body["detail"], detail, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_stands_twice_is_refused() {
    let world = World::new().await;
    for (body, pointer, key) in [
        (r#"{"port":80,"port":81}"#, "", "`port`"),
        (r#"{"port":80,"po\u0072t":80}"#, "", "`port`"),
        (r#"{"port":80,"meta":{"a":"1","a":"2"}}"#, "/meta", "\"a\""),
        (r#"{"port":80,"ports":{"m":1,"m":1}}"#, "/ports", "\"m\""),
        (r#"{"port":80,"checks":[{"type":"tcp","type":"http"}]}"#, "/checks/0", "`type`"),
        (r#"{"port":80,"checks":[{"type":"http","headers":{"x":"1","x":"2"}}]}"#, "/checks/0/headers", "\"x\""),
    ] {
        let reply = world.refused("PUT", WEB1, Some(body), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), pointer, "{}", reply.body);
        assert!(reply.body["detail"].as_str().unwrap().contains(key), "{}", reply.body);
    }
}

#[tokio::test(start_paused = true)]
async fn only_json_is_taken_for_json() {
    let world = World::new().await;
    let before = world.held().await;
    for (method, path) in &READERS[..5] {
        for media_type in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp", "json"]
        {
            let reply = world.with(method, path, &[("content-type", media_type)], SMALL).await;
            assert!(reply.is_problem(415, "media-type"), "{method} {path} {media_type}: {reply:?}");
        }
        assert!(world.with(method, path, &[], SMALL).await.is_problem(415, "media-type"));
    }
    assert_eq!(world.held().await, before);
    for media_type in ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x"]
    {
        let reply = world.with("PUT", WEB1, &[("content-type", media_type)], SMALL).await;
        assert!(reply.status < 300, "{media_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_problem_repeats_nothing_that_a_page_could_run() {
    let world = World::new().await;
    let script = "<script>\u{1b}[2J\u{0}\u{202e}";
    for body in [
        json!({"port": 80, script: 1}).to_string(),
        json!({"port": script}).to_string(),
        with_field("tags", &json!([script]).to_string()),
        with_field("meta", &json!({script: ""}).to_string()),
    ] {
        let reply = world.call("PUT", WEB1, Some(&body)).await;
        assert!(reply.is_problem(422, reply.body["type"].as_str().unwrap().trim_start_matches("urn:rollcall:")));
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(!detail.contains(char::is_control), "{detail:?}");
        assert!(detail.len() < 2000 && !detail.contains("src/"), "{detail:?}");
    }
    let long = json!({"port": 80, "x".repeat(60_000): 1}).to_string();
    let reply = world.refused("PUT", WEB1, Some(&long), 422, "invalid-value").await;
    assert!(reply.body.to_string().len() < 4000, "what is repeated is cut");
}
