//! From the configuration to the settings of each part.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::DaemonError;
use crate::config::{Config, ForwardRule, Upstream};
use crate::dns::forward::{Rule, is_own, nameservers};
use crate::guard::Guard;
use crate::net::local_addresses;
use crate::registry::{Limits, Reserved};
use crate::{store, zone};

/// Instances in all, and leases in all.
const INSTANCES_MAX: usize = 2_000_000;
/// Names remembered after their last instance has left.
const REMEMBERED_NAMES_MAX: usize = 100_000;
/// Services with settings of their own.
const CONFIGURED_SERVICES_MAX: usize = 100_000;
/// Where the system says which name servers it has.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What the store is to keep to.
pub(super) fn store_settings(config: &Config, live: Arc<zone::Zone>, guard: Guard) -> store::Settings {
    let limits = Limits {
        instances_per_service: config.instances_per_service_max,
        instances: INSTANCES_MAX,
        leases: INSTANCES_MAX,
        remembered_names: REMEMBERED_NAMES_MAX,
        configured: CONFIGURED_SERVICES_MAX,
        zone_octets: config.zone.wire_octets(),
        reserved: Reserved::by(move |name| live.reserved(name)),
    };
    let history = store::Keep { age: config.history_age.std(), events: config.history_events };
    store::Settings { limits, ttl: config.ttl, name_memory: config.name_memory.std(), history, guard }
}

/// The addresses of the NS target: as configured, or where DNS listens; for a listener on all addresses those of the
/// machine, without loopback when there are others.
pub(super) fn name_server_addresses(config: &Config, listeners: &[SocketAddr]) -> Vec<IpAddr> {
    if !config.ns_addresses.is_empty() {
        return config.ns_addresses.clone();
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for listener in listeners {
        if !listener.ip().is_unspecified() {
            addresses.push(listener.ip());
            continue;
        }
        let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let local: Vec<IpAddr> = local_addresses()
            .unwrap_or_default()
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| ip.is_ipv4() == listener.is_ipv4() && !is_link_local(ip))
            .collect();
        let reachable: Vec<IpAddr> = local.iter().filter(|ip| !ip.is_loopback()).copied().collect();
        addresses.extend(if reachable.is_empty() { local } else { reachable });
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Where names of others are asked, with the system's name servers in place of its name. An upstream that is this
/// server would only ask itself.
pub(super) fn forward_rules(rules: &[ForwardRule], listeners: &[SocketAddr]) -> Result<Vec<Rule>, DaemonError> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let local: Vec<IpAddr> = local_addresses().unwrap_or_default().iter().map(|address| address.ip()).collect();
    let of_system = || {
        let text = std::fs::read_to_string(RESOLV_CONF)
            .map_err(|error| DaemonError::Forward(format!("{RESOLV_CONF} cannot be read: {error}")))?;
        let mut others = nameservers(&text);
        others.retain(|address| !is_own(*address, listeners, &local));
        if others.is_empty() {
            return Err(DaemonError::Forward(format!(
                "{RESOLV_CONF} names no server but this one: add the upstream there below it, or write its address in \
                 place of system"
            )));
        }
        Ok(others)
    };
    let addresses = |upstream: &Upstream| match upstream {
        Upstream::System => of_system(),
        Upstream::Address(address) if is_own(*address, listeners, &local) => {
            Err(DaemonError::Forward(format!("{address} is this server, which would ask itself: name another one")))
        }
        Upstream::Address(address) => Ok(vec![*address]),
    };
    let rule = |rule: &ForwardRule| {
        let upstreams = rule.upstreams.iter().map(addresses).collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Rule { domain: rule.domain.clone(), upstreams })
    };
    rules.iter().map(rule).collect()
}
