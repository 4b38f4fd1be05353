//! One service: its instances, and what outlives them.

use std::collections::HashMap;
use std::sync::Arc;

use super::change::{Cause, Change};
use super::linger::{End, Lingering, Measure, Whose};
use crate::model::{
    Guarded, Instance, InstanceId, Place, Registration, Revision, ServiceName, ServiceSettings, Timestamp, Transport,
    Ttl,
};

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
    /// What caches may hold for longer than the answers of now say.
    lingering: Option<Arc<Lingering>>,
    settings: Option<Arc<ServiceSettings>>,
    guarded: Option<Arc<Guarded>>,
    /// The last change that touched it.
    revision: Revision,
}

impl Service {
    /// A service without instances. It may be one that nobody knew any more, so what lingers of `forgotten` ones may be
    /// its own.
    pub(super) fn new(name: ServiceName, forgotten: Option<End>, at: Timestamp) -> Self {
        let mut service = Self::restored(name, Vec::new(), Remains::default(), Revision::default());
        if let Some(end) = forgotten {
            service.linger(Whose::All, end, at);
        }
        service
    }

    /// A service as a store has kept it, its instances sorted by id, each once.
    pub(super) fn restored(
        name: ServiceName,
        instances: Vec<Arc<Instance>>,
        remains: Remains,
        revision: Revision,
    ) -> Self {
        debug_assert!(instances.is_sorted_by(|a, b| a.id < b.id), "sorted by id, each once");
        let Remains { left, lapsed, superseded, lingering, settings } = remains;
        let answered = instances.iter().filter(|instance| instance.answered()).count();
        let guarded = None;
        Self { name, instances, answered, left, lapsed, superseded, lingering, settings, guarded, revision }
    }

