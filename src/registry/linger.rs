//! Until when caches may hold answers that say more of an instance than the answers of now: what a drain has to wait for
//! beyond the lifetime of the records that it withdraws.
//!
//! Whoever leaves, moves, or is answered for a shorter time from now on leaves such an end behind, for its id and for
//! its place: whoever is reached under either is still reached by who was answered before. Times are those of the wall,
//! because ends outlive the process.

use std::time::Duration;

use crate::model::{Instance, InstanceId, Place, Timestamp, Ttl};

/// Ends of one service. Further ones are taken together to one that concerns all of it.
const ENDS_MAX: usize = 64;

/// A change is served within this time after it was decided, unless a disk stands still for longer.
pub const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// When the last cache lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// By the clock on the wall, counted from when the change was decided.
    pub until: Timestamp,
    /// How far away that was then.
    pub span: Ttl,
}

impl End {
    /// That of answers which are given no longer from `at` on and were given for so long.
    pub fn after(at: Timestamp, ttl: Ttl) -> Self {
        Self { until: at.after(ttl.duration().std()), span: ttl }
    }

    /// The later of two ends, seen from `at`.
    fn or_later(self, other: Option<Self>, at: Timestamp) -> Self {
        match other {
            Some(other) if other.until > self.until => Self::after(at, Ttl::spanning(at.until(other.until))),
            _ => self,
        }
    }

    /// Whether it says nothing any more.
    pub fn is_past(&self, now: Timestamp) -> bool {
        self.until.after(SERVED_WITHIN) <= now
    }
}

/// Whom an end concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Every instance of the service.
    All,
    /// Those that ask for no lifetime of their own.
    Unasking,
    /// Those of this id, and those at this place.
    Instance(InstanceId, Place),
}

impl Whose {
    /// Whether it concerns an instance.
    pub fn concerns(&self, instance: &Instance) -> bool {
        match self {
            Self::All => true,
            Self::Unasking => instance.registration.ttl.is_none(),
            Self::Instance(id, place) => instance.id == *id || place.overlaps(&instance.registration.place()),
        }
    }

    /// Ends stand in this order, and those of one id as they came.
    fn order(&self) -> (u8, &str) {
        match self {
            Self::All => (0, ""),
            Self::Unasking => (1, ""),
            Self::Instance(id, _) => (2, id.as_str()),
        }
    }
}

/// The ends of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lingering(Vec<(Whose, End)>);

impl Lingering {
    /// The ends that a store has kept.
    ///
    /// # Errors
    /// When they are more than a service has.
    pub fn new(ends: impl IntoIterator<Item = (Whose, End)>) -> Result<Self, &'static str> {
        let mut ends: Vec<_> = ends.into_iter().take(ENDS_MAX + 1).collect();
        if ends.len() > ENDS_MAX {
            return Err("more answers linger than are kept of one service");
        }
        ends.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
        Ok(Self(ends))
    }

    /// All of them, in an order.
    pub fn ends(&self) -> &[(Whose, End)] {
        &self.0
    }

    /// The end for instances that ask for no lifetime of their own.
    pub(super) fn of_unasking(&self) -> Option<End> {
        self.0.iter().find(|(whose, _)| *whose == Whose::Unasking).map(|(_, end)| *end)
    }

    /// Whether none of them says anything any more.
    pub(super) fn is_past(&self, now: Timestamp) -> bool {
        self.0.iter().all(|(_, end)| end.is_past(now))
    }

    /// The last of all.
    pub(super) fn last(&self) -> Option<End> {
        self.0.iter().map(|(_, end)| *end).max_by_key(|end| end.until)
    }

    /// Notes an end that was decided at `at`.
    pub(super) fn note(&mut self, whose: Whose, end: End, at: Timestamp) {
        self.0.retain(|(_, end)| !end.is_past(at));
        match self.0.iter_mut().find(|(known, _)| *known == whose) {
            Some((_, known)) if known.until >= end.until.after(SERVED_WITHIN) => {}
            // The one before may be over before this one, when that was served sooner.
            Some((_, known)) => *known = end.or_later(Some(*known), at),
            None => {
                let place = self.0.partition_point(|(known, _)| known.order() <= whose.order());
                self.0.insert(place, (whose, end));
            }
        }
        if self.0.len() > ENDS_MAX {
            let instances = self.0.iter().enumerate().filter(|(_, (whose, _))| matches!(whose, Whose::Instance(..)));
            // The one that says the least on its own.
            if let Some((first, _)) = instances.min_by_key(|(_, (_, end))| end.until) {
                let (_, end) = self.0.remove(first);
                self.note(Whose::All, end, at);
            }
        }
    }
}

