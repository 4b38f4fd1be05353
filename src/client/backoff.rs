//! How long to wait before trying again.

use std::time::Duration;

/// The longest patience that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Pauses that double up to a bound, drawn apart so that those who lost a server at once do not all come back at once.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause, at least half of what is due and at least what the server asked for; `draw` is from 0 to 1.
    pub(super) fn pause(&mut self, retry_after: Option<Duration>, draw: f64) -> Duration {
        let due = self.next.min(self.longest);
        self.next = (due * 2).min(self.longest);
        due.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0).max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
    }

    /// It worked: the next trouble is a new one.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_heed_the_server() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let mut backoff = Backoff::new(ms(200), s(1));
        let pauses = [1.0; 5].map(|draw| backoff.pause(None, draw));
        assert_eq!(pauses, [ms(200), ms(400), ms(800), s(1), s(1)]);
        assert_eq!(backoff.pause(None, 0.0), ms(500));
        assert_eq!(backoff.pause(Some(s(5)), 0.0), s(5));
        assert_eq!(backoff.pause(Some(s(86_400)), 0.0), RETRY_AFTER_MAX);
        backoff.reset();
        assert_eq!(backoff.pause(None, 1.0), ms(200));
    }
}
