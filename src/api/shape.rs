//! What goes out: instances, leases and lists as the contract shapes them.

use std::net::IpAddr;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use super::Context;
use crate::model::{
    CheckKind, CheckSpec, CheckState, Guarded, Health, Instance, Label, Lease, Meta, RequestHeaders, State, Timestamp,
    Transport,
};

/// Any value as its text.
fn as_text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A duration, or the word for none.
fn or_never<S: Serializer>(value: &Option<crate::model::Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => serializer.collect_str(duration),
        None => serializer.serialize_str("never"),
    }
}

/// A lease.
#[derive(Debug, Serialize)]
pub(super) struct LeaseShape {
    id: crate::model::LeaseId,
    ttl: crate::model::Duration,
    /// Unknown only for a lease that has lapsed since the list was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl From<Lease> for LeaseShape {
    fn from(lease: Lease) -> Self {
        Self { id: lease.id, ttl: lease.ttl, expires_at: Some(lease.expires_at) }
    }
}

/// How a service's last good set is kept.
#[derive(Debug, Serialize)]
pub(super) struct GuardShape<'a> {
    since: Timestamp,
    until: Timestamp,
    evidence: &'a str,
    held: &'a [Label],
}

impl<'a> From<&'a Guarded> for GuardShape<'a> {
    fn from(guarded: &'a Guarded) -> Self {
        let Guarded { since, until, evidence, held } = guarded;
        Self { since: *since, until: *until, evidence, held }
    }
}

struct MetaShape<'a>(&'a Meta);

impl Serialize for MetaShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

struct PortsShape<'a>(&'a [(Label, u16)]);

impl Serialize for PortsShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, port)| (name, port)))
    }
}

struct HeadersShape<'a>(&'a RequestHeaders);

impl Serialize for HeadersShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[derive(Serialize)]
struct HttpShape<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    method: &'a str,
    headers: HeadersShape<'a>,
    #[serde(serialize_with = "as_text")]
    expect_status: &'a crate::model::StatusRanges,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_body: Option<&'a str>,
}

#[derive(Serialize)]
struct CheckShape<'a> {
    name: &'a Label,
    r#type: &'a str,
    interval: crate::model::Duration,
    timeout: crate::model::Duration,
    rise: u8,
    fall: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(flatten)]
    http: Option<HttpShape<'a>>,
    health: Health,
    since: Timestamp,
    last_error: Option<&'a str>,
}

impl<'a> CheckShape<'a> {
    fn new(spec: &'a CheckSpec, state: &'a CheckState) -> Self {
        let http = match &spec.kind {
            CheckKind::Tcp => None,
            CheckKind::Http(http) => Some(HttpShape {
                path: http.path.as_str(),
                url: http.target.map(|target| format!("http://{target}{}", http.path)),
                method: http.method.as_str(),
                headers: HeadersShape(&http.headers),
                expect_status: &http.expect_status,
                expect_body: http.expect_body.as_deref(),
            }),
        };
        Self {
            name: &spec.name,
            r#type: spec.kind.as_str(),
            interval: spec.interval,
            timeout: spec.timeout,
            rise: spec.rise,
            fall: spec.fall,
            port: spec.port,
            http,
            health: state.health,
            since: state.since,
            last_error: state.last_error.as_deref(),
        }
    }
}

/// One instance.
#[derive(Serialize)]
pub(super) struct InstanceShape<'a> {
    service: &'a crate::model::ServiceName,
    id: &'a Label,
    dns_name: String,
    addresses: Vec<IpAddr>,
    port: u16,
    protocol: Transport,
    ports: PortsShape<'a>,
    priority: u16,
    weight: u16,
    tags: &'a [Label],
    meta: MetaShape<'a>,
    ttl: Option<crate::model::Duration>,
    https: bool,
    initial_health: Health,
    #[serde(serialize_with = "or_never")]
    evict_after: Option<crate::model::Duration>,
    generation: Option<u64>,
    shared_address: bool,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_expires_at: Option<Timestamp>,
    health: Health,
    answered: bool,
    withheld_because: Option<String>,
    registered_at: Timestamp,
    health_since: Timestamp,
    revision: crate::model::Revision,
    lease: Option<LeaseShape>,
    checks: Vec<CheckShape<'a>>,
}

impl<'a> InstanceShape<'a> {
    pub(super) fn new(instance: &'a Instance, context: &Context) -> Self {
        let registration = &instance.registration;
        let lease = instance.lease.map(|lease| LeaseShape {
            id: lease.id,
            ttl: lease.ttl,
            expires_at: context.store.lease(lease.id).map(|lease| lease.expires_at),
        });
        Self {
            service: &instance.service,
            id: &instance.id,
            dns_name: context.zone.qualify(format_args!("{}.{}", instance.id, instance.service)),
            addresses: registration.addresses.iter().collect(),
            port: registration.port,
            protocol: registration.protocol,
            ports: PortsShape(&registration.ports),
            priority: registration.priority,
            weight: registration.weight,
            tags: &registration.tags,
            meta: MetaShape(&registration.meta),
            ttl: registration.ttl.map(crate::model::Ttl::duration),
            https: registration.https,
            initial_health: registration.initial_health,
            evict_after: registration.evict_after,
            generation: registration.generation,
            shared_address: registration.shared_address,
            state: instance.state,
            state_expires_at: instance.state_until,
            health: instance.health(),
            answered: instance.answered(),
            withheld_because: instance.withheld().map(|reason| reason.to_string()),
            registered_at: instance.registered_at,
            health_since: instance.health_since,
            revision: instance.revision,
            lease,
            checks: registration.checks.iter().zip(&instance.checks).map(|(s, c)| CheckShape::new(s, c)).collect(),
        }
    }
}

/// An instance that drains.
#[derive(Serialize)]
pub(super) struct DrainedShape<'a> {
    #[serde(flatten)]
    instance: InstanceShape<'a>,
    safe_to_stop_at: Timestamp,
}

impl<'a> DrainedShape<'a> {
    pub(super) fn new(instance: &'a Instance, safe_to_stop_at: Timestamp, context: &Context) -> Self {
        Self { instance: InstanceShape::new(instance, context), safe_to_stop_at }
    }
}

/// An instance in a shape as a response, with its revision as the entity tag.
pub(super) fn respond<S: Serialize>(status: StatusCode, shape: &S, instance: &Instance) -> Response {
    let mut response = (status, Json(shape)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", instance.revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
