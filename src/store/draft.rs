//! What a ledger would look like in the middle of a batch: later commands of it see what earlier ones change.

use std::collections::{HashMap, HashSet};

use super::clock::Moment;
use super::leases::{LeaseEdit, Leases};
use crate::model::{Duration, Instance, LeaseId};
use crate::registry::{Batch, Change, Registry};

/// A working copy that costs what differs, because a registry is cloned in O(1).
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) registry: Registry,
    leases: &'a Leases,
    granted: HashMap<LeaseId, Duration, foldhash::fast::RandomState>,
    ended: HashSet<LeaseId, foldhash::fast::RandomState>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(registry: &Registry, leases: &'a Leases) -> Self {
        Self { registry: registry.clone(), leases, granted: HashMap::default(), ended: HashSet::default() }
    }

    /// The length of a lease that is alive.
    pub(super) fn lease(&self, id: LeaseId, now: Moment) -> Option<Duration> {
        let granted = self.granted.get(&id).copied();
        granted.or_else(|| self.leases.get(id, now).map(|lease| lease.ttl)).filter(|_| !self.ended.contains(&id))
    }

    /// Whether an id is a lease's, alive or not.
    pub(super) fn knows(&self, id: LeaseId) -> bool {
        self.leases.contains(id) || self.granted.contains_key(&id)
    }

    /// How many leases there are.
    pub(super) fn leases(&self) -> usize {
        (self.leases.len() + self.granted.len()).saturating_sub(self.ended.len())
    }

    /// Whether a lease was granted for one instance alone, which is then the only one on it.
    pub(super) fn is_own(&self, lease: LeaseId) -> bool {
        // Nobody but its instance knows a lease that the batch has granted.
        self.granted.contains_key(&lease) || {
            let owner = self.leases.members(lease).next();
            let owner = owner.and_then(|(service, id)| self.registry.instance(service, id.as_str()));
            owner.and_then(|owner| owner.lease).is_some_and(|lease| lease.own)
        }
    }

    /// Goes on by what one command changes.
    pub(super) fn go_on(&mut self, batch: Option<&Batch>, edits: &[LeaseEdit]) {
        for edit in edits {
            if let LeaseEdit::Grant(id, ttl) = edit {
                self.granted.insert(*id, *ttl);
            }
        }
        let Some(batch) = batch else { return };
        for change in &batch.changes {
            let (before, after) = match change {
                Change::Put { instance, .. } => {
                    (self.registry.instance(&instance.service, instance.id.as_str()), Some(instance))
                }
                Change::Gone { instance, .. } => (Some(instance), None),
                Change::Configured { .. } | Change::Guarded { .. } | Change::Forgotten { .. } => continue,
            };
            let own = |instance: &Instance| instance.lease.filter(|lease| lease.own).map(|lease| lease.id);
            let left = before.and_then(|before| own(before));
            if let Some(left) = left.filter(|left| after.is_none_or(|after| own(after) != Some(*left))) {
                self.ended.insert(left);
            }
        }
        self.registry.foresee(batch);
    }
}
