//! Which routes there are. Each is added with what the API's document says of it.

use std::hash::Hasher;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use siphasher::sip::SipHasher;

use super::openapi::{self, Routes};
use super::problem::Problem;
use super::{
    Context, batch, events, explain, guard, history, instances, leases, reports, services, settings, snapshot, status,
    wait, watch,
};

fn routes() -> Routes {
    let of_instances = Routes::new()
        .put("/v1/services/{service}/instances/{id}", instances::register, openapi::register_instance())
        .get("/v1/services/{service}/instances/{id}", instances::show, openapi::get_instance())
        .patch("/v1/services/{service}/instances/{id}", instances::amend, openapi::amend_instance())
        .delete("/v1/services/{service}/instances/{id}", instances::deregister, openapi::deregister_instance())
        .post("/v1/services/{service}/instances", instances::register_chosen, openapi::register_instance_anew())
        .post("/v1/services/{service}/instances/{id}/renew", instances::renew, openapi::renew_instance())
        .post("/v1/services/{service}/instances/{id}/drain", wait::drain, openapi::drain_instance())
        .post("/v1/services/{service}/instances/{id}/report", reports::hint, openapi::report_instance())
        .post("/v1/services/{service}/instances/{id}/checks/{check}/pass", reports::pass, openapi::pass_check())
        .post("/v1/services/{service}/instances/{id}/checks/{check}/fail", reports::fail, openapi::fail_check());
    let of_services = of_instances
        .get("/v1/services", services::list, openapi::list_services())
        .delete("/v1/services", services::deregister_under, openapi::deregister_group())
        .get("/v1/services/{service}", services::instances, openapi::list_instances())
        .delete("/v1/services/{service}", services::deregister, openapi::deregister_service())
        .get("/v1/services/{service}/settings", settings::show, openapi::get_settings())
        .put("/v1/services/{service}/settings", settings::configure, openapi::put_settings())
        .delete("/v1/services/{service}/settings", settings::remove, openapi::delete_settings());
    let of_leases = of_services
        .post("/v1/leases", leases::grant, openapi::grant_lease())
        .post("/v1/leases/renew", leases::renew_many, openapi::renew_leases())
        .get("/v1/leases/{id}", leases::show, openapi::get_lease())
        .delete("/v1/leases/{id}", leases::revoke, openapi::revoke_lease())
        .post("/v1/leases/{id}/renew", leases::renew, openapi::renew_lease());
    let of_changes =
        of_leases.post("/v1/batch", batch::batch, openapi::batch()).get("/v1/watch", watch::watch, openapi::watch());
    of_changes
        .get("/v1/events", events::list, openapi::list_events())
        .get("/v1/history", history::history, openapi::history())
        .get("/v1/explain", explain::explain, openapi::explain())
        .get("/v1/snapshot", snapshot::save, openapi::save_snapshot())
        .put("/v1/snapshot", snapshot::restore, openapi::restore_snapshot())
        .get("/v1/status", status::status, openapi::status())
        // Whoever looks after a node may add parameters of their own to these.
        .get("/healthz", status::healthz, openapi::liveness())
        .get("/readyz", status::readyz, openapi::readiness())
        .get("/metrics", status::metrics, openapi::metrics())
        .get("/openapi.json", document, openapi::openapi())
}

/// The routes over a context. A request carries a [`super::Peer`] among its extensions.
pub fn router(context: Arc<Context>) -> Router {
    routes()
        .into_router()
        .fallback(|| async { Problem::no_route() })
        .method_not_allowed_fallback(|| async { Problem::no_method() })
        .layer(axum::middleware::from_fn_with_state(context.clone(), guard::guard))
        .with_state(context)
}

/// The API's document and its entity tag, made once.
static DOCUMENT: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let text = routes().into_document().to_string();
    let mut hash = SipHasher::new();
    hash.write(text.as_bytes());
    (text.into(), format!("\"{:016x}\"", hash.finish()))
});

/// `GET /openapi.json`
pub(super) async fn document(headers: HeaderMap) -> Response {
    let (text, tag) = &*DOCUMENT;
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|known| matches_weakly(known.trim(), tag));
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, "application/json")], text.clone()).into_response(),
    };
    let headers = response.headers_mut();
    // It changes with the version of the server only, and then at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Whether a tag of `If-None-Match` names the current one (RFC 9110 §13.1.2).
fn matches_weakly(known: &str, tag: &str) -> bool {
    known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
}
