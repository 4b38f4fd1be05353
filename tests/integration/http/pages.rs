//! Lists in pages, all of one revision.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::world::World;

async fn with_instances(count: usize) -> World {
    let world = World::new().await;
    for n in 0..count {
        world.put(&format!("/v1/services/web/instances/i{n:03}"), &json!({"port": 80, "shared_address": true})).await;
    }
    world
}

fn next(page: &Value) -> String {
    let cursor = page["next"].as_str().unwrap();
    assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)), "no escaping needed: {cursor}");
    cursor.to_owned()
}

#[tokio::test(start_paused = true)]
async fn pages_are_of_one_revision_while_the_registry_changes() {
    let world = with_instances(5).await;
    let mut path = "/v1/services/web?limit=2".to_owned();
    let mut ids = Vec::new();
    for expected in [2, 2, 1] {
        let reply = world.get(&path).await;
        assert_eq!((&reply.body["revision"], reply.header("x-rollcall-revision")), (&5.into(), "5"));
        let page = reply.body["instances"].as_array().unwrap();
        assert_eq!(page.len(), expected);
        ids.extend(page.iter().map(|instance| instance["id"].as_str().unwrap().to_owned()));
        if expected == 1 {
            assert_eq!(reply.body["next"], Value::Null);
            break;
        }
        path = format!("/v1/services/web?limit=2&cursor={}", next(&reply.body));
        // Each of these would shift a list that is not pinned.
        world.call("DELETE", &format!("/v1/services/web/instances/{}", ids[0]), None).await;
        world.call("DELETE", "/v1/services/web/instances/i004", None).await;
        world.call("PUT", &format!("/v1/services/web/instances/{}x", ids[0]), Some(r#"{"port":81}"#)).await;
    }
    assert_eq!(ids, ["i000", "i001", "i002", "i003", "i004"]);
}

#[tokio::test(start_paused = true)]
async fn services_come_in_pages_too() {
    let world = World::new().await;
    for name in ["a", "b.a", "c.b.a", "b", "a.b"] {
        world.put(&format!("/v1/services/{name}/instances/i1"), &json!({"port": 80})).await;
    }
    for (query, expected) in [("", &["a", "b.a", "c.b.a", "b", "a.b"][..]), ("&under=a", &["b.a", "c.b.a"])] {
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("/v1/services?limit=1{query}{cursor}")).await.body;
            names.push(page["services"][0]["name"].as_str().unwrap().to_owned());
            if page["next"].is_null() {
                break;
            }
            cursor = format!("&cursor={}", next(&page));
            world.call("DELETE", &format!("/v1/services/{}", names[0]), None).await;
        }
        assert_eq!(names, expected);
        world.call("PUT", "/v1/services/a/instances/i1", Some(r#"{"port":80}"#)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn filters_hold_across_pages() {
    let world = with_instances(6).await;
    for n in [1, 3, 5] {
        world.call("PATCH", &format!("/v1/services/web/instances/i{n:03}"), Some(r#"{"tags":["odd"]}"#)).await;
    }
    let first = world.get("/v1/services/web?limit=2&tag=odd").await.body;
    assert_eq!(first["instances"][1]["id"], "i003");
    let second = world.get(&format!("/v1/services/web?limit=2&tag=odd&cursor={}", next(&first))).await.body;
    assert_eq!((&second["instances"][0]["id"], &second["next"]), (&"i005".into(), &Value::Null));
    assert_eq!(second["instances"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_nobody_came_back_with_is_gone() {
    let world = with_instances(3).await;
    let cursor = next(&world.get("/v1/services/web?limit=1").await.body);
    let path = format!("/v1/services/web?limit=1&cursor={cursor}");
    world.call("DELETE", "/v1/services/web/instances/i002", None).await;
    world.advance(Duration::from_secs(59)).await;
    assert_eq!(world.get(&path).await.body["next"], "3~i001", "coming back holds it for longer");
    world.advance(Duration::from_secs(59)).await;
    assert_eq!(world.get(&path).await.status, 200);
    world.advance(Duration::from_secs(60)).await;
    world.refused("GET", &path, None, 410, "cursor-gone").await;
    world.refused("GET", "/v1/services/web?cursor=99~i001", None, 410, "cursor-gone").await;
}

#[tokio::test(start_paused = true)]
async fn views_are_let_go_of_when_too_many_are_pinned() {
    let world = with_instances(3).await;
    let oldest = next(&world.get("/v1/services/web?limit=1").await.body);
    for n in 0..64 {
        world.call("PATCH", "/v1/services/web/instances/i000", Some(&json!({"weight": n + 2}).to_string())).await;
        world.get("/v1/services/web?limit=1").await;
    }
    world.refused("GET", &format!("/v1/services/web?cursor={oldest}"), None, 410, "cursor-gone").await;
    assert_eq!(world.get("/v1/services/web?cursor=4~i000").await.status, 200, "the others are kept");
}
