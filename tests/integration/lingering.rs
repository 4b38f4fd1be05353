//! When it is safe to stop: answers of before are in caches all the same, across restarts and restores too.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axum::http::Method;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use rollcall::model::{Duration as Span, Registration, Revision, Timestamp, Ttl};
use rollcall::registry::{Command as Wish, LeaseWish, Registry, Scope, Whose};
use rollcall::store::Followed;
use serde_json::json;

use crate::store::{Follower, configure, engines, register, registration, service, settings};
use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};
use crate::support::wait::until;
use crate::support::world::World;

const HOUR: Duration = Duration::from_secs(3600);

fn start(dir: &Path, flags: &[&str]) -> Server {
    let data = format!("--data={}", dir.display());
    let words = ["serve", &data, "--dns=127.0.0.1:0", "--http=127.0.0.1:0"];
    Server::launch(Command::new(ROLLCALL).args(words).args(flags))
}

/// When a server that drains an instance says that it is safe to stop.
fn drained(server: &Server, service: &str, id: &str) -> Timestamp {
    let drained = server.call(async |client| client.drain(service, id, None, false).await).unwrap();
    Timestamp::parse(drained["safe_to_stop_at"].as_str().unwrap()).unwrap()
}

/// That an instance waits for answers which were given until some time after `since`, and not for much longer.
fn assert_waits(server: &Server, service: &str, id: &str, since: Timestamp) {
    let (safe, latest) = (drained(server, service, id), Timestamp::now().after(HOUR));
    assert!(since.after(HOUR) <= safe && safe <= latest, "{service}/{id}: {safe:?}, lowered after {since:?}");
}

fn assert_soon(server: &Server, service: &str, id: &str) {
    let safe = drained(server, service, id);
    assert!(safe < Timestamp::now().after(HOUR / 2), "{service}/{id}: {safe:?}");
}

#[test]
fn a_killed_server_does_not_forget_what_caches_hold() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[]);
    let at = |last: u8, ttl: &str| json!({"address": format!("10.0.0.{last}"), "port": 80, "ttl": ttl});
    let configure = |ttl: &str| {
        let (path, settings) = ("/v1/services/api/settings", json!({"ttl": ttl}));
        server.call(async |client| client.request(Method::PUT, path, Some(&settings), &[]).await).unwrap();
    };
    configure("1h");
    for (service, id, last) in [("web", "lowered", 1), ("web", "again", 2), ("web", "ghost", 3), ("gone", "g1", 4)] {
        server.register(service, id, &at(last, "1h"));
    }
    server.register("api", "a1", &json!({"address": "10.0.0.5", "port": 80}));
    server.register("api", "a2", &at(6, "1s"));
    let since = Timestamp::now();
    server.register("web", "lowered", &at(1, "1s"));
    server.deregister("web", "again");
    server.deregister("gone", "g1");
    server.register("web", "new", &at(3, "1s"));
    server.register("web", "other", &at(7, "1s"));
    configure("1s");
    // It is killed.
    drop(server);

    let server = start(dir.path(), &[]);
    server.register("web", "again", &at(2, "1s"));
    server.register("gone", "g2", &at(4, "1s"));
    for (service, id) in [("web", "lowered"), ("web", "again"), ("web", "new"), ("gone", "g2"), ("api", "a1")] {
        assert_waits(&server, service, id, since);
    }
    assert_soon(&server, "web", "other");
    assert_soon(&server, "api", "a2");
}

#[test]
fn a_service_that_nobody_knows_any_more_is_still_in_caches() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &["--name-memory=0s"]);
    server.register("web", "w1", &json!({"address": "10.0.0.1", "port": 80, "ttl": "1h"}));
    server.register("api", "a1", &json!({"address": "10.0.0.2", "port": 80, "ttl": "1s"}));
    let since = Timestamp::now();
    server.deregister("web", "w1");
    until("the name is forgotten", || match server.ask("web.svc.internal.", RecordType::A).response_code {
        ResponseCode::NXDomain => Ok(()),
        code => Err(format!("{code}; the server said:\n{}", server.output())),
    });
    drop(server);
    let server = start(dir.path(), &["--name-memory=0s"]);
    server.register("web", "w2", &json!({"address": "10.0.0.1", "port": 80, "ttl": "1s"}));
    assert_waits(&server, "web", "w2", since);
    assert_soon(&server, "api", "a1");
}

#[test]
fn a_lower_lifetime_of_the_server_counts_from_when_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &["--ttl=1h"]);
    let body = |last: u8| json!({"address": format!("10.0.0.{last}"), "port": 80});
    server.register("web", "w1", &body(1));
    server.register("web", "w2", &json!({"address": "10.0.0.2", "port": 80, "ttl": "2s"}));
    let since = Timestamp::now();
    let file = dir.path().join("registry.jsonl");
    let save = ["snapshot", "save", file.to_str().unwrap(), "--http", &server.http.to_string()];
    let (code, output) = Program::start(Command::new(ROLLCALL).args(save)).ended();
    assert_eq!(code, Some(0), "{output}");
    drop(server);

    start(dir.path(), &["--ttl=1s"]).stop();
    // Also when it has been restarted since.
    let server = start(dir.path(), &["--ttl=1s"]);
    assert_waits(&server, "web", "w1", since);
    assert_soon(&server, "web", "w2");

    // What another server has answered with is in caches as well.
    let elsewhere = Server::start();
    let http = elsewhere.http.to_string();
    let restore = ["snapshot", "restore", file.to_str().unwrap(), "--yes", "--http", &http];
    let (code, output) = Program::start(Command::new(ROLLCALL).args(restore)).ended();
    assert_eq!(code, Some(0), "{output}");
    assert_waits(&elsewhere, "web", "w1", since);
    assert_soon(&elsewhere, "web", "w2");
}

