//! The registry's state: services with their instances, in the order of names in a zone.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};

use super::change::{Batch, Change};
use super::linger::{End, Measure};
use super::service::{Remains, Service};
use crate::model::{Health, Instance, Revision, ServiceName, Timestamp, Ttl};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// All services, at one position of the history.
#[derive(Debug, Clone)]
pub struct Registry {
    services: OrdMap<ServiceName, Arc<Service>>,
    revision: Revision,
    instances: usize,
    answered: usize,
    configured: usize,
    guarded: OrdSet<ServiceName>,
    ttl: Ttl,
    lingering: Wide,
}

/// What caches may hold for longer than the answers of now say, of more than one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wide {
    /// Of instances for which nobody asks a lifetime, because the server gave a longer one.
    pub unasking: Option<End>,
    /// Of services that nobody knows any more.
    pub forgotten: Option<End>,
}

impl Default for Registry {
    /// An empty registry at the beginning of the history.
    fn default() -> Self {
        Self {
            services: OrdMap::new(),
            revision: Revision::default(),
            instances: 0,
            answered: 0,
            configured: 0,
            guarded: OrdSet::new(),
            ttl: Ttl::USUAL,
            lingering: Wide::default(),
        }
    }
}

impl Registry {
    /// An empty registry at a position of the history.
    pub fn starting_at(revision: Revision) -> Self {
        Self { revision, ..Self::default() }
    }

    /// The same, when a store has kept this besides services.
    #[must_use]
    pub fn with_lingering(self, lingering: Wide) -> Self {
        Self { lingering, ..self }
    }

    /// The same, answered from now on with a lifetime where nobody asks for another; caches may have what was answered
    /// with the one `before`.
    #[must_use]
    pub fn served_for(mut self, ttl: Ttl, before: Option<Ttl>, now: Timestamp) -> Self {
        self.ttl = ttl;
        let longer = before.filter(|before| *before > ttl).map(|before| End::after(now, before));
        self.lingering.unasking = later(self.lingering.unasking, longer);
        self.drop_past(now);
        self
    }

    /// The same in place of another registry, from `at` on: caches hold what that was answered with, and perhaps what
    /// this was, where it comes from, for `ttl` if nobody asked for another lifetime.
    #[must_use]
    pub fn in_place_of(self, before: &Self, ttl: Ttl, at: Timestamp) -> Self {
        let mut registry = self.with_lingering(before.lingering).served_for(before.ttl, Some(ttl), at);
        let measure = before.measure(at);
        for (name, service) in &before.services {
            if let Some(now) = registry.services.get_mut(name) {
                Arc::make_mut(now).succeed(service, &measure);
            } else {
                let mut nobody = Service::new(name.clone(), None, at);
                nobody.succeed(service, &measure);
                registry.forget(&nobody);
            }
        }
        registry
    }

    fn measure(&self, at: Timestamp) -> Measure {
        Measure { at, default: self.ttl, default_end: self.lingering.unasking }
    }

    /// Takes what lingers of a service that nobody knows any more together with that of others.
    fn forget(&mut self, service: &Service) {
        let last = service.lingering().and_then(|lingering| lingering.last());
        self.lingering.forgotten = later(self.lingering.forgotten, last);
    }

    fn drop_past(&mut self, now: Timestamp) {
        let Wide { unasking, forgotten } = &mut self.lingering;
        for end in [unasking, forgotten] {
            end.take_if(|end| end.is_past(now));
        }
    }

    /// The longest lifetime in caches of records that nobody asks another for.
    pub fn longest_ttl(&self) -> Ttl {
        self.lingering.unasking.map_or(self.ttl, |end| end.span.max(self.ttl))
    }

    /// What caches may hold for longer than the answers of now say, of more than one service.
    pub fn lingering(&self) -> Wide {
        self.lingering
    }

    /// A registry as a store has kept it: every service once, its instances sorted by id.
    ///
    /// When a service was last touched is not kept, so all were at `revision`: who asks what changed since before is
    /// told once too often rather than never.
    pub fn restored(
        revision: Revision,
        services: impl IntoIterator<Item = (ServiceName, Vec<Arc<Instance>>, Remains)>,
    ) -> Self {
        let mut registry = Self::starting_at(revision);
        for (name, instances, remains) in services {
            let service = Service::restored(name.clone(), instances, remains, revision);
            registry.instances += service.instances().len();
            registry.answered += service.answered();
            registry.configured += usize::from(service.settings().is_some());
            registry.services.insert(name, Arc::new(service));
        }
        registry
    }

