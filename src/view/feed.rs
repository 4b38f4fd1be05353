//! What was published last, and who is to be woken by what.
//!
//! ```text
//! push(Batch) ─▶ ring of the last batches ─▶ step(interest, position): the next batch of interest
//!            └─▶ topic of the service, of each of its groups, of all ─▶ wakes those who wait there, nobody else
//! ```
//!
//! A topic knows the revisions in the ring that touch it, so finding the next one is two binary searches, and the last
//! one that has left the ring: who was there after that has missed nothing, however much happened elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::model::{Revision, ServiceName};
use crate::registry::{Batch, Change};

/// What is kept for readers to catch up from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) batches: usize,
    pub(super) changes: usize,
    /// As [`Batch::octets`] estimates them, with what readers have made of the batches.
    pub(super) octets: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { batches: 8192, changes: 65_536, octets: 32 << 20 }
    }
}

/// Which changes somebody wants to hear of. Changes of instances count, and whether a service is guarded; settings and
/// remembered names do not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interest {
    /// All.
    All,
    /// Those of services strictly below a group.
    Under(ServiceName),
    /// Those of one service, which need not exist.
    Service(ServiceName),
}

impl Interest {
    /// Whether a change is of interest.
    pub fn includes(&self, change: &Change) -> bool {
        is_for_watchers(change)
            && match self {
                Self::All => true,
                Self::Under(group) => change.service().is_under(group),
                Self::Service(service) => change.service() == service,
            }
    }
}

fn is_for_watchers(change: &Change) -> bool {
    matches!(change, Change::Put { .. } | Change::Gone { .. } | Change::Guarded { .. })
}

/// A batch that readers see.
#[derive(Debug)]
pub struct Published {
    /// What happened.
    pub batch: Arc<Batch>,
    octets: usize,
    message: OnceLock<Arc<[u8]>>,
}

impl Published {
    /// The batch as a message, made once for all who send it.
    pub fn message(&self, make: impl FnOnce(&Batch) -> Arc<[u8]>) -> Arc<[u8]> {
        self.message.get_or_init(|| make(&self.batch)).clone()
    }
}

/// What a reader at a position does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing of interest has happened up to here.
    Wait(Revision),
    /// This is next.
    Batch(Arc<Published>),
    /// The next one has left the ring.
    Lagged,
    /// The history went on without saying how.
    Reset,
}

#[derive(Debug, Default)]
struct Topic {
    /// Revisions in the ring that touch it.
    touches: VecDeque<Revision>,
    /// No later revision that touches it has left the ring.
    lost: Revision,
    followers: usize,
    wake: Option<Arc<watch::Sender<()>>>,
}

#[derive(Debug, Default)]
struct Books {
    ring: VecDeque<Arc<Published>>,
    changes: usize,
    octets: usize,
    /// The position before the first batch in the ring.
    base: Revision,
    /// The position after the last.
    head: Revision,
    /// Grows when the history goes on without saying how; 0 until the first state is there.
    era: u64,
    topics: HashMap<Interest, Topic, foldhash::fast::RandomState>,
}

/// The topics that a change of a service touches.
fn topics_of(service: &ServiceName) -> impl Iterator<Item = Interest> {
    let groups = std::iter::successors(service.group(), ServiceName::group).map(Interest::Under);
    [Interest::Service(service.clone()), Interest::All].into_iter().chain(groups)
}

/// The services that a batch touches, each of them at least once.
fn services_of(batch: &Batch) -> impl Iterator<Item = &ServiceName> {
    let of_interest = batch.changes.iter().filter(|change| is_for_watchers(change)).map(Change::service);
    let mut last = None;
    of_interest.filter(move |&service| last.replace(service) != Some(service))
}

