//! Leases that are not renewed while this node doubts itself: who stays, who leaves, and who is told.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rollcall::sentry;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::support::dialogue::{Asking, extended_error};
use super::support::world::World;

/// A world with a sentry, whose link is as the test says.
struct Guarded {
    world: World,
    _sentry: watch::Sender<bool>,
    metrics: prometheus_client::registry::Registry,
}

async fn guarded(is_linked: fn() -> io::Result<bool>) -> Guarded {
    let world = World::new().await;
    let (shutdown, signal) = watch::channel(false);
    let settings = sentry::Settings { canaries: Vec::new(), is_linked };
    let mut metrics = prometheus_client::registry::Registry::default();
    sentry::spawn(world.guard.clone(), world.store.clone(), world.view.clone(), settings, &mut metrics, signal);
    // The first look finds the link up.
    world.advance(Duration::from_secs(1)).await;
    Guarded { world, _sentry: shutdown, metrics }
}

impl Guarded {
    async fn put(&self, count: u8, ttl: &str) {
        for n in 1..=count {
            let body = format!(r#"{{"address":"10.0.0.{n}","port":80,"lease_ttl":"{ttl}"}}"#);
            let reply = self.world.call("PUT", &format!("/v1/services/web/instances/i{n}"), Some(&body)).await;
            assert_eq!(reply.status, 201, "{}", reply.body);
        }
    }

    async fn renew(&self, id: &str) -> u16 {
        self.world.call("POST", &format!("/v1/services/web/instances/{id}/renew"), None).await.status
    }

    async fn list(&self) -> Value {
        self.world.call("GET", "/v1/services/web", None).await.body
    }

    async fn ids(&self) -> Vec<String> {
        let list = self.list().await;
        list["instances"].as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn pass(&self, seconds: u64) {
        self.world.advance(Duration::from_secs(seconds)).await;
    }

    fn metric(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
    }
}

#[tokio::test(start_paused = true)]
async fn leases_stay_while_the_link_is_down_and_whoever_renews_goes_on() {
    static UP: AtomicBool = AtomicBool::new(true);
    let play = guarded(|| Ok(UP.load(Ordering::SeqCst))).await;
    play.put(4, "5s").await;
    let revision = play.list().await["revision"].as_u64().unwrap();
    UP.store(false, Ordering::SeqCst);
    play.pass(20).await;

    let list = play.list().await;
    assert_eq!(list["instances"].as_array().unwrap().len(), 4, "{list}");
    assert_eq!(list["guard"]["held"], json!(["i1", "i2", "i3", "i4"]), "{list}");
    let evidence = list["guard"]["evidence"].as_str().unwrap().to_owned();
    assert!(evidence.starts_with("no network interface is up since "), "{evidence}");
    let status = play.world.call("GET", "/v1/status", None).await.body;
    assert_eq!((&status["guarded"][0]["service"], &status["guarded"][0]["guard"]), (&json!("web"), &list["guard"]));
    assert_eq!(status["doubts"], json!([evidence]));
    let polled = play.world.call("GET", &format!("/v1/services/web?after={revision}&wait=1s"), None).await;
    assert!(polled.body["revision"].as_u64().unwrap() > revision, "whoever waits for the service is told");
    assert_eq!(play.metric("guarded_services").as_deref(), Some("1"));
    assert_eq!(play.metric("guarded_instances").as_deref(), Some("4"));
    assert_eq!(play.metric("guards_begun_total{witness=\"link\"}").as_deref(), Some("1"));
    let asking = Asking::parse("web.svc.internal. A");
    let reply = play.world.ask(&asking.message(), asking.protocol).await;
    assert_eq!((reply.answers.len(), reply.answers[0].ttl), (4, 2));
    assert_eq!(extended_error(&reply).map(|(code, _)| code), Some(3));
    let explained = play.world.call("GET", "/v1/explain?name=web.svc.internal&client=127.0.0.1", None).await.body;
    assert_eq!(explained["extended_error"]["code"], 3, "{explained}");
    let because = explained["instances"][0]["because"].as_str().unwrap();
    assert!(because.starts_with("answered, though silent, and kept: no network"), "{because}");

    // Renewed while it is kept: it is heard again.
    assert_eq!(play.renew("i1").await, 200);
    play.pass(1).await;
    assert_eq!(play.list().await["guard"]["held"], json!(["i2", "i3", "i4"]));

    UP.store(true, Ordering::SeqCst);
    play.pass(1).await;
    assert_eq!((play.renew("i1").await, play.renew("i2").await), (200, 200));
    for _ in 0..3 {
        // A full term from when this node was well again.
        play.pass(2).await;
        assert_eq!((play.renew("i1").await, play.renew("i2").await), (200, 200));
    }
    play.pass(3).await;
    assert_eq!(play.ids().await, ["i1", "i2"]);
    assert_eq!(play.renew("i3").await, 410);
    assert_eq!(play.list().await["guard"], Value::Null);
    assert_eq!(play.world.call("GET", "/v1/status", None).await.body["guarded"], json!([]));
    assert_eq!(play.metric("guarded_services").as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_well_believes_its_leases() {
    let play = guarded(|| Ok(true)).await;
    play.put(4, "5s").await;
    play.pass(7).await;
    assert_eq!(play.ids().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn settings_say_for_how_long_and_whether() {
    static UP: AtomicBool = AtomicBool::new(true);
    let play = guarded(|| Ok(UP.load(Ordering::SeqCst))).await;
    play.put(3, "5s").await;
    let settings = r#"{"guard":{"window":"5s","max":"30s"}}"#;
    assert_eq!(play.world.call("PUT", "/v1/services/web/settings", Some(settings)).await.status, 201);
    UP.store(false, Ordering::SeqCst);
    play.pass(30).await;
    assert_eq!(play.ids().await.len(), 3);
    let list = play.list().await;
    let time = |field: &str| humantime::parse_rfc3339(list["guard"][field].as_str().unwrap()).unwrap();
    assert_eq!(time("until").duration_since(time("since")).unwrap(), Duration::from_secs(30));
    play.pass(10).await;
    assert_eq!(play.ids().await, [""; 0], "the time is over");

    play.put(3, "5s").await;
    assert_eq!(play.world.call("PUT", "/v1/services/web/settings", Some(r#"{"guard":"off"}"#)).await.status, 200);
    play.pass(7).await;
    assert_eq!(play.ids().await, [""; 0], "nobody asked for a guard");
}

#[tokio::test(start_paused = true)]
async fn one_of_many_is_held_back_for_a_window_at_most() {
    static UP: AtomicBool = AtomicBool::new(true);
    let play = guarded(|| Ok(UP.load(Ordering::SeqCst))).await;
    play.put(4, "1h").await;
    let body = r#"{"address":"10.0.0.9","port":80,"lease_ttl":"5s"}"#;
    play.world.call("PUT", "/v1/services/web/instances/i9", Some(body)).await;
    UP.store(false, Ordering::SeqCst);
    play.pass(30).await;
    assert_eq!(play.ids().await.len(), 5);
    assert_eq!(play.list().await["guard"], Value::Null, "that is no mass failure");
    play.pass(8).await;
    assert_eq!(play.ids().await, ["i1", "i2", "i3", "i4"]);
}

#[tokio::test(start_paused = true)]
async fn patience_with_the_critical_stands_still_while_this_node_doubts_itself() {
    static UP: AtomicBool = AtomicBool::new(true);
    let play = guarded(|| Ok(UP.load(Ordering::SeqCst))).await;
    let body = r#"{"address":"10.0.0.1","port":80,"checks":[{"type":"tcp"}],"evict_after":"30s"}"#;
    play.world.call("PUT", "/v1/services/web/instances/i1", Some(body)).await;
    play.world.observe("web", "i1", "tcp", rollcall::model::Health::Critical, Some("connection refused")).await;
    play.pass(10).await;
    UP.store(false, Ordering::SeqCst);
    play.pass(120).await;
    assert_eq!(play.ids().await, ["i1"]);
    UP.store(true, Ordering::SeqCst);
    play.pass(15).await;
    assert_eq!(play.ids().await, ["i1"]);
    play.pass(8).await;
    assert_eq!(play.ids().await, [""; 0]);
}
