//! The registry's state: services with their instances, in the order of names in a zone.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};

use super::change::{Batch, Cause, Change};
use crate::model::{
    Guarded, Health, Instance, InstanceId, Place, Registration, Revision, ServiceName, ServiceSettings, Timestamp,
    Transport,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Instances of one service that are remembered as lapsed.
const LAPSED_MAX: usize = 1_000;
/// Instances of one service that are remembered as superseded.
const SUPERSEDED_MAX: usize = 1_000;

/// An instance that is gone because another registered where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// Its id.
    pub id: InstanceId,
    /// Where it was.
    pub place: Place,
    /// Which start of it that was.
    pub generation: Option<u64>,
}

/// A service: its instances now, and which of its names are remembered.
#[derive(Debug, Clone)]
pub struct Service {
    name: ServiceName,
    /// Sorted by id.
    instances: Vec<Arc<Instance>>,
    answered: usize,
    /// When the last instance of a transport left, for a name that is remembered; by [`Transport`].
    left: [Option<Timestamp>; 2],
    /// Instances that are gone because their own lease ended, latest last; at most [`LAPSED_MAX`].
    lapsed: Vec<InstanceId>,
    /// Instances whose place another has taken, latest last; at most [`SUPERSEDED_MAX`].
    superseded: Vec<Superseded>,
    settings: Option<Arc<ServiceSettings>>,
    guarded: Option<Arc<Guarded>>,
    /// The last change that touched it.
    revision: Revision,
}

