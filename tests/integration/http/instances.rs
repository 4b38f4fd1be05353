//! `/v1/services/{service}/instances` and what is below it.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use rollcall::api;
use rollcall::model::{Health, HoldReport, HoldState, ProbeReport, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{SMALL, WEB1, keys};
use crate::support::world::World;

const INSTANCE: [&str; 26] = [
    "addresses",
    "answered",
    "checks",
    "dns_name",
    "evict_after",
    "generation",
    "health",
    "health_since",
    "https",
    "id",
    "initial_health",
    "lease",
    "meta",
    "port",
    "ports",
    "priority",
    "protocol",
    "registered_at",
    "revision",
    "service",
    "shared_address",
    "state",
    "tags",
    "ttl",
    "weight",
    "withheld_because",
];

#[tokio::test(start_paused = true)]
async fn a_registration_comes_back_whole() {
    let world = World::new().await;
    let body = json!({
        "addresses": ["fd00::7", "10.0.0.7"], "port": 8080, "protocol": "udp", "ports": {"metrics": 9090},
        "priority": 1, "weight": 5, "tags": ["Primary", "a", "a"], "meta": {"version": "1.4.2"}, "ttl": "60s",
        "https": true, "lease_ttl": "15s", "initial_health": "unknown", "evict_after": "never",
        "generation": 1_764_000_000_u64, "shared_address": true,
        "checks": [
            {"type": "http", "path": "/healthz", "headers": {"X-A": "b"}, "method": "HEAD", "expect_status": "200,204"},
            {"type": "tcp", "name": "raw", "interval": "90s", "timeout": "500ms", "rise": 2, "fall": 4, "port": 81}
        ]
    });
    let reply = world.put("/v1/services/API.Payments/instances/I1", &body).await;
    let got = &reply.body;
    assert_eq!(reply.keys(), INSTANCE);
    for (field, expected) in [
        ("service", json!("api.payments")),
        ("id", json!("i1")),
        ("dns_name", json!("i1.api.payments.svc.internal.")),
        ("addresses", json!(["10.0.0.7", "fd00::7"])),
        ("port", json!(8080)),
        ("protocol", json!("udp")),
        ("ports", json!({"metrics": 9090})),
        ("priority", json!(1)),
        ("weight", json!(5)),
        ("tags", json!(["a", "primary"])),
        ("meta", json!({"version": "1.4.2"})),
        ("ttl", json!("1m")),
        ("https", json!(true)),
        ("initial_health", json!("unknown")),
        ("evict_after", json!("never")),
        ("generation", json!(1_764_000_000_u64)),
        ("shared_address", json!(true)),
        ("state", json!("up")),
        ("health", json!("unknown")),
        ("answered", json!(false)),
        ("withheld_because", json!("no probe of check http has ended yet")),
        ("revision", json!(1)),
    ] {
        assert_eq!(got[field], expected, "{field}");
    }
    assert_eq!(keys(&got["lease"]), ["expires_at", "id", "ttl"]);
    assert!(got["registered_at"].as_str().unwrap().ends_with('Z'));
    let http = &got["checks"][0];
    assert_eq!(
        keys(http),
        [
            "expect_status",
            "fall",
            "fast_interval",
            "headers",
            "health",
            "interval",
            "last_error",
            "method",
            "name",
            "path",
            "rise",
            "since",
            "timeout",
            "type"
        ]
    );
    assert_eq!(
        (&http["name"], &http["interval"], &http["expect_status"]),
        (&"http".into(), &"5s".into(), &"200,204".into())
    );
    assert_eq!(got["checks"][1]["interval"], "1m30s");
    assert_eq!((&http["fast_interval"], &got["checks"][1]["fast_interval"]), (&"500ms".into(), &"9s".into()));
    assert_eq!(got["checks"][1]["last_error"], Value::Null);
    assert_eq!(reply.header("etag"), "\"1\"");
    assert_eq!(reply.header("x-rollcall-revision"), "1");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("content-type"), "application/json");

    let shown = world.get("/v1/services/api.payments/instances/i1").await;
    let without_expiry = |body: &Value| {
        let mut body = body.clone();
        // Counted from the wall clock, which simulated time does not hold.
        body["lease"]["expires_at"].take();
        body
    };
    assert_eq!((shown.status, without_expiry(&shown.body)), (200, without_expiry(got)));
    assert_eq!(shown.header("etag"), "\"1\"");
}

