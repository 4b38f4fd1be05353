//! Deadlines in the order in which they pass.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// When each of many things is due. Pure: the time is an argument.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: HashMap<K, Instant, foldhash::fast::RandomState>,
}

impl<K: Clone + Ord + Hash> Deadlines<K> {
    pub(super) fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: HashMap::default() }
    }

    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, key: K, deadline: Instant) {
        if let Some(before) = self.by_key.insert(key.clone(), deadline) {
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((deadline, key));
    }

    /// Drops a deadline.
    pub(super) fn clear(&mut self, key: &K) {
        if let Some(before) = self.by_key.remove(key) {
            self.by_time.remove(&(before, key.clone()));
        }
    }

    /// The deadline of a key.
    pub(super) fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// The next deadline of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Up to `max` keys whose deadline has passed, earliest first.
    pub(super) fn passed(&self, now: Instant, max: usize) -> Vec<K> {
        let passed = self.by_time.iter().take_while(|(deadline, _)| *deadline <= now);
        passed.take(max).map(|(_, key)| key.clone()).collect()
    }

    /// The keys whose deadline has passed, but for those before a place in the order of deadlines and keys.
    pub(super) fn passed_from(&self, place: (Instant, K), now: Instant) -> impl Iterator<Item = &K> {
        self.by_time.range(place..).take_while(move |(deadline, _)| *deadline <= now).map(|(_, key)| key)
    }

    /// The next deadline from a place in the order of deadlines and keys on.
    pub(super) fn next_from(&self, place: (Instant, K)) -> Option<Instant> {
        self.by_time.range(place..).next().map(|(deadline, _)| *deadline)
    }

    /// Whose there are.
    #[cfg(test)]
    pub(super) fn keys(&self) -> BTreeSet<K> {
        self.by_key.keys().cloned().collect()
    }

    /// All of it, in an order.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String
    where
        K: std::fmt::Debug,
    {
        let by_key: std::collections::BTreeMap<_, _> = self.by_key.iter().collect();
        format!("{:?} {by_key:?}", self.by_time)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn deadlines_pass_in_order_and_move() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::new();
        deadlines.set("b", at(2));
        deadlines.set("a", at(1));
        deadlines.set("c", at(3));
        deadlines.set("a", at(4));
        deadlines.clear(&"c");
        assert_eq!(deadlines.next(), Some(at(2)));
        assert_eq!(deadlines.passed(at(1), 9), Vec::<&str>::new());
        assert_eq!(deadlines.passed(at(4), 9), ["b", "a"]);
        assert_eq!(deadlines.passed(at(4), 1), ["b"]);
        assert_eq!((deadlines.len(), deadlines.get(&"a")), (2, Some(at(4))));
    }
}
