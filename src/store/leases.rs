//! Leases of an engine that owns them: who is on each, and when it ends.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::deadlines::Deadlines;
use crate::model::{Duration, Instance, InstanceId, Lease, LeaseId, ServiceName, Timestamp};
use crate::registry::Change;

/// A moment on both clocks: deadlines go by the first, people by the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) wall: Timestamp,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }
}

#[derive(Debug)]
struct Held {
    ttl: Duration,
    /// As of the grant or the last renewal. Made anew from two clocks at each look, it would differ from look to look.
    expires_at: Timestamp,
    members: BTreeSet<(ServiceName, InstanceId)>,
}

/// All leases that have not ended. A lease whose deadline has passed is not alive, also before its end is committed.
#[derive(Debug)]
pub(super) struct Leases {
    held: HashMap<LeaseId, Held, foldhash::fast::RandomState>,
    deadlines: Deadlines<LeaseId>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self { held: HashMap::default(), deadlines: Deadlines::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.held.contains_key(&id)
    }

    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Moment) {
        self.held.insert(id, Held { ttl, expires_at: now.wall.after(ttl.std()), members: BTreeSet::new() });
        self.deadlines.set(id, now.instant + ttl.std());
    }

    /// Moves the deadline of a lease that is alive.
    pub(super) fn renew(&mut self, id: LeaseId, now: Moment) -> Option<Lease> {
        let ttl = self.get(id, now)?.ttl;
        self.held.get_mut(&id)?.expires_at = now.wall.after(ttl.std());
        self.deadlines.set(id, now.instant + ttl.std());
        self.get(id, now)
    }

    /// A lease that is alive.
    pub(super) fn get(&self, id: LeaseId, now: Moment) -> Option<Lease> {
        self.deadlines.get(&id).filter(|deadline| *deadline > now.instant)?;
        let Held { ttl, expires_at, .. } = *self.held.get(&id)?;
        Some(Lease { id, ttl, expires_at })
    }

    /// The instances on a lease.
    pub(super) fn members(&self, id: LeaseId) -> impl Iterator<Item = &(ServiceName, InstanceId)> {
        self.held.get(&id).into_iter().flat_map(|held| &held.members)
    }

    pub(super) fn end(&mut self, id: LeaseId) {
        self.held.remove(&id);
        self.deadlines.clear(&id);
    }

    /// Keeps membership in step with a change; a lease of an instance's own ends with it.
    pub(super) fn follow(&mut self, before: Option<&Instance>, change: &Change) {
        let after = match change {
            Change::Put { instance, .. } => Some(&**instance),
            Change::Gone { .. } => None,
            Change::Configured { .. } | Change::Forgotten { .. } => return,
        };
        let lease_of = |instance: Option<&Instance>| instance.and_then(|instance| instance.lease);
        let (left, joined) = (lease_of(before), lease_of(after));
        if left.map(|lease| lease.id) == joined.map(|lease| lease.id) {
            return;
        }
        if let (Some(lease), Some(before)) = (left, before) {
            if lease.own {
                self.end(lease.id);
            } else if let Some(held) = self.held.get_mut(&lease.id) {
                held.members.remove(&(before.service.clone(), before.id.clone()));
            }
        }
        if let (Some(lease), Some(after)) = (joined, after)
            && let Some(held) = self.held.get_mut(&lease.id)
        {
            held.members.insert((after.service.clone(), after.id.clone()));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    pub(super) fn lapsed(&self, now: Instant, max: usize) -> Vec<LeaseId> {
        self.deadlines.passed(now, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_lease_is_the_same_at_every_look_between_renewals() {
        let start = Instant::now();
        // The clocks do not tick together: the wall clock is read in whole milliseconds.
        let at = |micros: u64, wall| Moment {
            instant: start + std::time::Duration::from_micros(micros),
            wall: Timestamp::from_millis(wall),
        };
        let (mut leases, id) = (Leases::new(), LeaseId::new(1));
        leases.grant(id, Duration::from_secs(10), at(0, 1_000));
        for now in [at(0, 1_000), at(900, 1_000), at(1_100, 1_002), at(5_000_000, 999_000)] {
            assert_eq!(leases.get(id, now).map(|lease| lease.expires_at), Some(Timestamp::from_millis(11_000)));
        }
        let renewed = leases.renew(id, at(6_000_000, 7_000)).unwrap();
        assert_eq!(renewed.expires_at, Timestamp::from_millis(17_000));
        assert_eq!(leases.get(id, at(15_999_999, 16_999)), Some(renewed));
        assert_eq!(leases.get(id, at(16_000_000, 17_000)), None);
    }
}
