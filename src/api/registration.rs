//! From the body of a registration to a registration: every field checked, every error pointing at its field.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::check::CheckBody;
use super::extract::{Object, UniqueMap, escape_key};
use super::problem::Problem;
use super::values::{lease_ttl, meta, port, rank, span_or_never, tags, ttl};
use crate::model::{Addresses, CheckSpec, Health, INSTANCE_LIMITS, Label, LeaseId, Registration, Transport};
use crate::registry::LeaseWish;

/// The body of a registration. Numbers are read wide, so that one out of range is told from one of another type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistrationBody {
    address: Option<String>,
    addresses: Option<Vec<String>>,
    port: Option<i64>,
    protocol: Option<String>,
    ports: Option<UniqueMap<i64>>,
    priority: Option<i64>,
    weight: Option<i64>,
    tags: Option<Vec<String>>,
    meta: Option<UniqueMap<String>>,
    ttl: Option<String>,
    https: Option<bool>,
    lease_ttl: Option<String>,
    lease: Option<String>,
    checks: Option<Vec<Object<CheckBody>>>,
    initial_health: Option<String>,
    evict_after: Option<String>,
    generation: Option<u64>,
    shared_address: Option<bool>,
}

/// The body of a change to a registered instance. What is left out stays; tags and metadata are replaced whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AmendmentBody {
    pub(super) state: Option<String>,
    pub(super) expires: Option<String>,
    pub(super) weight: Option<i64>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) meta: Option<UniqueMap<String>>,
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
