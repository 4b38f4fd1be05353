//! Reading the journal of events: what is asked for, and how far one look goes.
//!
//! Events are read from the newest to the oldest. One look is bounded in what it returns and in what it passes over, and
//! says where the next goes on, so that a quiet service in a busy journal costs many short looks and no long one.

use std::time::Duration;

use crate::model::{InstanceId, Revision, ServiceName, Timestamp};
use crate::registry::{Event, EventPosition, Trail};

/// Events that one look returns at most.
const EVENTS_AT_ONCE: usize = 10_000;
/// Events that one look passes over at most.
const LOOK_MAX: usize = 200_000;

/// How much a journal of events keeps.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// For how long; older ones are not shown, and let go of with the next changes.
    pub age: Duration,
    /// How many events; the oldest make room.
    pub events: usize,
}

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Of one service.
    pub service: Option<ServiceName>,
    /// Of one id, in whichever service.
    pub id: Option<InstanceId>,
    /// Of services strictly below a group.
    pub under: Option<ServiceName>,
    /// After a revision.
    pub after: Revision,
    /// Before a position.
    pub below: EventPosition,
    /// Not before a time.
    pub since: Option<Timestamp>,
    /// Not after a time.
    pub until: Option<Timestamp>,
    /// How many at most.
    pub limit: usize,
}

impl EventQuery {
    /// All events up to a revision.
    pub fn up_to(revision: Revision, limit: usize) -> Self {
        Self {
            service: None,
            id: None,
            under: None,
            after: Revision::default(),
            below: EventPosition::before(revision.next()),
            since: None,
            until: None,
            limit,
        }
    }
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events, newest first.
    pub events: Vec<Event>,
    /// Where the next look goes on, as its `below`; none when there is nothing further back.
    pub next: Option<EventPosition>,
    /// From this time on, the journal has everything.
    pub begins: Timestamp,
}

/// Why the journal was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// As many read it as may.
    Busy,
    /// It cannot be read now; what is wrong, as a part of a sentence.
    Unavailable(String),
}

/// Reads a journal; several may at once, and nobody waits for who writes.
pub trait History: Send + Sync + 'static {
    /// One look. May block.
    ///
    /// # Errors
    /// What is wrong, as a part of a sentence.
    fn read(&self, query: &EventQuery, now: Timestamp) -> Result<EventPage, String>;
}

/// What is known of an event before all of it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) at: EventPosition,
    pub(super) time: Timestamp,
    pub(super) service: &'a str,
    pub(super) id: Option<&'a str>,
}

impl Head<'_> {
    pub(super) fn of(event: &Event) -> Head<'_> {
        let id = event.id.as_ref().map(|id| id.as_str());
        Head { at: event.at, time: event.time, service: event.service.as_str(), id }
    }
}

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is asked for.
    Take,
    /// It is not.
    Pass,
    /// The look ends before it.
    End,
}

/// One look, event by event. Pure: the time is an argument.
#[derive(Debug)]
pub(super) struct Look<'q> {
    query: &'q EventQuery,
    /// Older ones are not there any more.
    oldest: Timestamp,
    looked: usize,
    taken: usize,
    /// The last event that was taken or passed over.
    last: Option<EventPosition>,
    next: Option<EventPosition>,
}

impl<'q> Look<'q> {
    pub(super) fn new(query: &'q EventQuery, keep: Keep, now: Timestamp) -> Self {
        Self { query, oldest: now.before(keep.age), looked: 0, taken: 0, last: None, next: None }
    }

    /// Judges the next event, going back.
    pub(super) fn judge(&mut self, head: Head<'_>) -> Verdict {
        let query = self.query;
        let is_over = head.at.revision <= query.after
            || head.time < self.oldest
            || query.since.is_some_and(|since| head.time < since);
        if is_over {
            return Verdict::End;
        }
        if self.taken == query.limit.min(EVENTS_AT_ONCE) || self.looked == LOOK_MAX {
            self.next = self.last;
            return Verdict::End;
        }
        self.looked += 1;
        self.last = Some(head.at);
        let is_under = |group: &ServiceName| {
            let left = head.service.strip_suffix(group.as_str());
            left.is_some_and(|left| left.ends_with('.'))
        };
        let is_asked_for = query.service.as_ref().is_none_or(|service| head.service == service.as_str())
            && query.under.as_ref().is_none_or(is_under)
            && query.id.as_ref().is_none_or(|id| head.id == Some(id.as_str()))
            && query.until.is_none_or(|until| head.time <= until);
        if !is_asked_for {
            return Verdict::Pass;
        }
        self.taken += 1;
        Verdict::Take
    }

