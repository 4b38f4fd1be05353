//! How long answers that were given stay in caches: what a drain has to wait for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Instance, InstanceId, State, Timestamp, Ttl};

/// A moment on both clocks: waiting goes by the first, people by the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Until {
    /// By the clock that nobody can set.
    pub instant: Instant,
    /// By the clock on the wall.
    pub wall: Timestamp,
}

impl Until {
    /// Now.
    pub fn now() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }

    fn after(self, ttl: Ttl) -> Self {
        let span = Duration::from_secs(ttl.secs().into());
        Self { instant: self.instant + span, wall: self.wall.after(span) }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    id: InstanceId,
    until: Until,
    /// Whether the instance is draining; then nothing moves the end. Otherwise it is an answer with a longer lifetime
    /// than the instance has now.
    drained: bool,
}

/// Instances of a service whose records caches hold for longer than the records of now say, sorted by id.
#[derive(Debug, Default)]
pub(super) struct Lingering(Box<[Entry]>);

impl Lingering {
    /// The end of what caches hold of a draining instance.
    pub(super) fn of_drained(&self, id: &str) -> Option<Until> {
        self.get(id).filter(|entry| entry.drained).map(|entry| entry.until)
    }

    fn get(&self, id: &str) -> Option<&Entry> {
        self.0.binary_search_by(|entry| entry.id.as_str().cmp(id)).ok().map(|position| &self.0[position])
    }

    /// Goes on from what was answered `before` to what is answered from `now` on. Both lists are sorted by id and say
    /// the lifetime of each instance's records.
    ///
    /// No answer holds an instance for longer than its own lifetime: that of a set is the smallest of its members.
    pub(super) fn follow<'a>(
        &self,
        before: impl Iterator<Item = (&'a Arc<Instance>, Ttl)>,
        after: impl Iterator<Item = (&'a Arc<Instance>, Ttl)>,
        now: Until,
    ) -> Self {
        let mut before = before.peekable();
        let entries = after.filter_map(|(instance, ttl)| {
            while before.next_if(|(other, _)| other.id < instance.id).is_some() {}
            let ttl_before = before.next_if(|(other, _)| other.id == instance.id).map(|(_, ttl)| ttl);
            let known = self.get(instance.id.as_str()).filter(|entry| entry.drained || entry.until > now);
            let known_until = known.map(|entry| entry.until);
            let (until, drained) = match instance.state {
                State::Draining => match known.filter(|entry| entry.drained) {
                    Some(entry) => (Some(entry.until), true),
                    None => (known_until.max(Some(now.after(ttl_before.unwrap_or(ttl)))), true),
                },
                _ => {
                    let longer = ttl_before.filter(|before| *before > ttl).map(|before| now.after(before));
                    (known_until.filter(|until| *until > now).max(longer), false)
                }
            };
            until.map(|until| Entry { id: instance.id.clone(), until, drained })
        });
        Self(entries.collect())
    }
}
