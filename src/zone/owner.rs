//! What an owner name in the zone means (contract §2). A name belongs to one thing.

use std::sync::Arc;

use hickory_proto::rr::Name;

use super::kind::Pick;
use super::name::WireName;
use super::reverse::Reversed;
use super::service::ServiceAnswers;
use super::statics::{Found, StaticZone};
use super::{NAME_SERVER, Zone};
use crate::model::Transport;

/// What a name means.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    /// Not a name of the zone.
    Outside,
    /// The zone itself.
    Apex,
    /// The name server that the NS record names.
    NameServer,
    /// Instances of a service, registered or remembered.
    Selection(Arc<ServiceAnswers>, Pick),
    /// One registered instance: `i1.web`.
    Instance(Arc<ServiceAnswers>, Box<str>),
    /// One registered instance by DNS-SD: `i1._web._tcp` (RFC 6763 §4.1).
    Browsed(Arc<ServiceAnswers>, Box<str>),
    /// The service types of a group: `_services._dns-sd._udp` (RFC 6763 §9).
    ServiceTypes(Box<[u8]>),
    /// A name of a reverse zone, and that zone's name.
    Reverse(Name, Reversed),
    /// What a zone file says.
    Static(Arc<StaticZone>, Found),
    /// Nothing itself, but names lie below it (RFC 9499 §7, empty non-terminal).
    Empty,
    /// Neither itself nor anything below it exists.
    Absent,
}

/// The transport that a label such as `_tcp` names.
pub(super) fn transport_of(label: &[u8]) -> Option<Transport> {
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
        let Some(left) = name.labels_below(&self.wire_origin) else {
            let reversed = self.reverse.find(name);
            return reversed.map_or(Owner::Outside, |(origin, found)| Owner::Reverse(origin.clone(), found));
        };
        // RFC 2782 and DNS-SD names have their transport at most two labels from the left.
        let underscored = (0..left.min(3)).find_map(|at| transport_of(name.label(at)).map(|transport| (at, transport)));
        match (left, underscored) {
            (0, _) => Owner::Apex,
            (1, None) if name.label(0) == NAME_SERVER.as_bytes() => Owner::NameServer,
            (_, Some((at, transport))) => self.underscored_owner(name, left, at, transport),
            (_, None) => self.plain_owner(name, left),
        }
    }

    pub(super) fn service_at(&self, key: &[u8]) -> Option<Arc<ServiceAnswers>> {
        self.index.get(key).and_then(|node| node.service.clone())
    }

    /// The service that an underscored label names within a group: `_web` and `payments` are `web.payments`.
    pub(super) fn service_in(&self, label: &[u8], group: &[u8], transport: Transport) -> Option<Arc<ServiceAnswers>> {
        let mut key = Vec::with_capacity(1 + label.len() + group.len());
        key.push(label.len() as u8);
        key.extend_from_slice(label);
        key.extend_from_slice(group);
        self.service_at(&key).filter(|service| service.knows(transport))
    }

    /// `web`, `i1.web`, `primary.web`, `one.web`, and what lies above dotted services.
    fn plain_owner(&self, name: &WireName, left: usize) -> Owner {
        let first = text_of(name.label(0));
        if left > 1
            && let Some(service) = self.service_at(name.span(1, left))
        {
            if first == "one" {
                return Owner::Selection(service, Pick::One);
            }
            if service.instance(first).is_some() {
                return Owner::Instance(service, first.into());
            }
            if service.registered().iter().any(|instance| instance.registration.has_tag(first)) {
                return Owner::Selection(service, Pick::Tag(first.into()));
            }
        }
        match self.index.get(name.span(0, left)) {
            Some(node) => node.service.clone().map_or(Owner::Empty, |service| Owner::Selection(service, Pick::All)),
            None => Owner::Absent,
        }
    }

    /// Names with `_tcp` or `_udp` as the label at `at`.
    fn underscored_owner(&self, name: &WireName, left: usize, at: usize, transport: Transport) -> Owner {
        let group = name.span(at + 1, left);
        let browsing = transport == Transport::Udp && self.has_service_types(group);
        match at {
            0 => {
                let node = self.index.get(group);
                let services = node.as_ref().is_some_and(|node| node.transports[transport as usize] > 0);
                let ports = node.is_some_and(|node| node.service.as_ref().is_some_and(|s| has_ports(s, transport)));
                if services || ports || browsing { Owner::Empty } else { Owner::Absent }
            }
            1 => {
                let Some(first) = name.label(0).strip_prefix(b"_") else { return Owner::Absent };
                if let Some(service) = self.service_in(first, group, transport) {
                    return Owner::Selection(service, Pick::Transport(transport));
                }
                let port = text_of(first);
                match self.service_at(group).filter(|service| has_port(service, transport, port)) {
                    Some(service) => Owner::Selection(service, Pick::Port(transport, port.into())),
                    None if browsing && first == b"dns-sd" => Owner::Empty,
                    None => Owner::Absent,
                }
            }
            _ => {
                if browsing && name.label(0) == b"_services" && name.label(1) == b"_dns-sd" {
                    return Owner::ServiceTypes(group.into());
                }
                let id = text_of(name.label(0));
                let service = name.label(1).strip_prefix(b"_").and_then(|l| self.service_in(l, group, transport));
                let of_transport =
                    |s: &ServiceAnswers| s.instance(id).is_some_and(|i| i.registration.protocol == transport);
                match service.filter(|service| of_transport(service)) {
                    Some(service) => Owner::Browsed(service, id.into()),
                    None => Owner::Absent,
                }
            }
        }
    }

    /// Whether service types can be browsed there: at the apex, and in every group that has services.
    fn has_service_types(&self, group: &[u8]) -> bool {
        group.is_empty() || self.index.get(group).is_some_and(|node| node.transports != [0, 0])
    }
}

fn has_ports(service: &ServiceAnswers, transport: Transport) -> bool {
    service.registered().iter().any(|i| i.registration.protocol == transport && !i.registration.ports.is_empty())
}

fn has_port(service: &ServiceAnswers, transport: Transport, port: &str) -> bool {
    let pick = Pick::Port(transport, port.into());
    service.registered().iter().any(|instance| pick.takes(instance))
}
