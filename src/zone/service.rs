//! The answers of one service: immutable, made anew when an instance of it changes.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use super::kind::{Kind, Pick};
use super::linger::{Lingers, Serving, Until, full_ttl, ttl_asked};
use super::name::wire_key;
use super::notice::{Notice, is_open};
use super::order::Order;
use crate::model::{Instance, InstanceId, ServiceName, Transport, Ttl, WhenAllCritical};
use crate::registry::Service;

/// Answered instances that share a priority value, and the order in which they are given.
#[derive(Debug)]
struct Group {
    /// Where they stand among the answered.
    members: Range<usize>,
    order: Order,
}

/// What all records of a kind come to, so that an answer need not look at every instance to know whether it fits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// Records.
    pub(super) count: usize,
    /// Octets of the ids of the instances they come from.
    pub(super) id_octets: usize,
    /// The smallest TTL that any of the instances, or the service, asks for.
    asked: Option<Ttl>,
    /// Whether one of them asks for none.
    unasked: bool,
}

impl Totals {
    fn add(&mut self, instance: &Instance, of_service: Option<Ttl>) {
        self.count += 1;
        self.id_octets += instance.id.as_str().len();
        match instance.registration.ttl.or(of_service) {
            Some(ttl) => self.asked = Some(self.asked.map_or(ttl, |asked| asked.min(ttl))),
            None => self.unasked = true,
        }
    }

    /// The one TTL of the RRset (RFC 2181 §5.2).
    pub(super) fn ttl(&self, default: Ttl) -> Ttl {
        self.asked.map_or(default, |asked| if self.unasked { asked.min(default) } else { asked })
    }
}

/// What one service answers. Holds the instances themselves and positions into them, nothing twice.
#[derive(Debug)]
pub(super) struct ServiceAnswers {
    service: Arc<Service>,
    /// Positions of the answered instances, by priority, then id.
    answered: Box<[u32]>,
    /// By priority, the lowest value first.
    groups: Box<[Group]>,
    /// Of SRV, and of A and AAAA of the preferred.
    services: Totals,
    v4: Totals,
    v6: Totals,
    /// The transport of all answered instances, when they share one.
    transport: Option<Transport>,
    /// What caches hold for longer.
    lingers: Option<Box<Lingers>>,
    /// Whether those answered are critical, for want of any that is well.
    is_failing_open: bool,
    /// What is said with its answers, when they are not the ordinary ones.
    notice: Option<Notice>,
    fallback: Option<Fallback>,
}

/// The service that stands in for one that has nobody to answer with.
#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) name: ServiceName,
    /// Where it stands in the index.
    pub(super) key: Box<[u8]>,
    pub(super) notice: Notice,
}

impl ServiceAnswers {
    pub(super) fn new(service: Arc<Service>) -> Self {
        let instances = service.instances();
        let positions_of = |wanted: fn(&Instance) -> bool| -> Vec<u32> {
            (0..instances.len()).filter(|i| wanted(&instances[*i])).map(|i| i as u32).collect()
        };
        let mut answered = positions_of(Instance::answered);
        let opens = service.settings().is_some_and(|s| s.when_all_critical == WhenAllCritical::All);
        if answered.is_empty() && opens {
            answered = positions_of(is_open);
        }
        let is_failing_open = service.answered() == 0 && !answered.is_empty();
        let of = |i: u32| &instances[i as usize].registration;
        answered.sort_by_key(|i| of(*i).priority);
        let mut groups = Vec::new();
        for members in answered.chunk_by(|a, b| of(*a).priority == of(*b).priority) {
            let start = groups.last().map_or(0, |group: &Group| group.members.end);
            let order =
                Order::new(members.iter().map(|i| (of(*i).weight, instances[*i as usize].id.as_str().as_bytes())));
            groups.push(Group { members: start..start + members.len(), order });
        }
        let of_service = ttl_asked(&service);
        let (mut services, mut v4, mut v6) = (Totals::default(), Totals::default(), Totals::default());
        let mut seen: HashSet<IpAddr, foldhash::fast::RandomState> = HashSet::default();
        let preferred = groups.first().map_or(0, |group| group.members.len());
        for (place, position) in answered.iter().enumerate() {
            let instance = &instances[*position as usize];
            services.add(instance, of_service);
            for address in instance.registration.addresses.iter().filter(|_| place < preferred) {
                let totals = if address.is_ipv4() { &mut v4 } else { &mut v6 };
                if seen.insert(address) {
                    totals.add(instance, of_service);
                } else {
                    // The same record once more: only its TTL counts.
                    let once = *totals;
                    totals.add(instance, of_service);
                    (totals.count, totals.id_octets) = (once.count, once.id_octets);
                }
            }
        }
        let mut transports = answered.iter().map(|i| of(*i).protocol);
        let first = transports.next();
        let transport = first.filter(|first| transports.all(|other| other == *first));
        let notice = match service.guarded() {
            Some(guarded) => Some(Notice::guarded(&service, guarded)),
            None => is_failing_open.then(|| Notice::failing_open(&service, answered.len())),
        };
        let fallback = service.settings().and_then(|settings| settings.fallback.as_ref()).map(|name| Fallback {
            name: name.clone(),
            key: wire_key(name.as_str()).into(),
            notice: Notice::standing_in(&service, name.as_str()),
        });
        Self {
            answered: answered.into(),
            groups: groups.into(),
            services,
            v4,
            v6,
            transport,
            lingers: None,
            is_failing_open,
            notice,
            fallback,
            service,
        }
    }

