//! When the results of probes turn an opinion.

use super::clock::Tick;
use super::flaps::Flaps;
use super::rhythm::Pace;
use crate::model::Health;

/// How many results in a row it takes to turn an opinion, and how many there have been. Pure.
///
/// It proposes and the store disposes: [`Self::observe`] says that the opinion should turn and says it again with
/// every further result that agrees, until [`Self::settle`] tells which opinion stands. So a transition that the
/// store could not take is not lost, and one that the next result contradicts is not made.
#[derive(Debug, Clone)]
pub(super) struct Threshold {
    rise: u8,
    fall: u8,
    standing: Health,
    /// Results in a row that contradict the standing opinion.
    against: u8,
    /// Whether the next fall is no flap.
    admitted: bool,
    flaps: Flaps,
}

impl Threshold {
    /// Begins with the opinion that stands in the store, so that it outlives a restart. `rise` and `fall` are 1 to
    /// 100.
    pub(super) fn new(rise: u8, fall: u8, standing: Health) -> Self {
        Self { rise, fall, standing, against: 0, admitted: false, flaps: Flaps::default() }
    }

    /// Takes other numbers, and begins to count anew.
    pub(super) fn change(&mut self, rise: u8, fall: u8) {
        (self.rise, self.fall, self.against) = (rise, fall, 0);
    }

    /// The opinion that stands.
    pub(super) fn standing(&self) -> Health {
        self.standing
    }

    /// The falls that count, and the successes in a row that turn critical into passing.
    pub(super) fn calm(&self, now: Tick) -> (u8, u8) {
        (self.flaps.falls(now), self.rise + self.flaps.owed(now))
    }

    /// Whether the instance itself has said that it fails. Who says so is believed when it says that it is well again, so
    /// a fall of that kind is no flap.
    pub(super) fn admit(&mut self, admitted: bool) {
        self.admitted = admitted;
    }

    /// Has the next failure turn passing into critical, because there is proof.
    pub(super) fn condemn(&mut self) {
        if self.standing == Health::Passing {
            self.against = self.against.max(self.fall - 1);
        }
    }

    /// Whether the next failure turns the standing opinion.
    pub(super) fn falls_next(&self) -> bool {
        match self.standing {
            Health::Unknown => true,
            Health::Passing => self.against.saturating_add(1) >= self.fall,
            Health::Critical => false,
        }
    }