    /// Goes on by changes that concern it, of the batch that leads to a revision.
    pub(super) fn follow(&mut self, changes: &[Change], revision: Revision, measure: &Measure) {
        if changes.len() > 1 && changes.iter().all(|change| matches!(change, Change::Gone { .. })) {
            self.remove_many(changes, measure);
        } else {
            for change in changes {
                match change {
                    Change::Put { instance, .. } => self.put(instance.clone(), measure),
                    Change::Gone { instance, cause } => self.remove(instance.id.as_str(), *cause, measure),
                    Change::Configured { settings, .. } => self.configure(settings.clone(), measure),
                    Change::Guarded { guarded, .. } => self.guarded = guarded.clone(),
                    Change::Forgotten { transport, .. } => self.left[*transport as usize] = None,
                }
            }
        }
        self.revision = revision;
        self.lingering.take_if(|lingering| lingering.is_past(measure.at));
        // Nobody is left who could be kept.
        self.guarded.take_if(|_| self.instances.is_empty());
        if !self.is_named() {
            self.lapsed.clear();
            self.superseded.clear();
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

    /// What caches may hold of it for longer than its answers of now say, as far as it is not past.
    pub fn lingering(&self) -> Option<&Arc<Lingering>> {
        self.lingering.as_ref()
    }

    /// What is known besides the instances.
    pub fn remains(&self) -> Remains {
        Remains {
            left: self.left,
            lapsed: self.lapsed.clone(),
            superseded: self.superseded.clone(),
            lingering: self.lingering.clone(),
            settings: self.settings.clone(),
        }
    }

    /// The lifetime of records whose instances ask for none.
    fn ttl(&self) -> Option<Ttl> {
        self.settings.as_ref().and_then(|settings| settings.ttl)
    }

    /// Notes that caches may hold what was answered until now.
    fn linger(&mut self, whose: Whose, end: End, at: Timestamp) {
        if !end.is_past(at) && end.span.secs() > 0 {
            Arc::make_mut(self.lingering.get_or_insert_default()).note(whose, end, at);
        }
    }

    /// Notes what lingers of an instance that has left, or is `after` now.
    fn outlived(&mut self, before: &Instance, after: Option<&Registration>, measure: &Measure) {
        let said = &before.registration;
        // What lingers of it already goes on to concern it.
        if !after.is_some_and(|after| after.ttl == said.ttl && after.place() == said.place()) {
            let end = measure.end_of(before, self.ttl(), self.lingering.as_deref());
            self.outlasted(before, end, after, measure);
        }
    }

    /// Notes that answers with an instance which has left, or is `after` now, are in caches to an end.
    fn outlasted(&mut self, before: &Instance, end: End, after: Option<&Registration>, measure: &Measure) {
        let place = before.registration.place();
        let is_covered =
            |after: &Registration| after.place() == place && measure.next_end(after.ttl, self.ttl()) >= end.until;
        if !after.is_some_and(is_covered) {
            self.linger(Whose::Instance(before.id.clone(), place), end, measure.at);
        }
    }

    /// Takes the place of another state of it, which did not lead to this one.
    pub(super) fn succeed(&mut self, before: &Self, measure: &Measure) {
        for gone in &before.instances {
            let after = self.instance(gone.id.as_str()).cloned();
            let after = after.as_deref().map(|after| &after.registration);
            // What lingers of all who ask for none comes along below.
            let stays = after.is_some_and(|after| after.ttl == gone.registration.ttl);
            let lingering = before.lingering.as_deref().filter(|_| !stays);
            self.outlasted(gone, measure.end_of(gone, before.ttl(), lingering), after, measure);
        }
        for (whose, end) in before.lingering.iter().flat_map(|lingering| lingering.ends()) {
            self.linger(whose.clone(), *end, measure.at);
        }
    }

    fn configure(&mut self, settings: Option<Arc<ServiceSettings>>, measure: &Measure) {
        let end = measure.end_of_unasking(self.ttl(), self.lingering.as_deref());
        self.settings = settings;
        let is_used = self.instances.iter().any(|instance| instance.registration.ttl.is_none());
        if is_used && measure.next_end(None, self.ttl()) < end.until {
            self.linger(Whose::Unasking, end, measure.at);
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

    fn put(&mut self, instance: Arc<Instance>, measure: &Measure) {
        let transport = instance.registration.protocol;
        self.lapsed.retain(|id| *id != instance.id);
        self.superseded.retain(|gone| gone.id != instance.id);
        self.answered += usize::from(instance.answered());
        match self.position(instance.id.as_str()) {
            Ok(position) => {
                let after = instance.clone();
                let before = std::mem::replace(&mut self.instances[position], instance);
                self.answered -= usize::from(before.answered());
                self.remember(before.registration.protocol, measure.at);
                self.outlived(&before, Some(&after.registration), measure);
            }
            Err(position) => {
                // The list is copied with every batch, so room for more would never be used.
                self.instances.reserve_exact(1);
                self.instances.insert(position, instance);
            }
        }
        self.left[transport as usize] = None;
    }

    fn remove(&mut self, id: &str, cause: Cause, measure: &Measure) {
        if let Ok(position) = self.position(id) {
            let before = self.instances.remove(position);
            self.removed(&before, cause, measure);
            self.remember(before.registration.protocol, measure.at);
        }
    }

    /// Removes many in one pass: a whole service may go at once.
    fn remove_many(&mut self, gone: &[Change], measure: &Measure) {
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
                self.removed(before, cause, measure);
            }
        }
        for transport in Transport::ALL {
            if left.iter().any(|before| before.registration.protocol == transport) {
                self.remember(transport, measure.at);
            }
        }
    }

    /// Keeps the books after an instance was taken out.
    fn removed(&mut self, before: &Instance, cause: Cause, measure: &Measure) {
        self.outlived(before, None, measure);
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
    /// What caches may hold for longer than the answers of now say.
    pub lingering: Option<Arc<Lingering>>,
    /// What holds for the service as a whole, when that was set.
    pub settings: Option<Arc<ServiceSettings>>,
}

impl Remains {
    /// Whether there is nothing to know.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
