//! What an owner name in the zone means (contract §2). A name belongs to one thing.

use std::sync::Arc;

use super::name::WireName;
use super::service::ServiceAnswers;
use super::{NAME_SERVER, Zone};
use crate::model::Transport;

/// What a name means.
#[derive(Debug)]
pub(super) enum Owner {
    /// Not a name of the zone.
    Outside,
    /// The zone itself.
    Apex,
    /// The name server that the NS record names.
    NameServer,
    /// A service, registered or remembered: `web`.
    Service(Arc<ServiceAnswers>),
    /// A service by RFC 2782: `_web._tcp`.
    Transport(Arc<ServiceAnswers>, Transport),
    /// A named port of a service: `_metrics._tcp.web`.
    Port(Arc<ServiceAnswers>, Transport, Box<str>),
    /// One registered instance: `i1.web`.
    Instance(Arc<ServiceAnswers>, Box<str>),
    /// The instances with a tag: `primary.web`.
    Tag(Arc<ServiceAnswers>, Box<str>),
    /// Nothing itself, but names lie below it (RFC 8499 §7, empty non-terminal).
    Empty,
    /// Neither itself nor anything below it exists.
    Absent,
}

/// The transport that a label such as `_tcp` names.
fn transport_of(label: &[u8]) -> Option<Transport> {
    match label {
        b"_tcp" => Some(Transport::Tcp),
        b"_udp" => Some(Transport::Udp),
        _ => None,
    }
}

/// The text of a label, if it could be one of ours; every name that the registry holds is ASCII.
fn text_of(label: &[u8]) -> &str {
    std::str::from_utf8(label).unwrap_or_default()
}

impl Zone {
    /// What a name means now.
    pub(super) fn owner(&self, name: &WireName) -> Owner {
        let Some(left) = name.labels_below(&self.wire_origin) else { return Owner::Outside };
        // RFC 2782 and DNS-SD names have their transport at most two labels from the left.
        let underscored = (0..left.min(3)).find_map(|at| transport_of(name.label(at)).map(|transport| (at, transport)));
        match (left, underscored) {
            (0, _) => Owner::Apex,
            (1, None) if name.label(0) == NAME_SERVER.as_bytes() => Owner::NameServer,
            (_, Some((at, transport))) => self.underscored_owner(name, left, at, transport),
            (_, None) => self.plain_owner(name, left),
        }
    }

    fn service_at(&self, key: &[u8]) -> Option<Arc<ServiceAnswers>> {
        self.index.get(key).and_then(|node| node.service.clone())
    }

    /// `web`, `i1.web`, `primary.web`, and what lies above dotted services.
    fn plain_owner(&self, name: &WireName, left: usize) -> Owner {
        let first = text_of(name.label(0));
        if left > 1
            && let Some(service) = self.service_at(name.span(1, left))
        {
            if service.instance(first).is_some() {
                return Owner::Instance(service, first.into());
            }
            if service.registered().iter().any(|instance| instance.registration.has_tag(first)) {
                return Owner::Tag(service, first.into());
            }
        }
        match self.index.get(name.span(0, left)) {
            Some(node) => node.service.clone().map_or(Owner::Empty, Owner::Service),
            None => Owner::Absent,
        }
    }

    /// Names with `_tcp` or `_udp` as the label at `at`.
    fn underscored_owner(&self, name: &WireName, left: usize, at: usize, transport: Transport) -> Owner {
        let group = name.span(at + 1, left);
        match at {
            0 => {
                let node = self.index.get(group);
                let services = node.as_ref().is_some_and(|node| node.transports[transport as usize] > 0);
                let ports = node.is_some_and(|node| node.service.as_ref().is_some_and(|s| has_ports(s, transport)));
                if services || ports { Owner::Empty } else { Owner::Absent }
            }
            1 => {
                let Some(first) = name.label(0).strip_prefix(b"_") else { return Owner::Absent };
                let mut key = Vec::with_capacity(group.len() + 1 + first.len());
                key.push(first.len() as u8);
                key.extend_from_slice(first);
                key.extend_from_slice(group);
                if let Some(service) = self.service_at(&key).filter(|service| service.knows(transport)) {
                    return Owner::Transport(service, transport);
                }
                let port = text_of(first);
                match self.service_at(group).filter(|service| has_port(service, transport, port)) {
                    Some(service) => Owner::Port(service, transport, port.into()),
                    None => Owner::Absent,
                }
            }
            _ => Owner::Absent,
        }
    }
}

fn has_ports(service: &ServiceAnswers, transport: Transport) -> bool {
    let instances = service.registered().iter().map(|instance| &instance.registration);
    instances.into_iter().any(|r| r.protocol == transport && !r.ports.is_empty())
}

fn has_port(service: &ServiceAnswers, transport: Transport, port: &str) -> bool {
    let mut instances = service.registered().iter().map(|instance| &instance.registration);
    instances.any(|r| r.protocol == transport && r.named_port(port).is_some())
}
