//! What goes out: instances, leases and lists as the contract shapes them.

use std::net::IpAddr;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::probing::{ReportShape, held};
use super::{Context, form};
use crate::model::{
    Cadence, CheckDefaults, CheckKind, CheckSpec, CheckState, Guarded, Health, Instance, Label, Lease, LeaseId, Meta,
    ProbeReport, RequestHeaders, ServiceName, State, Timestamp, Transport,
};
use crate::registry::Registry;

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
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Lease")]
pub(super) struct LeaseShape {
    #[schemars(with = "form::LeaseId")]
    id: crate::model::LeaseId,
    /// How long it lives after it is granted or renewed.
    #[schemars(with = "form::Span")]
    ttl: crate::model::Duration,
    /// When it ends unless it is renewed. Missing only when it has lapsed since the list was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::Time")]
    expires_at: Option<Timestamp>,
}

impl From<Lease> for LeaseShape {
    fn from(lease: Lease) -> Self {
        Self { id: lease.id, ttl: lease.ttl, expires_at: Some(lease.expires_at) }
    }
}

/// How a service's last good set is kept.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Guard")]
pub(super) struct GuardShape<'a> {
    #[schemars(with = "form::Time")]
    since: Timestamp,
    /// At the latest.
    #[schemars(with = "form::Time")]
    until: Timestamp,
    /// What speaks against the server.
    evidence: &'a str,
    /// The instances that would have left.
    #[schemars(with = "Vec<form::DnsLabel>")]
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

#[derive(Serialize, JsonSchema)]
struct HttpShape<'a> {
    #[schemars(with = "form::RequestPath")]
    path: &'a str,
    /// Whom it asks, when that is not the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    url: Option<String>,
    #[schemars(with = "form::ProbeMethod")]
    method: &'a str,
    #[schemars(with = "form::ProbeHeaders")]
    headers: HeadersShape<'a>,
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "form::Statuses")]
    expect_status: &'a crate::model::StatusRanges,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::ExpectedText")]
    expect_body: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
struct TlsShape<'a> {
    /// Whether the certificate has to be valid.
    tls_verify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::ServerName")]
    server_name: Option<&'a str>,
}

/// A check, and what it thinks of its instance. What its type does not have is not there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Check")]
pub(super) struct CheckShape<'a> {
    #[schemars(with = "form::DnsLabel")]
    name: &'a Label,
    /// `tcp`, `http`, `https`, `grpc` or `ttl`; later versions may have others.
    r#type: &'a str,
    #[schemars(with = "form::Interval")]
    interval: crate::model::Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::FastInterval")]
    fast_interval: Option<crate::model::Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::Timeout")]
    timeout: Option<crate::model::Duration>,
    /// How many successes in a row turn critical into passing.
    #[schemars(with = "form::Threshold")]
    rise: u8,
    /// How many failures in a row turn passing into critical.
    #[schemars(with = "form::Threshold")]
    fall: u8,
    /// The port that is probed, when it is not the instance's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::Port")]
    port: Option<u16>,
    /// Whether it is to hold a connection, of type `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<bool>,
    #[serde(flatten)]
    http: Option<HttpShape<'a>>,
    #[serde(flatten)]
    tls: Option<TlsShape<'a>>,
    /// The service that gRPC is asked for; empty for the server as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::HealthService")]
    service: Option<&'a str>,
    #[schemars(with = "form::Health")]
    health: Health,
    /// Since when the opinion stands.
    #[schemars(with = "form::Time")]
    since: Timestamp,
    /// Why the opinion turned to critical; with one instance only, why the last probe or report that failed did.
    last_error: Option<&'a str>,
    #[serde(flatten)]
    report: Option<ReportShape>,
}

/// What holds for checks of a service that do not say so themselves.
pub(super) fn check_defaults(view: &Registry, service: &ServiceName) -> CheckDefaults {
    let settings = view.service(service).and_then(|service| service.settings());
    settings.map(|settings| settings.check_defaults).unwrap_or_default()
}

impl<'a> CheckShape<'a> {
    /// A check of a service that has such defaults.
    pub(super) fn new(spec: &'a CheckSpec, state: &'a CheckState, defaults: &CheckDefaults) -> Self {
        let Cadence { interval, fast_interval, timeout, rise, fall } = spec.cadence(defaults);
        let (tls, service) = match &spec.kind {
            CheckKind::Tcp { .. } | CheckKind::Http(_) | CheckKind::Ttl => (None, None),
            CheckKind::Https(https) => {
                let server_name = https.server_name.as_ref().map(|name| name.as_str());
                (Some(TlsShape { tls_verify: https.tls_verify, server_name }), None)
            }
            CheckKind::Grpc(service) => (None, Some(service.as_str())),
        };
        let http = spec.kind.http().map(|http| HttpShape {
            path: http.path.as_str(),
            url: http.target.map(|target| format!("{}://{target}{}", spec.kind.as_str(), http.path)),
            method: http.method.as_str(),
            headers: HeadersShape(&http.headers),
            expect_status: &http.expect_status,
            expect_body: http.expect_body.as_deref(),
        });
        Self {
            name: &spec.name,
            r#type: spec.kind.as_str(),
            interval,
            fast_interval: spec.kind.is_probed().then_some(fast_interval),
            timeout: spec.kind.is_probed().then_some(timeout),
            rise,
            fall,
            port: spec.port,
            hold: spec.kind.holds().then_some(true),
            http,
            tls,
            service,
            health: state.health,
            since: state.since,
            last_error: state.last_error.as_deref(),
            report: None,
        }
    }
}

