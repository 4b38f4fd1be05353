//! When each check is probed next.

use std::time::Duration;

use super::clock::{Tick, ticks};
use crate::model::Cadence;

/// Between probes of a check that has flapped and passes again, unless it is probed as often anyway: slow enough to
/// be a rest, and quick enough to end.
const HELD: Duration = Duration::from_secs(5);

/// How soon the next probe follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// In the check's own phase.
    Ordinary,
    /// Results contradict the standing opinion, and more are needed to turn it.
    Fast,
    /// As many have as would do for a check that does not flap.
    Held,
}

/// The rounds of one check: its phase, once an interval. Pure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    interval: Tick,
    fast: Tick,
    held: Tick,
    phase: Tick,
}

impl Rhythm {
    /// The rounds of a check that begins now. `phase` is a random number from 0 to 1: checks that begin together are
    /// spread over their interval.
    pub(super) fn new(cadence: &Cadence, phase: f64, now: Tick) -> Self {
        let interval = ticks(cadence.interval.std()).max(1);
        let fast = ticks(cadence.fast_interval.std()).clamp(1, interval);
        let offset = (interval as f64 * phase.clamp(0.0, 1.0)) as Tick;
        Self { interval, fast, held: ticks(HELD).min(interval).max(fast), phase: now + offset }
    }

    /// The first round.
    pub(super) fn first(&self) -> Tick {
        self.phase
    }

    /// When the next probe is due, at a pace, after one that began at a tick and has ended now. Rounds that have passed
    /// meanwhile are not made up for.
    pub(super) fn next(&self, pace: Pace, began: Tick, now: Tick) -> Tick {
        match pace {
            Pace::Ordinary if now < self.phase => self.phase,
            Pace::Ordinary => self.phase + ((now - self.phase) / self.interval + 1) * self.interval,
            Pace::Fast => now.max(began + self.fast),
            Pace::Held => now.max(began + self.held),
        }
    }

    /// How many rounds came after a tick, up to another one.
    pub(super) fn rounds(&self, after: Tick, until: Tick) -> u64 {
        let up_to = |tick: Tick| tick.checked_sub(self.phase).map_or(0, |since| since / self.interval + 1);
        up_to(until).saturating_sub(up_to(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    /// Interval 10 s, fast interval 1 s.
    fn rhythm(phase: f64, now: Tick) -> Rhythm {
        let (interval, fast_interval) = (model::Duration::from_secs(10), model::Duration::from_secs(1));
        Rhythm::new(&Cadence { interval, fast_interval, ..Cadence::usual(true) }, phase, now)
    }

    fn seconds(seconds: f64) -> Tick {
        ticks(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn rounds_keep_their_phase_whenever_a_probe_ends() {
        let rhythm = rhythm(0.25, seconds(100.0));
        assert_eq!(rhythm.first(), seconds(102.5));
        for (now, next) in [(100.0, 102.5), (102.4, 102.5), (102.5, 112.5), (103.9, 112.5), (140.0, 142.5)] {
            assert_eq!(rhythm.next(Pace::Ordinary, seconds(100.0), seconds(now)), seconds(next), "{now}");
        }
    }

    #[test]
    fn confirmations_follow_the_start_of_the_probe_before_and_then_the_phase_is_found_again() {
        let rhythm = rhythm(0.0, 0);
        assert_eq!(rhythm.next(Pace::Fast, seconds(20.0), seconds(20.1)), seconds(21.0));
        assert_eq!(rhythm.next(Pace::Fast, seconds(21.0), seconds(23.0)), seconds(23.0), "it took longer");
        assert_eq!(rhythm.next(Pace::Held, seconds(23.0), seconds(23.1)), seconds(28.0));
        assert_eq!(rhythm.next(Pace::Ordinary, seconds(28.0), seconds(28.1)), seconds(30.0));
    }

    #[test]
    fn rounds_that_passed_are_counted() {
        let rhythm = rhythm(0.5, 0);
        assert_eq!(rhythm.rounds(0, seconds(4.0)), 0);
        assert_eq!(rhythm.rounds(seconds(5.0), seconds(14.9)), 0);
        assert_eq!(rhythm.rounds(seconds(5.0), seconds(15.0)), 1);
        assert_eq!(rhythm.rounds(0, seconds(36.0)), 4);
    }

    #[test]
    fn nothing_is_probed_slower_than_its_interval_or_faster_than_its_fast_one() {
        let often = Cadence { interval: model::Duration::from_secs(1), ..Cadence::usual(true) };
        let rhythm = Rhythm::new(&often, 0.0, 0);
        assert_eq!(rhythm.next(Pace::Held, 0, 1), seconds(1.0));
        let rare = Cadence {
            interval: model::Duration::from_secs(3600),
            fast_interval: model::Duration::from_secs(360),
            ..Cadence::usual(true)
        };
        assert_eq!(Rhythm::new(&rare, 0.0, 0).next(Pace::Held, 0, 1), seconds(360.0));
    }
}
