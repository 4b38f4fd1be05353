//! What is served while the registry is still loading: that this node lives, and that it is not ready.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tower_service::Service;

use super::problem::Problem;
use super::{routes, status};

const LOADING: &str = "the registry is still loading";

/// Stands before routes that come later. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<OnceLock<Router>>);

impl Gate {
    /// Lets everything through to these routes from now on. The first call counts.
    pub fn open(&self, router: Router) {
        let _ = self.0.set(router);
    }

    /// What to serve.
    pub fn router(&self) -> Router {
        let gate = self.clone();
        Router::new().fallback(async move |request: Request| match gate.0.get() {
            // A router is always ready, and cloning it costs a counter.
            Some(router) => router.clone().call(request).await.unwrap_or_else(|never| match never {}),
            None => {
                let (head, _) = request.into_parts();
                early(head.uri.path(), head.headers).await
            }
        })
    }
}

async fn early(path: &str, headers: HeaderMap) -> Response {
    match path {
        "/healthz" => status::healthz().await,
        "/openapi.json" => routes::document(headers).await,
        "/readyz" => status::ready(vec![LOADING.to_owned()]),
        _ => Problem::unavailable(LOADING).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn nobody_sees_a_registry_that_is_not_loaded() {
        let gate = Gate::default();
        let status = async |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            gate.router().oneshot(request).await.unwrap().status().as_u16()
        };
        for (path, expected) in
            [("/healthz", 200), ("/openapi.json", 200), ("/readyz", 503), ("/v1/services", 503), ("/nowhere", 503)]
        {
            assert_eq!(status(path).await, expected, "{path}");
        }
        gate.open(Router::new().route("/v1/services", get(async || "all")));
        for (path, expected) in [("/healthz", 404), ("/v1/services", 200)] {
            assert_eq!(status(path).await, expected, "{path}");
        }
    }
}