impl Service {
    fn new(name: ServiceName) -> Self {
        Self {
            name,
            instances: Vec::new(),
            answered: 0,
            left: [None; 2],
            lapsed: Vec::new(),
            superseded: Vec::new(),
            settings: None,
            guarded: None,
            revision: Revision::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Its instances, sorted by id; empty when only its name is remembered.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    /// How many of them are in answers.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// What holds for it as a whole, when that was set.
    pub fn settings(&self) -> Option<&Arc<ServiceSettings>> {
        self.settings.as_ref()
    }

    /// How its last good set is kept, when this node doubts itself.
    pub fn guarded(&self) -> Option<&Arc<Guarded>> {
        self.guarded.as_ref()
    }

    /// Whether its name exists: it has instances, or had some within the name memory.
    pub fn is_named(&self) -> bool {
        !self.instances.is_empty() || self.left.iter().any(Option::is_some)
    }

    /// The last change that touched it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The instance of an id.
    pub fn instance(&self, id: &str) -> Option<&Arc<Instance>> {
        self.position(id).ok().map(|position| &self.instances[position])
    }

    /// Whether an instance uses a transport now.
    pub fn uses(&self, transport: Transport) -> bool {
        self.instances.iter().any(|instance| instance.registration.protocol == transport)
    }

    /// Whether an instance uses a transport, or did so within the name memory.
    pub fn knows(&self, transport: Transport) -> bool {
        self.left[transport as usize].is_some() || self.uses(transport)
    }

    /// When the last instance of a transport left, when its name is only remembered.
    pub fn left(&self, transport: Transport) -> Option<Timestamp> {
        self.left[transport as usize]
    }

    /// Whether an instance was here last on a lease of its own that has ended. Known for as long as the name is.
    pub fn has_lapsed(&self, id: &InstanceId) -> bool {
        self.lapsed.contains(id)
    }

    /// An instance that was here last and lost its place to another. Known for as long as the name is.
    pub fn superseded(&self, id: &InstanceId) -> Option<&Superseded> {
        self.superseded.iter().find(|gone| gone.id == *id)
    }

    /// What is known besides the instances.
    pub fn remains(&self) -> Remains {
        Remains {
            left: self.left,
            lapsed: self.lapsed.clone(),
            superseded: self.superseded.clone(),
            settings: self.settings.clone(),
        }
    }

    fn position(&self, id: &str) -> Result<usize, usize> {
        self.instances.binary_search_by(|instance| instance.id.as_str().cmp(id))
    }

    /// Notes that instances of a transport may have left at `at`.
    fn remember(&mut self, transport: Transport, at: Timestamp) {
        if !self.uses(transport) {
            self.left[transport as usize] = Some(at);
        }
    }

    fn put(&mut self, instance: Arc<Instance>, at: Timestamp) {
        let transport = instance.registration.protocol;
        self.lapsed.retain(|id| *id != instance.id);
        self.superseded.retain(|gone| gone.id != instance.id);
        self.answered += usize::from(instance.answered());
        match self.position(instance.id.as_str()) {
            Ok(position) => {
                let before = std::mem::replace(&mut self.instances[position], instance);
                self.answered -= usize::from(before.answered());
                self.remember(before.registration.protocol, at);
            }
            Err(position) => {
                // The list is copied with every batch, so room for more would never be used.
                self.instances.reserve_exact(1);
                self.instances.insert(position, instance);
            }
        }
        self.left[transport as usize] = None;
    }

    fn remove(&mut self, id: &str, cause: Cause, at: Timestamp) {
        if let Ok(position) = self.position(id) {
            let before = self.instances.remove(position);
            self.removed(&before, cause);
            self.remember(before.registration.protocol, at);
        }
    }

    /// Removes many in one pass: a whole service may go at once.
    fn remove_many(&mut self, gone: &[Change], at: Timestamp) {
        let causes: HashMap<&str, Cause> = gone
            .iter()
            .filter_map(|change| match change {
                Change::Gone { instance, cause } => Some((instance.id.as_str(), *cause)),
                _ => None,
            })
            .collect();
        let cause_of = |instance: &Arc<Instance>| causes.get(instance.id.as_str()).copied();
        let (left, stay) = std::mem::take(&mut self.instances).into_iter().partition(|i| cause_of(i).is_some());
        self.instances = stay;
        let left: Vec<Arc<Instance>> = left;
        for before in &left {
            if let Some(cause) = cause_of(before) {
                self.removed(before, cause);
            }
        }
        for transport in Transport::ALL {
            if left.iter().any(|before| before.registration.protocol == transport) {
                self.remember(transport, at);
            }
        }
    }

    /// Keeps the books after an instance was taken out.
    fn removed(&mut self, before: &Instance, cause: Cause) {
        let has_lapsed = matches!(cause, Cause::Expired | Cause::Revoked);
        if has_lapsed && before.lease.is_some_and(|lease| lease.own) {
            if self.lapsed.len() == LAPSED_MAX {
                self.lapsed.remove(0);
            }
            self.lapsed.push(before.id.clone());
        }
        if cause == Cause::Superseded {
            if self.superseded.len() == SUPERSEDED_MAX {
                self.superseded.remove(0);
            }
            let Registration { generation, .. } = before.registration;
            let (id, place) = (before.id.clone(), before.registration.place());
            self.superseded.push(Superseded { id, place, generation });
        }
        self.answered -= usize::from(before.answered());
    }
}

/// What is known of a service besides its instances, and outlives them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remains {
    /// When the last instance of a transport left, for a name that is remembered; by [`Transport`].
    pub left: [Option<Timestamp>; 2],
    /// Instances that are gone because their own lease ended, latest last.
    pub lapsed: Vec<InstanceId>,
    /// Instances whose place another has taken, latest last.
    pub superseded: Vec<Superseded>,
    /// What holds for the service as a whole, when that was set.
    pub settings: Option<Arc<ServiceSettings>>,
}

impl Remains {
    /// Whether there is nothing to know.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// All services, at one position of the history.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    services: OrdMap<ServiceName, Arc<Service>>,
    revision: Revision,
    instances: usize,
    answered: usize,
    configured: usize,
    guarded: OrdSet<ServiceName>,
}

impl Registry {
    /// An empty registry at a position of the history.
    pub fn starting_at(revision: Revision) -> Self {
        Self { revision, ..Self::default() }
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
        for (name, instances, Remains { left, lapsed, superseded, settings }) in services {
            debug_assert!(instances.is_sorted_by(|a, b| a.id < b.id), "sorted by id, each once");
            let answered = instances.iter().filter(|instance| instance.answered()).count();
            registry.instances += instances.len();
            registry.answered += answered;
            registry.configured += usize::from(settings.is_some());
            let name_kept = name.clone();
            let guarded = None;
            let service =
                Service { name: name_kept, instances, answered, left, lapsed, superseded, settings, guarded, revision };
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
        let doubtful = self.services.values().filter(|service| service.answered < service.instances.len());
        let is_long = |i: &&Arc<Instance>| i.health() == Health::Critical && i.health_since <= since;
        doubtful.map(|service| service.instances.iter().filter(is_long).count()).sum()
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
        self.service(name).filter(|service| !service.instances.is_empty())
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
        self.services_after(Some(after)).take_while(|service| service.name.is_under(group))
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
        if !self.services.contains_key(name) {
            self.services.insert(name.clone(), Arc::new(Service::new(name.clone())));
        }
        let Some(service) = self.services.get_mut(name) else { return };
        // Copied once for a batch, because snapshots share it, and changed in place from then on.
        let service = Arc::make_mut(service);
        let (instances, answered) = (service.instances.len(), service.answered);
        let configured = usize::from(service.settings.is_some());
        if changes.len() > 1 && changes.iter().all(|change| matches!(change, Change::Gone { .. })) {
            service.remove_many(changes, batch.at);
        } else {
            for change in changes {
                match change {
                    Change::Put { instance, .. } => service.put(instance.clone(), batch.at),
                    Change::Gone { instance, cause } => service.remove(instance.id.as_str(), *cause, batch.at),
                    Change::Configured { settings, .. } => service.settings = settings.clone(),
                    Change::Guarded { guarded, .. } => service.guarded = guarded.clone(),
                    Change::Forgotten { transport, .. } => service.left[*transport as usize] = None,
                }
            }
        }
        service.revision = batch.revision;
        // Nobody is left who could be kept.
        service.guarded.take_if(|_| service.instances.is_empty());
        match service.guarded {
            Some(_) => drop(self.guarded.insert(name.clone())),
            None => drop(self.guarded.remove(name)),
        }
        self.instances = self.instances + service.instances.len() - instances;
        self.answered = self.answered + service.answered - answered;
        self.configured = self.configured + usize::from(service.settings.is_some()) - configured;
        if !service.is_named() {
            service.lapsed.clear();
            service.superseded.clear();
            if service.settings.is_none() {
                self.services.remove(name);
            }
        }
    }
}
