//! Routes about the node, and what every response carries.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use rollcall::api;
use rollcall::model::Unheard;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{SMALL, WEB1};
use crate::support::world::World;

#[tokio::test(start_paused = true)]
async fn status_tells_of_this_node() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80})).await;
    world.put("/v1/services/gone/instances/i1", &json!({"port": 80})).await;
    world.call("DELETE", "/v1/services/gone", None).await;
    world.advance(std::time::Duration::from_secs(90)).await;
    let reply = world.get("/v1/status").await;
    assert_eq!(reply.status, 200);
    let store = world.store.id();
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"), "zone": "svc.internal.", "store": store, "engine": "memory",
        "revision": 3, "services": 1, "instances": 1, "answered": 1, "critical_for_a_day": 0, "uptime": "1m30s", "peers": [],
        "guarded": [], "doubts": [],
    });
    assert_eq!(reply.body, expected);
    assert_eq!(reply.header("x-rollcall-store"), store.as_str());
}

#[tokio::test(start_paused = true)]
async fn readiness_says_what_is_missing_and_metrics_are_text() {
    let world = World::new().await;
    assert_eq!(world.get("/healthz").await.body, json!({"status": "live"}));
    assert_eq!(world.get("/readyz").await.body, json!({"status": "ready"}));
    let rendered = parking_lot::Mutex::new(vec!["# EOF\n".to_owned()]);
    let context = api::Context {
        store: world.store.clone(),
        view: world.view.clone(),
        zone: "svc.internal".parse().unwrap(),
        live: world.zone.clone(),
        udp_payload: 1232,
        explain_allow: Vec::new(),
        permit_checks: Box::new(|_| Err((1, "not there".to_owned()))),
        doubts: Box::new(Vec::new),
        report_checks: Box::new(|names| Box::pin(async move { vec![Vec::new(); names.len()] })),
        take_report: Box::new(|_| Box::pin(async { Err(Unheard::Busy) })),
        take_hint: Box::new(|_| Box::pin(async { Err(Unheard::Busy) })),
        not_ready: Box::new(|| vec!["the registry is still loading".to_owned()]),
        render_metrics: Box::new(move || rendered.lock().pop().ok_or(std::fmt::Error)),
        started: tokio::time::Instant::now(),
        pins: api::Pins::default(),
        waiting: api::Waiting::default(),
        load: api::Load::default(),
    };
    let api = api::router(Arc::new(context));
    let get = async |path: &str| {
        let request = Request::get(path).header("host", "x").body(Body::empty()).unwrap();
        let response = api.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes())
    };
    let (status, _, body) = get("/readyz").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["reasons"]), (503, &json!(["the registry is still loading"])));
    assert_eq!(get("/healthz").await.0, 200, "live all the same");
    let (status, headers, body) = get("/metrics").await;
    assert_eq!((status, &body[..]), (200, &b"# EOF\n"[..]));
    assert_eq!(headers["content-type"], rollcall::telemetry::METRICS_CONTENT_TYPE);
    let (status, _, body) = get("/metrics").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["type"]), (500, &"urn:rollcall:internal".into()), "not a page without metrics");

    let request = Request::put(WEB1).header("host", "x").header("content-type", "application/json");
    let mut request = request.body(Body::from(SMALL)).unwrap();
    request.extensions_mut().insert(api::Peer("192.0.2.1:1".parse().unwrap()));
    let response = api.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 422);
    let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&body["pointer"], &body["detail"]), (&"/checks/1".into(), &"not there".into()));
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_with_labels_that_no_client_makes() {
    let world = World::new().await;
    let mut registry = prometheus_client::registry::Registry::default();
    let api = api::counted(world.api.clone(), &mut registry);
    for (method, path) in
        [("GET", "/v1/status"), ("GET", "/"), ("GET", "/nothing"), ("BREW", "/healthz"), ("PUT", WEB1)]
    {
        let request = Request::builder().method(method).uri(path).header("host", "x").body(Body::empty()).unwrap();
        api.clone().oneshot(request).await.unwrap();
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let mut counts: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    counts.sort_unstable();
    let expected = [
        r#"http_requests_total{method="GET",status="200"} 1"#,
        r#"http_requests_total{method="GET",status="404"} 2"#,
        r#"http_requests_total{method="PUT",status="422"} 1"#,
        r#"http_requests_total{method="other",status="405"} 1"#,
    ];
    assert_eq!(counts, expected);
}

#[tokio::test(start_paused = true)]
async fn problems_say_what_to_do_and_nothing_twice() {
    let world = World::new().await;
    for path in ["/", "/v1", "/v1/nothing", "/v2/services"] {
        let reply = world.refused("GET", path, None, 404, "no-route").await;
        assert!(reply.body["detail"].as_str().unwrap().contains("/v1/services/{service}/instances/{id}"), "{path}");
    }
    let renew = format!("{WEB1}/renew");
    for (method, path, detail) in [
        ("GET", WEB1, "nobody is registered under this id: GET /v1/services/{service} lists who is"),
        ("DELETE", WEB1, "nobody is registered under this id: GET /v1/services/{service} lists who is"),
        ("POST", &renew, "nobody is registered under this id: register again"),
    ] {
        let reply = world.refused(method, path, None, 404, "no-instance").await;
        assert_eq!(reply.body["detail"], detail, "{method}");
    }
    world.put(WEB1, &json!({"port": 80, "lease_ttl": "2s"})).await;
    world.advance(std::time::Duration::from_secs(3)).await;
    let reply = world.refused("POST", &renew, None, 410, "lease-gone").await;
    assert_eq!(reply.body["detail"], "the instance left when it lapsed: register again");
}

#[tokio::test(start_paused = true)]
async fn every_response_names_the_history_and_its_media_type() {
    let world = World::new().await;
    for (method, path, status) in [
        ("GET", "/v1/services", 200),
        ("HEAD", "/v1/services", 200),
        ("GET", "/healthz", 200),
        ("GET", "/v1/nothing", 404),
        ("OPTIONS", "/v1/services", 405),
    ] {
        let reply = world.call(method, path, None).await;
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(reply.header("x-rollcall-store"), world.store.id().as_str(), "{path}");
        assert_eq!(reply.header("x-rollcall-revision"), "0", "{path}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("cache-control"), "no-store", "{path}");
        assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control")), "no CORS");
    }
}

#[tokio::test(start_paused = true)]
async fn other_methods_and_paths_are_problems() {
    let world = World::new().await;
    for (path, allowed) in [
        ("/v1/services", "GET,HEAD,DELETE"),
        ("/v1/services/web", "GET,HEAD,DELETE"),
        ("/v1/services/web/instances", "POST"),
        (WEB1, "GET,HEAD,PUT,PATCH,DELETE"),
        ("/v1/services/web/instances/i1/renew", "POST"),
        ("/v1/leases", "POST"),
        ("/v1/leases/renew", "POST"),
        ("/v1/leases/0000000000000001", "GET,HEAD,DELETE"),
        ("/v1/status", "GET,HEAD"),
        ("/healthz", "GET,HEAD"),
        ("/metrics", "GET,HEAD"),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if allowed.split(',').any(|allowed| allowed == method) {
                continue;
            }
            let reply = world.refused(method, path, None, 405, "no-method").await;
            let mut allow: Vec<&str> = reply.header("allow").split(',').collect();
            let mut expected: Vec<&str> = allowed.split(',').collect();
            allow.sort_unstable();
            expected.sort_unstable();
            assert_eq!((allow, path), (expected, path));
        }
    }
    for path in
        ["/", "/v1", "/v1/", "/v2/services", "/v1/services/", "/v1/services/web/", "/v1/services/web/instances/"]
    {
        world.refused("GET", path, None, 404, "no-route").await;
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_sites_cannot_write() {
    let world = World::new().await;
    world.put(WEB1, &json!({"port": 80, "lease_ttl": "60s"})).await;
    let before = world.held().await;
    let json = ("content-type", "application/json");
    for origin in ["http://evil.example", "https://rollcall.test.evil.example", "null", "", "http://rollcall.test:81"] {
        for (method, path, body) in [
            ("PUT", "/v1/services/web/instances/i2", SMALL),
            ("POST", "/v1/services/web/instances", SMALL),
            ("PATCH", WEB1, r#"{"weight":9}"#),
            ("DELETE", WEB1, ""),
            ("POST", "/v1/services/web/instances/i1/renew", ""),
            ("POST", "/v1/leases", r#"{"ttl":"5s"}"#),
            ("DELETE", "/v1/services/web", ""),
        ] {
            let reply = world.with(method, path, &[json, ("origin", origin)], body).await;
            assert!(reply.is_problem(403, "foreign-origin"), "{origin} {method} {path}: {reply:?}");
        }
        assert_eq!(
            world.with("GET", WEB1, &[("origin", origin)], "").await.status,
            200,
            "a read is not answered to it"
        );
    }
    assert_eq!(world.held().await, before);
    let own = world.with("PATCH", WEB1, &[json, ("origin", "http://rollcall.test")], r#"{"weight":9}"#).await;
    assert_eq!(own.status, 200);
}
