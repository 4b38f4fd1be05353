//! The answers of one service: immutable, made anew when an instance of it changes.

use std::ops::Range;
use std::sync::Arc;

use super::order::Order;
use crate::model::{Instance, ServiceName, Transport, Ttl};
use crate::registry::Service;

/// Answered instances that share a priority value, and the order in which they are given.
#[derive(Debug)]
struct Group {
    /// Where they stand among the answered.
    members: Range<usize>,
    order: Order,
}

/// What one service answers. Holds the instances themselves and positions into them, nothing twice.
#[derive(Debug)]
pub(super) struct ServiceAnswers {
    service: Arc<Service>,
    /// Positions of the answered instances, by priority, then id.
    answered: Box<[u32]>,
    /// By priority, the lowest value first.
    groups: Box<[Group]>,
}

impl ServiceAnswers {
    pub(super) fn new(service: Arc<Service>) -> Self {
        let instances = service.instances();
        let mut answered: Vec<u32> =
            (0..instances.len()).filter(|i| instances[*i].answered()).map(|i| i as u32).collect();
        let of = |i: u32| &instances[i as usize].registration;
        answered.sort_by_key(|i| of(*i).priority);
        let mut groups = Vec::new();
        for members in answered.chunk_by(|a, b| of(*a).priority == of(*b).priority) {
            let start = groups.last().map_or(0, |group: &Group| group.members.end);
            let order =
                Order::new(members.iter().map(|i| (of(*i).weight, instances[*i as usize].id.as_str().as_bytes())));
            groups.push(Group { members: start..start + members.len(), order });
        }
        Self { answered: answered.into(), groups: groups.into(), service }
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
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

    /// The instance at a place among the answered.
    pub(super) fn at(&self, place: usize) -> &Arc<Instance> {
        &self.service.instances()[self.answered[place] as usize]
    }

    /// The instances in answers, by priority, then id.
    pub(super) fn answered(&self) -> impl ExactSizeIterator<Item = &Arc<Instance>> + Clone {
        (0..self.answered.len()).map(|place| self.at(place))
    }

    /// The answered instances of each priority value, lowest first: their places, and the order among them.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Range<usize>, &Order)> {
        self.groups.iter().map(|group| (group.members.clone(), &group.order))
    }

    /// The lifetime of an instance's records: its own, its service's, or the server's.
    pub(super) fn ttl_of(&self, instance: &Instance, default: Ttl) -> Ttl {
        let of_service = || self.service.settings().and_then(|settings| settings.ttl);
        instance.registration.ttl.or_else(of_service).unwrap_or(default)
    }

    /// The one TTL of an RRset: the smallest that its instances ask for (RFC 2181 §5.2).
    pub(super) fn smallest_ttl<'a>(&self, instances: impl Iterator<Item = &'a Arc<Instance>>, default: Ttl) -> u32 {
        instances.map(|instance| self.ttl_of(instance, default)).min().unwrap_or(default).secs()
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
            && self.service.settings() == other.service.settings()
            && Transport::ALL.iter().all(|transport| self.knows(*transport) == other.knows(*transport))
            && ours.iter().zip(theirs).all(|(a, b)| Arc::ptr_eq(a, b) || same(a, b))
    }
}
