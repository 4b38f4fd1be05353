//! Saving and restoring all that a store keeps: on every engine, over HTTP, and with the real binary.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use rollcall::model::{Health, Instance, LeaseId, Registration, Revision, State, Timestamp};
use rollcall::registry::{Amendment, Command as Wish, Expiry, LeaseWish, Observation, Outcome, Precondition};
use rollcall::store::snapshot::{Reader, Replaced};
use rollcall::store::{Followed, Store};
use serde_json::{Value, json};

use crate::store::{Follower, check, engines, id, register, registration, service};
use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};
use crate::support::world::World;

async fn saved(store: &dyn Store) -> Vec<u8> {
    let zone = "svc.internal".parse().unwrap();
    let mut lines = store.snapshot().await.unwrap().into_lines(zone, store.id(), Timestamp::from_millis(0));
    std::iter::from_fn(|| lines.next_chunk()).flatten().collect()
}

async fn restore(store: &dyn Store, lines: &[u8]) -> Replaced {
    let Some(Followed::Reset(before)) = store.watch(None).next().await else { panic!() };
    let mut reader = Reader::new(store.limits().clone(), before);
    reader.take(lines).unwrap();
    store.restore(reader.finish().unwrap()).await.unwrap()
}

fn amend(name: &str, instance: &str, state: State, expiry: Expiry) -> Wish {
    Wish::Amend(Box::new(Amendment {
        service: service(name),
        id: id(instance),
        precondition: Precondition::None,
        state: Some(state),
        expiry,
        weight: None,
        tags: None,
        meta: None,
    }))
}

fn observe(instance: &Instance, health: Health) -> Wish {
    Wish::Observe(Box::new(Observation {
        service: instance.service.clone(),
        id: instance.id.clone(),
        epoch: instance.epoch,
        check: "tcp".parse().unwrap(),
        health,
        error: None,
        at: Timestamp::from_millis(1),
    }))
}

async fn registered(store: &dyn Store, command: Wish) -> Arc<Instance> {
    match store.commit(command).await.unwrap().outcome {
        Outcome::Registered { instance, .. } => instance,
        other => panic!("{other:?}"),
    }
}

