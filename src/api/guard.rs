//! What holds for every request, and what every response carries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{Context, Peer};
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

/// Whether a Host names this machine whatever DNS says: an IP address, `localhost` or a name below it (RFC 6761 §6.3).
fn is_here(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let host = authority.host();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if literal.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost")) && !authority.as_str().contains('@')
}

/// Whether a request from this machine was meant for somebody else.
///
/// A page may have a name of its own resolve to 127.0.0.1 (DNS rebinding) and so make the browser of whoever looks at it
/// ask a local registry, reads included, with an origin that fits the Host.
fn is_misdirected(request: &Request<Body>) -> bool {
    let is_local = request.extensions().get::<Peer>().is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    // A target in absolute form says it once more, and counts (RFC 9112 §3.2.2).
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    is_local && host.into_iter().chain(target).any(|host| !is_here(host))
}

/// Refuses what no route should see, and completes what routes answer.
pub(super) async fn guard(State(context): State<Arc<Context>>, request: Request<Body>, next: Next) -> Response {
    let headers = request.headers();
    context.pins.expire();
    let hosts = headers.get_all(header::HOST).iter().count();
    let mut response = if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        Problem::bad_request("HTTP/1.1 needs one Host header").into_response()
    } else if is_misdirected(&request) {
        Problem::misdirected().into_response()
    } else if is_foreign(request.method(), headers) {
        Problem::foreign_origin().into_response()
    } else {
        context.load.take(next.run(request).await)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_dns_cannot_point_elsewhere_are_here() {
        for host in
            ["127.0.0.1", "127.0.0.1:8500", "[::1]:8500", "10.0.0.1", "localhost", "LocalHost.:8500", "a.localhost"]
        {
            assert!(is_here(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "evil.test",
            "evil.test:8500",
            "127.0.0.1.evil.test",
            "localhost.evil.test",
            "notlocalhost",
            "localhost@evil.test",
            "a@localhost",
            ".localhost@x",
            "[::1",
            "::1",
            "127.1",
        ] {
            assert!(!is_here(host.as_bytes()), "{host}");
        }
    }
}