    /// These answers in place of those before, of which caches may hold some.
    pub(super) fn following(mut self, before: Option<&Self>, serving: &Serving) -> Self {
        let before = before.map(|before| (&*before.service, before.lingers.as_deref()));
        self.lingers = Lingers::following(before, &self.service, serving);
        self
    }

    /// When no cache holds an answer with a draining instance any more.
    pub(super) fn safe_to_stop_at(&self, id: &InstanceId) -> Option<Until> {
        self.lingers.as_ref()?.of_drained(id.as_str())
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// What is said with its answers, when they are not the ordinary ones.
    pub(super) fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref()
    }

    /// The service that stands in when this one has nobody to answer with.
    pub(super) fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }

    /// Whether an instance is in answers, be it for want of any that is well.
    pub(super) fn answers(&self, instance: &Instance) -> bool {
        instance.answered() || (self.is_failing_open && is_open(instance))
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

    /// What all records of a kind come to at a name that selects all answered instances; `None` where that is not
    /// counted, or the name selects only some.
    pub(super) fn totals(&self, pick: &Pick, kind: Kind) -> Option<&Totals> {
        let all = match pick {
            Pick::All => true,
            Pick::Transport(transport) => self.transport == Some(*transport),
            Pick::Tag(_) | Pick::Port(..) | Pick::One => false,
        };
        let totals = match kind {
            Kind::A => &self.v4,
            Kind::Aaaa => &self.v6,
            Kind::Srv | Kind::Ptr => &self.services,
            Kind::Txt | Kind::Https => return None,
        };
        all.then_some(totals)
    }

    /// The answered instances that records of a kind come from: for addresses only those with the lowest priority value
    /// that has any, because a client that knows addresses alone cannot tell first choices from last ones.
    pub(super) fn selected<'a>(
        &'a self,
        pick: &'a Pick,
        kind: Kind,
    ) -> impl Iterator<Item = &'a Arc<Instance>> + Clone {
        let lowest = match kind {
            Kind::A | Kind::Aaaa => {
                self.answered().find(|instance| pick.takes(instance)).map(|i| i.registration.priority)
            }
            _ => None,
        };
        self.answered().filter(move |instance| {
            pick.takes(instance) && lowest.is_none_or(|lowest| instance.registration.priority == lowest)
        })
    }

    /// The answered instances of each priority value, lowest first: their places, and the order among them.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Range<usize>, &Order)> {
        self.groups.iter().map(|group| (group.members.clone(), &group.order))
    }

    /// The lifetime of an instance's records: its own, its service's, or the server's.
    pub(super) fn ttl_of(&self, instance: &Instance, default: Ttl) -> Ttl {
        self.lifetime(full_ttl(&self.service, instance, default))
    }

    /// The lifetime of records whose instances ask for none.
    pub(super) fn ttl(&self, default: Ttl) -> Ttl {
        ttl_asked(&self.service).unwrap_or(default)
    }

    /// How long records may be believed that were to live for `ttl`: half of it while the service is guarded.
    pub(super) fn lifetime(&self, ttl: Ttl) -> Ttl {
        if self.service.guarded().is_some() { ttl.halved() } else { ttl }
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
            && self.service.guarded().is_some() == other.service.guarded().is_some()
            && Transport::ALL.iter().all(|transport| self.knows(*transport) == other.knows(*transport))
            && ours.iter().zip(theirs).all(|(a, b)| Arc::ptr_eq(a, b) || same(a, b))
    }
}