fn seconds(seconds: u64) -> rollcall::model::Duration {
    rollcall::model::Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_the_registry_is_the_snapshots() {
    for store in engines() {
        let store = &*store;
        let checked = Registration { checks: [check("tcp")].into(), ..registration(1) };
        let well = registered(store, register("web", "well", checked.clone(), LeaseWish::None)).await;
        store.commit(observe(&well, Health::Passing)).await.unwrap();
        let moved = registered(store, register("web", "moved", checked.clone(), LeaseWish::None)).await;
        let own = registered(store, register("api", "leased", registration(2), LeaseWish::Own(seconds(10)))).await;
        let lease = own.lease.unwrap().id;
        store.commit(register("web", "drained", registration(3), LeaseWish::None)).await.unwrap();
        store.commit(amend("web", "drained", State::Draining, Expiry::Never)).await.unwrap();
        let mut follower = Follower::new(store, None);
        follower.until(|registry| registry.instances() == 4).await;
        let (lines, before) = (saved(store).await, follower.registry.clone());

        // Time passes, one moves, one goes, one comes.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let elsewhere = Registration { addresses: registration(9).addresses, ..checked };
        let elsewhere = registered(store, register("web", "moved", elsewhere, LeaseWish::None)).await;
        let late = observe(&elsewhere, Health::Passing);
        store.commit(amend("web", "drained", State::Up, Expiry::Never)).await.unwrap();
        let late_comer = registered(store, register("db", "new", registration(4), LeaseWish::Own(seconds(60)))).await;
        let at = store.commit(amend("db", "new", State::Maintenance, Expiry::Never)).await.unwrap().revision;
        let replaced = restore(store, &lines).await;
        assert!(replaced.revision > at && replaced.revision > before.revision());
        assert_eq!((replaced.before.instances, replaced.after.instances), (5, 4));

        follower.causes.clear();
        follower.until(|registry| registry.revision() == replaced.revision).await;
        assert!(follower.causes.is_empty(), "a snapshot, not a history");
        let after = follower.registry.clone();
        assert_eq!((after.instances(), after.answered()), (before.instances(), before.answered()));
        let as_said = |registry: &rollcall::registry::Registry| {
            let all = registry.services_after(None).flat_map(|service| service.instances()).map(|i| Instance::clone(i));
            all.map(|i| Instance { revision: Revision(0), epoch: Revision(0), ..i }).collect::<Vec<_>>()
        };
        assert_eq!(as_said(&after), as_said(&before));

        // Who is as it was is not touched; who is not has changed now, and what was seen of it before says nothing.
        let now = |name: &str, instance: &str| after.instance(&service(name), instance).unwrap().clone();
        assert_eq!(now("web", "well"), before.instance(&service("web"), "well").unwrap().clone());
        assert_eq!((now("web", "moved").revision, now("web", "moved").epoch), (replaced.revision, replaced.revision));
        for late in [late, observe(&moved, Health::Passing)] {
            assert_eq!(store.commit(late).await.unwrap().revision, replaced.revision);
        }
        assert!(
            store.commit(observe(&now("web", "moved"), Health::Passing)).await.unwrap().revision > replaced.revision
        );

        // A full term, and no lease that is not in it.
        assert!(store.lease(late_comer.lease.unwrap().id).is_none());
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(store.lease(lease).is_some());
        follower.until(|registry| registry.instances() == 3).await;
        assert_eq!(follower.causes, ["health", "expired"]);
        store.commit(register("web", "next", registration(5), LeaseWish::None)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_one_engine_is_restored_by_another() {
    let [memory, embedded] = <[_; 2]>::try_from(engines()).unwrap_or_else(|_| panic!("two engines"));
    for n in 0..1500 {
        let wish = if n % 3 == 0 { LeaseWish::Own(seconds(3600)) } else { LeaseWish::None };
        memory.commit(register(&format!("s{}", n % 7), &format!("i{n}"), registration(1), wish)).await.unwrap();
    }
    let lines = saved(&*memory).await;
    assert!(lines.len() > 3 * (64 << 10), "more than a chunk or two");
    let replaced = restore(&*embedded, &lines).await;
    assert_eq!((replaced.after.services, replaced.after.instances, replaced.after.leases), (7, 1500, 500));
    // The same again, but for where it was.
    let tail = |lines: &[u8]| {
        let text = String::from_utf8(lines.to_vec()).unwrap();
        text.lines().skip(1).map(|line| line.split(",\"revision\":").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let again = saved(&*embedded).await;
    assert_eq!(tail(&again)[..2000], tail(&lines)[..2000]);
    assert_eq!(restore(&*memory, &again).await.before.instances, 1500);
    embedded.close().await;
    assert!(embedded.snapshot().await.is_err(), "closed");
}

impl World {
    pub(crate) async fn lines(&self) -> Vec<u8> {
        let request = Request::get("/v1/snapshot").header("host", "rollcall.test").body(Body::empty()).unwrap();
        let mut request = request;
        request.extensions_mut().insert(rollcall::api::Peer("192.0.2.1:1".parse().unwrap()));
        let response = tower::ServiceExt::oneshot(self.api.clone(), request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/jsonl");
        assert_eq!(response.headers()["x-rollcall-revision"], self.view.load().revision().to_string());
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    pub(crate) async fn restore(&self, media_type: &str, lines: &[u8]) -> (u16, Value) {
        let request = Request::put("/v1/snapshot").header("host", "rollcall.test").header("content-type", media_type);
        let reply = self.send(request.body(Body::from(lines.to_vec())).unwrap()).await;
        (reply.status, reply.body)
    }
}

#[tokio::test(start_paused = true)]
async fn over_http_it_is_whole_or_a_problem_that_names_the_line() {
    let world = World::new().await;
    for n in 1..4 {
        let path = format!("/v1/services/web/instances/i{n}");
        world.call("PUT", &path, Some(&format!(r#"{{"address":"10.0.0.{n}","port":80,"lease_ttl":"1m"}}"#))).await;
    }
    let lines = world.lines().await;
    world.call("DELETE", "/v1/services/web/instances/i1", None).await;
    let before = world.call("GET", "/v1/status", None).await.body;

    let cut = &lines[..lines.len() - 10];
    let (status, problem) = world.restore("application/jsonl", cut).await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:rollcall:bad-snapshot")), "{problem}");
    assert_eq!(problem["line"], 8, "{problem}");
    let (status, problem) = world.restore("application/json", &lines).await;
    assert_eq!((status, &problem["type"]), (415, &json!("urn:rollcall:media-type")), "{problem}");
    assert_eq!(world.call("GET", "/v1/status", None).await.body, before, "nothing has changed");
    assert!(world.zone_file("svc.internal.zone", Some("$TTL 1h\ni1.web A 10.9.9.9\n")).is_empty());
    let (status, problem) = world.restore("application/x-ndjson", &lines).await;
    assert_eq!((status, &problem["type"], &problem["line"]), (409, &json!("urn:rollcall:name-taken"), &json!(5)));
    assert!(problem["detail"].as_str().unwrap().starts_with("line 5: "), "{problem}");
    world.zone_file("svc.internal.zone", None);

    let (status, restored) = world.restore("application/jsonl", &lines).await;
    assert_eq!(status, 200, "{restored}");
    assert_eq!(restored["replaced"], json!({"services": 1, "instances": 2, "leases": 2}));
    assert_eq!(restored["restored"], json!({"services": 1, "instances": 3, "leases": 3}));
    assert_eq!(restored["store"], before["store"], "a step of the same history");
    assert!(restored["revision"].as_u64() > before["revision"].as_u64());
    let listed = world.call("GET", "/v1/services/web", None).await.body;
    assert_eq!(listed["instances"].as_array().unwrap().len(), 3);
    let renewed = world.call("POST", "/v1/services/web/instances/i1/renew", None).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_on_and_lists_that_wait_are_answered() {
    let world = World::new().await;
    let body = Some(r#"{"address":"10.0.0.1","port":80}"#);
    world.call("PUT", "/v1/services/web/instances/i1", body).await;
    world.call("PUT", "/v1/services/web/instances/i2", Some(r#"{"address":"10.0.0.2","port":80}"#)).await;
    let drained = world.call("POST", "/v1/services/web/instances/i1/drain", None).await.body;
    let (lines, serial) = (world.lines().await, world.zone.serial());
    world.call("DELETE", "/v1/services/web/instances/i2", None).await;
    let at = world.view.load().revision();
    let path = format!("/v1/services/web?after={at}&wait=10m");
    let (listed, restored) = tokio::join!(world.call("GET", &path, None), world.restore("application/jsonl", &lines));
    assert_eq!(restored.0, 200, "{restored:?}");
    assert_eq!(listed.body["instances"].as_array().unwrap().len(), 2, "woken");
    let again = world.call("POST", "/v1/services/web/instances/i1/drain", None).await.body;
    assert_eq!(again["safe_to_stop_at"], drained["safe_to_stop_at"], "a drain that goes on does not begin again");
    assert!(world.zone.serial() > serial);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_does_not_keep_coming_is_given_up() {
    let world = World::new().await;
    let lines = world.lines().await;
    let half = lines[..20].to_vec();
    let body = futures_util::stream::unfold(0, move |n| {
        let half = half.clone();
        async move {
            if n > 0 {
                tokio::time::sleep(Duration::from_secs(9)).await;
            }
            Some((Ok::<_, std::convert::Infallible>(half), n + 1))
        }
    });
    let request = Request::put("/v1/snapshot").header("host", "rollcall.test");
    let request = request.header("content-type", "application/jsonl").body(Body::from_stream(body)).unwrap();
    let reply = world.send(request).await;
    assert_eq!((reply.status, &reply.body["type"]), (408, &json!("urn:rollcall:too-slow")));
    assert_eq!(world.restore("application/jsonl", &lines).await.0, 200, "and the place is free again");
}

fn start(dir: &Path) -> Server {
    let data = format!("--data={}", dir.display());
    Server::launch(Command::new(ROLLCALL).args(["serve", &data, "--dns=127.0.0.1:0", "--http=127.0.0.1:0"]))
}

/// A command of a client.
fn rollcall(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let http = server.http.to_string();
    Program::start(Command::new(ROLLCALL).args(words).args(["--http", &http])).ended()
}

#[test]
fn a_registry_moves_to_another_directory_while_dns_answers() {
    let (old, new, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = files.path().join("registry.jsonl");
    let file = file.to_str().unwrap();
    let server = start(old.path());
    for n in 1..=50 {
        let body = json!({"address": format!("10.0.0.{n}"), "port": 80, "lease_ttl": "1h"});
        server.register("web", &format!("i{n}"), &body);
    }
    let (code, said) = rollcall(&server, &["snapshot", "save", file, "--output", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["instances"], &said["leases"], &said["zone"]), (&json!(50), &json!(50), &json!("svc.internal")));
    server.stop();

    let server = start(new.path());
    server.register("web", "i1", &json!({"address": "10.0.0.1", "port": 80}));
    let (ended, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let reply = server.ask("i1.web.svc.internal.", hickory_proto::rr::RecordType::A);
                assert_eq!(reply.answers.len(), 1, "never a moment without it: {reply}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (code, said) = rollcall(&server, &["snapshot", "restore", file]);
        assert_eq!(code, Some(2), "nobody can be asked: {said}");
        for _ in 0..5 {
            let (code, said) = rollcall(&server, &["snapshot", "restore", file, "--yes", "--output", "json"]);
            assert_eq!(code, Some(0), "{said}");
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["restored"]["instances"], 50);
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(asked.into_inner() > 5);
    let lease = server.instance("web", "i50").unwrap()["lease"]["id"].as_str().unwrap().parse::<LeaseId>().unwrap();
    let before = server.instance("web", "i50").unwrap();
    server.signal(nix::sys::signal::Signal::SIGKILL);
    drop(server);

    let server = start(new.path());
    let mut after = server.instance("web", "i50").unwrap();
    assert_eq!(after["lease"]["id"], json!(lease));
    after["lease"] = before["lease"].clone();
    assert_eq!(after, before, "what was restored survives a kill");
    let damaged = std::fs::read_to_string(file).unwrap().replacen("10.0.0.7\"", "10.0.0.8\"", 1);
    std::fs::write(file, damaged).unwrap();
    let (code, said) = rollcall(&server, &["snapshot", "restore", file, "--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("line 102: the checksum is another"), "{said}");
    server.stop();
}
