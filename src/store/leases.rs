//! Leases of an engine that owns them: who is on each, and when it ends.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::clock::Moment;
use super::deadlines::Deadlines;
use crate::model::{Duration, Instance, InstanceId, Lease, LeaseId, ServiceName};
use crate::registry::Change;

pub(super) type Member = (ServiceName, InstanceId);

/// What a decision does to leases, besides what changes of instances do.
#[derive(Debug)]
pub(super) enum LeaseEdit {
    Grant(LeaseId, Duration),
    Renew(LeaseId),
    End(LeaseId),
}

/// Who is on a lease. Most leases are one instance's own, for which a tree would be ten times what it holds.
#[derive(Debug, Default)]
enum Members {
    #[default]
    None,
    One(Member),
    Many(BTreeSet<Member>),
}

impl Members {
    fn iter(&self) -> impl Iterator<Item = &Member> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(member) => (Some(member), None),
            Self::Many(members) => (None, Some(members)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Adds a member; says whether it is new.
    fn insert(&mut self, member: Member) -> bool {
        match std::mem::take(self) {
            Self::None => *self = Self::One(member),
            Self::One(first) if first == member => {
                *self = Self::One(first);
                return false;
            }
            Self::One(first) => *self = Self::Many([first, member].into()),
            Self::Many(mut members) => {
                let is_new = members.insert(member);
                *self = Self::Many(members);
                return is_new;
            }
        }
        true
    }

    /// Takes a member out; says whether it was there.
    fn remove(&mut self, member: &Member) -> bool {
        match self {
            Self::None => false,
            Self::One(only) if only == member => {
                *self = Self::None;
                true
            }
            Self::One(_) => false,
            Self::Many(members) => {
                let was_there = members.remove(member);
                if members.len() == 1 {
                    *self = members.pop_first().map_or(Self::None, Self::One);
                }
                was_there
            }
        }
    }
}

#[derive(Debug)]
struct Held {
    ttl: Duration,
    members: Members,
    /// Whether its end was put off since it was last renewed.
    is_put_off: bool,
}

/// The place behind all deadlines at a moment. No id is smaller than the first.
fn behind(moment: Instant) -> (Instant, LeaseId) {
    (moment + std::time::Duration::from_nanos(1), LeaseId::new(1))
}

/// How to take one change back.
#[derive(Debug)]
enum Undo {
    /// It was granted.
    Forget(LeaseId),
    /// It ended.
    Restore(LeaseId, Held, Option<Instant>),
    /// A member joined.
    Leave(LeaseId, Member),
    /// A member left.
    Join(LeaseId, Member),
}

/// All leases that have not ended. A lease whose deadline has passed is not alive, also before its end is committed.
#[derive(Debug)]
pub(super) struct Leases {
    held: HashMap<LeaseId, Held, foldhash::fast::RandomState>,
    deadlines: Deadlines<LeaseId>,
    /// What has happened since the last [`Self::keep`], but for renewals.
    undo: Vec<Undo>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self { held: HashMap::default(), deadlines: Deadlines::new(), undo: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.held.contains_key(&id)
    }

    /// The length of a lease that has not been ended.
    pub(super) fn ttl(&self, id: LeaseId) -> Option<Duration> {
        self.held.get(&id).map(|held| held.ttl)
    }

