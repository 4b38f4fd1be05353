//! Long polls: lists that are answered when they change.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rollcall::api::Settings;
use rollcall::model::{Health, State};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::WEB1;
use super::wire::{Server, response};
use crate::support::world::{Reply, World};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request under way, and how often it was woken.
struct Request<'a> {
    reply: Pin<Box<dyn Future<Output = Reply> + 'a>>,
    woken: Arc<Count>,
}

impl<'a> Request<'a> {
    fn of(world: &'a World, path: &'static str) -> Self {
        Self::with_body(world, "GET", path, None)
    }

    fn with_body(world: &'a World, method: &'static str, path: &'static str, body: Option<&'static str>) -> Self {
        Self { reply: Box::pin(world.call(method, path, body)), woken: Arc::default() }
    }

    fn now(&mut self) -> Option<Reply> {
        let waker = Waker::from(self.woken.clone());
        match self.reply.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(reply) => Some(reply),
            Poll::Pending => None,
        }
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_for_its_own_changes_only() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    world.put("/v1/services/api.payments/instances/i1", &json!({"port": 80})).await;
    let mut web = Request::of(&world, "/v1/services/web?after=2&wait=30s");
    let mut absent = Request::of(&world, "/v1/services/absent?after=2&wait=30s");
    let mut all = Request::of(&world, "/v1/services?after=2&wait=30s");
    let mut group = Request::of(&world, "/v1/services?under=payments&after=2&wait=30s");
    for request in [&mut web, &mut absent, &mut all, &mut group] {
        assert!(request.now().is_none());
    }
    world.put("/v1/services/web/instances/i2", &json!({"port": 81})).await;
    assert_eq!([web.woken(), absent.woken(), all.woken(), group.woken()], [1, 0, 1, 0]);
    let reply = web.now().unwrap();
    assert_eq!((&reply.body["revision"], reply.header("x-rollcall-revision")), (&json!(3), "3"));
    assert_eq!(reply.body["instances"].as_array().unwrap().len(), 2);
    assert_eq!(all.now().unwrap().body["services"][1]["instances"], 2);

    world.patch("/v1/services/api.payments/instances/i1", &json!({"state": "draining"})).await;
    assert_eq!((absent.woken(), group.woken()), (0, 1));
    assert_eq!(group.now().unwrap().body["services"][0]["answered"], 0);
    world.put("/v1/services/absent/instances/i1", &json!({"port": 80})).await;
    assert_eq!(absent.now().unwrap().body["instances"][0]["id"], "i1", "one can wait for what is not there");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_write_is_woken_by_its_own_service_only() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80})).await;
    let checked = r#"{"address":"10.0.0.2","port":80,"checks":[{"type":"tcp"}]}"#;
    let mut registration = Request::with_body(&world, "PUT", "/v1/services/web/instances/i2?wait=1m", Some(checked));
    let mut drain = Request::with_body(&world, "POST", "/v1/services/web/instances/i1/drain?wait=true", None);
    for _ in 0..3 {
        assert!(registration.now().is_none() && drain.now().is_none());
        world.advance(Duration::ZERO).await;
    }
    assert_eq!(world.waiting.get(), 2);
    let woken = (registration.woken(), drain.woken());
    for n in 0..5 {
        world.put(&format!("/v1/services/api/instances/i{n}"), &json!({"port": 80 + n})).await;
    }
    assert_eq!((registration.woken(), drain.woken()), woken);
    world.observe("web", "i2", "tcp", Health::Passing, None).await;
    assert_eq!(registration.now().expect("it is answered").status, 201);
    drop((registration, drain));
    assert_eq!(world.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_one_that_leaves_is_told() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80, "lease_ttl": "5s"})).await;
    let mut request = Request::of(&world, "/v1/services/web?after=1&wait=30s");
    assert!(request.now().is_none());
    world.advance(Duration::from_secs(6)).await;
    let reply = request.now().unwrap();
    assert_eq!((&reply.body["revision"], &reply.body["instances"]), (&json!(2), &json!([])));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_wait_is_the_list_as_it_is() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    // The position of the list, and one in the future.
    for path in ["/v1/services/web?after=1&wait=30s", "/v1/services/web?after=99&wait=30s"] {
        let mut request = Request::of(&world, path);
        assert!(request.now().is_none());
        let revision = world.view.load().revision();
        world.put(&format!("/v1/services/other/instances/i{revision}"), &json!({"port": 80})).await;
        world.advance(Duration::from_secs(29)).await;
        assert!(request.now().is_none());
        world.advance(Duration::from_secs(1)).await;
        let reply = request.now().unwrap();
        assert_eq!((reply.status, &reply.body["instances"][0]["id"]), (200, &json!("i1")));
        assert_eq!(reply.body["revision"], json!(revision.0 + 1), "of the present, not of the beginning");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_already_is_answered_at_once() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    world.patch(WEB1, &json!({"weight": 2})).await;
    for query in
        ["", "?after=1", "?after=2", "?after=2&wait=0s", "?wait=30s", "?after=1&wait=30s", "?after=other-2&wait=30s"]
    {
        let reply = world.get(&format!("/v1/services/web{query}")).await;
        assert_eq!((reply.status, &reply.body["revision"]), (200, &json!(2)), "{query}");
    }
    for query in
        ["?after=x&wait=1s", "?after=1&wait=11m", "?after=1&wait=30", "?after=1&wait=-1s", "?after=1&cursor=2~i0"]
    {
        world.refused("GET", &format!("/v1/services/web{query}"), None, 422, "invalid-parameter").await;
    }
    for path in [WEB1, "/v1/status"] {
        world.refused("GET", &format!("{path}?after=1&wait=1s"), None, 422, "invalid-parameter").await;
    }
}

