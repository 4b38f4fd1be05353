//! Time as checks count it.

use std::time::Duration;

use tokio::time::Instant;

/// A point in time, in steps of [`TICK`] since the checker began.
pub(super) type Tick = u64;

/// How finely rounds and deadlines are kept: what is due comes up at most this much later, and all of it together.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// A span in ticks, rounded up: nothing comes early.
pub(super) fn ticks(span: Duration) -> Tick {
    u64::try_from(span.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(Tick::MAX)
}

/// Tells ticks from the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
}

impl Clock {
    pub(super) fn new(began: Instant) -> Self {
        Self { began }
    }

    /// The tick that has begun last.
    pub(super) fn tick(&self, at: Instant) -> Tick {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos() / TICK.as_nanos()).unwrap_or(Tick::MAX)
    }

    /// When a tick begins.
    pub(super) fn at(&self, tick: Tick) -> Instant {
        let milliseconds = tick.saturating_mul(TICK.as_millis() as u64);
        self.began + Duration::from_millis(milliseconds)
    }

    /// Microseconds since the checker began.
    pub(super) fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_up_and_points_in_time_down() {
        assert_eq!(ticks(Duration::from_millis(100)), 20);
        assert_eq!((ticks(Duration::from_millis(11)), ticks(Duration::ZERO)), (3, 0));
        let began = Instant::now();
        let clock = Clock::new(began);
        assert_eq!(clock.tick(began + Duration::from_millis(14)), 2);
        assert_eq!(clock.at(2), began + Duration::from_millis(10));
        assert_eq!(clock.tick(clock.at(77)), 77);
    }
}
