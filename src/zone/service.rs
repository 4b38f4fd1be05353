//! The answers of one service: immutable, made anew when an instance of it changes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::model::{Instance, ServiceName, Transport, Ttl};
use crate::registry::Service;

/// What one service answers. Holds the instances themselves and positions into them, nothing twice.
#[derive(Debug)]
pub(super) struct ServiceAnswers {
    service: Arc<Service>,
    /// Positions of the answered instances, by priority, then id.
    answered: Box<[u32]>,
    /// How many of them share the lowest priority: those that A and AAAA answer with.
    preferred: usize,
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
}

fn distinct<T: Ord>(addresses: impl Iterator<Item = T>) -> Box<[T]> {
    let mut addresses: Vec<T> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into()
}

impl ServiceAnswers {
    pub(super) fn new(service: Arc<Service>) -> Self {
        let instances = service.instances();
        let mut answered: Vec<u32> =
            (0..instances.len()).filter(|i| instances[*i].answered()).map(|i| i as u32).collect();
        answered.sort_by_key(|i| instances[*i as usize].registration.priority);
        let priority = |i: &u32| instances[*i as usize].registration.priority;
        let preferred =
            answered.first().map_or(0, |first| answered.partition_point(|i| priority(i) == priority(first)));
        let addresses = || answered[..preferred].iter().map(|i| &instances[*i as usize].registration.addresses);
        let (v4, v6) = (distinct(addresses().filter_map(|a| a.v4())), distinct(addresses().filter_map(|a| a.v6())));
        Self { answered: answered.into(), preferred, v4, v6, service }
    }

    pub(super) fn name(&self) -> &ServiceName {
        self.service.name()
    }

    /// Whether `_name._transport` exists.
    pub(super) fn knows(&self, transport: Transport) -> bool {
        self.service.knows(transport)
    }

    /// Every registered instance, answered or not, by id.
    pub(super) fn registered(&self) -> &[Arc<Instance>] {
        self.service.instances()
    }

    /// A registered instance, whatever its health.
    pub(super) fn instance(&self, id: &str) -> Option<&Arc<Instance>> {
        self.service.instance(id)
    }

    /// The instances in answers, by priority, then id.
    pub(super) fn answered(&self) -> impl ExactSizeIterator<Item = &Instance> + Clone {
        self.answered.iter().map(|i| &*self.service.instances()[*i as usize])
    }

    /// Those of them with the lowest priority value.
    pub(super) fn preferred(&self) -> impl ExactSizeIterator<Item = &Instance> + Clone {
        self.answered().take(self.preferred)
    }

    /// Distinct IPv4 addresses of the preferred instances.
    pub(super) fn v4(&self) -> &[Ipv4Addr] {
        &self.v4
    }

    /// Distinct IPv6 addresses of the preferred instances.
    pub(super) fn v6(&self) -> &[Ipv6Addr] {
        &self.v6
    }

    /// Whether every record and every name that comes of this is the same as of another, so that the zone has not
    /// changed. A check that fails in another way changes an instance and not the zone.
    pub(super) fn same_records(&self, other: &Self) -> bool {
        let same = |a: &Instance, b: &Instance| {
            let (x, y) = (&a.registration, &b.registration);
            a.id == b.id
                && x.addresses == y.addresses
                && (x.port, x.protocol, x.priority, x.weight) == (y.port, y.protocol, y.priority, y.weight)
                && (x.ttl, x.https) == (y.ttl, y.https)
                && x.ports == y.ports
                && x.tags == y.tags
                && x.meta == y.meta
        };
        let (ours, theirs) = (self.registered(), other.registered());
        self.answered == other.answered
            && ours.len() == theirs.len()
            && Transport::ALL.iter().all(|transport| self.knows(*transport) == other.knows(*transport))
            && ours.iter().zip(theirs).all(|(a, b)| Arc::ptr_eq(a, b) || same(a, b))
    }
}

/// The one TTL of an RRset: the smallest that its instances ask for (RFC 2181 §5.2).
pub(super) fn smallest_ttl<'a>(instances: impl Iterator<Item = &'a Instance>, default: Ttl) -> u32 {
    instances.map(|instance| instance.registration.ttl.unwrap_or(default)).min().unwrap_or(default).secs()
}
