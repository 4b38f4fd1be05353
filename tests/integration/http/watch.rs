//! Changes as they happen: Server-Sent Events.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::StreamExt;
use rollcall::api::{Closing, Peer};
use rollcall::model::Health;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use super::{SMALL, WEB1};
use crate::support::world::{CLIENT, World};

/// A stream of events, read as octets come.
pub(super) struct Events {
    body: BodyDataStream,
    heard: String,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) data: Value,
}

impl Events {
    /// The next event or comment, when there is one now.
    pub(super) async fn now(&mut self) -> Option<Event> {
        let block = loop {
            if let Some((block, rest)) = self.heard.split_once("\n\n") {
                let block = block.to_owned();
                self.heard = rest.to_owned();
                break block;
            }
            let octets = tokio::time::timeout(Duration::ZERO, self.body.next()).await.ok()??.unwrap();
            self.heard.push_str(std::str::from_utf8(&octets).unwrap());
        };
        let mut event = Event::default();
        for line in block.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", name) => event.name = name.to_owned(),
                ("id", id) => event.id = id.to_owned(),
                ("data", data) => event.data = serde_json::from_str(data).unwrap(),
                (":", "") => event.name = "comment".to_owned(),
                _ => panic!("{line}"),
            }
        }
        Some(event)
    }

    pub(super) async fn expect(&mut self, name: &str) -> Event {
        let event = self.now().await.unwrap_or_else(|| panic!("{name} does not come"));
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// A change of one instance: its revision, kind, and `service/id`.
    async fn change(&mut self) -> (u64, String, String) {
        let event = self.expect("change").await;
        let changes = event.data["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 1, "{changes:?}");
        let text = |field: &str| changes[0][field].as_str().unwrap().to_owned();
        let revision = event.data["revision"].as_u64().unwrap();
        assert!(event.id.ends_with(&format!("-{revision}")), "{event:?}");
        (revision, text("kind"), format!("{}/{}", text("service"), text("id")))
    }

    async fn has_ended(&mut self) -> bool {
        self.heard.is_empty() && matches!(tokio::time::timeout(Duration::ZERO, self.body.next()).await, Ok(None))
    }
}

impl World {
    pub(super) async fn watch(&self, query: &str, last_event_id: Option<&str>) -> Events {
        self.watch_until(query, last_event_id, None).await
    }

    async fn watch_until(&self, query: &str, last_event_id: Option<&str>, closing: Option<Closing>) -> Events {
        let mut request = Request::builder().uri(format!("/v1/watch{query}")).header("host", "rollcall.test");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(CLIENT.parse().unwrap()));
        if let Some(closing) = closing {
            request.extensions_mut().insert(closing);
        }
        let response = self.api.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-rollcall-store"], self.store.id().as_str());
        Events { body: response.into_body().into_data_stream(), heard: String::new() }
    }

    async fn delete(&self, path: &str) {
        let status = self.call("DELETE", path, None).await.status;
        assert!(status < 300, "{path}: {status}");
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) {
        assert_eq!(self.call("PATCH", path, Some(&body.to_string())).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_told_of_the_service_as_a_whole() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80})).await;
    let mut events = world.watch("?service=web&after=1", None).await;
    let mut others = world.watch("?service=api&after=1", None).await;
    world.keep("web", Some(("i1", "no network interface is up"))).await;
    let data = events.expect("change").await.data;
    assert_eq!(data["changes"], json!([]), "nobody has changed");
    let change = &data["services"][0];
    assert_eq!((&change["kind"], &change["service"]), (&json!("guarded"), &json!("web")));
    assert_eq!(change["guard"], world.get("/v1/services/web").await.body["guard"]);
    assert_eq!(change["guard"]["held"], json!(["i1"]));
    world.keep("web", None).await;
    let data = events.expect("change").await.data;
    assert_eq!(data["services"], json!([{"kind": "unguarded", "service": "web", "guard": null}]));
    assert_eq!(others.now().await, None);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_change_is_told_once() {
    let world = World::new().await;
    let mut events = world.watch("?service=web&after=0", None).await;
    assert_eq!(events.now().await, None);
    let leased = json!({"address": "10.0.0.1", "port": 80, "lease_ttl": "2s", "checks": [{"type": "tcp"}]});
    world.put(WEB1, &leased).await;
    let first = events.expect("change").await;
    assert_eq!(first.id, format!("{}-1", world.store.id()));
    let change = &first.data["changes"][0];
    assert_eq!(
        (&change["kind"], &change["service"], &change["id"]),
        (&json!("registered"), &json!("web"), &json!("i1"))
    );
    assert_eq!(change["instance"], world.get(WEB1).await.body);

    world.observe("web", "i1", "tcp", Health::Passing, None).await;
    world.patch(WEB1, &json!({"weight": 7})).await;
    world.call("PUT", WEB1, Some(&leased.to_string().replace("80", "81"))).await;
    world.call("PUT", WEB1, Some(&leased.to_string().replace("80", "81"))).await;
    world.call("PUT", "/v1/services/web/settings", Some(r#"{"ttl":"1s"}"#)).await;
    for (revision, kind) in [(2, "health"), (3, "amended"), (4, "replaced")] {
        assert_eq!(events.change().await, (revision, kind.to_owned(), "web/i1".to_owned()));
    }
    assert_eq!(events.now().await, None, "the same body, and settings, are no change of an instance");
    world.advance(Duration::from_secs(3)).await;
    let gone = events.expect("change").await;
    assert_eq!(
        (&gone.data["changes"][0]["kind"], &gone.data["changes"][0]["instance"]),
        (&json!("expired"), &Value::Null)
    );

    let lease = world.call("POST", "/v1/leases", Some(r#"{"ttl":"15s"}"#)).await.body;
    let lease = lease["id"].as_str().unwrap();
    for (id, port) in [("a", 80), ("b", 81)] {
        world.put(&format!("/v1/services/web/instances/{id}"), &json!({"port": port, "lease": lease})).await;
        assert_eq!(events.change().await.1, "registered");
    }
    world.delete(&format!("/v1/leases/{lease}")).await;
    let both = events.expect("change").await.data;
    let told: Vec<_> =
        both["changes"].as_array().unwrap().iter().map(|c| (c["kind"].clone(), c["id"].clone())).collect();
    assert_eq!(told, [(json!("revoked"), json!("a")), (json!("revoked"), json!("b"))], "one message for a revision");
    world.put(WEB1, &json!({"port": 80})).await;
    world.delete(WEB1).await;
    assert_eq!(
        (events.change().await.1, events.change().await.1),
        ("registered".to_owned(), "deregistered".to_owned())
    );

    world.put(WEB1, &json!({"port": 80})).await;
    let checked = json!({"port": 80, "checks": [{"type": "tcp"}], "evict_after": "10m"});
    world.put("/v1/services/web/instances/i2", &checked).await;
    assert_eq!(events.change().await.1, "registered");
    let both = events.expect("change").await.data;
    let mut told: Vec<_> = both["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["kind"].as_str().unwrap(), change["id"].as_str().unwrap(), change["instance"].is_null()))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [("registered", "i2", false), ("superseded", "i1", true)]);
    world.patch("/v1/services/web/instances/i2", &json!({"state": "maintenance", "expires": "1m"})).await;
    world.advance(Duration::from_secs(61)).await;
    world.observe("web", "i2", "tcp", Health::Critical, None).await;
    world.advance(Duration::from_secs(601)).await;
    for kind in ["amended", "lifted", "health", "evicted"] {
        assert_eq!(events.change().await.1, kind);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_told_finds_it_in_dns() {
    let world = World::new().await;
    let mut events = world.watch("?after=0", None).await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80})).await;
    events.change().await;
    let name = "web.svc.internal".to_owned();
    let explained = world.get(&format!("/v1/explain?name={name}")).await.body;
    assert_eq!(explained["answer"][0], "web.svc.internal. 5 IN A 10.0.0.1");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_watched_is_told() {
    let world = World::new().await;
    let mut web = world.watch("?service=web&after=0", None).await;
    let mut group = world.watch("?under=payments&after=0", None).await;
    let mut all = world.watch("?after=0", None).await;
    for service in ["web", "api.payments", "payments", "a.b.payments"] {
        world.put(&format!("/v1/services/{service}/instances/i1"), &json!({"port": 80})).await;
    }
    world.delete("/v1/services?under=payments").await;
    assert_eq!((web.change().await.0, web.now().await), (1, None));
    assert_eq!((group.change().await.0, group.change().await.0), (2, 4));
    let gone = group.expect("change").await.data;
    assert_eq!((gone["changes"].as_array().unwrap().len(), group.now().await), (2, None));
    for revision in 1..=4 {
        assert_eq!(all.change().await.0, revision);
    }
    // A revision of which only a part is watched.
    let mut api = world.watch("?service=api.payments&after=4", None).await;
    assert_eq!(api.change().await, (5, "deregistered".to_owned(), "api.payments/i1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn without_a_start_the_present_comes_first() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    world.put("/v1/services/api/instances/i1", &json!({"port": 80})).await;
    let store = world.store.id();
    for (query, id) in [
        ("?service=web", None),
        ("?service=web", Some("another-2".to_owned())),
        ("?service=web", Some("nonsense".to_owned())),
        ("?service=web&after=another-2", None),
        ("?service=web&after=2", Some("another-2".to_owned())),
    ] {
        let mut events = world.watch(query, id.as_deref()).await;
        let reset = events.expect("reset").await;
        assert_eq!((reset.data, reset.id.as_str()), (json!({"store": store, "revision": 2}), ""));
        let snapshot = events.expect("snapshot").await;
        assert_eq!(snapshot.id, format!("{store}-2"));
        assert_eq!((&snapshot.data["revision"], &snapshot.data["last"]), (&json!(2), &json!(true)));
        assert_eq!(snapshot.data["instances"], json!([world.get(WEB1).await.body]));
        assert_eq!(events.now().await, None);
    }
    let mut nobody = world.watch("?service=nobody", None).await;
    nobody.expect("reset").await;
    assert_eq!(nobody.expect("snapshot").await.data["instances"], json!([]), "an empty one is one too");
    world.put("/v1/services/nobody/instances/i1", &json!({"port": 80})).await;
    assert_eq!(nobody.change().await.0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_taken_up_where_it_ended() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    let mut events = world.watch("?service=web", None).await;
    events.expect("reset").await;
    let id = events.expect("snapshot").await.id;
    drop(events);
    world.patch(WEB1, &json!({"weight": 2})).await;
    world.put("/v1/services/api/instances/i1", &json!({"port": 80})).await;
    world.patch(WEB1, &json!({"weight": 3})).await;
    for (query, header) in [
        ("?service=web".to_owned(), Some(id.as_str())),
        ("?service=web&after=0".to_owned(), Some(id.as_str())),
        (format!("?service=web&after={id}"), None),
        ("?service=web&after=1".to_owned(), None),
    ] {
        let mut events = world.watch(&query, header).await;
        assert_eq!((events.change().await.0, events.change().await.0, events.now().await), (2, 4, None), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_snapshot_comes_in_parts_of_one_revision() {
    let world = World::new().await;
    for n in 0..1100 {
        let service = ["a", "b", "c.b"][n % 3];
        world.put(&format!("/v1/services/{service}/instances/i{n:04}"), &json!({"port": 1000 + n})).await;
    }
    let mut events = world.watch("", None).await;
    assert_eq!(events.expect("reset").await.data["revision"], 1100);
    let mut ids = std::collections::BTreeSet::new();
    for (part, count) in [500, 500, 100].into_iter().enumerate() {
        let snapshot = events.expect("snapshot").await;
        let instances = snapshot.data["instances"].as_array().unwrap();
        assert_eq!((instances.len(), &snapshot.data["revision"]), (count, &json!(1100)));
        assert_eq!((&snapshot.data["last"], snapshot.id.is_empty()), (&json!(part == 2), part < 2));
        ids.extend(instances.iter().map(|instance| instance["id"].as_str().unwrap().to_owned()));
        // None of this is in the snapshot; all of it follows.
        world.delete(&format!("/v1/services/a/instances/i{:04}", part * 3)).await;
        world.put(&format!("/v1/services/a/instances/n{part}"), &json!({"port": 80 + part})).await;
    }
    assert_eq!(ids.len(), 1100);
    assert!(ids.iter().all(|id| id.starts_with('i')));
    for revision in 1101..=1106 {
        assert_eq!(events.change().await.0, revision);
    }
    for (query, count) in [("?under=b", 366), ("?service=b", 367)] {
        let mut events = world.watch(query, None).await;
        events.expect("reset").await;
        let snapshot = events.expect("snapshot").await.data;
        assert_eq!((snapshot["instances"].as_array().unwrap().len(), &snapshot["last"]), (count, &json!(true)));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_comments_that_tell_the_position() {
    let world = World::new().await;
    let mut events = world.watch("?service=web&after=0", None).await;
    assert_eq!(events.now().await, None);
    world.advance(Duration::from_secs(14)).await;
    assert_eq!(events.now().await, None);
    world.put("/v1/services/api/instances/i1", &json!({"port": 80})).await;
    world.advance(Duration::from_secs(1)).await;
    assert_eq!(events.expect("comment").await.id, format!("{}-1", world.store.id()));
    assert_eq!(events.now().await, None);
    world.advance(Duration::from_secs(15)).await;
    assert_eq!(events.expect("comment").await.id, "", "as before");
    world.put(WEB1, &json!({"port": 80})).await;
    assert_eq!(events.change().await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn who_reads_too_slowly_is_told_so_and_comes_back_to_the_present() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    let mut slow = world.watch("?service=web&after=1", None).await;
    let mut quiet = world.watch("?service=api&after=1", None).await;
    world.patch(WEB1, &json!({"weight": 1000})).await;
    let id = slow.expect("change").await.id;
    assert_eq!(quiet.now().await, None);
    for weight in 0..9000 {
        world.patch(WEB1, &json!({"weight": weight})).await;
    }
    assert_eq!(slow.expect("lagged").await.data, json!({"revision": 2}));
    assert!(slow.has_ended().await);
    let mut back = world.watch("?service=web", Some(&id)).await;
    assert_eq!(back.expect("reset").await.data["revision"], 9002);
    assert_eq!(back.expect("snapshot").await.data["instances"][0]["weight"], 8999);
    assert_eq!(quiet.now().await, None, "others were busy, nothing was missed");
    world.put("/v1/services/api/instances/i1", &json!({"port": 80})).await;
    assert_eq!(quiet.change().await.0, 9003);
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_server_does() {
    let world = World::new().await;
    let (closing, signal) = watch::channel(false);
    let mut events = world.watch_until("?after=0", None, Some(Closing(signal))).await;
    assert_eq!(events.now().await, None);
    closing.send_replace(true);
    assert!(events.has_ended().await);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_bounded_and_hold_up_nobody_else() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for n in 0..10_240 {
        streams.push(world.watch(&format!("?service=s{n}&after=0"), None).await);
    }
    let reply = world.refused("GET", "/v1/watch", None, 503, "too-many-waiting").await;
    assert_eq!(reply.header("retry-after"), "5");
    world.refused("GET", "/v1/services/web?after=9&wait=1s", None, 503, "too-many-waiting").await;
    let waiting_put = "/v1/services/web/instances/i1?wait=1s";
    world.refused("PUT", waiting_put, Some(r#"{"port":80}"#), 503, "too-many-waiting").await;
    world.refused("POST", "/v1/services/web/instances/i1/drain?wait=true", None, 503, "too-many-waiting").await;
    assert_eq!(world.get("/v1/services/web?after=9").await.status, 200, "without waiting");
    world.put("/v1/services/s7/instances/i1", &json!({"port": 80})).await;
    assert_eq!(streams[7].change().await.0, 1);
    assert_eq!(streams[8].now().await, None);
    assert_eq!(world.get("/v1/services/s7?after=0&wait=1s").await.status, 200, "there is nothing to wait for");
    drop(streams.pop());
    assert_eq!(world.get("/v1/services/web?after=9&wait=0s").await.status, 200);
    assert_eq!(world.call("HEAD", "/v1/watch", None).await.status, 200);
    assert_eq!(world.waiting.get(), 10_239, "a head alone waits for nothing");
    drop(streams);
    assert_eq!(world.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn parameters_that_make_no_sense_are_refused() {
    let world = World::new().await;
    for (query, kind) in [
        ("?service=web&under=payments", "invalid-parameter"),
        ("?service=a_b", "invalid-name"),
        ("?under=", "invalid-name"),
        ("?after=x", "invalid-parameter"),
        ("?after=-1", "invalid-parameter"),
        ("?after=1&after=2", "invalid-parameter"),
        ("?wait=5s", "invalid-parameter"),
    ] {
        world.refused("GET", &format!("/v1/watch{query}"), None, 422, kind).await;
    }
    world.refused("POST", "/v1/watch", Some(SMALL), 405, "no-method").await;
}
