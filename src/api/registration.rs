//! From the body of a registration to a registration: every field checked, every error pointing at its field.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

use super::check::CheckBody;
use super::extract::{Object, UniqueMap, escape_key};
use super::form::{self, exclusive};
use super::problem::Problem;
use super::values::{lease_ttl, meta, port, rank, span_or_never, tags, ttl};
use crate::model::{Addresses, CheckSpec, Health, INSTANCE_LIMITS, Label, LeaseId, Registration, Transport};
use crate::registry::LeaseWish;

// Numbers are read wide, so that one out of range is told from one of another type.
/// What an instance says of itself. A field that is null is as one that is left out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "Registration",
    transform = port_is_needed,
    transform = exclusive(&[["address", "addresses"], ["lease", "lease_ttl"]])
)]
pub(super) struct RegistrationBody {
    /// Where it listens; the caller's own address when this and `addresses` are left out.
    #[schemars(with = "Option<form::ListenAddress>")]
    address: Option<String>,
    /// Where it listens, in place of `address`: one of each family.
    #[schemars(with = "Option<form::Addresses>")]
    addresses: Option<Vec<String>>,
    /// Its port.
    #[schemars(with = "Option<form::Port>")]
    port: Option<i64>,
    /// What it speaks there; `tcp` when left out.
    #[schemars(with = "Option<form::Protocol>")]
    protocol: Option<String>,
    #[schemars(with = "Option<form::NamedPorts>")]
    ports: Option<UniqueMap<i64>>,
    /// Lower is asked first (RFC 2782); 0 when left out.
    #[schemars(with = "Option<form::Rank>")]
    priority: Option<i64>,
    /// Its share among those of one priority (RFC 2782); 1 when left out.
    #[schemars(with = "Option<form::Rank>")]
    weight: Option<i64>,
    #[schemars(with = "Option<form::Tags>")]
    tags: Option<Vec<String>>,
    #[schemars(with = "Option<form::Meta>")]
    meta: Option<UniqueMap<String>>,
    /// How long its records may be cached, in place of what holds for the service or the server.
    #[schemars(with = "Option<form::Ttl>")]
    ttl: Option<String>,
    /// Whether it has HTTPS records (RFC 9460), with the protocols of `meta.alpn`.
    https: Option<bool>,
    /// Grants a lease of its own, which ends with it.
    #[schemars(with = "Option<form::LeaseTtl>")]
    lease_ttl: Option<String>,
    /// A lease that it is on, as others may be, in place of `lease_ttl`.
    #[schemars(with = "Option<form::LeaseId>")]
    lease: Option<String>,
    /// How it is tested. Names of checks differ.
    #[schemars(length(max = INSTANCE_LIMITS.checks))]
    checks: Option<Vec<Object<CheckBody>>>,
    /// `passing` for one that its deployer has tested already; `unknown` when left out.
    #[schemars(with = "Option<form::InitialHealth>")]
    initial_health: Option<String>,
    /// How long it may be critical before it is deregistered; `never` when left out.
    #[schemars(with = "Option<form::SpanOrNever>")]
    evict_after: Option<String>,
    /// Grows with each start of the same instance: an older one does not replace a newer.
    #[schemars(range(max = u64::MAX))]
    generation: Option<u64>,
    /// Whether others listen at the same address and port as well.
    shared_address: Option<bool>,
}

/// What is to change of a registered instance. What is left out or null stays; tags and metadata are replaced whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Amendment", transform = expiry_needs_a_state)]
pub(super) struct AmendmentBody {
    #[schemars(with = "Option<form::InstanceState>")]
    pub(super) state: Option<String>,
    /// After how long a state of `draining` or `maintenance` ends by itself, and the instance is up again.
    #[schemars(with = "Option<form::SpanOrNever>")]
    pub(super) expires: Option<String>,
    /// Its share among those of one priority (RFC 2782).
    #[schemars(with = "Option<form::Rank>")]
    pub(super) weight: Option<i64>,
    #[schemars(with = "Option<form::Tags>")]
    pub(super) tags: Option<Vec<String>>,
    #[schemars(with = "Option<form::Meta>")]
    pub(super) meta: Option<UniqueMap<String>>,
}

/// `port` may be missing in a body only so that it can be missed in words of our own, and in a batch.
fn port_is_needed(schema: &mut Schema) {
    schema.insert("required".into(), json!(["port"]));
    if let Some(port) = schema.pointer_mut("/properties/port") {
        *port = json!({"type": "integer", "minimum": 1, "maximum": u16::MAX, "description": "Its port."});
    }
}

fn expiry_needs_a_state(schema: &mut Schema) {
    schema.insert("if".into(), json!({"required": ["expires"], "properties": {"expires": {"type": "string"}}}));
    let timed = json!({"enum": ["draining", "maintenance"]});
    schema.insert("then".into(), json!({"required": ["state"], "properties": {"state": timed}}));
}