/// One running copy of a service: what it said of itself, and what is known of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Instance")]
pub(super) struct InstanceShape<'a> {
    #[schemars(with = "form::ServiceName")]
    service: &'a crate::model::ServiceName,
    /// Its name within the service.
    #[schemars(with = "form::DnsLabel")]
    id: &'a Label,
    /// Its name in DNS, with the final dot.
    dns_name: String,
    #[schemars(with = "form::Addresses")]
    addresses: Vec<IpAddr>,
    #[schemars(with = "form::Port")]
    port: u16,
    #[schemars(with = "form::Protocol")]
    protocol: Transport,
    #[schemars(with = "form::NamedPorts")]
    ports: PortsShape<'a>,
    /// Lower is asked first (RFC 2782).
    #[schemars(with = "form::Rank")]
    priority: u16,
    /// Its share among those of one priority (RFC 2782).
    #[schemars(with = "form::Rank")]
    weight: u16,
    #[schemars(with = "form::Tags")]
    tags: &'a [Label],
    #[schemars(with = "form::Meta")]
    meta: MetaShape<'a>,
    /// How long its records may be cached; null when that is as for the service or the server.
    #[schemars(with = "Option<form::Ttl>")]
    ttl: Option<crate::model::Duration>,
    /// Whether it has HTTPS records (RFC 9460).
    https: bool,
    #[schemars(with = "form::InitialHealth")]
    initial_health: Health,
    /// How long it may be critical before it is deregistered.
    #[serde(serialize_with = "or_never")]
    #[schemars(with = "form::SpanOrNever")]
    evict_after: Option<crate::model::Duration>,
    /// Grows with each start of the same instance, if it says so.
    generation: Option<u64>,
    /// Whether others may listen at the same address and port.
    shared_address: bool,
    #[schemars(with = "form::InstanceState")]
    state: State,
    /// When the state ends by itself, and the instance is up again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::Time")]
    state_expires_at: Option<Timestamp>,
    /// The opinion of all checks: critical beats unknown beats passing; passing without checks.
    #[schemars(with = "form::Health")]
    health: Health,
    /// Whether it is in answers of DNS.
    answered: bool,
    /// Why it is not.
    withheld_because: Option<String>,
    #[schemars(with = "form::Time")]
    registered_at: Timestamp,
    /// When its health last turned.
    #[schemars(with = "form::Time")]
    health_since: Timestamp,
    /// Its own last change.
    #[schemars(with = "form::Revision")]
    revision: crate::model::Revision,
    /// The lease that it is on.
    lease: Option<LeaseShape>,
    checks: Vec<CheckShape<'a>>,
}

impl<'a> InstanceShape<'a> {
    pub(super) fn new(instance: &'a Instance, context: &Context) -> Self {
        let alive = instance.lease.and_then(|lease| context.store.lease(lease.id));
        let defaults = check_defaults(&context.view.load(), &instance.service);
        Self::on(instance, alive, &defaults, context)
    }

    /// Many, whose leases are asked for together.
    pub(super) fn many(instances: &[&'a Instance], context: &Context) -> Vec<Self> {
        let ids: Vec<LeaseId> = instances.iter().filter_map(|instance| instance.lease).map(|lease| lease.id).collect();
        let mut leases = context.store.leases(&ids).into_iter();
        let alive = |instance: &Instance, leases: &mut dyn Iterator<Item = Option<Lease>>| {
            instance.lease.and_then(|_| leases.next().flatten())
        };
        let view = context.view.load();
        let of_service = instances.chunk_by(|a, b| a.service == b.service).flat_map(|of_service| {
            let defaults = check_defaults(&view, &of_service[0].service);
            of_service.iter().map(move |instance| (instance, defaults))
        });
        of_service
            .map(|(instance, defaults)| Self::on(instance, alive(instance, &mut leases), &defaults, context))
            .collect()
    }

    /// An instance on a lease that is alive, when it is on one.
    fn on(instance: &'a Instance, alive: Option<Lease>, defaults: &CheckDefaults, context: &Context) -> Self {
        let registration = &instance.registration;
        let checks = registration.checks.iter().zip(&instance.checks);
        let expires_at = alive.map(|lease| lease.expires_at);
        let lease = instance.lease.map(|lease| LeaseShape { id: lease.id, ttl: lease.ttl, expires_at });
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
            checks: checks.map(|(spec, state)| CheckShape::new(spec, state, defaults)).collect(),
        }
    }
}

impl CheckShape<'_> {
    /// The same with what is known beyond its opinion.
    pub(super) fn with_report(mut self, report: &ProbeReport) -> Self {
        self.report = Some(report.into());
        self
    }
}

impl InstanceShape<'_> {
    /// The same with what probes have found out.
    pub(super) fn with_reports(mut self, instance: &Instance, reports: &[ProbeReport]) -> Self {
        for check in &mut self.checks {
            check.report = reports.iter().find(|report| report.check == *check.name).map(Into::into);
        }
        if let (Some(because), Some(held)) = (&mut self.withheld_because, held(instance, reports)) {
            because.push_str(&held);
        }
        self
    }
}

/// An instance that drains.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DrainingInstance")]
pub(super) struct DrainedShape<'a> {
    #[serde(flatten)]
    instance: InstanceShape<'a>,
    /// When no cache has it any more.
    #[schemars(with = "form::Time")]
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
