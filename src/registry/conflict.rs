//! A name belongs to one thing (contract §2): which DNS names a registration would make, and who has them already.
//!
//! One label left of a service is an instance, a tag or another service; one underscored label left of `_tcp` is a
//! service of that group or a named port of the service there.

use std::collections::HashSet;
use std::sync::Arc;

use super::command::Refusal;
use super::limits::Limits;
use super::service::Service;
use super::state::Registry;
use crate::model::{Instance, InstanceId, Label, Registration, ServiceName, Transport};

/// Labels that select within a service and so name nothing else.
const RESERVED_LABELS: [&str; 2] = ["one", "all"];

fn taken(name: String, by: impl Into<String>) -> Refusal {
    Refusal::NameTaken { name, by: by.into() }
}

/// Whether nobody but the registry has a say in a name.
fn check_reserved(limits: &Limits, name: &str) -> Result<(), Refusal> {
    match limits.reserved.owner(name) {
        Some(by) => Err(taken(name.to_owned(), by)),
        None => Ok(()),
    }
}

/// The RFC 2782 name of a service: `_web._tcp`, `_api._tcp.payments`.
fn rfc2782(name: &ServiceName, transport: Transport) -> String {
    let (first, transport) = (name.first(), transport.as_str());
    name.group().map_or(format!("_{first}._{transport}"), |group| format!("_{first}._{transport}.{group}"))
}

/// The service `label.service`, if it is registered.
fn service_below<'a>(registry: &'a Registry, label: &Label, service: &ServiceName) -> Option<&'a Service> {
    let name: ServiceName = format!("{label}.{service}").parse().ok()?;
    registry.registered(&name).map(AsRef::as_ref)
}

/// Checks a service's own name against what stands one label to its right.
fn check_service(registry: &Registry, limits: &Limits, name: &ServiceName) -> Result<(), Refusal> {
    check_reserved(limits, name.as_str())?;
    let Some(group) = name.group() else { return Ok(()) };
    check_first(registry.registered(&group).map_or(&[], |right| right.instances()), name)
}

/// Checks a service's first label against what the instances of the service to its right make of it.
fn check_first(right: &[Arc<Instance>], name: &ServiceName) -> Result<(), Refusal> {
    let Some(group) = name.group() else { return Ok(()) };
    let first = name.first();
    if RESERVED_LABELS.contains(&first) {
        return Err(taken(name.to_string(), format!("a choice among the instances of {group}")));
    }
    for other in right {
        if other.id.as_str() == first {
            return Err(taken(name.to_string(), format!("instance {first} of service {group}")));
        }
        if other.registration.has_tag(first) {
            return Err(taken(name.to_string(), format!("tag {first} of service {group}")));
        }
        if other.registration.named_port(first).is_some() {
            let protocol = other.registration.protocol.as_str();
            return Err(taken(format!("_{first}._{protocol}.{group}"), format!("port {first} of service {group}")));
        }
    }
    Ok(())
}

fn check_id(registry: &Registry, limits: &Limits, service: &ServiceName, id: &InstanceId) -> Result<(), Refusal> {
    let name = || format!("{id}.{service}");
    if RESERVED_LABELS.contains(&id.as_str()) {
        return Err(taken(name(), format!("a choice among the instances of {service}")));
    }
    if service_below(registry, id, service).is_some() {
        return Err(taken(name(), format!("service {id}.{service}")));
    }
    check_reserved(limits, &name())?;
    let others = registry.service(service).map_or(&[][..], |service| service.instances());
    match others.iter().find(|other| other.registration.has_tag(id.as_str())) {
        Some(other) => Err(taken(name(), format!("tag {id} of instance {}", other.id))),
        None => Ok(()),
    }
}

/// Whether the names that labels make with a service are short enough (RFC 1035 §2.3.4).
pub(super) fn check_lengths<'a>(
    limits: &Limits,
    service: &ServiceName,
    labels: impl Iterator<Item = &'a Label>,
) -> Result<(), Refusal> {
    // The longest are the DNS-SD name `<id>._<first>._tcp.<group>` and the named port `_<port>._tcp.<service>`.
    let rest = "._tcp".len() + service.wire_octets() + limits.zone_octets;
    match labels.max_by_key(|label| label.as_str().len()) {
        Some(longest) if longest.as_str().len() + 2 + rest > 255 => {
            Err(Refusal::NameTooLong(format!("{longest}.{service}")))
        }
        _ => Ok(()),
    }
}

