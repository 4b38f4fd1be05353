//! What holds for every request, and what every response carries.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Context;
use super::problem::Problem;
use crate::model::Revision;

/// The identity of the history that a response speaks of.
pub(super) const STORE: HeaderName = HeaderName::from_static("x-rollcall-store");
/// The position in it.
pub(super) const REVISION: HeaderName = HeaderName::from_static("x-rollcall-revision");

/// Whether a browser sends a write for a page of another origin (a local registry is reachable from any page).
fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    if method == Method::GET || method == Method::HEAD {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    host.is_empty() || !authority.eq_ignore_ascii_case(host)
}

/// Refuses what no route should see, and completes what routes answer.
pub(super) async fn guard(State(context): State<Arc<Context>>, request: Request<Body>, next: Next) -> Response {
    let headers = request.headers();
    context.pins.expire();
    let hosts = headers.get_all(header::HOST).iter().count();
    let mut response = if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        Problem::bad_request("HTTP/1.1 needs one Host header").into_response()
    } else if is_foreign(request.method(), headers) {
        Problem::foreign_origin().into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if !headers.contains_key(&REVISION) {
        headers.insert(REVISION, revision(context.view.load().revision()));
    }
    if let Ok(store) = HeaderValue::from_str(context.store.id().as_str()) {
        headers.insert(STORE, store);
    }
    response
}

/// A revision as the value of a header.
pub(super) fn revision(revision: Revision) -> HeaderValue {
    HeaderValue::from(revision.0)
}
