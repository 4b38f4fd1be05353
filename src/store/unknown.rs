//! What this version does not know of the records it has read, and writes back as it came.

use std::collections::HashMap;
use std::sync::Arc;

use super::ledger::Ledger;
use super::record::{Foreign, instance_key};
use crate::registry::{Batch, Change, Registry};

/// Fields of records that a newer version has added, by what they belong to. Almost always empty.
#[derive(Debug, Clone, Default)]
pub struct Unknown {
    /// By service and id with a slash between.
    pub(super) instances: HashMap<String, Foreign>,
    pub(super) services: HashMap<String, Foreign>,
    /// By the number of the lease.
    pub(super) leases: HashMap<u64, Foreign>,
}

impl Unknown {
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.services.is_empty() && self.leases.is_empty()
    }

    /// Drops what belongs to things that are gone after batches.
    pub(super) fn follow(&mut self, batches: &[Arc<Batch>], ledger: &Ledger) {
        let registry: &Registry = ledger.registry();
        for change in batches.iter().flat_map(|batch| &batch.changes) {
            let name = change.service();
            if let Change::Gone { instance, .. } = change
                && registry.instance(name, instance.id.as_str()).is_none()
            {
                self.instances.remove(&instance_key(name.as_str(), instance.id.as_str()));
            }
            if registry.service(name).is_none_or(|service| service.remains().is_empty()) {
                self.services.remove(name.as_str());
            }
        }
        for id in ledger.leases_touched().filter(|id| ledger.lease_ttl(*id).is_none()) {
            self.leases.remove(&id.number());
        }
    }
}
