//! `/v1/services/{service}/settings`, and what it does to answers.

use serde_json::json;

use super::support::dialogue::{Asking, shown};
use super::support::world::{Reply, World};

const PATH: &str = "/v1/services/web/settings";

fn revision(reply: &Reply) -> u64 {
    reply.headers["x-rollcall-revision"].to_str().unwrap().parse().unwrap()
}

#[track_caller]
fn is_problem(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status, status, "{}", reply.body);
    assert_eq!(reply.body["type"], format!("urn:rollcall:{kind}"), "{}", reply.body);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
}

#[tokio::test(start_paused = true)]
async fn settings_are_put_shown_and_deleted() {
    let world = World::new().await;
    is_problem(&world.call("GET", PATH, None).await, 404, "no-settings");
    is_problem(&world.call("DELETE", PATH, None).await, 404, "no-settings");

    let new = world.call("PUT", PATH, Some(r#"{"ttl":"60s"}"#)).await;
    let shape = |ttl| {
        json!({
            "service": "web", "ttl": ttl, "check_defaults": null, "guard": null, "when_all_critical": "none", "fallback": null,
        })
    };
    assert_eq!((new.status, &new.body), (201, &shape(Some("1m"))));
    let same = world.call("PUT", PATH, Some(r#"{"ttl":"1m"}"#)).await;
    assert_eq!(same.status, 200);
    assert_eq!(revision(&same), revision(&new), "what changes nothing has no revision");
    let replaced = world.call("PUT", PATH, Some(r#"{"ttl":null}"#)).await;
    assert_eq!((replaced.status, &replaced.body), (200, &shape(None)));
    assert!(revision(&replaced) > revision(&new));
    assert_eq!(world.call("PUT", PATH, Some("{}")).await.status, 200, "absent is null");

    let shown = world.call("GET", PATH, None).await;
    assert_eq!((shown.status, &shown.body), (200, &replaced.body));
    assert_eq!(revision(&shown), revision(&replaced));
    assert!(shown.headers.contains_key("x-rollcall-store"));

    let gone = world.call("DELETE", PATH, None).await;
    assert_eq!(gone.status, 204);
    assert!(revision(&gone) > revision(&replaced));
    is_problem(&world.call("DELETE", PATH, None).await, 404, "no-settings");
    is_problem(&world.call("GET", PATH, None).await, 404, "no-settings");
}

#[tokio::test(start_paused = true)]
async fn bad_settings_are_refused_with_the_field_at_fault() {
    let world = World::new().await;
    for (body, status, kind, pointer) in [
        (r#"{"ttl":"2h"}"#, 422, "invalid-value", "/ttl"),
        (r#"{"ttl":"1500ms"}"#, 422, "invalid-value", "/ttl"),
        (r#"{"ttl":5}"#, 422, "invalid-value", "/ttl"),
        (r#"{"tll":"5s"}"#, 422, "invalid-value", "/tll"),
        (r#"{"check_defaults":[]}"#, 422, "invalid-value", "/check_defaults"),
        (r#"{"check_defaults":{"interval":"1m1"}}"#, 422, "invalid-value", "/check_defaults/interval"),
        (r#"{"check_defaults":{"interval":"999ms"}}"#, 422, "invalid-value", "/check_defaults/interval"),
        (r#"{"check_defaults":{"interval":"2s","timeout":"3s"}}"#, 422, "invalid-value", "/check_defaults/timeout"),
        (r#"{"check_defaults":{"fast_interval":"49ms"}}"#, 422, "invalid-value", "/check_defaults/fast_interval"),
        (r#"{"check_defaults":{"rise":0}}"#, 422, "invalid-value", "/check_defaults/rise"),
        (r#"{"check_defaults":{"fall":256}}"#, 422, "invalid-value", "/check_defaults/fall"),
        (r#"{"check_defaults":{"port":80}}"#, 422, "invalid-value", "/check_defaults/port"),
        (r#"{"guard":"on"}"#, 422, "invalid-value", "/guard"),
        (r#"{"guard":true}"#, 422, "invalid-value", "/guard"),
        (r#"{"guard":{"ratio":1}}"#, 422, "invalid-value", "/guard/ratio"),
        (r#"{"guard":{"ratio":"half"}}"#, 422, "invalid-value", "/guard/ratio"),
        (r#"{"guard":{"min":0}}"#, 422, "invalid-value", "/guard/min"),
        (r#"{"guard":{"min":1.5}}"#, 422, "invalid-value", "/guard/min"),
        (r#"{"guard":{"window":"0s"}}"#, 422, "invalid-value", "/guard/window"),
        (r#"{"guard":{"max":"25h"}}"#, 422, "invalid-value", "/guard/max"),
        (r#"{"guard":{"rate":0.5}}"#, 422, "invalid-value", "/guard/rate"),
        (r#"{"when_all_critical":"some"}"#, 422, "invalid-value", "/when_all_critical"),
        (r#"{"when_all_critical":true}"#, 422, "invalid-value", "/when_all_critical"),
        (r#"{"fallback":"web"}"#, 422, "invalid-value", "/fallback"),
        (r#"{"fallback":"WEB"}"#, 422, "invalid-value", "/fallback"),
        (r#"{"fallback":"a_b"}"#, 422, "invalid-name", "/fallback"),
        (r#"{"fallback":"spare.svc.internal"}"#, 422, "invalid-name", "/fallback"),
        ("[]", 422, "invalid-value", ""),
        ("null", 422, "invalid-value", ""),
    ] {
        let reply = world.call("PUT", PATH, Some(body)).await;
        is_problem(&reply, status, kind);
        assert_eq!(reply.body["pointer"], pointer, "{body}");
    }
    for (body, detail) in [
        (r#"{"guard":true}"#, "an object or \"off\" is expected here"),
        (r#"{"guard":{"ratio":"half"}}"#, "a number is expected here, without quotes"),
    ] {
        assert_eq!(world.call("PUT", PATH, Some(body)).await.body["detail"], detail);
    }
    is_problem(&world.call("PUT", PATH, Some("{")).await, 400, "not-json");
    is_problem(&world.call("PUT", PATH, None).await, 415, "media-type");
    is_problem(&world.call("PUT", "/v1/services/a_b/settings", Some("{}")).await, 422, "invalid-name");
    is_problem(&world.call("DELETE", PATH, Some("{}")).await, 422, "invalid-value");
    is_problem(&world.call("POST", PATH, Some("{}")).await, 405, "no-method");
    is_problem(&world.call("GET", PATH, None).await, 404, "no-settings");
}

#[tokio::test(start_paused = true)]
async fn a_guard_a_stand_in_and_what_is_answered_when_all_are_critical_are_shown_as_they_hold() {
    let world = World::new().await;
    for (body, guard, when_all_critical, fallback) in [
        (
            r#"{"guard":{"min":5},"when_all_critical":"all","fallback":"Spare"}"#,
            json!({"ratio": 0.5, "min": 5, "window": "30s", "max": "5m"}),
            "all",
            json!("spare"),
        ),
        (
            r#"{"guard":{"ratio":0.25,"min":1,"window":"1s","max":"24h"},"when_all_critical":"none"}"#,
            json!({"ratio": 0.25, "min": 1, "window": "1s", "max": "24h"}),
            "none",
            json!(null),
        ),
        (r#"{"guard":"off"}"#, json!("off"), "none", json!(null)),
        (r#"{"guard":null,"when_all_critical":null,"fallback":null}"#, json!(null), "none", json!(null)),
    ] {
        let put = world.call("PUT", PATH, Some(body)).await;
        assert!(put.status < 300, "{}", put.body);
        let shape = json!({
            "service": "web", "ttl": null, "check_defaults": null, "guard": guard, "when_all_critical": when_all_critical, "fallback": fallback,
        });
        assert_eq!((&put.body, &world.call("GET", PATH, None).await.body), (&shape, &shape));
    }
}

#[tokio::test(start_paused = true)]
async fn settings_alone_make_no_name_and_no_service() {
    let world = World::new().await;
    world.call("PUT", PATH, Some(r#"{"ttl":"1m"}"#)).await;
    let list = world.call("GET", "/v1/services", None).await;
    assert_eq!(list.body["services"], json!([]));
    let asking = Asking::parse("web.svc.internal. A");
    let reply = world.ask(&asking.message(), asking.protocol).await;
    assert_eq!(format!("{:?}", reply.metadata.response_code), "NXDomain");

    let body = r#"{"address":"10.0.0.1","port":80}"#;
    assert_eq!(world.call("PUT", "/v1/services/web/instances/i1", Some(body)).await.status, 201);
    let reply = world.ask(&asking.message(), asking.protocol).await;
    assert_eq!(shown(&reply.answers), ["web.svc.internal. 60 IN A 10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn checks_are_shown_as_they_are_made() {
    let world = World::new().await;
    let checks = r#"[{"type":"tcp"},{"type":"http","interval":"10s","fall":1},{"type":"ttl"}]"#;
    let body = format!(r#"{{"address":"10.0.0.1","port":80,"checks":{checks}}}"#);
    let put = || world.call("PUT", "/v1/services/web/instances/i1", Some(&body));
    let before = put().await;
    let shown = async || {
        let one = world.call("GET", "/v1/services/web/instances/i1", None).await.body;
        let listed = world.call("GET", "/v1/services/web", None).await.body["instances"][0].clone();
        assert_eq!(one["checks"], listed["checks"]);
        let of = |check: &serde_json::Value| {
            let fields = ["interval", "fast_interval", "timeout", "rise", "fall"];
            fields.map(|field| check[field].as_str().map_or(check[field].to_string(), str::to_owned)).join(" ")
        };
        one["checks"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let usual = ["5s 500ms 1s 1 3", "10s 1s 1s 1 1", "5s null null 1 1"];
    assert_eq!(shown().await, usual);

    let defaults = r#"{"check_defaults":{"interval":"30s","timeout":"15s","rise":2,"fall":4}}"#;
    let set = world.call("PUT", PATH, Some(defaults)).await;
    let expected = json!({"interval": "30s", "fast_interval": null, "timeout": "15s", "rise": 2, "fall": 4});
    assert_eq!((set.status, &set.body["check_defaults"]), (201, &expected));
    assert_eq!(shown().await, ["30s 3s 15s 2 4", "10s 1s 10s 2 1", "30s null null 2 4"]);

    // What it registered is still what it said.
    let again = put().await;
    assert_eq!((again.status, &again.body["revision"]), (200, &before.body["revision"]));
    let event = &world.call("GET", "/v1/events?service=web", None).await.body["events"][0];
    assert_eq!(event["to"], "check interval 30s, check timeout 15s, check rise 2, check fall 4");
    assert_eq!(world.call("DELETE", PATH, None).await.status, 204);
    assert_eq!(shown().await, usual);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_judged_by_what_it_says_whatever_the_settings() {
    let world = World::new().await;
    let put = async |check: &str| {
        let body = format!(r#"{{"port":80,"checks":[{check}]}}"#);
        world.call("PUT", "/v1/services/web/instances/i1", Some(&body)).await
    };
    for settings in ["{}", r#"{"check_defaults":{"interval":"1s"}}"#, r#"{"check_defaults":{"interval":"1m"}}"#] {
        world.call("PUT", PATH, Some(settings)).await;
        is_problem(&put(r#"{"type":"tcp","timeout":"6s"}"#).await, 422, "invalid-value");
        assert!(put(r#"{"type":"tcp","timeout":"4s"}"#).await.status < 300, "{settings}");
    }
}