/// What lifetimes are measured by where a service says nothing of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    /// Now.
    pub(super) at: Timestamp,
    /// The lifetime of records that nobody asks another for.
    pub(super) default: Ttl,
    /// When those end that were given with a longer such lifetime.
    pub(super) default_end: Option<End>,
}

impl Measure {
    /// The end of answers with an instance of a service that asks for `of_service`, were they given until now and no
    /// longer.
    pub(super) fn end_of(&self, instance: &Instance, of_service: Option<Ttl>, lingering: Option<&Lingering>) -> End {
        match instance.registration.ttl {
            Some(ttl) => End::after(self.at, ttl),
            None => self.end_of_unasking(of_service, lingering),
        }
    }

    /// The same of instances that ask for no lifetime of their own.
    pub(super) fn end_of_unasking(&self, of_service: Option<Ttl>, lingering: Option<&Lingering>) -> End {
        let default_end = self.default_end.filter(|_| of_service.is_none());
        End::after(self.at, of_service.unwrap_or(self.default))
            .or_later(lingering.and_then(Lingering::of_unasking), self.at)
            .or_later(default_end, self.at)
    }

    /// When answers end that are given from now on, with the lifetime that an instance has.
    pub(super) fn next_end(&self, ttl: Option<Ttl>, of_service: Option<Ttl>) -> Timestamp {
        End::after(self.at, ttl.or(of_service).unwrap_or(self.default)).until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Addresses, Transport};

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn ttl(seconds: u64) -> Ttl {
        Ttl::spanning(Duration::from_secs(seconds))
    }

    fn whose(n: u8) -> Whose {
        let addresses = Addresses::new([[10, 0, 0, n].into()]).unwrap();
        Whose::Instance(format!("i{n:03}").parse().unwrap(), Place { addresses, port: 80, protocol: Transport::Tcp })
    }

    #[test]
    fn an_end_moves_to_the_later_side_only_and_goes_when_it_is_past() {
        let mut lingering = Lingering::default();
        let mut note = |at, whose: Whose, span| {
            lingering.note(whose, End::after(seconds(at), ttl(span)), seconds(at));
            lingering.ends().iter().map(|(_, end)| end.until.as_millis() / 1000).collect::<Vec<_>>()
        };
        assert_eq!(note(0, whose(2), 60), [60]);
        assert_eq!(note(10, whose(2), 5), [60]);
        assert_eq!(note(20, whose(1), 50), [70, 60]);
        assert_eq!(note(20, Whose::Unasking, 5), [25, 70, 60]);
        assert_eq!(note(69, Whose::All, 1), [70, 70, 60], "a write may have taken a while");
        assert_eq!(note(70, whose(1), 60), [70, 130]);
    }

    #[test]
    fn of_too_many_the_earliest_are_taken_together() {
        let mut lingering = Lingering::default();
        for n in 0..100 {
            lingering.note(whose(n), End::after(seconds(n.into()), ttl(1000)), seconds(n.into()));
        }
        let ends = lingering.ends();
        assert_eq!(ends.len(), ENDS_MAX);
        assert_eq!(ends[0], (Whose::All, End { until: seconds(1036), span: ttl(1000) }));
        assert_eq!((&ends[1].0, &ends[ENDS_MAX - 1].0), (&whose(37), &whose(99)));
        assert_eq!(lingering.last(), Some(End { until: seconds(1099), span: ttl(1000) }));
    }

    #[test]
    fn what_nobody_asked_for_ends_with_the_longest_that_it_had() {
        let mut lingering = Lingering::default();
        let measure = Measure {
            at: seconds(100),
            default: ttl(5),
            default_end: Some(End { until: seconds(400), span: ttl(3600) }),
        };
        let end = |of_service, lingering: &Lingering| measure.end_of_unasking(of_service, Some(lingering));
        assert_eq!(end(None, &lingering), End { until: seconds(400), span: ttl(300) });
        assert_eq!(end(Some(ttl(7)), &lingering), End { until: seconds(107), span: ttl(7) });
        lingering.note(Whose::Unasking, End { until: seconds(130), span: ttl(60) }, seconds(70));
        assert_eq!(end(Some(ttl(7)), &lingering), End { until: seconds(130), span: ttl(30) });
        // A clock that was set back makes nothing longer than it can be.
        lingering.note(Whose::Unasking, End { until: seconds(100_000), span: ttl(60) }, seconds(70));
        assert_eq!(end(Some(ttl(7)), &lingering), End { until: seconds(3700), span: Ttl::MAX });
    }
}
