//! What a group of commands changed, as it has to be written.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::ledger::Ledger;
use super::unknown::Unknown;
use crate::model::{Duration, Instance, InstanceId, LeaseId, Revision, ServiceName};
use crate::registry::{Batch, Change, End, Registry, Remains, Trail};

/// The names of an instance.
pub(super) type InstanceName = (ServiceName, InstanceId);

type Set<T> = HashSet<T, foldhash::fast::RandomState>;

/// Whose kept form may differ from the books. It names things rather than changes: what is written is what the books
/// say when it is written, so writing it again mends whatever a write that failed has left.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    instances: Set<InstanceName>,
    services: Set<ServiceName>,
    leases: Set<LeaseId>,
    /// The revision, of which a change that is not kept otherwise is a part too: revisions only grow, across restarts.
    revision: bool,
}

impl Dirty {
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.services.is_empty() && self.leases.is_empty() && !self.revision
    }

    /// Adds what batches and lease edits touched since the books last showed `shown`.
    pub(super) fn gather(&mut self, batches: &[Arc<Batch>], ledger: &Ledger, shown: &Registry) {
        self.revision |= !batches.is_empty();
        let mut services: Set<&ServiceName> = Set::default();
        for change in batches.iter().flat_map(|batch| &batch.changes) {
            if let Change::Put { instance, .. } | Change::Gone { instance, .. } = change {
                self.instances.insert((instance.service.clone(), instance.id.clone()));
            }
            services.insert(change.service());
        }
        let changed = |name: &&&ServiceName| remains(ledger.registry(), name) != remains(shown, name);
        self.services.extend(services.iter().filter(changed).map(|name| ServiceName::clone(name)));
        self.leases.extend(ledger.leases_touched());
    }

    /// What the books say of all of it, and what a trail says of how it came about.
    pub(super) fn group(&self, ledger: &Ledger, trail: Trail) -> Group {
        let registry = ledger.registry();
        let instance = |(service, id): &InstanceName| registry.instance(service, id.as_str()).cloned();
        let service = |name: &ServiceName| Some(remains(registry, name)).filter(|remains| !remains.is_empty());
        Group {
            revision: registry.revision(),
            instances: all(&self.instances, instance),
            services: all(&self.services, service),
            leases: all(&self.leases, |id| ledger.lease_ttl(*id)),
            forgotten: registry.lingering().forgotten,
            trail,
        }
    }
}

fn remains(registry: &Registry, name: &ServiceName) -> Remains {
    registry.service(name).map(|service| service.remains()).unwrap_or_default()
}

fn all<K: Clone + Eq + Hash, V>(keys: &Set<K>, value: impl Fn(&K) -> Option<V>) -> Vec<(K, Option<V>)> {
    keys.iter().map(|key| (key.clone(), value(key))).collect()
}

/// What to write, all of it or nothing. A value that is `None` is to be gone.
#[derive(Debug)]
pub struct Group {
    /// The position of the history that it leads to.
    pub(super) revision: Revision,
    pub(super) instances: Vec<(InstanceName, Option<Arc<Instance>>)>,
    pub(super) services: Vec<(ServiceName, Option<Remains>)>,
    pub(super) leases: Vec<(LeaseId, Option<Duration>)>,
    /// Until when caches may hold answers of services that nobody knows any more.
    pub(super) forgotten: Option<End>,
    /// What has happened since the last group that was kept.
    pub(super) trail: Trail,
}

/// All there is to write.
#[derive(Debug)]
pub struct Whole {
    pub(super) registry: Registry,
    pub(super) leases: Vec<(LeaseId, Duration)>,
    pub(super) unknown: Arc<Unknown>,
    /// What has happened since the last group that was kept; the content itself is no event.
    pub(super) trail: Trail,
}
