//! `/v1/services` and `/v1/services/{service}`.

use std::sync::Arc;

use rollcall::model::Health;
use serde_json::{Value, json};

use super::WEB1;
use crate::support::dialogue::Asking;
use crate::support::world::World;

async fn populated() -> World {
    let world = World::new().await;
    for (service, id) in
        [("web", "i1"), ("web", "i2"), ("api.payments", "i1"), ("db.payments", "i1"), ("payments", "i1"), ("pay", "i1")]
    {
        world
            .put(
                &format!("/v1/services/{service}/instances/{id}"),
                &json!({"port": 80, "tags": ["a"], "shared_address": true}),
            )
            .await;
    }
    let checked = json!({"port": 80, "shared_address": true, "tags": ["a", "b"], "checks": [{"type": "tcp"}]});
    world.put("/v1/services/web/instances/i3", &checked).await;
    world
}

fn names<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let key = if field == "services" { "name" } else { "id" };
    list[field].as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn services_are_listed_with_counts_by_group() {
    let world = populated().await;
    let reply = world.get("/v1/services").await;
    assert_eq!((reply.status, reply.keys()), (200, vec!["next", "revision", "services", "store"]));
    assert_eq!(names(&reply.body, "services"), ["pay", "payments", "api.payments", "db.payments", "web"]);
    assert_eq!(reply.body["services"][4], json!({"name": "web", "instances": 3, "answered": 2}));
    assert_eq!((&reply.body["next"], &reply.body["revision"]), (&Value::Null, &7.into()));
    assert_eq!(reply.header("x-rollcall-store"), reply.body["store"]);
    assert_eq!(reply.header("x-rollcall-revision"), "7");
    let under = world.get("/v1/services?under=Payments").await;
    assert_eq!(names(&under.body, "services"), ["api.payments", "db.payments"]);
    assert_eq!(world.get("/v1/services?under=nothing").await.body["services"], json!([]));
    world.refused("GET", "/v1/services?under=_x", None, 422, "invalid-name").await;
}

#[tokio::test(start_paused = true)]
async fn instances_are_listed_by_health_and_tag() {
    let world = populated().await;
    let reply = world.get("/v1/services/web").await;
    assert_eq!((reply.status, reply.keys()), (200, vec!["instances", "next", "revision", "store"]));
    assert_eq!(names(&reply.body, "instances"), ["i1", "i2", "i3"]);
    assert_eq!(reply.body["instances"][0], world.get(WEB1).await.body, "the shape is the same everywhere");
    for (query, expected) in [
        ("health=any", &["i1", "i2", "i3"][..]),
        ("health=passing", &["i1", "i2"]),
        ("tag=b", &["i3"]),
        ("tag=A&tag=b", &["i3"]),
        ("tag=b&health=passing", &[]),
        ("tag=c", &[]),
        ("limit=100000", &["i1", "i2", "i3"]),
    ] {
        assert_eq!(
            names(&world.get(&format!("/v1/services/web?{query}")).await.body, "instances"),
            expected,
            "{query}"
        );
    }
    world.observe("web", "i3", "tcp", Health::Passing, None).await;
    assert_eq!(names(&world.get("/v1/services/WEB?health=passing").await.body, "instances"), ["i1", "i2", "i3"]);
    let unknown = world.get("/v1/services/nobody").await;
    assert_eq!((unknown.status, &unknown.body["instances"]), (200, &json!([])), "so that one can wait for it");
}

