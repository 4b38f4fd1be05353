//! The HTTP API: every route, every refusal, and what holds for all of them.

mod batch;
mod bodies;
mod connections;
mod events;
mod instances;
mod leases;
mod openapi;
mod pages;
mod polls;
mod reports;
mod services;
mod status;
mod values;
mod waiting;
mod watch;
mod wire;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::support::world::{Reply, World};

const WEB1: &str = "/v1/services/web/instances/i1";
const SMALL: &str = r#"{"address":"10.0.0.1","port":80}"#;

impl World {
    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    /// Registers, and says what it got; it must be new.
    async fn put(&self, path: &str, body: &Value) -> Reply {
        let reply = self.call("PUT", path, Some(&body.to_string())).await;
        assert_eq!(reply.status, 201, "{path}: {}", reply.body);
        reply
    }

    /// A call with headers of its own; a body has no media type unless they say one.
    async fn with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "rollcall.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// What the registry holds; a refusal changes none of it.
    async fn held(&self) -> Value {
        let status = self.get("/v1/status").await.body;
        json!([status["revision"], status["services"], status["instances"], status["answered"]])
    }

    /// A call that is refused, and changes nothing.
    async fn refused(&self, method: &str, path: &str, body: Option<&str>, status: u16, kind: &str) -> Reply {
        let before = self.held().await;
        let reply = self.call(method, path, body).await;
        assert!(reply.is_problem(status, kind), "{method} {path} {body:?}: {reply:?}");
        assert_eq!(self.held().await, before, "{method} {path} {body:?}");
        reply
    }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether this is a whole problem document (RFC 9457) of a kind.
    fn is_problem(&self, status: u16, kind: &str) -> bool {
        self.status == status
            && self.header("content-type") == "application/problem+json"
            && self.header("x-content-type-options") == "nosniff"
            && !self.header("x-rollcall-store").is_empty()
            && !self.header("x-rollcall-revision").is_empty()
            && self.body["type"] == format!("urn:rollcall:{kind}")
            && self.body["status"] == status
            && self.body["title"].as_str().is_some_and(|title| !title.is_empty())
            && self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty())
    }

    fn pointer(&self) -> &str {
        self.body["pointer"].as_str().unwrap_or("none")
    }

    /// The keys of an object, sorted.
    fn keys(&self) -> Vec<&str> {
        keys(&self.body)
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// One field of an otherwise good registration.
fn with_field(field: &str, value: &str) -> String {
    match field {
        "address" | "addresses" => format!(r#"{{"port":80,"{field}":{value}}}"#),
        "port" => format!(r#"{{"address":"10.0.0.1","port":{value}}}"#),
        field => format!(r#"{{"address":"10.0.0.1","port":80,"{field}":{value}}}"#),
    }
}
