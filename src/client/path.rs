//! Paths and queries of the API.

use std::borrow::Cow;
use std::fmt::Write;

use hyper::Method;

use super::Page;

/// Text as one segment of a path or one value of a query: everything but RFC 3986's unreserved characters is encoded.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(octet)),
            _ => {
                let _ = write!(encoded, "%{octet:02X}");
            }
        }
    }
    encoded
}

pub(super) fn service_path(service: &str) -> String {
    format!("/v1/services/{}", encode(service))
}

pub(super) fn instance_path(service: &str, id: &str) -> String {
    format!("{}/instances/{}", service_path(service), encode(id))
}

pub(super) fn check_path(service: &str, id: &str, check: &str) -> String {
    format!("{}/checks/{}", instance_path(service, id), encode(check))
}

pub(super) fn lease_path(id: &str) -> String {
    format!("/v1/leases/{}", encode(id))
}

/// How an instance is registered: under an id, or under one that the server chooses.
pub(super) fn registration_path(service: &str, id: Option<&str>) -> (Method, String) {
    match id {
        Some(id) => (Method::PUT, instance_path(service, id)),
        None => (Method::POST, format!("{}/instances", service_path(service))),
    }
}

/// The query of the pairs that have a value and of the page, with its `?`; empty when there is nothing to say.
pub(super) fn query(pairs: &[(&str, Option<Cow<'_, str>>)], page: Page<'_>) -> String {
    let limit = page.limit.map(|limit| limit.to_string().into());
    let paging = [("limit", limit), ("cursor", page.cursor.map(Cow::Borrowed))];
    let mut query = String::new();
    for (name, value) in pairs.iter().chain(&paging) {
        if let Some(value) = value {
            let separator = if query.is_empty() { '?' } else { '&' };
            let _ = write!(query, "{separator}{name}={}", encode(value));
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(instance_path("api.payments", "i1"), "/v1/services/api.payments/instances/i1");
        assert_eq!(instance_path("a/b?c#d", "é x"), "/v1/services/a%2Fb%3Fc%23d/instances/%C3%A9%20x");
    }

    #[test]
    fn queries_hold_what_was_given() {
        let page = Page { limit: Some(10), cursor: Some("a=&b") };
        assert_eq!(query(&[("under", None)], Page::default()), "");
        assert_eq!(query(&[("under", Some("payments".into()))], page), "?under=payments&limit=10&cursor=a%3D%26b");
    }
}
