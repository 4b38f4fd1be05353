//! When what clients say of an instance has it probed.

use super::clock::Tick;

/// When hints lead to probes of a check: one for a fast interval. Pure.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hinted {
    until: Tick,
    count: u32,
    /// Whether the probe that runs is to be followed by another, because it began before.
    again: bool,
}

/// What is done about a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing: a probe follows soon as it is, or would tell nobody anything.
    None,
    /// The next probe begins now.
    Now,
    /// The probe that runs is followed by another one soon.
    Again,
}

impl Hinted {
    /// How often the check was hinted at.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Counts a hint.
    pub(super) fn hear(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// Whether a hint leads to a probe by now.
    pub(super) fn is_open(&self, now: Tick) -> bool {
        now >= self.until
    }

    /// Takes a hint that leads to a probe.
    pub(super) fn take(&mut self, advice: Advice, fast: Tick, now: Tick) {
        self.until = now + fast.max(1);
        self.again = advice == Advice::Again;
    }

    /// Whether the probe that has ended is to be followed by another, which is asked once.
    pub(super) fn wants_another(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hint_of_a_fast_interval_leads_to_a_probe() {
        let mut hinted = Hinted::default();
        let mut granted = |now: Tick| {
            hinted.hear();
            let is_open = hinted.is_open(now);
            if is_open {
                hinted.take(Advice::Now, 100, now);
            }
            is_open
        };
        assert_eq!(
            [0, 1, 99, 100, 150, 199, 200, 500].map(&mut granted),
            [true, false, false, true, false, false, true, true]
        );
        assert_eq!((hinted.count(), hinted.wants_another()), (8, false));
    }

    #[test]
    fn a_probe_that_began_before_is_followed_by_one_more() {
        let mut hinted = Hinted::default();
        hinted.take(Advice::Again, 100, 7);
        assert_eq!((hinted.is_open(106), hinted.is_open(107)), (false, true));
        assert_eq!([hinted.wants_another(), hinted.wants_another()], [true, false]);
    }
}
