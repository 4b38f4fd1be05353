//! The time that leases live by: it stands still while the server does not run.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::Timestamp;

/// A moment on both clocks: deadlines go by the first, which is a [`LeaseClock`]'s, people by
/// the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) wall: Timestamp,
    reckoning: Reckoning,
}

impl Moment {
    /// A moment by clocks that agree.
    #[cfg(test)]
    pub(super) fn of(instant: Instant, wall: Timestamp) -> Self {
        Self { instant, wall, reckoning: Reckoning { instant, wall } }
    }

    /// When a deadline passes by the clock on the wall, should nothing stall until then.
    pub(super) fn wall_at(&self, deadline: Instant) -> Timestamp {
        self.reckoning.wall_at(deadline)
    }
}

/// How one clock is translated to the other. It stays for as long as it holds, because the clocks do not tick together:
/// made anew at each look, the end of a lease would be another from look to look.
#[derive(Debug, Clone, Copy)]
struct Reckoning {
    instant: Instant,
    wall: Timestamp,
}

impl Reckoning {
    fn wall_at(&self, instant: Instant) -> Timestamp {
        let (later, earlier) =
            (instant.saturating_duration_since(self.instant), self.instant.saturating_duration_since(instant));
        self.wall.after(later).before(earlier)
    }

    /// Whether it still tells the time: not after a stall, a suspended machine, or a clock that was set.
    fn holds(&self, instant: Instant, wall: Timestamp) -> bool {
        let reckoned = self.wall_at(instant);
        reckoned.until(wall).max(wall.until(reckoned)) <= RECKONING_OFF_MAX
    }
}

/// How far a reckoning may be off.
const RECKONING_OFF_MAX: Duration = Duration::from_millis(250);

/// The longest time between two looks at the clock of an engine that keeps house.
pub(super) const TICK: Duration = Duration::from_millis(500);
/// A longer time between two looks means that the server was stopped or stalled.
const STALL_MIN: Duration = Duration::from_secs(1);

/// Monotonic time without the stretches in which nobody could have renewed anything.
///
/// An engine looks at it at least every [`TICK`]; when a look comes far too late (SIGSTOP, a frozen virtual machine, a
/// machine without a free processor), the gap did not happen: every deadline moves by it at once. While a machine is
/// suspended, its monotonic clock stands still by itself. Pure: the time is an argument.
#[derive(Debug)]
pub(super) struct LeaseClock {
    looked: Instant,
    /// How far this clock is behind the machine's.
    stalled: Duration,
    /// Whether it has yet to begin.
    is_held: bool,
    reckoning: Reckoning,
}

impl LeaseClock {
    pub(super) fn starting_at(now: Instant) -> Self {
        let reckoning = Reckoning { instant: now, wall: Timestamp::now() };
        Self { looked: now, stalled: Duration::ZERO, is_held: false, reckoning }
    }

    /// A clock that stands still until it is let go: restored leases begin their term when they can be renewed.
    pub(super) fn held_at(now: Instant) -> Self {
        Self { is_held: true, ..Self::starting_at(now) }
    }

    /// Stands still from this moment, which it returns, until it is let go.
    pub(super) fn hold(&mut self) -> Moment {
        let now = self.now();
        self.is_held = true;
        now
    }

    /// Begins, or goes on.
    pub(super) fn let_go(&mut self) {
        self.now();
        self.is_held = false;
    }

    /// The time now, and the gap that was found to have stalled everything since the last look.
    fn look(&mut self, now: Instant) -> (Instant, Option<Duration>) {
        let gap = now.saturating_duration_since(self.looked);
        let stall = (gap > STALL_MIN && !self.is_held).then_some(gap);
        self.looked = self.looked.max(now);
        self.stalled += if self.is_held { gap } else { stall.unwrap_or_default() };
        (self.looked - self.stalled, stall)
    }

    /// This moment. A gap is told in the log.
    pub(super) fn now(&mut self) -> Moment {
        let (instant, stall) = self.look(Instant::now());
        if let Some(stall) = stall {
            tracing::warn!(
                stalled_ms = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX),
                "the server or its disk stood still for a while; every lease lasts that much longer"
            );
        }
        self.moment(instant, Timestamp::now())
    }

    fn moment(&mut self, instant: Instant, wall: Timestamp) -> Moment {
        if !self.reckoning.holds(instant, wall) {
            self.reckoning = Reckoning { instant, wall };
        }
        Moment { instant, wall, reckoning: self.reckoning }
    }

    /// When a deadline passes on the machine's clock, should nothing stall until then.
    pub(super) fn due(&self, deadline: Instant) -> Option<Instant> {
        (!self.is_held).then(|| deadline + self.stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_did_not_happen() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut clock = LeaseClock::starting_at(start);
        assert_eq!(clock.look(at(500)), (at(500), None), "a tick");
        assert_eq!(clock.look(at(1500)), (at(1500), None), "a late tick");
        let gap = Duration::from_millis(10_000);
        assert_eq!(clock.look(at(11_500)), (at(1500), Some(gap)), "stopped for ten seconds");
        assert_eq!(clock.look(at(11_900)), (at(1900), None), "and on");
        assert_eq!(clock.due(at(4000)), Some(at(14_000)));
        assert_eq!(clock.look(at(11_800)), (at(1900), None), "never backwards");
    }

    #[test]
    fn the_end_of_a_lease_is_the_same_at_every_look_until_the_clocks_part() {
        let start = Instant::now();
        let at = |micros: u64| start + Duration::from_micros(micros);
        let mut clock = LeaseClock::starting_at(start);
        let deadline = start + Duration::from_secs(10);
        let mut end = |instant, wall| clock.moment(instant, Timestamp::from_millis(wall)).wall_at(deadline).as_millis();
        // The clocks do not tick together: the wall clock is read in whole milliseconds.
        for (instant, wall) in [(at(0), 1_000), (at(900), 1_000), (at(1_100), 1_002), (at(5_000_000), 6_100)] {
            assert_eq!(end(instant, wall), 11_000);
        }
        assert_eq!(end(at(5_000_000), 16_000), 21_000, "stalled or suspended for ten seconds");
        assert_eq!(end(at(6_000_000), 17_000), 21_000);
        assert_eq!(end(at(6_000_000), 7_000), 11_000, "the clock was set back");
    }

    #[test]
    fn a_clock_that_is_held_begins_when_it_is_let_go() {
        let start = Instant::now();
        let mut clock = LeaseClock::held_at(start);
        let later = start + Duration::from_secs(7);
        assert_eq!((clock.look(later), clock.due(later)), ((start, None), None));
        clock.is_held = false;
        assert_eq!(clock.look(later + TICK), (start + TICK, None));
    }
}
