//! Addresses to names: the reverse zones (RFC 1035 §3.5, RFC 3596 §2.5).
//!
//! A name below `in-addr.arpa` or `ip6.arpa` is an address or the beginning of one, so one ordered map of addresses
//! answers for every name, with empty non-terminals found as ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::rr::Name;
use imbl::{OrdMap, OrdSet};
use ipnet::IpNet;

use super::name::WireName;
use super::service::ServiceAnswers;
use crate::model::{InstanceId, ServiceName};

/// Zones that one net may come to: a /9 is 128 of IPv4, and no net is more.
const ZONES_PER_NET_MAX: usize = 128;

type Names = OrdSet<(ServiceName, InstanceId)>;

/// What a name below a reverse zone means.
#[derive(Debug, Clone)]
pub(super) enum Reversed {
    /// The zone itself.
    Apex,
    /// An address that instances have.
    Address(Names),
    /// The beginning of such an address.
    Empty,
    /// No instance has such an address.
    Absent,
}

#[derive(Debug)]
struct ReverseZone {
    origin: Name,
    wire_origin: WireName,
}

/// The reverse zones and what is in them.
#[derive(Debug)]
pub(super) struct Reverse {
    zones: Box<[ReverseZone]>,
    names: ArcSwap<OrdMap<IpAddr, Names>>,
}

/// The labels of an address in a reverse zone, leftmost last.
fn labels_of(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(v4) => v4.octets().iter().map(u8::to_string).collect(),
        IpAddr::V6(v6) => v6.octets().iter().flat_map(|o| [o >> 4, o & 15]).map(|n| format!("{n:x}")).collect(),
    }
}

/// Bits that one label stands for, and the suffix of the family.
fn family(v4: bool) -> (u8, [&'static str; 2]) {
    if v4 { (8, ["in-addr", "arpa"]) } else { (4, ["ip6", "arpa"]) }
}

/// The names of the zones of a net: one if it ends at a label, several smaller ones if not (RFC 2317 is not needed).
fn origins(net: IpNet) -> Vec<Name> {
    let v4 = net.addr().is_ipv4();
    let (bits, suffix) = family(v4);
    let labels = net.prefix_len().div_ceil(bits);
    let Ok(subnets) = net.trunc().subnets(labels * bits) else { return Vec::new() };
    subnets
        .take(ZONES_PER_NET_MAX)
        .filter_map(|subnet| {
            let own = labels_of(subnet.addr());
            let own = own[..usize::from(labels)].iter().rev().map(String::as_str);
            Name::from_labels(own.chain(suffix).map(str::as_bytes)).ok()
        })
        .collect()
}

/// The first and the last address that begin with the labels left of a family's suffix; `None` for labels that are no
/// part of an address as it is written.
fn range_of(name: &WireName, left: usize, v4: bool) -> Option<(IpAddr, IpAddr)> {
    let mut octets = [0u8; 16];
    for position in 0..left {
        let text = std::str::from_utf8(name.label(left - 1 - position)).ok()?;
        if v4 {
            let octet: u8 = text.parse().ok()?;
            // `07` and `+7` are other names than `7`.
            if octet.to_string() != text {
                return None;
            }
            *octets.get_mut(position).filter(|_| position < 4)? = octet;
        } else {
            let nibble = u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 1 && text != "+")?;
            let octet = octets.get_mut(position / 2)?;
            *octet |= if position % 2 == 0 { nibble << 4 } else { nibble };
        }
    }
    if v4 {
        let first = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
        let last = first | u32::MAX.checked_shr(8 * left as u32).unwrap_or(0);
        Some((Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into()))
    } else {
        let first = u128::from_be_bytes(octets);
        let last = first | u128::MAX.checked_shr(4 * left as u32).unwrap_or(0);
        Some((Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into()))
    }
}

impl Reverse {
    pub(super) fn new(nets: &[IpNet]) -> Self {
        let zone = |origin: Name| ReverseZone { wire_origin: WireName::lower(&origin), origin };
        let zones = nets.iter().flat_map(|net| origins(*net)).map(zone).collect();
        Self { zones, names: ArcSwap::default() }
    }

