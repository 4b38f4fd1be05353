//! What the API counts.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::middleware::Next;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Methods that are counted by name; all others share one, so that no client can make a label.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::PATCH, Method::DELETE, Method::OPTIONS];

type Requests = Family<[(&'static str, String); 2], Counter>;

/// The same routes, with every request that they answer counted.
pub fn counted(router: Router, registry: &mut Registry) -> Router {
    let requests = Requests::default();
    registry.register("http_requests", "HTTP requests by method and status", requests.clone());
    router.layer(axum::middleware::from_fn(move |request: Request<Body>, next: Next| {
        let requests = requests.clone();
        async move {
            let method = METHODS.iter().find(|method| *method == request.method());
            let method = method.map_or("other", Method::as_str).to_owned();
            let response = next.run(request).await;
            // Routes answer with a handful of these.
            let status = response.status().as_str().to_owned();
            requests.get_or_create(&[("method", method), ("status", status)]).inc();
            response
        }
    }))
}
