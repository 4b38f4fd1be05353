//! Events in memory, for the engine that keeps nothing on disk.

use std::sync::Arc;

use imbl::Vector;
use parking_lot::Mutex;

use super::history::{EventPage, EventQuery, Head, History, Keep, Look, Verdict, is_overdue, trim_max};
use crate::model::Timestamp;
use crate::registry::{Event, Trail};

/// Events at most, whatever is asked for: they cost some 300 octets each.
const EVENTS_MAX: usize = 100_000;

#[derive(Debug)]
struct Held {
    events: Vector<Arc<Event>>,
    begins: Timestamp,
}

/// The latest events. Clones are the same ring.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Held for a copy, which costs O(1), or for the length of a group.
    held: Arc<Mutex<Held>>,
    keep: Keep,
}

impl Ring {
    pub(super) fn new(keep: Keep, now: Timestamp) -> Self {
        let keep = Keep { events: keep.events.min(EVENTS_MAX), ..keep };
        Self { held: Arc::new(Mutex::new(Held { events: Vector::new(), begins: now })), keep }
    }

    /// Something has happened that no event tells of: from now on they are whole again.
    pub(super) fn begin_anew(&self, now: Timestamp) {
        self.held.lock().begins = now;
    }

    /// Adds what a group changed, and lets the oldest go.
    pub(super) fn push(&self, trail: &Trail, now: Timestamp) {
        let mut held = self.held.lock();
        let Held { events, begins } = &mut *held;
        let Ok(()) = trail.try_each(0, |event| {
            // What is pushed out at once costs no more than a moment's memory.
            if events.len() > self.keep.events
                && let Some(oldest) = events.pop_front()
            {
                *begins = oldest.time;
            }
            events.push_back(Arc::new(event));
            Ok::<_, std::convert::Infallible>(())
        });
        for _ in 0..trim_max(trail.changes()) {
            let Some(oldest) = events.front() else { break };
            if !is_overdue(self.keep, events.len(), oldest.time, now) {
                break;
            }
            *begins = oldest.time;
            events.pop_front();
        }
    }
}

impl History for Ring {
    fn read(&self, query: &EventQuery, now: Timestamp) -> Result<EventPage, String> {
        let (events, begins) = {
            let held = self.held.lock();
            (held.events.clone(), held.begins)
        };
        let end = partition_point(&events, |event| event.at < query.below);
        let mut look = Look::new(query, self.keep, now);
        let mut taken = Vec::new();
        for event in events.focus().narrow(..end).into_iter().rev() {
            match look.judge(Head::of(event)) {
                Verdict::Take => taken.push(Event::clone(event)),
                Verdict::Pass => {}
                Verdict::End => break,
            }
        }
        Ok(look.page(taken, begins))
    }
}

/// The first event that is not `before`.
fn partition_point(events: &Vector<Arc<Event>>, before: impl Fn(&Event) -> bool) -> usize {
    let (mut low, mut high) = (0, events.len());
    while low < high {
        let middle = low.midpoint(high);
        if before(&events[middle]) { low = middle + 1 } else { high = middle }
    }
    low
}
