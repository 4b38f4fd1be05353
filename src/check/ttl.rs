//! Checks that wait for the service to report itself: when that is due, and what is no silence of theirs.

use std::time::Duration;

use super::clock::{Tick, ticks};

/// The longest time between two looks at the clock while reports are awaited.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// A longer time between two looks means that this process was stopped or stalled.
const STALL_MIN: Duration = Duration::from_secs(1);

/// The time in which nobody could report, because this process did not run. Pure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stalls {
    looked: Tick,
    total: Tick,
}

impl Stalls {
    /// None yet.
    pub(super) fn starting_at(now: Tick) -> Self {
        Self { looked: now, total: 0 }
    }

    /// Looks at the clock, at least every [`LOOK`] while it matters.
    pub(super) fn look(&mut self, now: Tick) {
        let gap = now.saturating_sub(self.looked);
        if gap > ticks(STALL_MIN) {
            self.total += gap;
        }
        self.looked = self.looked.max(now);
    }

    /// All of it.
    pub(super) fn total(&self) -> Tick {
        self.total
    }
}

/// The next report of a check. Pure: `stalled` is [`Stalls::total`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Awaited {
    interval: Tick,
    due: Tick,
    stalled: Tick,
    /// Intervals in a row that were silent.
    silent: u32,
}

impl Awaited {
    /// From now on, for a full interval.
    pub(super) fn new(interval: Tick, now: Tick, stalled: Tick) -> Self {
        let interval = interval.max(1);
        Self { interval, due: now + interval, stalled, silent: 0 }
    }

    /// When it has to have come.
    pub(super) fn due(&self) -> Tick {
        self.due
    }

    /// When it has to have come, should nothing stall until then, by what has been stalled so far.
    pub(super) fn due_after(&self, stalled: Tick) -> Tick {
        self.due + (stalled - self.stalled)
    }

    /// It has come.
    pub(super) fn heard(&mut self, now: Tick, stalled: Tick) {
        *self = Self::new(self.interval, now, stalled);
    }

    /// Its time has come: how many intervals in a row have been silent. None when the one that ends has been shorter than
    /// it seems, because this process was stalled; then it is due later.
    pub(super) fn passed(&mut self, now: Tick, stalled: Tick) -> Option<u32> {
        (self.due, self.stalled) = (self.due_after(stalled), stalled);
        if now < self.due {
            return None;
        }
        self.due = now + self.interval;
        self.silent = self.silent.saturating_add(1);
        Some(self.silent)
    }

    /// It is waited for no longer than until a tick before the silence is looked at again.
    pub(super) fn look_again(&mut self, at: Tick) {
        self.due = self.due.min(at);
        self.silent = self.silent.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Tick {
        ticks(Duration::from_secs(seconds))
    }

    #[test]
    fn each_interval_without_a_report_is_one_silence() {
        let mut awaited = Awaited::new(seconds(15), seconds(100), 0);
        assert_eq!((awaited.due(), awaited.passed(seconds(114), 0)), (seconds(115), None));
        assert_eq!(awaited.passed(seconds(115), 0), Some(1));
        assert_eq!((awaited.due(), awaited.passed(seconds(131), 0)), (seconds(130), Some(2)));
        awaited.heard(seconds(140), 0);
        assert_eq!((awaited.due(), awaited.passed(seconds(155), 0)), (seconds(155), Some(1)));
    }

    #[test]
    fn a_stall_is_no_silence() {
        let (mut stalls, mut awaited) = (Stalls::starting_at(0), Awaited::new(seconds(15), 0, 0));
        for tick in 0..seconds(10) {
            stalls.look(tick);
        }
        assert_eq!(stalls.total(), 0);
        stalls.look(seconds(30));
        let stalled = stalls.total();
        assert_eq!(stalled, seconds(20) + 1);
        assert_eq!(awaited.passed(seconds(30), stalled), None, "ten of fifteen seconds have passed");
        assert_eq!((awaited.due(), awaited.due_after(stalled)), (seconds(35) + 1, seconds(35) + 1));
        assert_eq!(awaited.passed(seconds(35), stalled), None);
        assert_eq!(awaited.passed(seconds(35) + 1, stalled), Some(1));
        awaited.heard(seconds(40), stalled);
        assert_eq!(awaited.due(), seconds(55), "what stalled before it came does not count");
    }

    #[test]
    fn looking_again_makes_no_silence_longer() {
        let mut awaited = Awaited::new(seconds(15), 0, 0);
        assert_eq!(awaited.passed(seconds(15), 0), Some(1));
        awaited.look_again(seconds(16));
        assert_eq!((awaited.due(), awaited.passed(seconds(16), 0)), (seconds(16), Some(1)));
    }
}
