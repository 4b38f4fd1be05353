//! What services say of themselves.

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use super::{WEB1, World};
use crate::support::server::Server;
use crate::support::wait::until;

const PASS: &str = "/v1/services/web/instances/i1/checks/self/pass";
const FAIL: &str = "/v1/services/web/instances/i1/checks/self/fail";

fn reporting() -> Value {
    let check = json!({"type": "ttl", "name": "self", "interval": "15s", "rise": 1});
    json!({"address": "10.0.0.7", "port": 80, "checks": [check, {"type": "tcp"}]})
}

#[tokio::test(start_paused = true)]
async fn a_report_is_answered_with_the_check_as_it_then_stands() {
    let world = World::new().await;
    let got = world.put(WEB1, &reporting()).await.body;
    assert_eq!(got["withheld_because"], "check self was not reported on yet");
    let fields: Vec<&str> = got["checks"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["fall", "health", "interval", "last_error", "name", "rise", "since", "type"]);
    assert_eq!((&got["checks"][0]["fall"], &got["checks"][0]["interval"]), (&1.into(), &"15s".into()));

    let reply = world.call("POST", PASS, None).await;
    let check = &reply.body["check"];
    assert_eq!((reply.status, &check["name"], &check["health"]), (200, &"self".into(), &"passing".into()));
    assert!(check["report_by"].is_string() && check["last_error"].is_null(), "{check}");
    assert_eq!(reply.header("x-rollcall-revision"), world.get(WEB1).await.body["revision"].to_string());
    let reply = world.call("POST", FAIL, Some(&json!({"reason": "\u{1b}[2J<b>"}).to_string())).await;
    assert_eq!(reply.body["check"]["last_error"], "reported as failing: \\u{1b}[2J<b>");
    assert_eq!(world.get(WEB1).await.body["withheld_because"].as_str().unwrap().matches("reported").count(), 1);
    let long = json!({"reason": "x".repeat(60_000)}).to_string();
    world.call("POST", PASS, None).await;
    let reply = world.call("POST", FAIL, Some(&long)).await;
    assert!(reply.body["check"]["last_error"].as_str().unwrap().len() < 200, "{}", reply.body);
}

