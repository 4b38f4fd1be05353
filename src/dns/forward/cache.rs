//! Answers of upstreams, for as long as they hold.
//!
//! Two generations: what is new or asked again is young; when the young fill half of the room they become the old,
//! and the old are forgotten. Keeping and finding cost the same however much is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::reply::Answer;
use super::wire::Asked;

/// Octets that an entry takes besides its name and its answer.
const ENTRY_OCTETS: usize = 128;

/// What may be kept.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// Octets of all answers together.
    pub octets: usize,
    /// How many answers.
    pub entries: usize,
    /// The longest life of an answer.
    pub ttl_max: Duration,
    /// The longest life of the answer that there is nothing.
    pub negative_ttl_max: Duration,
    /// How long a failure is told again without asking (RFC 9520 §3.2: at least a second).
    pub failure_ttl: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            octets: 8 << 20,
            entries: 40_000,
            ttl_max: Duration::from_secs(3600),
            negative_ttl_max: Duration::from_secs(300),
            failure_ttl: Duration::from_secs(1),
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    answer: Arc<Answer>,
    expires: Instant,
    octets: usize,
}

#[derive(Debug, Default)]
struct Generation {
    entries: HashMap<Asked, Entry, foldhash::fast::RandomState>,
    octets: usize,
}

impl Generation {
    fn insert(&mut self, asked: Asked, entry: Entry) {
        self.octets += entry.octets;
        if let Some(before) = self.entries.insert(asked, entry) {
            self.octets -= before.octets;
        }
    }

    fn remove(&mut self, asked: &Asked) -> Option<Entry> {
        let entry = self.entries.remove(asked)?;
        self.octets -= entry.octets;
        Some(entry)
    }
}

/// Answers by what was asked.
#[derive(Debug)]
pub(super) struct Cache {
    octets_max: usize,
    entries_max: usize,
    young: Generation,
    old: Generation,
}

impl Cache {
    pub(super) fn new(limits: &CacheLimits) -> Self {
        Self {
            octets_max: limits.octets,
            entries_max: limits.entries,
            young: Generation::default(),
            old: Generation::default(),
        }
    }

    /// The answer to a question, while it holds.
    pub(super) fn get(&mut self, asked: &Asked, now: Instant) -> Option<Arc<Answer>> {
        if let Some(entry) = self.young.entries.get(asked) {
            return (entry.expires > now).then(|| entry.answer.clone());
        }
        let entry = self.old.remove(asked).filter(|entry| entry.expires > now)?;
        let answer = entry.answer.clone();
        self.keep(asked.clone(), entry);
        Some(answer)
    }

    /// Keeps an answer until it expires, or until others are asked for more.
    pub(super) fn insert(&mut self, asked: Asked, answer: Arc<Answer>, expires: Instant) {
        let octets = ENTRY_OCTETS + asked.name().len() + answer.octets();
        // One answer that fills a generation alone would push out everything else.
        if octets <= self.octets_max / 16 {
            self.old.remove(&asked);
            self.keep(asked, Entry { answer, expires, octets });
        }
    }

    fn keep(&mut self, asked: Asked, entry: Entry) {
        let full = self.young.octets + entry.octets > self.octets_max / 2
            || self.young.entries.len() >= (self.entries_max / 2).max(1);
        if full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(asked, entry);
    }

    /// Entries and octets of all that is kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.young.entries.len() + self.old.entries.len(), self.young.octets + self.old.octets)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};

    use super::*;
    use crate::zone::ExtendedError;

    fn asked(name: &str) -> Asked {
        Asked::new(&Name::from_ascii(name).unwrap(), RecordType::A, false, false)
    }

    fn answer(text: usize, now: Instant) -> Arc<Answer> {
        Arc::new(Answer::empty(3, Some(ExtendedError { code: 0, text: "x".repeat(text) }), now))
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn an_answer_is_kept_until_it_expires() {
        let (mut cache, now) = (Cache::new(&CacheLimits::default()), Instant::now());
        cache.insert(asked("a.example."), answer(1, now), now + seconds(5));
        assert!(cache.get(&asked("A.EXAMPLE."), now + seconds(4)).is_some());
        assert!(cache.get(&asked("a.example."), now + seconds(5)).is_none());
        assert!(cache.get(&asked("b.example."), now).is_none());
        let with_do = Asked::new(&Name::from_ascii("a.example.").unwrap(), RecordType::A, true, false);
        assert!(cache.get(&with_do, now).is_none(), "signatures were not asked for");
    }

    #[test]
    fn what_is_kept_has_bounds_and_keeps_what_is_asked_again() {
        let now = Instant::now();
        let limits = CacheLimits { octets: 64 << 10, entries: 1000, ..CacheLimits::default() };
        let mut cache = Cache::new(&limits);
        let popular = asked("popular.example.");
        cache.insert(popular.clone(), answer(1, now), now + seconds(60));
        for number in 0..10_000 {
            cache.insert(asked(&format!("n{number}.example.")), answer(number % 200, now), now + seconds(60));
            let (entries, octets) = cache.size();
            assert!(entries <= limits.entries && octets <= limits.octets, "{entries} {octets}");
            assert!(cache.get(&popular, now).is_some(), "after {number}");
        }
        assert!(cache.get(&asked("n0.example."), now).is_none());
        assert!(cache.get(&asked("n9999.example."), now).is_some());
    }

    #[test]
    fn entries_have_a_bound_of_their_own() {
        let now = Instant::now();
        let mut cache = Cache::new(&CacheLimits { entries: 10, ..CacheLimits::default() });
        for number in 0..100 {
            cache.insert(asked(&format!("n{number}.example.")), answer(0, now), now + seconds(60));
        }
        assert!((5..=10).contains(&cache.size().0), "{:?}", cache.size());
    }

    #[test]
    fn a_newer_answer_replaces_the_older_one_and_its_octets() {
        let (mut cache, now) = (Cache::new(&CacheLimits::default()), Instant::now());
        cache.insert(asked("a.example."), answer(100, now), now + seconds(60));
        let (_, octets) = cache.size();
        cache.insert(asked("a.example."), answer(100, now), now + seconds(60));
        assert_eq!(cache.size(), (1, octets));
    }

    #[test]
    fn an_answer_that_would_fill_the_room_alone_is_not_kept() {
        let now = Instant::now();
        let mut cache = Cache::new(&CacheLimits { octets: 4096, ..CacheLimits::default() });
        cache.insert(asked("a.example."), answer(2000, now), now + seconds(60));
        assert_eq!(cache.size(), (0, 0));
    }
}
