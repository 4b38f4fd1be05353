//! What a ledger would look like in the middle of a batch: later commands of it see what earlier ones change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::clock::Moment;
use super::leases::{LeaseEdit, Leases, Member};
use crate::model::{Duration, Instance, LeaseId};
use crate::registry::{Batch, Change, Registry};

/// A working copy that costs what differs, because a registry is cloned in O(1).
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    pub(super) registry: Registry,
    leases: &'a Leases,
    granted: HashMap<LeaseId, Duration, foldhash::fast::RandomState>,
    ended: HashSet<LeaseId, foldhash::fast::RandomState>,
    /// Who has joined a lease since, and may have left it again.
    joined: BTreeSet<(LeaseId, Member)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(registry: &Registry, leases: &'a Leases) -> Self {
        Self {
            registry: registry.clone(),
            leases,
            granted: HashMap::default(),
            ended: HashSet::default(),
            joined: BTreeSet::new(),
        }
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
            owner.and_then(|owner| owner.lease).is_some_and(|of| of.own && of.id == lease)
        }
    }

    /// The instances on a lease.
    pub(super) fn on(&self, lease: LeaseId) -> impl Iterator<Item = &Arc<Instance>> {
        let joined = self.joined.iter().filter(move |(of, _)| *of == lease).map(|(_, member)| member);
        let members: BTreeSet<&Member> = self.leases.members(lease).chain(joined).collect();
        let instances = members.into_iter().filter_map(|(service, id)| self.registry.instance(service, id.as_str()));
        instances.filter(move |instance| instance.lease.is_some_and(|of| of.id == lease))
    }

    /// Goes on by what one command changes.
    pub(super) fn go_on(&mut self, batch: Option<&Batch>, edits: &[LeaseEdit]) {
        for edit in edits {
            match edit {
                LeaseEdit::Grant(id, ttl) => drop(self.granted.insert(*id, *ttl)),
                LeaseEdit::End(id) => drop(self.ended.insert(*id)),
                LeaseEdit::Renew(_) => {}
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
            if let Some((after, lease)) = after.and_then(|after| Some((after, after.lease?))) {
                self.joined.insert((lease.id, (after.service.clone(), after.id.clone())));
            }
        }
        self.registry.foresee(batch);
    }
}
