//! What instances wait for: the end of their state, and the end of the patience with a critical one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Moment;
use super::deadlines::Deadlines;
use crate::model::{Health, Instance, InstanceId, ServiceName, State};
use crate::registry::{Cause, Change};

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
    /// For how long this node doubted itself in all, before now. The clocks of critical instances did not run then.
    doubted: Duration,
    /// Since when it does.
    doubting: Option<Instant>,
    /// What instances waited for before what has happened since the last [`Self::keep`].
    before: Vec<(Key, Waiting)>,
}

/// All that one instance waits for.
#[derive(Debug)]
struct Waiting {
    clock: Option<Clock>,
    eviction: Option<Instant>,
    lift: Option<Instant>,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self {
            clocks: HashMap::default(),
            evictions: Deadlines::new(),
            lifts: Deadlines::new(),
            doubted: Duration::ZERO,
            doubting: None,
            before: Vec::new(),
        }
    }

    /// Takes whether this node doubts itself: meanwhile nobody's patience runs out.
    pub(super) fn doubt(&mut self, doubts: bool, now: Instant) {
        if doubts {
            self.doubting.get_or_insert(now);
        } else if let Some(since) = self.doubting.take() {
            self.doubted += now - since;
        }
    }

    /// The time that patience lives by: it stands still while this node doubts itself.
    fn patient(&self, now: Instant) -> Instant {
        self.doubting.map_or(now, |since| since.min(now)) - self.doubted
    }

    /// Notes a restored instance: its clock begins anew, its state ends when it was said to.
    pub(super) fn enrol(&mut self, instance: &Arc<Instance>, now: Moment) {
        self.follow(None, &Change::Put { instance: instance.clone(), cause: Cause::Registered }, now);
    }

    /// What has happened stays.
    pub(super) fn keep(&mut self) {
        self.before.clear();
    }

    /// Takes back what has happened since the last [`Self::keep`].
    pub(super) fn undo(&mut self) {
        fn reset(deadlines: &mut Deadlines<Key>, key: &Key, deadline: Option<Instant>) {
            match deadline {
                Some(deadline) => deadlines.set(key.clone(), deadline),
                None => deadlines.clear(key),
            }
        }
        for (key, Waiting { clock, eviction, lift }) in std::mem::take(&mut self.before).into_iter().rev() {
            reset(&mut self.evictions, &key, eviction);
            reset(&mut self.lifts, &key, lift);
            match clock {
                Some(clock) => drop(self.clocks.insert(key, clock)),
                None => drop(self.clocks.remove(&key)),
            }
        }
    }

    /// Notes what an instance waits for, before that changes.
    fn note(&mut self, key: Key) {
        let clock = self.clocks.get(&key).copied();
        let (eviction, lift) = (self.evictions.get(&key), self.lifts.get(&key));
        self.before.push((key, Waiting { clock, eviction, lift }));
    }

    /// Keeps the deadlines in step with a change. After a start, `before` is nothing, and a clock begins anew.
    pub(super) fn follow(&mut self, before: Option<&Instance>, change: &Change, now: Moment) {
        let (instance, after) = match change {
            Change::Put { instance, .. } => (instance, Some(&**instance)),
            Change::Gone { instance, .. } => (instance, None),
            Change::Configured { .. } | Change::Guarded { .. } | Change::Forgotten { .. } => return,
        };
        let until = |instance: Option<&Instance>| instance.and_then(|instance| instance.state_until);
        let patience = after.and_then(|after| after.registration.evict_after);
        let patience = patience.filter(|_| after.is_some_and(|after| after.health() == Health::Critical));
        let key = || (instance.service.clone(), instance.id.clone());
        // Most changes are none of an instance that waits for anything.
        let had_patience = before.is_some_and(|before| before.registration.evict_after.is_some());
        if patience.is_some() || had_patience || until(before) != until(after) {
            self.note(key());
        }
        match until(after) {
            None if until(before).is_none() => {}
            None => self.lifts.clear(&key()),
            Some(_) if until(before) == until(after) => {}
            Some(end) => self.lifts.set(key(), now.instant + now.wall.until(end)),
        }
        match (patience, after) {
            (Some(patience), Some(after)) => {
                let now = self.patient(now.instant);
                self.wind(key(), patience.std(), after.state == State::Up, now);
            }
            _ if had_patience => {
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

    /// Who waits for patience to end, whose clock that is, and whose state will end.
    #[cfg(test)]
    pub(super) fn keys(&self) -> [std::collections::BTreeSet<Key>; 3] {
        [self.evictions.keys(), self.clocks.keys().cloned().collect(), self.lifts.keys()]
    }

    /// All of it, in an order.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let clocks: std::collections::BTreeMap<_, _> = self.clocks.iter().collect();
        format!("{clocks:#?} {} {} {:?}", self.evictions.shown(), self.lifts.shown(), self.before)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let eviction = self.evictions.next().filter(|_| self.doubting.is_none()).map(|due| due + self.doubted);
        eviction.into_iter().chain(self.lifts.next()).min()
    }

    /// Up to `max` instances whose patience is over.
    pub(super) fn to_evict(&self, now: Instant, max: usize) -> Vec<Key> {
        self.evictions.passed(self.patient(now), max)
    }

    /// Up to `max` instances whose state is over.
    pub(super) fn to_lift(&self, now: Instant, max: usize) -> Vec<Key> {
        self.lifts.passed(now, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_as_it_was() {
        let (mut waits, start) = (Waits::new(), Instant::now());
        let key = |id: &str| -> Key { ("web".parse().unwrap(), id.parse().unwrap()) };
        let at = |seconds| start + Duration::from_secs(seconds);
        waits.wind(key("i1"), Duration::from_secs(30), true, start);
        waits.lifts.set(key("i1"), at(60));
        waits.keep();
        let shown = |waits: &Waits| format!("{:?} {:?} {:?}", waits.clocks, waits.evictions, waits.lifts);
        let before = shown(&waits);

        waits.note(key("i1"));
        waits.wind(key("i1"), Duration::from_secs(30), false, at(10));
        waits.lifts.clear(&key("i1"));
        waits.note(key("i1"));
        waits.clocks.remove(&key("i1"));
        waits.note(key("i2"));
        waits.wind(key("i2"), Duration::from_secs(5), true, at(11));
        waits.lifts.set(key("i2"), at(20));
        assert_eq!(waits.next_deadline(), Some(at(16)));
        waits.undo();

        assert_eq!(shown(&waits), before);
        assert_eq!(waits.next_deadline(), Some(at(30)));
    }

    #[test]
    fn patience_does_not_run_out_while_the_node_doubts_itself() {
        let (mut waits, start) = (Waits::new(), Instant::now());
        let key: Key = ("web".parse().unwrap(), "i1".parse().unwrap());
        let at = |seconds| start + Duration::from_secs(seconds);
        waits.wind(key.clone(), Duration::from_secs(30), true, waits.patient(at(0)));
        waits.doubt(true, at(10));
        assert_eq!(waits.next_deadline(), None, "nobody knows when");
        assert!(waits.to_evict(at(100), 9).is_empty());
        waits.doubt(true, at(60));
        waits.doubt(false, at(110));
        assert_eq!(waits.next_deadline(), Some(at(130)));
        assert!(waits.to_evict(at(129), 9).is_empty());
        assert_eq!(waits.to_evict(at(130), 9), std::slice::from_ref(&key));
        let other: Key = ("web".parse().unwrap(), "i2".parse().unwrap());
        waits.wind(other.clone(), Duration::from_secs(30), true, waits.patient(at(120)));
        assert_eq!(waits.to_evict(at(149), 9), std::slice::from_ref(&key));
        assert_eq!(waits.to_evict(at(150), 9), [key, other]);
    }
}