    /// Takes the result of a probe; the opinion that should stand from now on, when that is another one.
    ///
    /// Out of unknown one result is enough, whatever `rise` and `fall` say.
    pub(super) fn observe(&mut self, passed: bool, now: Tick) -> Option<Health> {
        let observed = if passed { Health::Passing } else { Health::Critical };
        if observed == self.standing {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        (self.against >= self.needed(now)).then_some(observed)
    }

    /// How soon the next result is wanted.
    pub(super) fn pace(&self, now: Tick) -> Pace {
        if self.against == 0 || self.against >= self.needed(now) {
            Pace::Ordinary
        } else if self.standing == Health::Critical && self.against >= self.rise {
            Pace::Held
        } else {
            Pace::Fast
        }
    }

    /// Takes the opinion that stands in the store; whether it is another than before, which starts the count over.
    pub(super) fn settle(&mut self, health: Health, now: Tick) -> bool {
        if self.standing == health {
            return false;
        }
        if (self.standing, health) == (Health::Passing, Health::Critical) && !self.admitted {
            self.flaps.fell(now);
        }
        self.standing = health;
        self.against = 0;
        true
    }

    /// Results in a row that turn the standing opinion.
    fn needed(&self, now: Tick) -> u8 {
        match self.standing {
            Health::Unknown => 1,
            Health::Passing => self.fall,
            Health::Critical => self.calm(now).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Critical, Passing, Unknown};

    #[test]
    fn proof_needs_no_more_failures_and_turns_nobody_who_is_not_passing() {
        let mut threshold = Threshold::new(1, 3, Passing);
        assert_eq!((threshold.falls_next(), threshold.observe(false, 0)), (false, None));
        threshold.condemn();
        assert!(threshold.falls_next());
        assert_eq!(threshold.observe(false, 0), Some(Critical));
        assert_eq!(
            (threshold.pace(0), threshold.observe(false, 0)),
            (Pace::Ordinary, Some(Critical)),
            "until it stands"
        );
        threshold.settle(Critical, 0);
        threshold.condemn();
        assert!(!threshold.falls_next());
        assert_eq!((threshold.observe(false, 0), threshold.observe(true, 0)), (None, Some(Passing)));
        let mut calm = Threshold::new(1, 3, Passing);
        calm.condemn();
        assert_eq!([calm.observe(true, 0), calm.observe(false, 0)], [None, None], "a success ends it");
        assert!(Threshold::new(1, 3, Unknown).falls_next() && Threshold::new(1, 1, Passing).falls_next());
    }

    /// Feeds results, `+` passed and `-` failed, settling every transition; the opinion after each.
    fn after_each(mut threshold: Threshold, results: &str) -> Vec<Health> {
        let opinion = |c| {
            if let Some(health) = threshold.observe(c == '+', 0) {
                threshold.settle(health, 0);
            }
            threshold.standing()
        };
        results.chars().map(opinion).collect()
    }

    #[test]
    fn first_result_alone_decides_out_of_unknown() {
        assert_eq!(after_each(Threshold::new(5, 5, Unknown), "+"), [Passing]);
        assert_eq!(after_each(Threshold::new(5, 5, Unknown), "-"), [Critical]);
    }

    #[test]
    fn opinion_turns_after_rise_and_fall_results_in_a_row() {
        let falls = after_each(Threshold::new(2, 3, Passing), "--+---");
        assert_eq!(falls, [Passing, Passing, Passing, Passing, Passing, Critical]);
        let rises = after_each(Threshold::new(2, 3, Critical), "+-++");
        assert_eq!(rises, [Critical, Critical, Critical, Passing]);
    }

    #[test]
    fn stored_opinion_outlives_a_restart() {
        assert_eq!(Threshold::new(1, 3, Critical).observe(false, 0), None);
        assert_eq!(after_each(Threshold::new(1, 3, Passing), "--"), [Passing, Passing]);
    }

    #[test]
    fn transition_that_is_not_settled_is_proposed_again() {
        let mut threshold = Threshold::new(1, 2, Passing);
        assert_eq!(threshold.observe(false, 0), None);
        assert_eq!(threshold.observe(false, 0), Some(Critical));
        assert_eq!(threshold.observe(false, 0), Some(Critical));
        assert_eq!(threshold.standing(), Passing);
        assert_eq!(threshold.observe(true, 0), None, "contradicted");
        assert_eq!(threshold.observe(false, 0), None, "the count starts over");
        let mut endless = Threshold::new(1, 100, Passing);
        assert_eq!((0..1000).filter_map(|_| endless.observe(false, 0)).count(), 901);
    }

    #[test]
    fn opinion_of_the_store_starts_the_count_over() {
        let mut threshold = Threshold::new(2, 2, Passing);
        assert_eq!(threshold.observe(false, 0), None);
        threshold.settle(Passing, 0);
        assert_eq!(threshold.observe(false, 0), Some(Critical), "the same opinion keeps the count");
        threshold.settle(Critical, 0);
        assert_eq!(threshold.observe(true, 0), None);
        assert_eq!(threshold.observe(true, 0), Some(Passing));
    }

    #[test]
    fn contradictions_want_confirmation_soon_until_they_decide() {
        let mut threshold = Threshold::new(2, 3, Passing);
        let mut pace = |passed| {
            threshold.observe(passed, 0);
            threshold.pace(0)
        };
        assert_eq!([true, false, false, true].map(&mut pace), [Pace::Ordinary, Pace::Fast, Pace::Fast, Pace::Ordinary]);
        assert_eq!([false, false, false].map(&mut pace), [Pace::Fast, Pace::Fast, Pace::Ordinary]);
        threshold.settle(Critical, 0);
        let mut pace = |passed| {
            threshold.observe(passed, 0);
            threshold.pace(0)
        };
        assert_eq!([false, true, true].map(&mut pace), [Pace::Ordinary, Pace::Fast, Pace::Ordinary]);
    }

    #[test]
    fn who_flaps_needs_more_successes_each_time_and_is_held() {
        let mut threshold = Threshold::new(2, 1, Passing);
        let mut successes = || {
            assert_eq!(threshold.observe(false, 0), Some(Critical));
            threshold.settle(Critical, 0);
            let mut count = 1;
            while threshold.observe(true, 0).is_none() {
                assert_eq!(threshold.pace(0), if count < 2 { Pace::Fast } else { Pace::Held });
                count += 1;
            }
            threshold.settle(Passing, 0);
            count
        };
        assert_eq!([(); 6].map(|()| successes()), [2, 3, 5, 9, 17, 17]);
        assert_eq!(threshold.calm(0), (5, 17));
        assert_eq!(threshold.calm(Tick::MAX), (0, 2), "all is forgotten");
    }

    #[test]
    fn who_admits_a_fall_does_not_flap() {
        let mut threshold = Threshold::new(1, 1, Passing);
        for admitted in [true, true, true, false, true, false] {
            threshold.admit(admitted);
            threshold.settle(Critical, 0);
            threshold.settle(Passing, 0);
        }
        assert_eq!(threshold.calm(0), (2, 2));
    }

    #[test]
    fn thresholds_never_overflow() {
        let mut threshold = Threshold::new(100, 100, Passing);
        for _ in 0..10 {
            threshold.settle(Critical, 0);
            threshold.settle(Passing, 0);
        }
        threshold.settle(Critical, 0);
        assert_eq!((0..115).filter_map(|_| threshold.observe(true, 0)).count(), 1);
    }
}