#[tokio::test(start_paused = true)]
async fn parameters_that_mean_nothing_are_refused() {
    let world = populated().await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=100001",
        "limit=1e3",
        "limit=",
        "limit=1&limit=2",
        "cursor=",
        "cursor=x",
        "cursor=-1~a",
        "cursor=1",
        "wait=601s",
        "after=x",
        "Limit=1",
        "x",
        "=",
    ] {
        for path in ["/v1/services", "/v1/services/web"] {
            world.refused("GET", &format!("{path}?{query}"), None, 422, "invalid-parameter").await;
        }
    }
    for query in ["health=critical", "health=", "health=any&health=any", "under=payments"] {
        world.refused("GET", &format!("/v1/services/web?{query}"), None, 422, "invalid-parameter").await;
    }
    for query in ["", "?", "?unde=payments", "?under=payments&under=web", "?under=payments&force=true"] {
        world.refused("DELETE", &format!("/v1/services{query}"), None, 422, "invalid-parameter").await;
    }
    world.refused("GET", "/v1/services/web?tag=a_b", None, 422, "invalid-name").await;
    let body = Some(r#"{"port":80}"#);
    for (method, path, body) in [
        ("DELETE", "/v1/services/web?under=payments", None),
        ("PUT", "/v1/services/web/instances/i9?wait=61s", body),
        ("POST", "/v1/services/web/instances?wait=10", body),
        ("GET", "/v1/services/web/instances/i1?x=1", None),
        ("PATCH", "/v1/services/web/instances/i1?x=1", Some("{}")),
        ("DELETE", "/v1/services/web/instances/i1?x=1", None),
        ("POST", "/v1/services/web/instances/i1/renew?x=1", None),
        ("POST", "/v1/leases?ttl=15s", Some(r#"{"ttl":"15s"}"#)),
        ("GET", "/v1/status?x=1", None),
    ] {
        world.refused(method, path, body, 422, "invalid-parameter").await;
    }
    assert_eq!(world.get("/healthz?probe=1").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_service_and_a_group_are_deregistered_at_once() {
    let world = populated().await;
    let reply = world.call("DELETE", "/v1/services/web", None).await;
    assert_eq!(
        (reply.status, &reply.body, reply.header("x-rollcall-revision")),
        (200, &json!({"deregistered": 3}), "8")
    );
    let reply = world.call("DELETE", "/v1/services/web", None).await;
    assert_eq!((reply.status, &reply.body), (200, &json!({"deregistered": 0})));
    assert_eq!(reply.header("x-rollcall-revision"), "8", "nothing left is nothing changed");
    let reply = world.call("DELETE", "/v1/services?under=payments", None).await;
    assert_eq!(reply.body, json!({"deregistered": 2}));
    assert_eq!(names(&world.get("/v1/services").await.body, "services"), ["pay", "payments"]);
    world.refused("DELETE", "/v1/services/_x", None, 422, "invalid-name").await;
    world.refused("DELETE", "/v1/services?under=", None, 422, "invalid-name").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_is_consistent_while_instances_come_and_go() {
    let world = World::new().await;
    for turn in 0..200 {
        let path = format!("/v1/services/web/instances/i{}", turn % 7);
        let method = if turn % 3 == 0 { "DELETE" } else { "PUT" };
        world.call(method, &path, (method == "PUT").then_some(r#"{"port":80}"#)).await;
        let (list, services) = (world.get("/v1/services/web").await.body, world.get("/v1/services").await.body);
        let count = list["instances"].as_array().unwrap().len();
        let counted =
            services["services"].as_array().unwrap().first().map_or(0, |web| web["instances"].as_u64().unwrap());
        assert_eq!((count as u64, &list["revision"]), (counted, &services["revision"]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_called_as_in_dns_is_a_mistake() {
    let world = World::new().await;
    for (service, nearest) in [
        ("web.svc.internal", json!("web")),
        ("Web.SVC.internal.", json!("web")),
        ("api.payments.svc.internal", json!("api.payments")),
        ("_web._tcp.svc.internal", Value::Null),
        ("svc.internal", Value::Null),
    ] {
        for (method, path) in [("PUT", "instances/i1"), ("POST", "instances"), ("PUT", "settings")] {
            let path = format!("/v1/services/{service}/{path}");
            let reply = world.refused(method, &path, Some(r#"{"port":80}"#), 422, "invalid-name").await;
            assert_eq!(reply.body["nearest"], nearest, "{path}");
        }
    }
    for service in ["svc.internals", "internal", "mysvc.internal", "svc.internal.web"] {
        world.put(&format!("/v1/services/{service}/instances/i1"), &json!({"port": 80})).await;
    }
    assert_eq!(world.get("/v1/services/web.svc.internal").await.status, 200, "what is only asked for is not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_is_whole_while_instances_come_and_go() {
    let world = Arc::new(World::new().await);
    world.put("/v1/services/web/instances/stays", &json!({"address": "10.0.1.0", "port": 80})).await;
    let come_and_go = |last: u8| {
        let world = world.clone();
        async move {
            let path = format!("/v1/services/web/instances/i{last}");
            let body = json!({"address": format!("10.0.0.{last}"), "port": 80});
            for _ in 0..250 {
                world.put(&path, &body).await;
                assert_eq!(world.call("DELETE", &path, None).await.status, 204);
            }
        }
    };
    let writers: Vec<_> = (1..=4).map(|last| tokio::spawn(come_and_go(last))).collect();
    let asking = Asking::new("web.svc.internal.", "A".parse().unwrap());
    let mut rounds = 0;
    while rounds == 0 || !writers.iter().all(|writer| writer.is_finished()) {
        let reply = world.ask(&asking.message(), asking.protocol).await;
        let mut addresses: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
        let count = addresses.len();
        addresses.sort();
        addresses.dedup();
        assert!(addresses.len() == count && addresses.contains(&"10.0.1.0".to_owned()), "{reply}");
        rounds += 1;
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(world.ask(&asking.message(), asking.protocol).await.answers.len(), 1, "those who left are gone");
}