    /// What a name means, and in which zone, when it is in one.
    pub(super) fn find(&self, name: &WireName) -> Option<(&Name, Reversed)> {
        let zone = self.zones.iter().find(|zone| name.labels_below(&zone.wire_origin).is_some())?;
        if name.labels_below(&zone.wire_origin) == Some(0) {
            return Some((&zone.origin, Reversed::Apex));
        }
        let v4 = name.label(name.labels() - 2) == b"in-addr";
        let left = name.labels() - 2;
        let whole = if v4 { 4 } else { 32 };
        let names = self.names.load();
        let found = match range_of(name, left, v4).filter(|_| left <= whole) {
            None => Reversed::Absent,
            Some((address, _)) if left == whole => {
                names.get(&address).map_or(Reversed::Absent, |names| Reversed::Address(names.clone()))
            }
            Some((first, last)) if names.range(first..=last).next().is_some() => Reversed::Empty,
            Some(_) => Reversed::Absent,
        };
        Some((&zone.origin, found))
    }

    /// Follows a service from one state to the next.
    pub(super) fn follow(&self, before: Option<&ServiceAnswers>, after: Option<&ServiceAnswers>) {
        if self.zones.is_empty() {
            return;
        }
        let all = |service: Option<&ServiceAnswers>| -> OrdSet<(IpAddr, InstanceId)> {
            let registered = service.map_or(&[][..], ServiceAnswers::registered);
            registered.iter().flat_map(|i| i.registration.addresses.iter().map(|a| (a, i.id.clone()))).collect()
        };
        let Some(service) = before.or(after).map(|service| service.name().clone()) else { return };
        let (before, after) = (all(before), all(after));
        if before == after {
            return;
        }
        let mut names = OrdMap::clone(&self.names.load());
        for (address, id) in before.clone().relative_complement(after.clone()) {
            let mut at = names.get(&address).cloned().unwrap_or_default();
            at.remove(&(service.clone(), id));
            if at.is_empty() {
                names.remove(&address)
            } else {
                names.insert(address, at)
            };
        }
        for (address, id) in after.relative_complement(before) {
            let mut at = names.get(&address).cloned().unwrap_or_default();
            at.insert((service.clone(), id));
            names.insert(address, at);
        }
        self.names.store(Arc::new(names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(net: &str) -> Vec<String> {
        origins(net.parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_net_is_one_zone_or_several() {
        assert_eq!(texts("10.0.0.0/8"), ["10.in-addr.arpa."]);
        assert_eq!(texts("192.168.7.0/24"), ["7.168.192.in-addr.arpa."]);
        assert_eq!(texts("fd00::/8"), ["d.f.ip6.arpa."]);
        let twelve = texts("172.16.0.0/12");
        assert_eq!((twelve.len(), twelve[0].as_str()), (16, "16.172.in-addr.arpa."));
        assert_eq!(texts("10.1.2.3/32"), ["3.2.1.10.in-addr.arpa."]);
    }

    #[test]
    fn only_labels_that_are_written_so_are_part_of_an_address() {
        let range = |name: &str, left, v4| range_of(&WireName::lower(&name.parse().unwrap()), left, v4);
        let all = range("10.in-addr.arpa.", 1, true).unwrap();
        assert_eq!((all.0.to_string(), all.1.to_string()), ("10.0.0.0".into(), "10.255.255.255".into()));
        let one = range("7.0.0.10.in-addr.arpa.", 4, true).unwrap();
        assert_eq!(one.0, one.1);
        for bad in ["07.in-addr.arpa.", "256.in-addr.arpa.", "x.in-addr.arpa."] {
            assert!(range(bad, 1, true).is_none(), "{bad}");
        }
        assert!(range("10.ip6.arpa.", 1, false).is_none());
        assert_eq!(range("d.f.ip6.arpa.", 2, false).unwrap().0.to_string(), "fd00::");
    }
}