    /// The position of the history that it stands at.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many instances there are.
    pub fn instances(&self) -> usize {
        self.instances
    }

    /// How many instances are in answers.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// How many instances have been critical for a day: most likely nobody misses them. Looks at services that have any
    /// withheld.
    pub fn critical_for_a_day(&self, now: Timestamp) -> usize {
        let since = now.before(DAY);
        let doubtful = self.services.values().filter(|service| service.answered() < service.instances().len());
        let is_long = |i: &&Arc<Instance>| i.health() == Health::Critical && i.health_since <= since;
        doubtful.map(|service| service.instances().iter().filter(is_long).count()).sum()
    }

    /// How many services there are, with those whose name is only remembered.
    pub fn services_known(&self) -> usize {
        self.services.len()
    }

    /// How many services have settings.
    pub fn configured(&self) -> usize {
        self.configured
    }

    /// The services whose last good set is kept.
    pub fn guarded(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        let service = |name| self.services.get(name).expect("what is guarded has instances");
        self.guarded.iter().map(service)
    }

    /// A service that has instances or settings, or whose name is remembered.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// A service that has instances.
    pub fn registered(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.service(name).filter(|service| !service.instances().is_empty())
    }

    /// One instance.
    pub fn instance(&self, service: &ServiceName, id: &str) -> Option<&Arc<Instance>> {
        self.services.get(service)?.instance(id)
    }

    /// All known services after a name, in the order of names in a zone.
    pub fn services_after<'a>(
        &'a self,
        after: Option<&ServiceName>,
    ) -> impl Iterator<Item = &'a Arc<Service>> + use<'a> {
        let start = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.services.range((start, Bound::Unbounded)).map(|(_, service)| service)
    }

    /// All known services strictly below a group, after a name, in the order of names in a zone.
    pub fn services_under<'a>(
        &'a self,
        group: &'a ServiceName,
        after: Option<&ServiceName>,
    ) -> impl Iterator<Item = &'a Arc<Service>> + use<'a> {
        let after = after.filter(|after| after.is_under(group)).unwrap_or(group);
        self.services_after(Some(after)).take_while(|service| service.name().is_under(group))
    }

    /// Goes on by one batch of the store's history. A batch that was applied before changes nothing.
    pub fn apply(&mut self, batch: &Batch) {
        if batch.revision <= self.revision {
            return;
        }
        for changes in batch.changes.chunk_by(|a, b| a.service() == b.service()) {
            self.apply_to_service(changes, batch);
        }
        self.revision = batch.revision;
        self.drop_past(batch.at);
    }

    /// Shows what a batch would lead to, still at the revision before it: the next command belongs to it too.
    pub fn foresee(&mut self, batch: &Batch) {
        let revision = self.revision;
        self.apply(batch);
        self.revision = revision;
    }

    /// Applies changes that concern one service.
    fn apply_to_service(&mut self, changes: &[Change], batch: &Batch) {
        let name = changes[0].service();
        let measure = self.measure(batch.at);
        if !self.services.contains_key(name) {
            let service = Service::new(name.clone(), self.lingering.forgotten, batch.at);
            self.services.insert(name.clone(), Arc::new(service));
        }
        let Some(service) = self.services.get_mut(name) else { return };
        // Copied once for a batch, because snapshots share it, and changed in place from then on.
        let service = Arc::make_mut(service);
        let (instances, answered) = (service.instances().len(), service.answered());
        let configured = usize::from(service.settings().is_some());
        service.follow(changes, batch.revision, &measure);
        match service.guarded() {
            Some(_) => drop(self.guarded.insert(name.clone())),
            None => drop(self.guarded.remove(name)),
        }
        self.instances = self.instances + service.instances().len() - instances;
        self.answered = self.answered + service.answered() - answered;
        self.configured = self.configured + usize::from(service.settings().is_some()) - configured;
        if !service.is_named() && service.settings().is_none() {
            let service = self.services.remove(name);
            service.inspect(|service| self.forget(service));
        }
    }
}

/// The later of two ends.
fn later(a: Option<End>, b: Option<End>) -> Option<End> {
    [a, b].into_iter().flatten().max_by_key(|end| end.until)
}
