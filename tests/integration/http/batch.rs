//! Many operations, all or none.

use std::time::Duration;

use serde_json::{Value, json};

use super::WEB1;
use crate::support::world::{Reply, World};

async fn batch(world: &World, operations: Value) -> Reply {
    world.call("POST", "/v1/batch", Some(&json!({ "operations": operations }).to_string())).await
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_in_order() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80, "lease_ttl": "15s"})).await;
    let lease = world.call("POST", "/v1/leases", Some(r#"{"ttl":"1m"}"#)).await.body["id"].clone();
    let reply = batch(
        &world,
        json!([
            {"op": "register", "service": "web", "id": "i2", "address": "10.0.0.2", "port": 80, "lease": lease},
            {"port": 81, "op": "register", "checks": [{"type": "tcp"}], "service": "API.payments"},
            {"op": "renew", "service": "web", "id": "i1"},
            {"op": "renew", "lease": lease},
            {"op": "deregister", "service": "web", "id": "i2"},
        ]),
    )
    .await;
    assert_eq!((reply.status, &reply.body["revision"], reply.header("x-rollcall-revision")), (200, &json!(2), "2"));
    let results = reply.body["results"].as_array().unwrap();
    let ops: Vec<&str> = results.iter().map(|result| result["op"].as_str().unwrap()).collect();
    assert_eq!(ops, ["register", "register", "renew", "renew", "deregister"]);
    assert_eq!((&results[0]["created"], &results[0]["instance"]["lease"]["id"]), (&json!(true), &lease));
    assert_eq!(results[1]["instance"]["service"], "api.payments");
    assert_eq!(results[1]["instance"]["addresses"], json!(["192.0.2.1"]), "the caller's own");
    assert_eq!((&results[3]["lease"]["id"], &results[3]["lease"]["ttl"]), (&lease, &json!("1m")));
    assert_eq!(results[4], json!({"op": "deregister", "service": "web", "id": "i2"}));
    assert_eq!(world.get("/v1/status").await.body["instances"], 2);
    assert_eq!(batch(&world, json!([])).await.body["results"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_operation_and_nothing_changes() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80})).await;
    let good = json!({"op": "register", "service": "api", "id": "a", "address": "10.0.1.1", "port": 80});
    let with = |field: &str, value: Value| {
        let mut operation = good.clone();
        operation["id"] = json!("b");
        operation["address"] = json!("10.0.1.2");
        operation[field] = value;
        operation
    };
    let dead = "0000000000000001";
    for (operation, status, kind, pointer) in [
        (json!({"op": "deregister", "service": "web", "id": "i9"}), 404, "no-instance", ""),
        (json!({"op": "renew", "service": "web", "id": "i1"}), 409, "no-own-lease", ""),
        (json!({"op": "renew", "lease": dead}), 410, "lease-gone", ""),
        (with("lease", json!(dead)), 409, "lease-gone", ""),
        (with("id", json!("one")), 409, "name-taken", ""),
        (with("id", json!("a")), 422, "invalid-value", ""),
        (with("port", json!(0)), 422, "invalid-value", "/port"),
        (with("port", json!("80")), 422, "invalid-value", "/port"),
        (with("tags", json!(["a", "b_"])), 422, "invalid-name", "/tags/1"),
        (with("ports", json!({"x": 0})), 422, "invalid-value", "/ports/x"),
        (with("prot", json!("udp")), 422, "invalid-value", "/prot"),
        (with("service", json!("a_b")), 422, "invalid-name", "/service"),
        (with("id", json!(7)), 422, "invalid-value", "/id"),
        (with("op", json!("replace")), 422, "invalid-value", "/op"),
        (json!({"service": "web", "id": "i1"}), 422, "invalid-value", "/op"),
        (json!({"op": "deregister", "service": "web"}), 422, "invalid-value", "/id"),
        (json!({"op": "deregister", "service": "web", "id": "i1", "port": 80}), 422, "invalid-value", "/port"),
        (json!({"op": "renew", "service": "web", "id": "i1", "lease": dead}), 422, "invalid-value", "/lease"),
        (json!({"op": "renew", "lease": "x"}), 422, "invalid-value", "/lease"),
        (json!([]), 422, "invalid-value", ""),
    ] {
        let body = json!({"operations": [good, operation]}).to_string();
        let reply = world.refused("POST", "/v1/batch", Some(&body), status, kind).await;
        assert_eq!(reply.pointer(), format!("/operations/1{pointer}"), "{body}");
    }
    let twice = r#"{"operations":[{"op":"renew","op":"renew"}]}"#;
    world.refused("POST", "/v1/batch", Some(twice), 422, "invalid-value").await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_registers_nobody_who_would_be_gone_at_once() {
    let world = World::new().await;
    let at = |id: &str, addresses: Value, port: u16| json!({"op": "register", "service": "web", "id": id, "addresses": addresses, "port": port});
    let with = |mut operation: Value, field: &str, value: Value| {
        operation[field] = value;
        operation
    };
    let first = at("a", json!(["10.0.0.1", "fd00::1"]), 80);
    for second in [
        at("b", json!(["10.0.0.1"]), 80),
        at("b", json!(["10.0.0.2", "fd00::1"]), 80),
        with(at("b", json!(["10.0.0.1"]), 80), "generation", json!(7)),
    ] {
        let body = json!({"operations": [first, second]}).to_string();
        let reply = world.refused("POST", "/v1/batch", Some(&body), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), "/operations/1");
        assert!(reply.body["detail"].as_str().unwrap().starts_with("operation 0 registers "), "{}", reply.body);
    }
    let beside = [
        first.clone(),
        at("b", json!(["10.0.0.1"]), 81),
        with(at("c", json!(["10.0.0.1"]), 80), "protocol", json!("udp")),
        with(at("d", json!(["10.0.0.1"]), 80), "service", json!("api")),
        with(at("e", json!(["10.0.0.1"]), 80), "shared_address", json!(true)),
    ];
    assert_eq!(batch(&world, json!(beside)).await.status, 200);
    assert_eq!(world.get("/v1/status").await.body["instances"], 5);
}