#[tokio::test(start_paused = true)]
async fn a_restore_does_not_empty_caches() {
    let world = World::new().await;
    let put = async |path: &str, ttl: &str| {
        let last = path.len();
        let body = format!(r#"{{"address":"10.0.0.{last}","port":80,"ttl":"{ttl}"}}"#);
        let reply = world.call("PUT", &format!("/v1/services/{path}"), Some(&body)).await;
        assert!(reply.status < 300, "{reply:?}");
    };
    let seconds = async |path: &str| {
        let started = tokio::time::Instant::now();
        let reply = world.call("POST", &format!("/v1/services/{path}/drain?wait=true"), None).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        (started.elapsed() + Duration::from_millis(500)).as_secs()
    };
    put("web/instances/i1", "1s").await;
    put("web/instances/other", "1s").await;
    let lines = world.lines().await;
    put("web/instances/i1", "1h").await;
    put("gone/instances/i1", "1h").await;
    assert_eq!(world.restore("application/jsonl", &lines).await.0, 200);
    put("gone/instances/new", "1s").await;
    world.advance(Duration::from_secs(600)).await;
    assert_eq!(seconds("web/instances/other").await, 1);
    world.advance(Duration::from_secs(599)).await;
    // Of a service that nobody knew any more, nobody knows who that was.
    let waits = tokio::join!(seconds("web/instances/i1"), seconds("gone/instances/new"));
    assert_eq!(waits, (2400, 2400));
}

/// What lingers of a service: whose answers, and for how many seconds they could from when they were longer.
fn lingering(registry: &Registry, name: &str) -> Vec<(String, u32)> {
    let shown = |whose: &Whose| match whose {
        Whose::All => "all".to_owned(),
        Whose::Unasking => "unasking".to_owned(),
        Whose::Instance(id, place) => format!("{id} {}", place.addresses.first()),
    };
    let lingering = registry.service(&service(name)).and_then(|service| service.lingering().cloned());
    lingering.iter().flat_map(|l| l.ends()).map(|(whose, end)| (shown(whose), end.span.secs())).collect()
}

#[tokio::test(start_paused = true)]
async fn longer_answers_of_before_linger() {
    for store in engines() {
        let put = async |instance: &str, last: u8, seconds: Option<u64>| {
            let ttl = seconds.map(|seconds| Ttl::new(Span::from_secs(seconds)).unwrap());
            let registration = Registration { ttl, shared_address: false, ..registration(last) };
            store.commit(register("web", instance, registration, LeaseWish::None)).await.unwrap().revision
        };
        let mut follower = Follower::new(&*store, None);
        let mut lingers = async |revision: Revision, expected: &[(&str, u32)]| {
            follower.until(|registry| registry.revision() >= revision).await;
            let told = lingering(&follower.registry, "web");
            let told: Vec<(&str, u32)> = told.iter().map(|(whose, seconds)| (whose.as_str(), *seconds)).collect();
            assert_eq!(told, expected, "{}", store.engine());
            let Some(Followed::Reset(shown)) = store.watch(None).next().await else { panic!() };
            assert_eq!(
                lingering(&shown, "web"),
                lingering(&follower.registry, "web"),
                "who follows sees what is shown"
            );
        };
        put("i1", 1, Some(60)).await;
        lingers(put("i1", 1, Some(60)).await, &[]).await;
        lingers(put("i1", 1, Some(90)).await, &[]).await;
        lingers(put("i1", 1, Some(30)).await, &[("i1 10.0.0.1", 90)]).await;
        lingers(put("i1", 2, Some(30)).await, &[("i1 10.0.0.1", 90)]).await;
        lingers(put("i1", 3, Some(1)).await, &[("i1 10.0.0.1", 90), ("i1 10.0.0.2", 30)]).await;
        lingers(put("i2", 3, None).await, &[("i1 10.0.0.1", 90), ("i1 10.0.0.2", 30), ("i1 10.0.0.3", 1)]).await;
        store.commit(Wish::DeregisterAll(Scope::Service(service("web")))).await.unwrap();
        let four = [("i1 10.0.0.1", 90), ("i1 10.0.0.2", 30), ("i1 10.0.0.3", 1), ("i2 10.0.0.3", 5)];
        let first = put("i4", 4, None).await;
        lingers(first, &four).await;
        let raised = store.commit(configure("web", settings(7))).await.unwrap().revision;
        lingers(raised, &four).await;
        let lowered = store.commit(configure("web", settings(2))).await.unwrap().revision;
        let all: Vec<_> = [("unasking", 7)].into_iter().chain(four).collect();
        lingers(lowered, &all).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_lingers_of_many_is_taken_together() {
    for store in engines() {
        let many = |last: u8| register("web", &format!("i{last}"), registration(last), LeaseWish::None);
        for ids in [1..=120, 121..=240] {
            store.commit(Wish::Batch(ids.map(many).collect())).await.unwrap();
            store.commit(Wish::DeregisterAll(Scope::Service(service("web")))).await.unwrap();
        }
        let Some(Followed::Reset(shown)) = store.watch(None).next().await else { panic!() };
        let told = lingering(&shown, "web");
        assert_eq!((told.len(), &told[0]), (64, &("all".to_owned(), 5)));
        // A name that is forgotten takes it along, and who comes under it later waits for it.
        let mut follower = Follower::new(&*store, None);
        follower.step().await;
        follower.until(|registry| registry.service(&service("web")).is_none()).await;
        let again = store.commit(many(1)).await.unwrap().revision;
        follower.until(|registry| registry.revision() >= again).await;
        assert_eq!(lingering(&follower.registry, "web"), [("all".to_owned(), 5)]);
    }
}