#[tokio::test]
async fn whoever_goes_away_waits_no_longer() {
    let server = Server::start(Settings::default()).await;
    let waiting = || server.world.waiting.get();
    let mut streams = Vec::new();
    for path in ["/v1/services/web?after=0&wait=10m", "/v1/watch?after=0"] {
        let mut stream = server.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let becomes = async |count: i64| {
        while waiting() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), becomes(2)).await.expect("both wait");
    streams.clear();
    tokio::time::timeout(Duration::from_secs(20), becomes(0)).await.expect("nobody waits");
}

#[tokio::test]
async fn closing_does_not_wait_for_those_who_wait() {
    let server = Server::start(Settings::default()).await;
    let ttl = json!({"address": "10.0.0.1", "port": 80, "ttl": "1h"});
    server.world.put("/v1/services/web/instances/i1", &ttl).await;
    let checked = r#"{"address":"10.0.0.2","port":80,"checks":[{"type":"tcp"}]}"#;
    let mut streams = Vec::new();
    for (line, body) in [
        ("GET /v1/services/api?after=9&wait=10m", ""),
        ("PUT /v1/services/web/instances/i2?wait=1m", checked),
        ("POST /v1/services/web/instances/i1/drain?wait=true", ""),
        ("GET /v1/watch", ""),
    ] {
        let mut stream = server.connect().await;
        let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let all = async {
        let drains = || server.world.view.load().instance(&"web".parse().unwrap(), "i1").unwrap().state != State::Up;
        let is_there = || server.world.view.load().instance(&"web".parse().unwrap(), "i2").is_some();
        while server.world.waiting.get() != 4 || !drains() || !is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("all wait");
    server.closing.send_replace(true);
    let mut answers = Vec::new();
    for stream in &mut streams[..3] {
        answers.push(response(stream).await.unwrap());
    }
    assert!(answers[0].starts_with("HTTP/1.1 200 "), "{}", answers[0]);
    assert!(answers[1].starts_with("HTTP/1.1 202 "), "registered, and not answered yet: {}", answers[1]);
    assert!(answers[2].starts_with("HTTP/1.1 503 "), "not safe yet: {}", answers[2]);
    assert!(answers[2].contains("retry-after: 1") && answers[2].contains("safe to stop at 2"), "{}", answers[2]);
    assert!(tokio::time::timeout(Duration::from_secs(20), server.serving).await.is_ok());
}