impl Books {
    /// Takes a batch in; those to wake are added to `wake`.
    fn push(&mut self, batch: &Arc<Batch>, bounds: &Bounds, wake: &mut Vec<Arc<watch::Sender<()>>>) {
        if batch.revision <= self.head {
            return;
        }
        for service in services_of(batch) {
            for interest in topics_of(service) {
                let base = self.base;
                let topic = self.topics.entry(interest).or_insert_with(|| Topic { lost: base, ..Topic::default() });
                if topic.touches.back() != Some(&batch.revision) {
                    topic.touches.push_back(batch.revision);
                    wake.extend(topic.wake.clone());
                }
            }
        }
        let octets = batch.octets();
        self.head = batch.revision;
        self.changes += batch.changes.len();
        self.octets += octets;
        self.ring.push_back(Arc::new(Published { batch: batch.clone(), octets, message: OnceLock::new() }));
        while self.ring.len() > bounds.batches
            || (self.ring.len() > 1 && (self.changes > bounds.changes || self.octets > bounds.octets))
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.ring.pop_front() else { return };
        let revision = oldest.batch.revision;
        self.changes -= oldest.batch.changes.len();
        self.octets -= oldest.octets;
        self.base = revision;
        for service in services_of(&oldest.batch) {
            for interest in topics_of(service) {
                if let Some(topic) = self.topics.get_mut(&interest)
                    && topic.touches.front() == Some(&revision)
                {
                    topic.touches.pop_front();
                    topic.lost = revision;
                    if topic.touches.is_empty() && topic.followers == 0 {
                        self.topics.remove(&interest);
                    }
                }
            }
        }
    }
}

/// The feed of one view.
#[derive(Debug, Default)]
pub(super) struct Feed {
    bounds: Bounds,
    /// Held for one look-up or one batch, never across an await.
    books: Mutex<Books>,
}

impl Feed {
    #[cfg(test)]
    pub(super) fn bounded(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Goes on, and wakes those whom it concerns.
    pub(super) fn push(&self, batches: &[Arc<Batch>]) {
        for batch in batches {
            let mut wake = Vec::new();
            self.books.lock().push(batch, &self.bounds, &mut wake);
            // After the lock is given back, because those who wake take it.
            for topic in wake {
                topic.send_replace(());
            }
        }
    }

    /// Goes on from a state that no batches lead to, and wakes everybody.
    pub(super) fn reset(&self, revision: Revision) {
        let mut books = self.books.lock();
        books.ring.clear();
        (books.changes, books.octets) = (0, 0);
        (books.base, books.head) = (revision, revision);
        books.era += 1;
        books.topics.retain(|_, topic| {
            topic.touches.clear();
            topic.lost = revision;
            topic.followers > 0
        });
        let wake: Vec<_> = books.topics.values().filter_map(|topic| topic.wake.clone()).collect();
        drop(books);
        for topic in wake {
            topic.send_replace(());
        }
    }

    /// Which uninterrupted part of the history this is.
    pub(super) fn era(&self) -> u64 {
        self.books.lock().era
    }

    /// The era, when the history after a position is known in full. The future is: nothing has happened there.
    pub(super) fn era_reaching(&self, after: Revision) -> Option<u64> {
        let books = self.books.lock();
        (after >= books.base).then_some(books.era)
    }

    /// Joins those who wait for changes of interest.
    pub(super) fn join(&self, interest: &Interest) -> watch::Receiver<()> {
        let mut books = self.books.lock();
        let base = books.base;
        if !books.topics.contains_key(interest) {
            books.topics.insert(interest.clone(), Topic { lost: base, ..Topic::default() });
        }
        let Some(topic) = books.topics.get_mut(interest) else { return watch::channel(()).1 };
        topic.followers += 1;
        topic.wake.get_or_insert_with(|| Arc::new(watch::Sender::new(()))).subscribe()
    }

    /// Leaves them again.
    pub(super) fn leave(&self, interest: &Interest) {
        let mut books = self.books.lock();
        if let Some(topic) = books.topics.get_mut(interest) {
            topic.followers -= 1;
            if topic.followers == 0 {
                topic.wake = None;
                if topic.touches.is_empty() {
                    books.topics.remove(interest);
                }
            }
        }
    }

    /// What comes after a position, for somebody who has joined.
    pub(super) fn step(&self, interest: &Interest, position: Revision, era: u64) -> Step {
        let books = self.books.lock();
        let Some(topic) = books.topics.get(interest).filter(|_| books.era == era) else { return Step::Reset };
        if position < topic.lost {
            return Step::Lagged;
        }
        let next = topic.touches.partition_point(|revision| *revision <= position);
        let Some(revision) = topic.touches.get(next) else { return Step::Wait(books.head.max(position)) };
        match books.ring.binary_search_by_key(revision, |published| published.batch.revision) {
            Ok(found) => Step::Batch(books.ring[found].clone()),
            Err(_) => Step::Lagged,
        }
    }

    #[cfg(test)]
    pub(super) fn topics(&self) -> usize {
        self.books.lock().topics.len()
    }
}