fn addresses(one: Option<&str>, list: Option<&[String]>, peer: IpAddr) -> Result<Addresses, Problem> {
    // Only strict literals: what `127.1` or a host name would mean is for nobody to guess.
    let literal = |text: &str, pointer: &str| -> Result<IpAddr, Problem> {
        text.parse().map_err(|_| Problem::invalid(pointer, "not an IPv4 or IPv6 address; names are not looked up"))
    };
    match (one, list) {
        (Some(_), Some(_)) => Err(Problem::invalid("/addresses", "give `address` or `addresses`, not both")),
        (Some(text), None) => {
            let address = literal(text, "/address")?;
            Addresses::new([address]).map_err(|fault| Problem::invalid("/address", fault))
        }
        (None, Some(texts)) => {
            if texts.len() > 2 {
                return Err(Problem::invalid("/addresses", "at most one address of each family"));
            }
            let literals = texts.iter().enumerate().map(|(n, text)| literal(text, &format!("/addresses/{n}")));
            let literals = literals.collect::<Result<Vec<_>, _>>()?;
            Addresses::new(literals).map_err(|fault| Problem::invalid("/addresses", fault))
        }
        (None, None) => Addresses::new([peer.to_canonical()]).map_err(|fault| Problem::invalid("/address", fault)),
    }
}

fn transport(text: Option<&str>) -> Result<Transport, Problem> {
    match text {
        None | Some("tcp") => Ok(Transport::Tcp),
        Some("udp") => Ok(Transport::Udp),
        Some(_) => Err(Problem::invalid("/protocol", "a protocol is `tcp` or `udp`")),
    }
}

fn named_ports(ports: Option<UniqueMap<i64>>) -> Result<Arc<[(Label, u16)]>, Problem> {
    let ports = ports.map(|ports| ports.0).unwrap_or_default();
    if ports.len() > INSTANCE_LIMITS.ports {
        return Err(Problem::invalid("/ports", format!("at most {} named ports", INSTANCE_LIMITS.ports)));
    }
    let mut named = Vec::with_capacity(ports.len());
    for (name, number) in ports {
        let pointer = format!("/ports/{}", escape_key(&name));
        let label = Label::parse_underscored(&name)
            .map_err(|error| Problem::invalid_name("name of a port", &error).at(&pointer))?;
        named.push((label, port(number, &pointer)?));
    }
    named.sort();
    match named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Problem::invalid("/ports", format!("the port {} stands twice", pair[0].0))),
        None if named.is_empty() => Ok(Arc::default()),
        None => Ok(named.into()),
    }
}

fn checks(bodies: Vec<Object<CheckBody>>) -> Result<Arc<[CheckSpec]>, Problem> {
    if bodies.len() > INSTANCE_LIMITS.checks {
        return Err(Problem::invalid("/checks", format!("at most {} checks", INSTANCE_LIMITS.checks)));
    }
    if bodies.is_empty() {
        return Ok(Arc::default());
    }
    let mut checks: Vec<CheckSpec> = Vec::with_capacity(bodies.len());
    for (position, Object(body)) in bodies.into_iter().enumerate() {
        let check = body.into_spec(position)?;
        if checks.iter().any(|other| other.name == check.name) {
            let detail = format!("two checks are called {}; give them different names", check.name);
            return Err(Problem::invalid(format!("/checks/{position}/name"), detail));
        }
        checks.push(check);
    }
    Ok(checks.into())
}

impl RegistrationBody {
    /// The lease that it names.
    pub(super) fn lease(&self) -> Option<&str> {
        self.lease.as_deref()
    }

    /// The registration and the lease it wants; `peer` is the address of who registers when the body has none.
    pub(super) fn into_registration(self, peer: IpAddr) -> Result<(Registration, LeaseWish), Problem> {
        let lease = match (self.lease_ttl, self.lease) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("/lease", "give `lease` or `lease_ttl`, not both"));
            }
            (Some(text), None) => LeaseWish::Own(lease_ttl(&text, "/lease_ttl")?),
            (None, Some(text)) => {
                let id: LeaseId = text
                    .parse()
                    .map_err(|error: crate::model::LeaseIdError| Problem::invalid("/lease", error.to_string()))?;
                LeaseWish::Join(id)
            }
            (None, None) => LeaseWish::None,
        };
        let initial_health = match self.initial_health.as_deref() {
            None | Some("unknown") => Health::Unknown,
            Some("passing") => Health::Passing,
            Some(_) => return Err(Problem::invalid("/initial_health", "`unknown` or `passing`")),
        };
        let evict_after = self.evict_after.as_deref().map(|text| span_or_never(text, "/evict_after")).transpose()?;
        let registration = Registration {
            addresses: addresses(self.address.as_deref(), self.addresses.as_deref(), peer)?,
            port: port(self.port.ok_or_else(|| Problem::invalid("/port", "a port is needed"))?, "/port")?,
            protocol: transport(self.protocol.as_deref())?,
            ports: named_ports(self.ports)?,
            priority: rank(self.priority, 0, "/priority")?,
            weight: rank(self.weight, 1, "/weight")?,
            tags: tags(self.tags.unwrap_or_default())?,
            meta: self.meta.map(meta).transpose()?.unwrap_or_default(),
            ttl: self.ttl.map(|text| ttl(&text, "/ttl")).transpose()?,
            https: self.https.unwrap_or(false),
            checks: checks(self.checks.unwrap_or_default())?,
            initial_health,
            evict_after: evict_after.flatten(),
            generation: self.generation,
            shared_address: self.shared_address.unwrap_or(false),
        };
        Ok((registration, lease))
    }
}