#[tokio::test(start_paused = true)]
async fn only_checks_of_this_type_are_reported_on() {
    let world = World::new().await;
    world.put(WEB1, &reporting()).await;
    for path in [PASS, FAIL] {
        world.refused("POST", &path.replace("self", "tcp"), None, 409, "probed-check").await;
        world.refused("POST", &path.replace("i1", "i2"), None, 404, "no-instance").await;
        world.refused("POST", &path.replace("web", "api"), None, 404, "no-instance").await;
        let refused = world.refused("POST", &path.replace("self", "http"), None, 404, "no-check").await;
        assert_eq!(refused.body["detail"], "http is none of its checks, which are: self, tcp");
        world.refused("POST", &path.replace("self", "a%20b"), None, 422, "invalid-name").await;
        world.refused("POST", path, Some(r#"{"reason":{}}"#), 422, "invalid-value").await;
        world.refused("POST", path, Some(r#"{"reason":"x"} 1"#), 400, "not-json").await;
        world.refused("POST", path, Some(&json!({"reason": "x".repeat(70_000)}).to_string()), 413, "too-large").await;
        world.refused("POST", &format!("{path}?reason=x"), None, 422, "invalid-parameter").await;
        let reply = world.with("POST", path, &[("content-type", "text/plain")], "disk full").await;
        assert!(reply.is_problem(415, "media-type"), "{reply:?}");
        let reply = world.with("POST", path, &[("if-match", "*")], "").await;
        assert!(reply.is_problem(400, "bad-request"), "{reply:?}");
        assert_eq!(world.get(path).await.status, 405);
    }
}

#[tokio::test(start_paused = true)]
async fn what_clients_say_is_heard_of_instances_that_are_there() {
    let world = World::new().await;
    world.put(WEB1, &reporting()).await;
    let path = format!("{WEB1}/report");
    let before = world.held().await;
    let reply = world.call("POST", &path, Some(r#"{"failed":"connect\nrefused"}"#)).await;
    assert_eq!((reply.status, &reply.body), (202, &json!({"probed": true})));
    {
        let hints = world.hints.lock();
        let hint = hints.last().unwrap();
        assert_eq!((hint.service.as_str(), hint.id.as_str()), ("web", "i1"));
        assert_eq!(hint.failed.as_ref().unwrap().as_str(), "connect\\nrefused");
    }
    for (check, id) in [(json!([]), "i2"), (json!([{"type": "ttl"}]), "i3")] {
        world
            .put(
                &WEB1.replace("i1", id),
                &json!({"port": 80, "address": "10.0.0.8", "shared_address": true, "checks": check}),
            )
            .await;
        let reply = world.call("POST", &path.replace("i1", id), Some(r#"{"failed":"x"}"#)).await;
        assert_eq!((reply.status, &reply.body), (202, &json!({"probed": false})), "nothing of it is probed");
    }
    assert_eq!(world.hints.lock().len(), 1);
    assert_ne!(world.held().await, before, "of the two that came");

    world.refused("POST", &path.replace("i1", "i9"), Some(r#"{"failed":"x"}"#), 404, "no-instance").await;
    world.refused("POST", &path, None, 415, "media-type").await;
    for body in ["{}", r#"{"failed":""}"#, r#"{"failed":7}"#, r#"{"failed":null}"#, r#"{"failed":"x","by":"y"}"#] {
        world.refused("POST", &path, Some(body), 422, "invalid-value").await;
    }
}

#[test]
fn a_service_that_reports_itself_is_in_dns_until_it_says_otherwise_or_nothing() {
    let server = Server::start();
    let check = json!({"type": "ttl", "interval": "1s"});
    server.register("job", "j1", &json!({"port": 80, "address": "10.0.0.7", "checks": [check]}));
    let is_answered = || !server.ask("job.svc.internal.", RecordType::A).answers.is_empty();
    assert!(!is_answered(), "nobody knows yet");
    server.call(async |client| client.pass("job", "j1", "ttl", None).await).unwrap();
    // Unless this took a second.
    let passed = server.instance("job", "j1").unwrap();
    let events = || server.call(async |client| client.events(Default::default(), Default::default()).await).unwrap();
    assert!(passed["checks"][0]["report_by"].is_string(), "{passed}");
    until("it is critical by silence", || {
        let instance = server.instance("job", "j1").unwrap();
        let silent = "check ttl is critical: not reported for 1s";
        if instance["withheld_because"] == silent && !is_answered() { Ok(()) } else { Err(instance.to_string()) }
    });
    server.call(async |client| client.fail("job", "j1", "ttl", Some("going away")).await).unwrap();
    let told = events()["events"].to_string();
    assert!(told.contains("check ttl is passing") && told.contains("not reported for 1s"), "{told}");
    server.stop();
}

#[test]
fn a_client_that_finds_an_instance_dead_has_it_out_of_dns_before_its_interval() {
    let server = Server::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let check = json!({"type": "tcp", "interval": "1h", "fast_interval": "50ms"});
    let body = json!({"port": port, "address": "127.0.0.1", "checks": [check]});
    server
        .call(async |client| {
            client.register_and_wait("web", Some("w1"), &body, std::time::Duration::from_secs(60)).await
        })
        .unwrap();
    let is_answered = || !server.ask("web.svc.internal.", RecordType::A).answers.is_empty();
    assert!(is_answered());
    let report = || server.call(async |client| client.report_failed("web", "w1", "connect refused").await).unwrap();
    assert_eq!(report()["probed"], true, "though it is well");
    assert!(is_answered());
    drop(listener);
    until("it is out of DNS", || {
        // The first that comes within the fast interval of the one before is only counted.
        let reported = report();
        if is_answered() { Err(reported.to_string()) } else { Ok(()) }
    });
    let instance = server.instance("web", "w1").unwrap();
    let because = instance["withheld_because"].as_str().unwrap();
    assert!(because.starts_with("check tcp is critical: connection refused"), "{because}");
    assert!(instance["checks"][0]["hints"].as_u64().unwrap() >= 2, "{instance}");
    server.stop();
}
