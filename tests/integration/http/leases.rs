//! `/v1/leases`, and leases of instances.

use std::time::Duration;

use serde_json::{Value, json};

use super::{WEB1, keys};
use crate::support::world::World;

impl World {
    async fn grant(&self, ttl: &str) -> String {
        let reply = self.call("POST", "/v1/leases", Some(&json!({ "ttl": ttl }).to_string())).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.body["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_granted_shown_renewed_and_revoked() {
    let world = World::new().await;
    let granted = world.call("POST", "/v1/leases", Some(r#"{"ttl":"90s"}"#)).await;
    assert_eq!((granted.status, granted.keys()), (201, vec!["expires_at", "id", "ttl"]));
    assert_eq!(granted.body["ttl"], "1m30s");
    let path = format!("/v1/leases/{}", granted.body["id"].as_str().unwrap());
    assert_eq!(granted.header("location"), path);
    assert_eq!(granted.header("x-rollcall-revision"), "0", "a lease alone is no change");

    let shown = world.get(&path).await;
    assert_eq!((shown.status, &shown.body["id"], &shown.body["ttl"]), (200, &granted.body["id"], &"1m30s".into()));
    world.advance(Duration::from_secs(60)).await;
    let renewed = world.call("POST", &format!("{path}/renew"), None).await;
    assert_eq!((renewed.status, renewed.keys()), (200, vec!["expires_at", "id", "ttl"]));
    world.advance(Duration::from_secs(60)).await;
    assert_eq!(world.get(&path).await.status, 200, "the renewal counts");

    let revoked = world.call("DELETE", &path, None).await;
    assert_eq!((revoked.status, &revoked.body), (204, &Value::Null));
    world.refused("GET", &path, None, 404, "no-lease").await;
    world.refused("DELETE", &path, None, 404, "no-lease").await;
    world.refused("POST", &format!("{path}/renew"), None, 410, "lease-gone").await;
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_or_unknown_lease_is_gone_for_everyone() {
    let world = World::new().await;
    let lapsed = world.grant("2s").await;
    world.advance(Duration::from_secs(2)).await;
    for id in [&*lapsed, "0000000000000001", "0", "ffffffffffffffff", "x%0ay", "%3Cb%3E", "%00", "../x", "%ff"] {
        let path = format!("/v1/leases/{id}");
        if id == "%ff" {
            world.refused("GET", &path, None, 400, "bad-request").await;
        } else if id == "../x" {
            world.refused("GET", &path, None, 404, "no-route").await;
        } else {
            world.refused("GET", &path, None, 404, "no-lease").await;
            world.refused("DELETE", &path, None, 404, "no-lease").await;
            world.refused("POST", &format!("{path}/renew"), None, 410, "lease-gone").await;
        }
    }
    let body = json!({"port": 80, "lease": lapsed}).to_string();
    world.refused("PUT", WEB1, Some(&body), 409, "lease-gone").await;
}

#[tokio::test(start_paused = true)]
async fn the_length_of_a_lease_is_bounded() {
    let world = World::new().await;
    for ttl in ["2s", "24h", "1m30s"] {
        world.grant(ttl).await;
    }
    for ttl in ["0s", "1s", "1999ms", "2500ms", "24h1s", "", "15", "-5s", "1e3s", "NaN", "99999999999999999999h"] {
        let body = json!({ "ttl": ttl }).to_string();
        assert_eq!(world.refused("POST", "/v1/leases", Some(&body), 422, "invalid-value").await.pointer(), "/ttl");
        let body = json!({"port": 80, "lease_ttl": ttl}).to_string();
        assert_eq!(world.refused("PUT", WEB1, Some(&body), 422, "invalid-value").await.pointer(), "/lease_ttl");
    }
    for (body, pointer) in
        [("{}", ""), (r#"{"ttl":15}"#, "/ttl"), (r#"{"ttl":"5s","id":"x"}"#, "/id"), (r#"["5s"]"#, "")]
    {
        assert_eq!(world.refused("POST", "/v1/leases", Some(body), 422, "invalid-value").await.pointer(), pointer);
    }
}

#[tokio::test(start_paused = true)]
async fn many_leases_are_renewed_in_one_call() {
    let world = World::new().await;
    let (a, b) = (world.grant("10s").await, world.grant("20s").await);
    world.advance(Duration::from_secs(6)).await;
    let renew =
        async |ids: &[&str]| world.call("POST", "/v1/leases/renew", Some(&json!({ "ids": ids }).to_string())).await;
    let reply = renew(&[&b, &a.to_uppercase(), &b]).await;
    assert_eq!((reply.status, reply.keys()), (200, vec!["leases"]), "{}", reply.body);
    let leases = reply.body["leases"].as_array().unwrap();
    let ids: Vec<&str> = leases.iter().map(|lease| lease["id"].as_str().unwrap()).collect();
    assert_eq!((ids, keys(&leases[0])), (vec![&*b, &*a, &*b], vec!["expires_at", "id", "ttl"]));
    assert_eq!(renew(&[]).await.body, json!({"leases": []}));

    world.advance(Duration::from_secs(6)).await;
    assert_eq!(world.get(&format!("/v1/leases/{a}")).await.status, 200);
    world.advance(Duration::from_secs(4)).await;
    let reply = renew(&[&a, &b, "nonsense"]).await;
    assert!(reply.is_problem(410, "lease-gone"), "{reply:?}");
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains(&a) && detail.contains("nonsense") && !detail.contains(&b), "{detail}");
    assert_eq!(reply.body["ids"], json!(["nonsense", a]));
    let dead: Vec<String> = (0..1000).map(|n| format!("{n:016x}")).collect();
    let reply = renew(&dead.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(reply.is_problem(410, "lease-gone") && reply.body["ids"] == json!(dead), "all, however many: {reply:?}");
    world.advance(Duration::from_secs(19)).await;
    assert_eq!(world.get(&format!("/v1/leases/{b}")).await.status, 200, "those alive are renewed all the same");

    let many = json!({ "ids": vec!["0"; 1001] }).to_string();
    assert_eq!(world.refused("POST", "/v1/leases/renew", Some(&many), 422, "invalid-value").await.pointer(), "/ids");
    let body = Some(r#"{"ids":[1]}"#);
    assert_eq!(world.refused("POST", "/v1/leases/renew", body, 422, "invalid-value").await.pointer(), "/ids/0");
}

#[tokio::test(start_paused = true)]
async fn instances_join_a_lease_and_leave_with_it() {
    let world = World::new().await;
    let lease = world.grant("10s").await;
    for n in 1..=3 {
        let path = format!("/v1/services/web/instances/i{n}");
        let joined = world.put(&path, &json!({"port": 80, "lease": lease})).await;
        assert_eq!(joined.body["lease"]["id"], lease);
        let reply = world.refused("POST", &format!("{path}/renew"), None, 409, "no-own-lease").await;
        assert!(reply.body["detail"].as_str().unwrap().contains(&lease), "it says what to renew");
    }
    world.call("DELETE", WEB1, None).await;
    assert_eq!(world.get(&format!("/v1/leases/{lease}")).await.status, 200, "others are still on it");
    world.call("DELETE", &format!("/v1/leases/{lease}"), None).await;
    assert_eq!(world.held().await[2], 0);

    let body = json!({"port": 80, "lease": "0123", "lease_ttl": "5s"}).to_string();
    assert_eq!(world.refused("PUT", WEB1, Some(&body), 422, "invalid-value").await.pointer(), "/lease");
    let body = json!({"port": 80, "lease": "0123"}).to_string();
    assert_eq!(world.refused("PUT", WEB1, Some(&body), 422, "invalid-value").await.pointer(), "/lease");
}

#[tokio::test(start_paused = true)]
async fn an_instances_own_lease_is_renewed_by_its_name() {
    let world = World::new().await;
    let renew = format!("{WEB1}/renew");
    world.refused("POST", &renew, None, 404, "no-instance").await;
    let put = json!({"port": 80, "lease_ttl": "10s"});
    let lease = world.put(WEB1, &put).await.body["lease"]["id"].clone();
    world.advance(Duration::from_secs(9)).await;
    let reply = world.call("POST", &renew, None).await;
    assert_eq!((reply.status, reply.keys(), &reply.body["lease"]["id"]), (200, vec!["lease"], &lease));
    world.advance(Duration::from_secs(10)).await;
    assert_eq!(world.held().await[2], 0);
    world.refused("POST", &renew, None, 410, "lease-gone").await;

    let lease = world.put(WEB1, &put).await.body["lease"]["id"].clone();
    world.call("DELETE", &format!("/v1/leases/{}", lease.as_str().unwrap()), None).await;
    world.refused("POST", &renew, None, 410, "lease-gone").await;
    world.put(WEB1, &json!({"port": 80})).await;
    world.refused("POST", &renew, None, 409, "no-own-lease").await;
    world.call("DELETE", WEB1, None).await;
    world.refused("POST", &renew, None, 404, "no-instance").await;

    world.put(WEB1, &put).await;
    world.advance(Duration::from_secs(10)).await;
    world.advance(Duration::from_secs(3600)).await;
    world.refused("POST", &renew, None, 404, "no-instance").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_a_lease_that_ends_with_another_instance() {
    let world = World::new().await;
    let own = world.put(WEB1, &json!({"port": 80, "lease_ttl": "10s"})).await.body["lease"]["id"].clone();
    let body = json!({"port": 80, "lease": own}).to_string();
    world.refused("PUT", "/v1/services/web/instances/i2", Some(&body), 409, "lease-not-shared").await;
    let again = world.call("PUT", WEB1, Some(&json!({"port": 81, "lease": own}).to_string())).await;
    assert_eq!((again.status, &again.body["lease"]["id"]), (200, &own), "its own it keeps");
    assert_eq!(world.call("POST", &format!("{WEB1}/renew"), None).await.status, 200);
}
