//! When each check is probed next.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// When the first probe of a check is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Now: somebody waits for it.
    AtOnce,
    /// Some time within an interval: many checks start together and none is in a hurry.
    Spread,
}

#[derive(Debug)]
struct Plan {
    due: Instant,
    interval: Duration,
    /// From the probe that is due to the one after it. It differs from the interval after a first probe that was at
    /// once: there the phase is found.
    then: Duration,
}

/// A probe that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due<K> {
    /// The check to probe.
    pub(super) key: K,
    /// Rounds that passed while nobody looked. They are skipped, not made up for.
    pub(super) missed: u64,
}

/// The next probe of every check, in the order in which they are due. Pure: time and chance are arguments.
///
/// Checks that start together are spread over their interval by a random phase each, and keep it.
#[derive(Debug)]
pub(super) struct Schedule<K> {
    by_time: BTreeSet<(Instant, K)>,
    plans: HashMap<K, Plan, foldhash::fast::RandomState>,
}

impl<K: Copy + Ord + Hash> Schedule<K> {
    pub(super) fn new() -> Self {
        Self { by_time: BTreeSet::new(), plans: HashMap::default() }
    }

    /// Starts probing a check every `interval`, which is more than zero. `phase` is a random number from 0 to 1.
    pub(super) fn start(&mut self, key: K, interval: Duration, first: First, phase: f64, now: Instant) {
        self.stop(key);
        let offset = interval.mul_f64(phase.clamp(0.0, 1.0));
        let (due, then) = match first {
            First::AtOnce => (now, offset),
            First::Spread => (now + offset, interval),
        };
        self.by_time.insert((due, key));
        self.plans.insert(key, Plan { due, interval, then });
    }

    /// Stops probing a check.
    pub(super) fn stop(&mut self, key: K) {
        if let Some(plan) = self.plans.remove(&key) {
            self.by_time.remove(&(plan.due, key));
        }
    }

    /// When the next probe of all is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// The probe that is due longest, if one is; its check is due again after `now`, in its phase.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Due<K>> {
        let (due, key) = *self.by_time.first().filter(|(due, _)| *due <= now)?;
        self.by_time.pop_first();
        let plan = self.plans.get_mut(&key).expect("every due probe has a plan");
        let next = due + plan.then;
        let missed = match now.checked_duration_since(next) {
            None => 0,
            Some(late) => 1 + u64::try_from(late.as_nanos() / plan.interval.as_nanos().max(1)).unwrap_or(u64::MAX),
        };
        plan.due = next + plan.interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX));
        plan.then = plan.interval;
        self.by_time.insert((plan.due, key));
        Some(Due { key, missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn seconds(start: Instant, at: Instant) -> f64 {
        at.duration_since(start).as_secs_f64()
    }

    /// When the next probes are due, in seconds from the start, each popped on time.
    fn dues(schedule: &mut Schedule<u32>, start: Instant, count: usize) -> Vec<(f64, u32)> {
        let pop = |_| {
            let at = schedule.next().unwrap();
            let due = schedule.pop_due(at).unwrap();
            assert_eq!(due.missed, 0);
            (seconds(start, at), due.key)
        };
        (0..count).map(pop).collect()
    }

    #[test]
    fn newcomer_is_probed_at_once_then_in_its_phase() {
        let (mut schedule, start) = (Schedule::new(), Instant::now());
        schedule.start(7, INTERVAL, First::AtOnce, 0.25, start);
        assert_eq!(dues(&mut schedule, start, 4), [(0.0, 7), (2.5, 7), (12.5, 7), (22.5, 7)]);
    }

    #[test]
    fn restored_checks_are_spread_over_one_interval() {
        let (mut schedule, start) = (Schedule::new(), Instant::now());
        schedule.start(1, INTERVAL, First::Spread, 0.75, start);
        schedule.start(2, INTERVAL, First::Spread, 0.5, start);
        assert_eq!(dues(&mut schedule, start, 4), [(5.0, 2), (7.5, 1), (15.0, 2), (17.5, 1)]);
    }

    #[test]
    fn nothing_is_due_before_its_time_or_after_its_stop() {
        let (mut schedule, start) = (Schedule::new(), Instant::now());
        schedule.start(1, INTERVAL, First::Spread, 0.5, start);
        assert_eq!(schedule.pop_due(start + INTERVAL / 4), None);
        schedule.stop(1);
        schedule.stop(1);
        assert_eq!((schedule.next(), schedule.pop_due(start + INTERVAL)), (None, None));
    }

    #[test]
    fn late_rounds_are_skipped_and_counted_in_phase() {
        let (mut schedule, start) = (Schedule::new(), Instant::now());
        schedule.start(1, INTERVAL, First::Spread, 0.0, start);
        let late = start + Duration::from_secs(35);
        assert_eq!(schedule.pop_due(late), Some(Due { key: 1, missed: 3 }));
        assert_eq!(schedule.pop_due(late), None, "never piled up");
        assert_eq!(seconds(start, schedule.next().unwrap()), 40.0);
        let exactly = start + Duration::from_secs(50);
        assert_eq!(schedule.pop_due(exactly), Some(Due { key: 1, missed: 1 }));
        assert_eq!(seconds(start, schedule.next().unwrap()), 60.0);
    }

    #[test]
    fn many_checks_cost_one_ordered_structure() {
        let (mut schedule, start) = (Schedule::new(), Instant::now());
        for key in 0..50_000_u32 {
            schedule.start(key, INTERVAL, First::Spread, f64::from(key) / 50_000.0, start);
        }
        // Ten looks a second, as a busy timer would: every check comes up once an interval.
        let mut probed = 0;
        for look in 0..100_u32 {
            let now = start + Duration::from_millis(100) * look;
            while let Some(due) = schedule.pop_due(now) {
                assert_eq!(due.missed, 0);
                probed += 1;
            }
        }
        assert_eq!(probed, 49_501, "all but those of the last tenth of a second");
    }
}