    /// The page of what was taken, when the journal has everything from a time on.
    pub(super) fn page(self, events: Vec<Event>, begins: Timestamp) -> EventPage {
        EventPage { events, next: self.next, begins: begins.max(self.oldest) }
    }
}

/// How many of the oldest events are let go of at once, when `added` come: always more than come, so that a journal
/// that was given narrower bounds comes within them, and no more than that takes a moment.
pub(super) fn trim_max(added: usize) -> usize {
    added * 2 + 64
}

/// Whether the oldest of `held` events is to go.
pub(super) fn is_overdue(keep: Keep, held: usize, oldest: Timestamp, now: Timestamp) -> bool {
    held > keep.events || oldest < now.before(keep.age)
}

/// How many events of a trail need not be written, because later ones of it would push them out at once.
pub(super) fn superfluous(keep: Keep, trail: &Trail) -> usize {
    trail.changes().saturating_sub(keep.events)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep { age: Duration::from_secs(60), events: 10 };

    fn head(revision: u64, seconds: u64, service: &str) -> Head<'_> {
        let (at, time) = (EventPosition::before(Revision(revision)), Timestamp::from_millis(seconds * 1000));
        Head { at, time, service, id: Some("i1") }
    }

    #[test]
    fn a_look_passes_over_what_is_not_asked_for_and_ends_where_nothing_can_follow() {
        let now = Timestamp::from_millis(100_000);
        let query = |service: &str| EventQuery { service: service.parse().ok(), ..EventQuery::up_to(Revision(9), 2) };
        let web = query("web");
        let mut look = Look::new(&web, KEEP, now);
        assert_eq!(look.judge(head(9, 99, "web")), Verdict::Take);
        assert_eq!(look.judge(head(8, 98, "api")), Verdict::Pass);
        assert_eq!(look.judge(head(7, 97, "web")), Verdict::Take);
        assert_eq!(look.judge(head(6, 96, "web")), Verdict::End, "the page is full");
        assert_eq!(look.next, Some(EventPosition::before(Revision(7))));

        let mut look = Look::new(&web, KEEP, now);
        assert_eq!(look.judge(head(9, 39, "web")), Verdict::End, "too old");
        assert_eq!(look.next, None);

        let under = EventQuery { under: "payments".parse().ok(), ..EventQuery::up_to(Revision(9), 9) };
        let mut look = Look::new(&under, KEEP, now);
        for (service, verdict) in
            [("api.payments", Verdict::Take), ("payments", Verdict::Pass), ("xpayments", Verdict::Pass)]
        {
            assert_eq!(look.judge(head(9, 99, service)), verdict, "{service}");
        }
    }

    #[test]
    fn a_look_is_bounded_in_what_it_passes_over() {
        let query = EventQuery { service: "web".parse().ok(), ..EventQuery::up_to(Revision(u64::MAX - 1), 2) };
        let mut look = Look::new(&query, KEEP, Timestamp::from_millis(0));
        let passed = (0..).take_while(|n| look.judge(head(10_000_000 - n, 99, "api")) == Verdict::Pass).count();
        assert_eq!(passed, LOOK_MAX);
        assert_eq!(look.next, Some(EventPosition::before(Revision(10_000_001 - LOOK_MAX as u64))));
    }

    #[test]
    fn the_oldest_go_by_number_and_by_age_in_steps_that_catch_up() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        assert!(!is_overdue(KEEP, 10, at(40), at(100)));
        assert!(is_overdue(KEEP, 11, at(99), at(100)), "too many");
        assert!(is_overdue(KEEP, 1, at(39), at(100)), "too old");
        for added in [0, 1, 1_000_000] {
            assert!(trim_max(added) > added);
        }
    }
}
