//! How often a check has fallen lately, and what it owes for that.

use std::time::Duration;

use super::clock::{Tick, ticks};

/// Falls that are remembered at most.
const REMEMBERED_MAX: u8 = 5;
/// A fall is forgotten each time that this passes without another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);

/// The falls of a check from passing to critical, of which one is forgotten every five minutes without a further one.
/// Pure.
///
/// One fall is an outage and owes nothing. Each further one is a flap, and doubles the rest that the check needs before
/// it is believed: 1, 3, 7, 15 successes in a row more than `rise`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flaps {
    falls: u8,
    fell_at: Tick,
}

impl Flaps {
    /// The falls that are remembered.
    pub(super) fn falls(&self, now: Tick) -> u8 {
        let forgotten = now.saturating_sub(self.fell_at) / ticks(FORGOTTEN_AFTER);
        self.falls.saturating_sub(u8::try_from(forgotten).unwrap_or(u8::MAX))
    }

    /// Remembers a fall.
    pub(super) fn fell(&mut self, now: Tick) {
        *self = Self { falls: (self.falls(now) + 1).min(REMEMBERED_MAX), fell_at: now };
    }

    /// Successes in a row that are needed beyond `rise`.
    pub(super) fn owed(&self, now: Tick) -> u8 {
        (1 << self.falls(now).saturating_sub(1)) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Tick {
        ticks(Duration::from_secs(60 * minutes))
    }

    #[test]
    fn first_fall_owes_nothing_and_each_further_one_doubles() {
        let mut flaps = Flaps::default();
        let owed = |flaps: &mut Flaps| {
            flaps.fell(minutes(10));
            (flaps.falls(minutes(10)), flaps.owed(minutes(10)))
        };
        assert_eq!(flaps.owed(minutes(10)), 0);
        let seen: Vec<(u8, u8)> = (0..7).map(|_| owed(&mut flaps)).collect();
        assert_eq!(seen, [(1, 0), (2, 1), (3, 3), (4, 7), (5, 15), (5, 15), (5, 15)]);
    }

    #[test]
    fn falls_are_forgotten_one_by_one_while_there_are_no_more() {
        let mut flaps = Flaps::default();
        for minute in 0..4 {
            flaps.fell(minutes(minute));
        }
        let at = |minute: u64| flaps.falls(minutes(minute));
        assert_eq!([3, 7, 8, 12, 13, 18, 23, 1000].map(at), [4, 4, 3, 3, 2, 1, 0, 0]);
        let mut later = flaps;
        later.fell(minutes(13));
        assert_eq!((later.falls(minutes(13)), later.falls(minutes(18))), (3, 2));
    }
}
