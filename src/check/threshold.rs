//! When the results of probes turn an opinion.

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
}

impl Threshold {
    /// Begins with the opinion that stands in the store, so that it outlives a restart. `rise` and `fall` are 1 to
    /// 100.
    pub(super) fn new(rise: u8, fall: u8, standing: Health) -> Self {
        Self { rise, fall, standing, against: 0 }
    }

    /// The opinion that stands.
    pub(super) fn standing(&self) -> Health {
        self.standing
    }

    /// Takes the result of a probe; the opinion that should stand from now on, when that is another one.
    ///
    /// Out of unknown one result is enough, whatever `rise` and `fall` say.
    pub(super) fn observe(&mut self, passed: bool) -> Option<Health> {
        let observed = if passed { Health::Passing } else { Health::Critical };
        if observed == self.standing {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = match self.standing {
            Health::Unknown => 1,
            Health::Passing => self.fall,
            Health::Critical => self.rise,
        };
        (self.against >= needed).then_some(observed)
    }

    /// Takes the opinion that stands in the store. Another than before starts the count over.
    pub(super) fn settle(&mut self, health: Health) {
        if self.standing != health {
            self.standing = health;
            self.against = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Critical, Passing, Unknown};

    /// Feeds results, `+` passed and `-` failed, settling every transition; the opinion after each.
    fn after_each(mut threshold: Threshold, results: &str) -> Vec<Health> {
        let opinion = |c| {
            if let Some(health) = threshold.observe(c == '+') {
                threshold.settle(health);
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
        assert_eq!(Threshold::new(1, 3, Critical).observe(false), None);
        assert_eq!(after_each(Threshold::new(1, 3, Passing), "--"), [Passing, Passing]);
    }

    #[test]
    fn transition_that_is_not_settled_is_proposed_again() {
        let mut threshold = Threshold::new(1, 2, Passing);
        assert_eq!(threshold.observe(false), None);
        assert_eq!(threshold.observe(false), Some(Critical));
        assert_eq!(threshold.observe(false), Some(Critical));
        assert_eq!(threshold.standing(), Passing);
        assert_eq!(threshold.observe(true), None, "contradicted");
        assert_eq!(threshold.observe(false), None, "the count starts over");
        let mut endless = Threshold::new(1, 100, Passing);
        assert_eq!((0..1000).filter_map(|_| endless.observe(false)).count(), 901);
    }

    #[test]
    fn opinion_of_the_store_starts_the_count_over() {
        let mut threshold = Threshold::new(2, 2, Passing);
        assert_eq!(threshold.observe(false), None);
        threshold.settle(Passing);
        assert_eq!(threshold.observe(false), Some(Critical), "the same opinion keeps the count");
        threshold.settle(Critical);
        assert_eq!(threshold.observe(true), None);
        assert_eq!(threshold.observe(true), Some(Passing));
    }
}
