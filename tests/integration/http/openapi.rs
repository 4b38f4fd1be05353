//! The API's document.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::world::World;

/// What the document is, as a file that shows in a review what a change does to the API.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi/document.json");

#[tokio::test(start_paused = true)]
async fn the_document_is_the_one_that_was_looked_at() {
    let document = World::new().await.get("/openapi.json").await.body;
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    if std::env::var_os("ROLLCALL_RENEW_SNAPSHOT").is_some_and(|value| value == "1") {
        fs::write(SNAPSHOT, &text).unwrap();
    }
    let known = fs::read_to_string(SNAPSHOT).unwrap_or_default();
    let differs = text.lines().zip(known.lines()).position(|(now, then)| now != then);
    assert!(
        text == known,
        "the API's document is another from line {} on. If that is meant, renew it and look at the difference:\n\
         ROLLCALL_RENEW_SNAPSHOT=1 cargo test --test integration openapi && git diff tests/openapi/document.json",
        differs.unwrap_or(known.lines().count()) + 1
    );
}

/// The paths of the document with their methods in upper case.
fn described(document: &Value) -> Vec<(String, BTreeSet<String>)> {
    let methods = |item: &Value| item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
    document["paths"].as_object().unwrap().iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_described_is_served_and_with_no_other_methods() {
    let world = World::new().await;
    let paths = described(&world.get("/openapi.json").await.body);
    assert!(paths.len() > 15, "{paths:?}");
    for (path, mut methods) in paths {
        let address = path.replace("{service}", "web").replace("{id}", "i1").replace("{check}", "ttl");
        let reply = world.call("TRACE", &address, None).await;
        assert!(reply.is_problem(405, "no-method"), "{path}: {reply:?}");
        // Whoever has GET has HEAD (RFC 9110 §9.1).
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        let allowed: BTreeSet<String> =
            reply.header("allow").split(',').map(|method| method.trim().to_owned()).collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

/// The other direction: no route is added in another way than with its description.
#[test]
fn what_is_served_is_described() {
    let mut places = Vec::new();
    let mut folders = vec![Path::new("src").to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if [".route(", "route_service(", ".nest("]
                .iter()
                .any(|way| fs::read_to_string(&path).unwrap().contains(way))
            {
                places.push(path.display().to_string());
            }
        }
    }
    places.retain(|place| !place.starts_with("src/demo"));
    places.sort();
    // The gate's is in its test.
    assert_eq!(places, ["src/api/gate.rs", "src/api/openapi/mod.rs"]);
}

#[tokio::test(start_paused = true)]
async fn the_document_is_sent_again_only_when_it_has_changed() {
    let world = World::new().await;
    let first = world.get("/openapi.json").await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/json"));
    assert_eq!(first.body["openapi"], "3.1.1");
    assert_eq!(first.body["info"]["version"], env!("CARGO_PKG_VERSION"));
    let tag = first.header("etag");
    for known in [tag, "*", &format!("W/{tag}"), &format!("\"other\", {tag}")] {
        let again = world.with("GET", "/openapi.json", &[("if-none-match", known)], "").await;
        assert_eq!((again.status, again.header("etag"), &again.body), (304, tag, &Value::Null), "{known}");
    }
    let again = world.with("GET", "/openapi.json", &[("if-none-match", "\"other\"")], "").await;
    assert_eq!((again.status, again.body), (200, first.body.clone()));
}

/// All references of a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                found.insert(reference);
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn references_lead_somewhere_and_names_of_operations_are_all_different() {
    let document = World::new().await.get("/openapi.json").await.body;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let operations =
        || document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let ids: BTreeSet<&str> = operations().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations().count());
    for operation in operations() {
        for response in operation["responses"].as_object().unwrap().values() {
            for link in response["links"].as_object().into_iter().flat_map(|links| links.values()) {
                assert!(ids.contains(link["operationId"].as_str().unwrap()), "{link}");
            }
        }
    }
}