#[tokio::test(start_paused = true)]
async fn a_small_registration_has_the_defaults() {
    let world = World::new().await;
    let got = world.put(WEB1, &json!({"port": 80, "checks": [{"type": "http"}]})).await.body;
    for (field, expected) in [
        ("addresses", json!(["192.0.2.1"])),
        ("protocol", json!("tcp")),
        ("priority", json!(0)),
        ("weight", json!(1)),
        ("ttl", json!(null)),
        ("lease", json!(null)),
        ("generation", json!(null)),
        ("https", json!(false)),
    ] {
        assert_eq!(got[field], expected, "{field}");
    }
    let check = &got["checks"][0];
    assert_eq!((&check["path"], &check["timeout"], &check["fall"]), (&"/".into(), &"1s".into(), &3.into()));

    world.observe("web", "i1", "http", Health::Critical, Some("status 500, expected 200-299")).await;
    let got = world.get(WEB1).await.body;
    assert_eq!(got["withheld_because"], "check http is critical: status 500, expected 200-299");
    assert_eq!(got["checks"][0]["last_error"], "status 500, expected 200-299");
    world.observe("web", "i1", "http", Health::Passing, None).await;
    let got = world.get(WEB1).await.body;
    assert_eq!((&got["answered"], &got["withheld_because"]), (&true.into(), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn what_probes_found_out_is_shown_with_one_instance_and_explained() {
    let world = World::new().await;
    let body = json!({"address": "10.0.0.7", "port": 80, "checks": [{"type": "http"}, {"type": "tcp"}]});
    world.put(WEB1, &body).await;
    world.observe("web", "i1", "tcp", Health::Passing, None).await;
    world.observe("web", "i1", "http", Health::Critical, Some("refused")).await;
    let report = |flaps| ProbeReport {
        check: "http".parse().unwrap(),
        flaps,
        rise_needed: 4,
        transitions: 5,
        hints: 0,
        last_probe_at: Some(Timestamp::from_millis(1_764_000_000_000)),
        last_failure: None,
        latency_us: Some((210, 4000)),
        report_by: None,
        hold: Some(HoldReport { state: HoldState::GivenUp, reason: Some("it floods") }),
    };
    *world.reports.lock() = vec![report(0)];
    let got = world.get(WEB1).await.body;
    let http = &got["checks"][0];
    assert_eq!((&http["flaps"], &http["rise_needed"], &http["transitions"]), (&0.into(), &4.into(), &5.into()));
    assert_eq!(http["last_probe_at"], "2025-11-24T16:00:00.000Z");
    assert_eq!(http["latency_us"], json!({"p50": 210, "p99": 4000}));
    assert_eq!(http["held"], json!({"state": "given_up", "reason": "it floods"}));
    assert_eq!(got["checks"][1].get("flaps"), None, "nothing is known of it");
    assert_eq!(got["withheld_because"], "check http is critical: refused");
    *world.reports.lock() = vec![report(2)];
    let held = "; flapped 2 times of late, so it takes 4 successes in a row";
    let got = world.get(WEB1).await.body;
    assert_eq!(got["withheld_because"], format!("check http is critical: refused{held}"));
    let explained = world.get("/v1/explain?name=web.svc.internal").await.body;
    let because = explained["instances"][0]["because"].as_str().unwrap();
    assert!(because.starts_with("withheld: ") && because.ends_with(held), "{because}");
    world.observe("web", "i1", "http", Health::Passing, None).await;
    assert_eq!(world.get(WEB1).await.body["withheld_because"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn who_fails_for_another_reason_than_it_turned_for_is_shown_with_that() {
    let world = World::new().await;
    let body = json!({"address": "10.0.0.7", "port": 80, "checks": [{"type": "http"}]});
    world.put(WEB1, &body).await;
    world.observe("web", "i1", "http", Health::Critical, Some("refused")).await;
    *world.reports.lock() = vec![ProbeReport {
        check: "http".parse().unwrap(),
        flaps: 0,
        rise_needed: 1,
        transitions: 1,
        hints: 0,
        last_probe_at: None,
        last_failure: Some("status 404, expected 200-299".into()),
        latency_us: None,
        report_by: None,
        hold: None,
    }];
    let now = "check http is critical: status 404, expected 200-299";
    let got = world.get(WEB1).await.body;
    assert_eq!((&got["withheld_because"], &got["checks"][0]["last_error"]), (&now.into(), &now[24..].into()));
    let waited = world.call("PUT", &format!("{WEB1}?wait=1s"), Some(&body.to_string())).await;
    assert_eq!((waited.status, &waited.body["withheld_because"]), (202, &now.into()));
    let explained = world.get("/v1/explain?name=web.svc.internal").await.body;
    let because = explained["instances"][0]["because"].as_str().unwrap();
    assert!(
        because.contains(": refused, since ") && because.ends_with("; now: status 404, expected 200-299"),
        "{because}"
    );
    let listed = world.get("/v1/services/web").await.body;
    assert_eq!(listed["instances"][0]["withheld_because"], "check http is critical: refused");
    // What a probe found before the opinion turned says nothing of who is well.
    world.observe("web", "i1", "http", Health::Passing, None).await;
    let got = world.get(WEB1).await.body;
    assert_eq!((&got["withheld_because"], &got["checks"][0]["last_error"]), (&Value::Null, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn the_callers_address_is_taken_as_ipv4_where_it_is() {
    let world = World::new().await;
    for (peer, expected) in [("[::ffff:192.0.2.9]:1", "192.0.2.9"), ("[2001:db8::9]:1", "2001:db8::9")] {
        let request = Request::put(WEB1).header("host", "x").header("content-type", "application/json");
        let mut request = request.body(Body::from(r#"{"port":80}"#)).unwrap();
        request.extensions_mut().insert(api::Peer(peer.parse::<SocketAddr>().unwrap()));
        let response = world.api.clone().oneshot(request).await.unwrap();
        let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(body["addresses"], json!([expected]));
    }
}

#[tokio::test(start_paused = true)]
async fn registering_again_replaces_and_an_identical_body_changes_nothing() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80, "lease_ttl": "10s"})).await;
    world.advance(std::time::Duration::from_secs(4)).await;
    let before = world.get(WEB1).await.body;
    let again = world.call("PUT", WEB1, Some(r#"{"lease_ttl":"10s","port":80,"addresses":["10.0.0.1"]}"#)).await;
    assert_eq!((again.status, again.header("x-rollcall-revision"), again.header("etag")), (200, "1", "\"1\""));
    assert_eq!(again.body["lease"]["id"], before["lease"]["id"]);
    world.advance(std::time::Duration::from_secs(7)).await;
    assert_eq!(world.get(WEB1).await.status, 200, "it renews the lease");

    world.call("PATCH", WEB1, Some(r#"{"state":"maintenance"}"#)).await;
    let changed = world.call("PUT", WEB1, Some(r#"{"port":81,"address":"10.0.0.1","lease_ttl":"10s"}"#)).await;
    assert_eq!((changed.status, &changed.body["state"]), (200, &"maintenance".into()));
    assert_eq!(changed.body["registered_at"], before["registered_at"]);
    assert_eq!(changed.header("etag"), "\"3\"");

    world.put("/v1/services/web/instances/g", &json!({"port": 80, "generation": 5})).await;
    let stale = Some(r#"{"port":80,"generation":4}"#);
    world.refused("PUT", "/v1/services/web/instances/g", stale, 409, "stale-generation").await;
}

#[tokio::test(start_paused = true)]
async fn the_server_chooses_an_id_when_asked_to() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let reply = world.call("POST", "/v1/services/web/instances", Some(SMALL)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        let location = format!("/v1/services/web/instances/{}", reply.body["id"].as_str().unwrap());
        assert_eq!(reply.header("location"), location);
        assert!(reply.header("etag").starts_with('"'));
        assert_eq!(world.get(&location).await.body, reply.body);
        ids.push(location);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    world.refused("POST", "/v1/services/web/instances", Some(r#"{"port":0}"#), 422, "invalid-value").await;
    world.refused("POST", "/v1/services/_x/instances", Some(SMALL), 422, "invalid-name").await;
    assert_eq!(world.with("POST", "/v1/services/web/instances", &[JSON, ("if-match", "*")], SMALL).await.status, 412);
    assert_eq!(
        world.with("POST", "/v1/services/web/instances", &[JSON, ("if-none-match", "*")], SMALL).await.status,
        201
    );
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(start_paused = true)]
async fn preconditions_hold_or_nothing_changes() {
    let world = World::new().await;
    let changed = r#"{"address":"10.0.0.1","port":81}"#;
    for (header, value) in [("if-match", "*"), ("if-match", "\"1\"")] {
        let reply = world.with("PUT", WEB1, &[JSON, (header, value)], SMALL).await;
        assert!(reply.is_problem(412, "precondition-failed"), "{reply:?}");
    }
    assert_eq!(world.with("PUT", WEB1, &[JSON, ("if-none-match", "*")], SMALL).await.status, 201);
    let reply = world.with("PUT", WEB1, &[JSON, ("if-none-match", "*")], changed).await;
    assert!(reply.is_problem(412, "precondition-failed"), "{reply:?}");
    assert!(reply.body["detail"].as_str().unwrap().contains("revision 1"));
    assert_eq!(world.with("PUT", WEB1, &[JSON, ("if-match", "\"1\"")], changed).await.header("etag"), "\"2\"");
    assert_eq!(world.with("PUT", WEB1, &[JSON, ("if-match", "\"1\"")], SMALL).await.status, 412);
    assert_eq!(world.with("PATCH", WEB1, &[JSON, ("if-match", "\"1\"")], r#"{"weight":2}"#).await.status, 412);
    assert_eq!(world.with("PATCH", WEB1, &[JSON, ("if-match", "\"2\"")], r#"{"weight":2}"#).await.status, 200);
    assert_eq!(world.with("DELETE", WEB1, &[("if-match", "\"2\"")], "").await.status, 412);
    for bad in [
        &[("if-match", "1")][..],
        &[("if-match", "W/\"3\"")],
        &[("if-match", "\"3\", \"4\"")],
        &[("if-match", "\"3\""), ("if-match", "\"4\"")],
        &[("if-match", "\"x\"")],
        &[("if-match", "")],
        &[("if-none-match", "\"3\"")],
        &[("if-match", "*"), ("if-none-match", "*")],
    ] {
        let reply = world.with("DELETE", WEB1, bad, "").await;
        assert!(reply.is_problem(400, "bad-request"), "{bad:?}: {reply:?}");
    }
    assert_eq!(world.get(WEB1).await.body["port"], 81);
    assert_eq!(world.with("DELETE", WEB1, &[("if-match", "\"3\"")], "").await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_precondition_that_cannot_hold_is_refused_rather_than_ignored() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80, "lease_ttl": "15s"})).await;
    let before = world.held().await;
    for (method, path, body) in [
        ("DELETE", "/v1/services/web", ""),
        ("DELETE", "/v1/services?under=web", ""),
        ("PUT", "/v1/services/web/settings", r#"{"ttl":"1m"}"#),
        ("DELETE", "/v1/services/web/settings", ""),
        ("POST", "/v1/services/web/instances/i1/renew", ""),
        ("POST", "/v1/batch", r#"{"operations":[{"op":"deregister","service":"web","id":"i1"}]}"#),
        ("POST", "/v1/leases", r#"{"ttl":"15s"}"#),
    ] {
        for precondition in [("if-match", "\"1\""), ("if-match", "*"), ("if-none-match", "*")] {
            let reply = world.with(method, path, &[JSON, precondition], body).await;
            assert!(reply.is_problem(400, "bad-request"), "{method} {path}: {reply:?}");
        }
    }
    assert_eq!(world.held().await, before);
    assert_eq!(world.with("GET", "/v1/services/web", &[("if-none-match", "*")], "").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn amendments_change_what_they_name() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80, "tags": ["a"], "meta": {"k": "v"}})).await;
    let patch = async |body: &str| world.call("PATCH", WEB1, Some(body)).await;
    let reply = patch(r#"{"state":"draining","weight":0}"#).await;
    assert_eq!((reply.status, reply.header("etag"), reply.header("x-rollcall-revision")), (200, "\"2\"", "2"));
    assert_eq!((&reply.body["state"], &reply.body["weight"]), (&"draining".into(), &0.into()));
    assert_eq!(reply.body["withheld_because"], "state is draining");
    assert_eq!((&reply.body["tags"], &reply.body["meta"]), (&json!(["a"]), &json!({"k": "v"})));
    assert_eq!(patch(r#"{"weight":0}"#).await.header("etag"), "\"2\"", "the same again is no change");
    assert_eq!(patch("{}").await.header("etag"), "\"2\"");
    let reply = patch(r#"{"tags":[],"meta":{},"state":"up"}"#).await;
    assert_eq!((&reply.body["tags"], &reply.body["meta"]), (&json!([]), &json!({})));

    for (body, pointer) in [
        (r#"{"state":"down"}"#, "/state"),
        (r#"{"weight":65536}"#, "/weight"),
        (r#"{"weight":-1}"#, "/weight"),
        (r#"{"meta":{"a=b":""}}"#, "/meta/a=b"),
        (r#"{"port":81}"#, "/port"),
        (r#"{"meta":{"a":1}}"#, "/meta/a"),
        (r#"["up"]"#, ""),
    ] {
        let reply = world.refused("PATCH", WEB1, Some(body), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), pointer, "{body}: {}", reply.body);
    }
    let reply = world.refused("PATCH", WEB1, Some(r#"{"tags":["a","b_c"]}"#), 422, "invalid-name").await;
    assert_eq!((reply.pointer(), &reply.body["nearest"]), ("/tags/1", &"b-c".into()));
    world.refused("PATCH", WEB1, Some(r#"{"tags":["i1"]}"#), 409, "name-taken").await;
    world.refused("PATCH", "/v1/services/web/instances/i2", Some("{}"), 404, "no-instance").await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_makes_too_long_a_name_is_refused_in_an_amendment_too() {
    let world = World::new().await;
    let service = format!("a.{}", vec!["b".repeat(60); 3].join("."));
    let path = format!("/v1/services/{service}/instances/i1");
    world.put(&path, &json!({"port": 80})).await;
    let body = json!({"port": 80, "tags": ["t".repeat(63)]}).to_string();
    world.refused("PUT", &path, Some(&body), 422, "invalid-name").await;
    let body = json!({"tags": ["t".repeat(63)]}).to_string();
    world.refused("PATCH", &path, Some(&body), 422, "invalid-name").await;
}

#[tokio::test(start_paused = true)]
async fn deregistering_is_final_and_says_what_was_not_there() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    let reply = world.call("DELETE", WEB1, None).await;
    assert_eq!((reply.status, &reply.body, reply.header("x-rollcall-revision")), (204, &Value::Null, "2"));
    world.refused("DELETE", WEB1, None, 404, "no-instance").await;
    world.refused("GET", WEB1, None, 404, "no-instance").await;
    assert_eq!(world.put(WEB1, &json!({"port": 80})).await.header("etag"), "\"3\"", "revisions never repeat");
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_body_take_an_empty_one_of_any_type() {
    let world = World::new().await;
    for (headers, body) in [(&[][..], ""), (&[JSON], ""), (&[JSON], " \r\n"), (&[("content-type", "text/plain")], "")] {
        world.put(WEB1, &json!({"port": 80, "lease_ttl": "5s"})).await;
        let renewed = world.with("POST", &format!("{WEB1}/renew"), headers, body).await;
        assert_eq!(renewed.status, 200, "{headers:?}: {}", renewed.body);
        assert_eq!(world.with("DELETE", WEB1, headers, body).await.status, 204, "{headers:?}");
    }
    world.put(WEB1, &json!({"port": 80, "lease_ttl": "5s"})).await;
    for path in [WEB1.to_owned(), "/v1/services/web".into(), "/v1/services?under=a".into()] {
        world.refused("DELETE", &path, Some("{}"), 422, "invalid-value").await;
    }
    world.refused("POST", &format!("{WEB1}/renew"), Some("x"), 422, "invalid-value").await;
}
