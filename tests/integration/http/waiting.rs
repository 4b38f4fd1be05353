//! Registrations that wait until they are answered, and drains that say when it is safe to stop.

use std::time::{Duration, SystemTime};

use rollcall::model::Health;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{SMALL, WEB1};
use crate::support::dialogue::{Asking, head};
use crate::support::world::{Reply, World};

const CHECKED: &str = r#"{"address":"10.0.0.1","port":80,"checks":[{"type":"tcp"}]}"#;

async fn answers(world: &World, name: &str) -> usize {
    let asking = Asking::new(name, "A".parse().unwrap());
    let reply = world.ask(&asking.message(), asking.protocol).await;
    assert!(head(&reply).starts_with("NOERROR"), "{reply}");
    reply.answers.len()
}

#[tokio::test(start_paused = true)]
async fn a_registration_waits_until_dns_finds_it() {
    let world = World::new().await;
    let started = Instant::now();
    let path = format!("{WEB1}?wait=10s");
    let (reply, ()) = tokio::join!(world.call("PUT", &path, Some(CHECKED)), async {
        world.advance(Duration::ZERO).await;
        assert_eq!(answers(&world, "web.svc.internal.").await, 0);
        world.advance(Duration::from_secs(3)).await;
        world.observe("web", "i1", "tcp", Health::Critical, Some("refused")).await;
        world.advance(Duration::from_secs(3)).await;
        world.observe("web", "i1", "tcp", Health::Passing, None).await;
        assert_eq!(answers(&world, "web.svc.internal.").await, 1);
    });
    assert_eq!((reply.status, &reply.body["answered"]), (201, &json!(true)));
    assert_eq!(started.elapsed().as_secs(), 6);
    assert_eq!(reply.header("x-rollcall-revision"), "3");
    assert_eq!(reply.header("etag"), "\"3\"");
    let again = world.call("PUT", &path, Some(CHECKED)).await;
    assert_eq!((again.status, started.elapsed().as_secs()), (200, 6), "it is answered already");
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_ends_with_the_last_error() {
    let world = World::new().await;
    let started = Instant::now();
    let path = "/v1/services/web/instances?wait=10s";
    let (reply, ()) = tokio::join!(world.call("POST", path, Some(CHECKED)), async {
        world.advance(Duration::ZERO).await;
        let id = world.view.load().service(&"web".parse().unwrap()).unwrap().instances()[0].id.to_string();
        world.observe("web", &id, "tcp", Health::Critical, Some("refused 10.0.0.1:80")).await;
    });
    assert_eq!((reply.status, &reply.body["answered"]), (202, &json!(false)));
    assert_eq!(reply.body["checks"][0]["last_error"], "refused 10.0.0.1:80");
    assert!(!reply.header("location").is_empty());
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    let at_once = world.call("PUT", &format!("{WEB1}?wait=0s"), Some(CHECKED)).await;
    assert_eq!((at_once.status, started.elapsed()), (202, Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_while_it_waits_is_told() {
    let world = World::new().await;
    let path = format!("{WEB1}?wait=1m");
    let (reply, ()) = tokio::join!(world.call("PUT", &path, Some(CHECKED)), async {
        world.advance(Duration::ZERO).await;
        world.call("DELETE", WEB1, None).await;
    });
    assert!(reply.is_problem(409, "changed-meanwhile"), "{reply:?}");
}

#[tokio::test(start_paused = true)]
async fn waits_are_durations_of_at_most_a_minute() {
    let world = World::new().await;
    for wait in ["61s", "10", "", "-1s", "true", "1s&wait=1s"] {
        world.refused("PUT", &format!("{WEB1}?wait={wait}"), Some(SMALL), 422, "invalid-parameter").await;
    }
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80})).await;
    for query in ["wait=10s", "wait=", "wait=true&wait=true", "x=1"] {
        world.refused("POST", &format!("{WEB1}/drain?{query}"), None, 422, "invalid-parameter").await;
    }
}

/// Seconds, rounded: each `advance` takes a millisecond more.
fn seconds_since(started: Instant) -> u64 {
    (started.elapsed() + Duration::from_millis(500)).as_secs()
}

/// Milliseconds from now until it is safe to stop.
fn safe_in(reply: &Reply) -> u128 {
    let at = humantime::parse_rfc3339(reply.body["safe_to_stop_at"].as_str().unwrap()).unwrap();
    at.duration_since(SystemTime::now()).unwrap_or_default().as_millis()
}

#[tokio::test(start_paused = true)]
async fn a_drain_withdraws_and_says_when_it_is_safe() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80, "ttl": "40s", "lease_ttl": "1h"})).await;
    world.put("/v1/services/web/instances/i2", &json!({"address": "10.0.0.2", "port": 80})).await;
    let reply = world.call("POST", &format!("{WEB1}/drain"), None).await;
    assert_eq!((reply.status, &reply.body["state"], &reply.body["id"]), (200, &json!("draining"), &json!("i1")));
    assert!(reply.body["lease"]["id"].is_string() && reply.body.get("state_expires_at").is_none(), "{}", reply.body);
    assert_eq!(answers(&world, "web.svc.internal.").await, 1);
    assert_eq!(answers(&world, "i1.web.svc.internal.").await, 1, "who has its name finds it");
    let safe = safe_in(&reply);
    assert!((35_000..=40_000).contains(&safe), "its own name could be cached for 40s: {safe}");

    world.advance(Duration::from_secs(20)).await;
    let again = world.call("POST", &format!("{WEB1}/drain"), Some(r#"{"expires":"10m"}"#)).await;
    assert_eq!(again.body["safe_to_stop_at"], reply.body["safe_to_stop_at"], "the first time counts");
    assert!(again.body["state_expires_at"].is_string());
    let started = Instant::now();
    let safe = world.call("POST", &format!("{WEB1}/drain?wait=true"), None).await;
    assert_eq!(safe.body["safe_to_stop_at"], reply.body["safe_to_stop_at"]);
    assert_eq!(seconds_since(started), 20, "by the clock that nobody can set");
    let done = world.call("POST", &format!("{WEB1}/drain?wait=true"), None).await;
    assert_eq!((done.status, seconds_since(started)), (200, 20));

    world.advance(Duration::from_secs(600)).await;
    assert_eq!(world.get(WEB1).await.body["state"], "up", "the drain has expired");
    assert_eq!(answers(&world, "web.svc.internal.").await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_out_with_a_longer_lifetime_is_waited_for() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80, "ttl": "1h"})).await;
    let shorter = json!({"address": "10.0.0.1", "port": 80, "ttl": "1s"});
    world.call("PUT", WEB1, Some(&shorter.to_string())).await;
    world.advance(Duration::from_secs(3000)).await;
    let started = Instant::now();
    world.call("POST", &format!("{WEB1}/drain?wait=true"), None).await;
    assert_eq!(seconds_since(started), 600);

    world.call("PUT", "/v1/services/api/settings", Some(r#"{"ttl":"2m"}"#)).await;
    world.put("/v1/services/api/instances/i1", &json!({"address": "10.0.0.2", "port": 80})).await;
    let drained = world.call("PATCH", "/v1/services/api/instances/i1", Some(r#"{"state":"draining"}"#)).await;
    assert_eq!(drained.status, 200);
    world.call("PUT", "/v1/services/api/settings", Some(r#"{"ttl":"1s"}"#)).await;
    world.advance(Duration::from_secs(30)).await;
    let started = Instant::now();
    world.call("POST", "/v1/services/api/instances/i1/drain?wait=true", None).await;
    assert_eq!(seconds_since(started), 90, "since its state was changed");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_somebody_ends_is_not_safe() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80})).await;
    let path = format!("{WEB1}/drain?wait=true");
    let (reply, ()) = tokio::join!(world.call("POST", &path, None), async {
        world.advance(Duration::ZERO).await;
        world.advance(Duration::from_secs(2)).await;
        world.call("PATCH", WEB1, Some(r#"{"state":"up"}"#)).await;
    });
    assert!(reply.is_problem(409, "changed-meanwhile"), "{reply:?}");
}

#[tokio::test(start_paused = true)]
async fn states_expire_only_where_they_can() {
    let world = World::new().await;
    world.refused("POST", &format!("{WEB1}/drain"), None, 404, "no-instance").await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80})).await;
    for expires in [r#""0s""#, r#""10""#, "10", r#""""#] {
        let body = format!(r#"{{"expires":{expires}}}"#);
        let reply = world.refused("POST", &format!("{WEB1}/drain"), Some(&body), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), "/expires");
    }
    for body in [r#"{"expires":"1m"}"#, r#"{"expires":"1m","state":"up"}"#] {
        let reply = world.refused("PATCH", WEB1, Some(body), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), "/expires");
    }
    world.refused("POST", &format!("{WEB1}/drain"), Some("{"), 400, "not-json").await;
    let text = world.with("POST", &format!("{WEB1}/drain"), &[("content-type", "text/plain")], "{}").await;
    assert!(text.is_problem(415, "media-type"), "{text:?}");
    let body = r#"{"state":"maintenance","expires":"1m"}"#;
    assert!(world.call("PATCH", WEB1, Some(body)).await.body["state_expires_at"].is_string());
    world.advance(Duration::from_secs(60)).await;
    let instance = world.get(WEB1).await.body;
    assert_eq!((&instance["state"], &instance["state_expires_at"]), (&json!("up"), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_ghost_is_told_what_to_do() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80, "generation": 3})).await;
    world.put("/v1/services/web/instances/i2", &json!({"address": "10.0.0.1", "port": 80})).await;
    assert_eq!(world.get(WEB1).await.status, 404);
    assert_eq!(answers(&world, "web.svc.internal.").await, 1);
    let body = r#"{"address":"10.0.0.1","port":80,"generation":3}"#;
    let refused = world.refused("PUT", WEB1, Some(body), 409, "superseded").await;
    assert!(refused.body["detail"].as_str().unwrap().contains("instance i2 "), "{}", refused.body);
    let shared = r#"{"address":"10.0.0.1","port":80,"shared_address":true}"#;
    assert_eq!(world.call("PUT", WEB1, Some(shared)).await.status, 201);
    assert_eq!(world.get("/v1/services/web").await.body["instances"].as_array().unwrap().len(), 2);
}
