//! What instances wait for: the end of their state, and the end of the patience with a critical one.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::deadlines::Deadlines;
use super::leases::Moment;
use crate::model::{Health, Instance, InstanceId, ServiceName, State};
use crate::registry::Change;

type Key = (ServiceName, InstanceId);

/// How long an instance has been critical while that counted.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// Before it last stopped.
    spent: Duration,
    /// Since when it runs; not in draining and maintenance.
    running: Option<Instant>,
}

impl Clock {
    fn spent(&self, now: Instant) -> Duration {
        self.spent + self.running.map_or(Duration::ZERO, |since| now - since)
    }
}

/// Deadlines of instances. Pure: the time is an argument.
#[derive(Debug)]
pub(super) struct Waits {
    clocks: HashMap<Key, Clock, foldhash::fast::RandomState>,
    evictions: Deadlines<Key>,
    lifts: Deadlines<Key>,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self { clocks: HashMap::default(), evictions: Deadlines::new(), lifts: Deadlines::new() }
    }

    /// Keeps the deadlines in step with a change. After a start, `before` is nothing, and a clock begins anew.
    pub(super) fn follow(&mut self, before: Option<&Instance>, change: &Change, now: Moment) {
        let (instance, after) = match change {
            Change::Put { instance, .. } => (instance, Some(&**instance)),
            Change::Gone { instance, .. } => (instance, None),
            Change::Configured { .. } | Change::Forgotten { .. } => return,
        };
        let until = |instance: Option<&Instance>| instance.and_then(|instance| instance.state_until);
        let patience = after.and_then(|after| after.registration.evict_after);
        let patience = patience.filter(|_| after.is_some_and(|after| after.health() == Health::Critical));
        let key = || (instance.service.clone(), instance.id.clone());
        // Most changes are none of an instance that waits for anything.
        match until(after) {
            None if until(before).is_none() => {}
            None => self.lifts.clear(&key()),
            Some(_) if until(before) == until(after) => {}
            Some(end) => self.lifts.set(key(), now.instant + now.wall.until(end)),
        }
        match (patience, after) {
            (Some(patience), Some(after)) => self.wind(key(), patience.std(), after.state == State::Up, now.instant),
            _ if before.is_some_and(|before| before.registration.evict_after.is_some()) => {
                self.clocks.remove(&key());
                self.evictions.clear(&key());
            }
            _ => {}
        }
    }

    /// Starts, stops or goes on with the clock of a critical instance.
    fn wind(&mut self, key: Key, patience: Duration, runs: bool, now: Instant) {
        let spent = self.clocks.get(&key).map_or(Duration::ZERO, |clock| clock.spent(now));
        let clock = Clock { spent, running: runs.then_some(now) };
        if runs {
            self.evictions.set(key.clone(), now + patience.saturating_sub(spent));
        } else {
            self.evictions.clear(&key);
        }
        self.clocks.insert(key, clock);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.evictions.next().into_iter().chain(self.lifts.next()).min()
    }

    /// Up to `max` instances whose patience is over.
    pub(super) fn to_evict(&self, now: Instant, max: usize) -> Vec<Key> {
        self.evictions.passed(now, max)
    }

    /// Up to `max` instances whose state is over.
    pub(super) fn to_lift(&self, now: Instant, max: usize) -> Vec<Key> {
        self.lifts.passed(now, max)
    }
}