#[tokio::test(start_paused = true)]
async fn whoever_lapsed_is_told_so_in_a_batch_too() {
    let world = World::new().await;
    world.put(WEB1, &json!({"address": "10.0.0.1", "port": 80, "lease_ttl": "2s"})).await;
    world.advance(Duration::from_secs(2)).await;
    for (id, status, kind) in [("i1", 410, "lease-gone"), ("i2", 404, "no-instance")] {
        let body = json!({"operations": [{"op": "renew", "service": "web", "id": id}]}).to_string();
        let reply = world.refused("POST", "/v1/batch", Some(&body), status, kind).await;
        assert_eq!(reply.pointer(), "/operations/0");
        assert!(reply.body["detail"].as_str().unwrap().contains("register again"), "{}", reply.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_its_own_bounds() {
    let world = World::new().await;
    let operation = |n: usize| {
        let meta = "x".repeat(200);
        json!({"op": "register", "service": "web", "id": format!("i{n}"), "address": format!("10.0.{}.{}", n / 250, n % 250),
               "port": 80, "meta": {"a": meta, "b": meta, "c": meta}})
    };
    let many = |count: usize| Value::from((0..count).map(operation).collect::<Vec<_>>());
    let reply = batch(&world, many(1000)).await;
    assert_eq!((reply.status, &reply.body["revision"]), (200, &json!(1)), "more than the 64 KiB of one registration");
    let refused = batch(&world, many(1001)).await;
    assert!(refused.is_problem(422, "invalid-value") && refused.pointer() == "/operations", "{refused:?}");
    let padded = format!(r#"{{"operations":[]{}}}"#, " ".repeat(4 << 20));
    assert!(world.call("POST", "/v1/batch", Some(&padded)).await.is_problem(413, "too-large"));
}
