//! `/v1/events` and `/v1/history`.

use std::time::Duration;

use rollcall::model::{Health, Timestamp};
use serde_json::{Value, json};

use super::WEB1;
use crate::support::world::{Reply, World};

fn lines(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |event: &Value| ["id", "from", "to", "reason"].map(|field| text(&event[field])).join(" ");
    reply.body["events"].as_array().unwrap().iter().map(line).collect()
}

async fn storied() -> World {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80, "address": "10.0.0.1", "checks": [{"type": "tcp"}]})).await;
    world.observe("web", "i1", "tcp", Health::Passing, None).await;
    world.put("/v1/services/api.payments/instances/a1", &json!({"port": 81, "address": "10.0.0.2"})).await;
    world.call("PUT", "/v1/services/web/settings", Some(r#"{"ttl":"9s"}"#)).await;
    world.call("DELETE", WEB1, None).await;
    world
}

/// Lets the clock of the journal move on by its smallest step, so that what comes is later than what was.
fn moment() -> String {
    let now = Timestamp::now();
    while Timestamp::now() == now {
        std::hint::spin_loop();
    }
    now.to_string()
}

#[tokio::test(start_paused = true)]
async fn events_say_who_changed_from_what_to_what_newest_first() {
    let world = storied().await;
    let reply = world.get("/v1/events?service=web").await;
    assert_eq!(reply.keys(), ["begins", "events", "next", "revision", "store"]);
    assert_eq!((&reply.body["revision"], &reply.body["next"]), (&json!(5), &Value::Null));
    assert_eq!(reply.header("x-rollcall-revision"), "5");
    assert_eq!(
        lines(&reply),
        [
            "i1 passing absent deregistered",
            "- absent ttl 9s configured",
            "i1 unknown passing health: check tcp is passing",
            "i1 absent unknown registered",
        ]
    );
    let mut first = reply.body["events"][3].clone();
    assert!(first["time"].take().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        first,
        json!({"revision": 1, "time": null, "service": "web", "id": "i1", "from": "absent", "to": "unknown",
               "kind": "registered", "reason": "registered", "actor": "192.0.2.1", "addresses": ["10.0.0.1"],
               "port": 80, "protocol": "tcp"})
    );
    assert_eq!(reply.body["events"][0]["port"], 80, "where it was");
    assert_eq!(reply.body["events"][1]["id"], Value::Null);
    assert_eq!(reply.body["events"][2].get("port"), None);
    assert_eq!(reply.body["events"][2]["kind"], "health");
}

#[tokio::test(start_paused = true)]
async fn every_way_to_change_something_names_its_caller() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    world.call("PATCH", WEB1, Some(r#"{"weight":3}"#)).await;
    world.call("POST", &format!("{WEB1}/drain"), None).await;
    world.call("POST", "/v1/services/web/instances", Some(r#"{"port":81}"#)).await;
    world.call("PUT", "/v1/services/web/settings", Some(r#"{"ttl":"9s"}"#)).await;
    world.call("DELETE", "/v1/services/web/settings", None).await;
    let operations = r#"{"operations":[{"op":"register","service":"a.g","id":"b1","port":82}]}"#;
    world.call("POST", "/v1/batch", Some(operations)).await;
    world.call("DELETE", "/v1/services?under=g", None).await;
    world.call("DELETE", WEB1, None).await;
    world.call("DELETE", "/v1/services/web", None).await;
    let lease = world.call("POST", "/v1/leases", Some(r#"{"ttl":"60s"}"#)).await.body["id"].clone();
    world.put(WEB1, &json!({"port": 80, "lease": lease})).await;
    world.call("DELETE", &format!("/v1/leases/{}", lease.as_str().unwrap()), None).await;
    let reply = world.get("/v1/events").await;
    let events = reply.body["events"].as_array().unwrap();
    let kinds: Vec<&str> = events.iter().rev().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "registered",
            "amended",
            "amended",
            "registered",
            "configured",
            "configured",
            "registered",
            "deregistered",
            "deregistered",
            "deregistered",
            "registered",
            "revoked",
        ]
    );
    assert!(events.iter().all(|event| event["actor"] == "192.0.2.1"), "{}", reply.body);
}

#[tokio::test(start_paused = true)]
async fn events_are_chosen_by_service_group_id_time_and_revision_in_pages() {
    let world = storied().await;
    let count = async |query: &str| lines(&world.get(&format!("/v1/events{query}")).await).len();
    for (query, expected) in [
        ("", 5),
        ("?under=payments", 1),
        ("?id=i1", 3),
        ("?service=web&id=a1", 0),
        ("?service=none", 0),
        ("?after=3", 2),
        ("?after=5", 0),
        ("?after=9", 0),
        ("?after=m0000000000000000-3", 5),
        ("?since=2020-01-01T00:00:00Z", 5),
        ("?since=2090-01-01T01:00:00%2B01:00", 0),
        ("?until=2020-01-01T00:00:00Z", 0),
        ("?limit=2", 2),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let mut all = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = world.get(&format!("/v1/events{query}")).await;
        all.extend(lines(&page));
        let Some(next) = page.body["next"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(all, lines(&world.get("/v1/events").await));
}

#[tokio::test(start_paused = true)]
async fn bad_parameters_are_refused_with_what_to_do() {
    let world = World::new().await;
    for (query, says) in [
        ("events?service=web&under=x", "exclude each other"),
        ("events?service=a..b", "service: "),
        ("events?id=a.b", "id: "),
        ("events?since=14:03", "`since` is a time as RFC 3339 has it"),
        ("events?until=", "`until` is a time"),
        ("events?limit=0", "`limit` is 1 to"),
        ("events?cursor=x", "`cursor` is what"),
        ("events?cursor=1", "`cursor` is what"),
        ("events?after=x", "`after` is a revision"),
        ("events?wait=1h", "`wait` is a duration"),
        ("events?cursor=1.0&cursor=1.0", "more than once"),
        ("events?foo=1", "no parameter `foo`"),
        ("history", "`service` says"),
        ("history?service=web", "`at` says"),
        ("history?service=web&at=yesterday", "`at` is a time"),
        ("history?service=web&at=2999-01-01T00:00:00Z", "has passed"),
        ("history?service=web&at=2020-01-01T00:00:00Z&id=x", "no parameter `id`"),
    ] {
        let reply = world.get(&format!("/v1/{query}")).await;
        assert_eq!(reply.status, 422, "{query}: {}", reply.body);
        assert!(reply.body["detail"].as_str().unwrap().contains(says), "{query}: {}", reply.body);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_events_gets_them_at_the_next_change_of_its_service() {
    let world = storied().await;
    let started = tokio::time::Instant::now();
    let waiting = world.get("/v1/events?service=web&after=5&wait=30s");
    let change = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.put("/v1/services/api/instances/a1", &json!({"port": 80})).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.put("/v1/services/web/instances/i2", &json!({"port": 80})).await;
    };
    let (reply, ()) = tokio::join!(waiting, change);
    assert_eq!(lines(&reply), ["i2 absent passing registered"]);
    assert_eq!(reply.body["revision"], 7);
    assert_eq!(started.elapsed().as_secs(), 5, "not at the change of another");
    let late = world.get("/v1/events?service=web&after=7&wait=30s").await;
    assert!(lines(&late).is_empty());
    assert_eq!(started.elapsed().as_secs(), 35, "at the end of the wait");
}

#[tokio::test(start_paused = true)]
async fn a_time_in_the_past_has_those_who_were_there_and_says_who_was_answered() {
    let world = World::new().await;
    let nobody = moment();
    world.put(WEB1, &json!({"port": 80, "address": "10.0.0.1", "checks": [{"type": "tcp"}]})).await;
    world.observe("web", "i1", "tcp", Health::Passing, None).await;
    world.put("/v1/services/web/instances/i2", &json!({"port": 80, "address": "10.0.0.2"})).await;
    let both = moment();
    world.observe("web", "i1", "tcp", Health::Critical, Some("refused")).await;
    world.call("POST", "/v1/services/web/instances/i2/drain", None).await;
    let neither = moment();
    assert_eq!(world.call("PUT", WEB1, Some(r#"{"port":8080,"address":"fd00::1"}"#)).await.status, 200);
    world.call("DELETE", "/v1/services/web/instances/i2", None).await;
    let moved = moment();
    world.call("DELETE", "/v1/services/web", None).await;

    let then = async |at: &str| {
        let reply = world.get(&format!("/v1/history?service=web&at={at}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!((&reply.body["service"], &reply.body["at"]), (&json!("web"), &json!(at)));
        reply.body["instances"].clone()
    };
    let stood = |id: &str, address: &str, port: u16, standing: &str, because: Value| {
        json!({"id": id, "addresses": [address], "port": port, "protocol": "tcp", "standing": standing,
               "answered": standing == "passing", "withheld_because": because})
    };
    assert_eq!(then(&nobody).await, json!([]));
    let passing = |id, address, port| stood(id, address, port, "passing", Value::Null);
    assert_eq!(then(&both).await, json!([passing("i1", "10.0.0.1", 80), passing("i2", "10.0.0.2", 80)]));
    assert_eq!(
        then(&neither).await,
        json!([
            stood("i1", "10.0.0.1", 80, "critical", json!("health: check tcp is critical: refused")),
            stood("i2", "10.0.0.2", 80, "draining", json!("amended: draining")),
        ])
    );
    assert_eq!(then(&moved).await, json!([passing("i1", "fd00::1", 8080)]));
    assert_eq!(then(&moment()).await, json!([]));

    let beyond = world.get("/v1/history?service=web&at=2020-01-01T00:00:00Z").await;
    assert_eq!((beyond.status, &beyond.body["type"]), (410, &json!("urn:rollcall:beyond-history")));
    assert!(beyond.body["detail"].as_str().unwrap().starts_with("the journal tells what has happened since 2"));
}

#[tokio::test(start_paused = true)]
async fn so_many_read_the_journal_at_once_and_no_more() {
    let world = storied().await;
    let replies = futures_util::future::join_all((0..200).map(|_| world.get("/v1/events"))).await;
    let (told, busy): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert!(told.len() >= 4, "{}", told.len());
    for reply in busy {
        assert_eq!((reply.status, &reply.body["type"]), (503, &json!("urn:rollcall:busy")), "{}", reply.body);
        assert_eq!(reply.header("retry-after"), "1");
    }
    assert_eq!(world.get("/v1/events").await.status, 200, "places are given back");
}