/// Checks tags, which may come later than the registration they belong to.
pub(super) fn check_tags(
    registry: &Registry,
    limits: &Limits,
    service: &ServiceName,
    id: &InstanceId,
    tags: &[Label],
) -> Result<(), Refusal> {
    for tag in tags {
        let name = || format!("{tag}.{service}");
        if RESERVED_LABELS.contains(&tag.as_str()) {
            return Err(taken(name(), format!("a choice among the instances of {service}")));
        }
        if tag == id || registry.instance(service, tag.as_str()).is_some() {
            return Err(taken(name(), format!("instance {tag} of service {service}")));
        }
        if service_below(registry, tag, service).is_some() {
            return Err(taken(name(), format!("service {tag}.{service}")));
        }
        // What was there before the name became another's stays registered, and does not answer.
        let has = |service: &Service| service.instances().iter().any(|i| i.registration.has_tag(tag.as_str()));
        if registry.registered(service).is_none_or(|service| !has(service)) {
            check_reserved(limits, &name())?;
        }
    }
    Ok(())
}

/// Whether every DNS name that a registration makes is free, and short enough.
///
/// # Errors
/// [`Refusal::NameTaken`] and [`Refusal::NameTooLong`].
pub(super) fn check(
    registry: &Registry,
    limits: &Limits,
    service: &ServiceName,
    id: &InstanceId,
    registration: &Registration,
) -> Result<(), Refusal> {
    let ports = registration.ports.iter().map(|(port, _)| port);
    check_lengths(limits, service, registration.tags.iter().chain([id]).chain(ports))?;
    if registry.registered(service).is_none() {
        check_service(registry, limits, service)?;
    }
    if registry.instance(service, id.as_str()).is_none() {
        check_id(registry, limits, service, id)?;
    }
    let protocol = registration.protocol;
    if registry.registered(service).is_none_or(|service| !service.uses(protocol)) {
        check_reserved(limits, &rfc2782(service, protocol))?;
    }
    check_tags(registry, limits, service, id, &registration.tags)?;
    for (port, _) in registration.ports.iter() {
        let name = format!("_{port}._{}.{service}", protocol.as_str());
        if service_below(registry, port, service).is_some() {
            return Err(taken(name, format!("service {port}.{service}")));
        }
        let before = registry.instance(service, id.as_str());
        if before.is_none_or(|before| before.registration.named_port(port.as_str()).is_none()) {
            check_reserved(limits, &name)?;
        }
    }
    Ok(())
}

/// Whether every DNS name that all instances of a service make is free, when they come together: among themselves, from
/// the service one label to the right, and from what is reserved, unless it was made `before` too.
///
/// # Errors
/// [`Refusal::NameTaken`] and [`Refusal::NameTooLong`], and the position of the instance at fault.
pub(super) fn check_together(
    before: &Registry,
    limits: &Limits,
    right: &[Arc<Instance>],
    service: &ServiceName,
    instances: &[Arc<Instance>],
) -> Result<(), (usize, Refusal)> {
    if instances.is_empty() {
        return Ok(());
    }
    check_first(right, service).map_err(|refusal| (0, refusal))?;
    let known = before.registered(service).map(AsRef::as_ref);
    if known.is_none() {
        check_reserved(limits, service.as_str()).map_err(|refusal| (0, refusal))?;
    }
    let ids: HashSet<&str> = instances.iter().map(|instance| instance.id.as_str()).collect();
    let (mut transports, mut tags, mut ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (position, instance) in instances.iter().enumerate() {
        let at = |refusal| (position, refusal);
        let said = &instance.registration;
        let labels = said.ports.iter().map(|(port, _)| port).chain(said.tags.iter()).chain([&instance.id]);
        check_lengths(limits, service, labels).map_err(at)?;
        if transports.insert(said.protocol) && !known.is_some_and(|known| known.uses(said.protocol)) {
            check_reserved(limits, &rfc2782(service, said.protocol)).map_err(at)?;
        }
        if RESERVED_LABELS.contains(&instance.id.as_str()) {
            let by = format!("a choice among the instances of {service}");
            return Err(at(taken(format!("{}.{service}", instance.id), by)));
        }
        let name = |label: &Label| format!("{label}.{service}");
        if known.is_none_or(|known| known.instance(instance.id.as_str()).is_none()) {
            check_reserved(limits, &name(&instance.id)).map_err(at)?;
        }
        for tag in said.tags.iter().filter(|tag| tags.insert(*tag)) {
            if RESERVED_LABELS.contains(&tag.as_str()) {
                return Err(at(taken(name(tag), format!("a choice among the instances of {service}"))));
            }
            if ids.contains(tag.as_str()) {
                return Err(at(taken(name(tag), format!("instance {tag} of service {service}"))));
            }
            let has = |known: &Service| known.instances().iter().any(|i| i.registration.has_tag(tag.as_str()));
            if !known.is_some_and(has) {
                check_reserved(limits, &name(tag)).map_err(at)?;
            }
        }
        for (port, _) in said.ports.iter().filter(|(port, _)| ports.insert((port, said.protocol))) {
            let has =
                |known: &Service| known.instances().iter().any(|i| i.registration.named_port(port.as_str()).is_some());
            if !known.is_some_and(has) {
                check_reserved(limits, &format!("_{port}._{}.{service}", said.protocol.as_str())).map_err(at)?;
            }
        }
    }
    Ok(())
}