    /// The lengths of all that have not been ended, by id.
    pub(super) fn all(&self) -> Vec<(LeaseId, Duration)> {
        let mut all: Vec<_> = self.held.iter().map(|(id, held)| (*id, held.ttl)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Grants a lease that does not exist.
    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Moment) {
        self.held.insert(id, Held { ttl, members: Members::None, is_put_off: false });
        self.deadlines.set(id, now.instant + ttl.std());
        self.undo.push(Undo::Forget(id));
    }

    /// Moves the deadline of a lease that is alive.
    pub(super) fn renew(&mut self, id: LeaseId, now: Moment) -> Option<Lease> {
        let ttl = self.get(id, now)?.ttl;
        self.deadlines.set(id, now.instant + ttl.std());
        self.get(id, now)
    }

    /// Puts off the end of a lease that nobody has renewed.
    pub(super) fn put_off(&mut self, id: LeaseId, until: Instant) {
        if let Some(held) = self.held.get_mut(&id) {
            held.is_put_off = true;
            self.deadlines.set(id, until);
        }
    }

    /// Whether the end of a lease was put off; asked once after it was renewed.
    pub(super) fn take_put_off(&mut self, id: LeaseId) -> bool {
        self.held.get_mut(&id).is_some_and(|held| std::mem::take(&mut held.is_put_off))
    }

    /// A lease that is alive.
    pub(super) fn get(&self, id: LeaseId, now: Moment) -> Option<Lease> {
        let deadline = self.deadlines.get(&id).filter(|deadline| *deadline > now.instant)?;
        let ttl = self.ttl(id)?;
        Some(Lease { id, ttl, expires_at: now.wall_at(deadline) })
    }

    /// The instances on a lease.
    pub(super) fn members(&self, id: LeaseId) -> impl Iterator<Item = &Member> {
        self.held.get(&id).into_iter().flat_map(|held| held.members.iter())
    }

    pub(super) fn end(&mut self, id: LeaseId) {
        if let Some(held) = self.held.remove(&id) {
            self.undo.push(Undo::Restore(id, held, self.deadlines.get(&id)));
        }
        self.deadlines.clear(&id);
    }

    fn join(&mut self, id: LeaseId, member: Member) {
        if let Some(held) = self.held.get_mut(&id)
            && held.members.insert(member.clone())
        {
            self.undo.push(Undo::Leave(id, member));
        }
    }

    fn leave(&mut self, id: LeaseId, member: Member) {
        if let Some(held) = self.held.get_mut(&id)
            && held.members.remove(&member)
        {
            self.undo.push(Undo::Join(id, member));
        }
    }

    /// The leases that were granted or ended since the last [`Self::keep`].
    pub(super) fn touched(&self) -> impl Iterator<Item = LeaseId> {
        self.undo.iter().filter_map(|undo| match undo {
            Undo::Forget(id) | Undo::Restore(id, ..) => Some(*id),
            Undo::Leave(..) | Undo::Join(..) => None,
        })
    }

    /// What has happened stays.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes back what has happened since the last [`Self::keep`]. A renewal stays: it does no harm.
    pub(super) fn undo(&mut self) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Forget(id) => {
                    self.held.remove(&id);
                    self.deadlines.clear(&id);
                }
                Undo::Restore(id, held, deadline) => {
                    self.held.insert(id, held);
                    if let Some(deadline) = deadline {
                        self.deadlines.set(id, deadline);
                    }
                }
                Undo::Leave(id, member) => {
                    self.held.get_mut(&id).map(|held| held.members.remove(&member));
                }
                Undo::Join(id, member) => {
                    self.held.get_mut(&id).map(|held| held.members.insert(member));
                }
            }
        }
    }

    /// Keeps membership in step with a change; a lease of an instance's own ends with it.
    pub(super) fn follow(&mut self, before: Option<&Instance>, change: &Change) {
        let after = match change {
            Change::Put { instance, .. } => Some(&**instance),
            Change::Gone { .. } => None,
            Change::Configured { .. } | Change::Guarded { .. } | Change::Forgotten { .. } => return,
        };
        let lease_of = |instance: Option<&Instance>| instance.and_then(|instance| instance.lease);
        let (left, joined) = (lease_of(before), lease_of(after));
        if left.map(|lease| lease.id) == joined.map(|lease| lease.id) {
            return;
        }
        if let (Some(lease), Some(before)) = (left, before) {
            if lease.own {
                self.end(lease.id);
            } else {
                self.leave(lease.id, (before.service.clone(), before.id.clone()));
            }
        }
        if let (Some(lease), Some(after)) = (joined, after) {
            self.join(lease.id, (after.service.clone(), after.id.clone()));
        }
    }

    /// Notes a restored instance as a member of its lease.
    pub(super) fn enrol(&mut self, instance: &Instance) {
        if let Some(lease) = instance.lease {
            self.join(lease.id, (instance.service.clone(), instance.id.clone()));
        }
    }

    /// Every lease and who is on it.
    #[cfg(test)]
    pub(super) fn members_of_all(&self) -> std::collections::BTreeMap<LeaseId, BTreeSet<Member>> {
        self.held.iter().map(|(id, held)| (*id, held.members.iter().cloned().collect())).collect()
    }

    /// All of it, in an order.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let held: std::collections::BTreeMap<_, _> = self.held.iter().collect();
        format!("{held:#?} {} {:?}", self.deadlines.shown(), self.undo)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The leases whose deadline lies after one moment and not after another, earliest first.
    pub(super) fn lapsed_after(&self, after: Instant, now: Instant) -> impl Iterator<Item = LeaseId> {
        self.deadlines.passed_from(behind(after), now).copied()
    }

    /// The next deadline after a moment.
    pub(super) fn next_after(&self, after: Instant) -> Option<Instant> {
        self.deadlines.next_from(behind(after))
    }

    pub(super) fn lapsed(&self, now: Instant, max: usize) -> Vec<LeaseId> {
        self.deadlines.passed(now, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn member(id: &str) -> Member {
        ("web".parse().unwrap(), id.parse().unwrap())
    }

    #[test]
    fn what_is_taken_back_is_as_it_was() {
        let (mut leases, start) = (Leases::new(), Instant::now());
        let (a, b) = (LeaseId::new(1), LeaseId::new(2));
        let now = Moment::of(start, Timestamp::from_millis(0));
        leases.grant(a, Duration::from_secs(10), now);
        leases.join(a, member("i1"));
        leases.keep();
        let before = format!("{:?}", leases);

        leases.leave(a, member("i1"));
        leases.join(a, member("i2"));
        leases.join(a, member("i3"));
        leases.join(a, member("i4"));
        leases.join(a, member("i3"));
        leases.leave(a, member("i3"));
        assert!(leases.members(a).map(|(_, id)| id.as_str()).eq(["i2", "i4"]));
        leases.leave(a, member("i2"));
        leases.end(a);
        leases.grant(b, Duration::from_secs(5), now);
        leases.join(b, member("i1"));
        leases.end(b);
        assert_eq!(leases.touched().collect::<Vec<_>>(), [a, b, b]);
        assert!(leases.members(a).next().is_none());
        leases.undo();

        assert_eq!(format!("{:?}", leases), before);
        assert_eq!(leases.next_deadline(), Some(start + Duration::from_secs(10).std()));
    }
}
