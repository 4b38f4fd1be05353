//! When to renew, when to register again, when to give up. Pure: `now` and the draws of chance come from outside.
//!
//! ```text
//! register ──done──▶ renew, every third of the ttl ──gone──▶ register
//!    │ trouble: again, after a pause that doubles    │
//!    └── refused for good ──▶ stopped ◀──────────────┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::KeepEvent;
use crate::client::backoff::Backoff;
use crate::client::{ClientError, Instance};

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    Register,
    Renew,
    /// Nothing, ever.
    Rest,
}

/// How that went.
#[derive(Debug)]
pub(super) enum Outcome {
    Registered(Vec<Instance>),
    Renewed,
    /// The server knows nothing of it: the lease lapsed, or the server forgot, or somebody deregistered it.
    Gone,
    Failed(ClientError),
}

/// Whether asking the same again can only be answered the same. A refusal of the caller (401, 403) may be mended by
/// whoever hands out tokens, while the instance goes on.
pub(super) fn is_final(error: &ClientError) -> bool {
    match error.status() {
        Some(status) => {
            (400..500).contains(&status) && !matches!(status, 401 | 403 | 404 | 408 | 410 | 421 | 425 | 429)
        }
        None => matches!(error, ClientError::Request { .. }),
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    ttl: Duration,
    duty: Duty,
    due: Instant,
    backoff: Backoff,
    is_lost: bool,
    registered_before: bool,
}

impl Machine {
    /// One that has registered already, asked for at that time, or has it to do at once.
    pub(super) fn new(ttl: Duration, registered: bool, asked_at: Instant) -> Self {
        let longest = (ttl / 3).clamp(Duration::from_millis(500), Duration::from_secs(10));
        Self {
            ttl,
            duty: if registered { Duty::Renew } else { Duty::Register },
            due: if registered { asked_at + ttl / 3 } else { asked_at },
            backoff: Backoff::new(Duration::from_millis(200), longest),
            is_lost: false,
            registered_before: registered,
        }
    }

    pub(super) fn duty(&self) -> Duty {
        self.duty
    }

    /// When to do it.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// How long one try may take: two more have to fit before the lease ends.
    pub(super) fn patience(&self) -> Duration {
        (self.ttl / 3).max(Duration::from_secs(1))
    }

    /// Takes in how it went and says what that means. `draw` is from 0 to 1.
    pub(super) fn settle(&mut self, outcome: Outcome, asked_at: Instant, now: Instant, draw: f64) -> Vec<KeepEvent> {
        let mut events = Vec::new();
        if self.is_lost && !matches!(&outcome, Outcome::Failed(error) if !is_final(error)) {
            self.is_lost = false;
            events.push(KeepEvent::Back);
        }
        match outcome {
            Outcome::Registered(instances) => {
                let again = std::mem::replace(&mut self.registered_before, true);
                events.push(KeepEvent::Registered { instances, again });
                self.rest_until_renewal(asked_at, now, draw);
            }
            Outcome::Renewed => self.rest_until_renewal(asked_at, now, draw),
            Outcome::Gone => {
                // At once: the next renewal comes a third of the ttl later, so a server that forgets everything at once
                // is not asked without end either.
                self.duty = Duty::Register;
                self.due = now;
            }
            Outcome::Failed(because) if is_final(&because) => {
                self.duty = Duty::Rest;
                events.push(KeepEvent::Stopped { because });
            }
            Outcome::Failed(because) => {
                self.due = now + self.backoff.pause(because.retry_after(), draw);
                if !std::mem::replace(&mut self.is_lost, true) {
                    events.push(KeepEvent::Lost { because });
                }
            }
        }
        events
    }

    fn rest_until_renewal(&mut self, asked_at: Instant, now: Instant, draw: f64) {
        self.backoff.reset();
        self.duty = Duty::Renew;
        // Counted from the question, because the lease is, at the latest. An answer that took all that time is no reason
        // to ask without a pause.
        let interval = (self.ttl / 3).mul_f64(0.8 + draw.clamp(0.0, 1.0) / 5.0);
        self.due = (asked_at + interval).max(now + self.ttl / 12);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    const TTL: Duration = Duration::from_secs(15);
    const SECOND: Duration = Duration::from_secs(1);

    fn refused(status: u16) -> ClientError {
        ClientError::Refused(Box::new(Problem { status, ..Problem::default() }))
    }

    fn unreachable() -> ClientError {
        ClientError::Unreachable { tried: Vec::new(), last: String::new() }
    }

    #[test]
    fn renewals_come_at_a_third_of_the_ttl_drawn_apart() {
        let start = Instant::now();
        let mut machine = Machine::new(TTL, true, start);
        for (draw, seconds) in [(0.0, 4), (1.0, 5)] {
            assert!(machine.settle(Outcome::Renewed, start, start, draw).is_empty());
            assert_eq!((machine.duty(), machine.due()), (Duty::Renew, start + seconds * SECOND));
        }
    }

    #[test]
    fn a_slow_answer_is_no_reason_to_ask_without_a_pause() {
        let start = Instant::now();
        let mut machine = Machine::new(TTL, true, start);
        let now = start + 5 * SECOND;
        let _ = machine.settle(Outcome::Renewed, start, now, 0.0);
        assert_eq!(machine.due(), now + TTL / 12);
    }

    #[test]
    fn after_a_gap_there_is_one_renewal_at_once_and_not_one_for_each_that_was_missed() {
        let start = Instant::now();
        let mut machine = Machine::new(TTL, true, start);
        let now = start + 3600 * SECOND;
        assert!(machine.due() < now);
        let _ = machine.settle(Outcome::Renewed, now, now, 1.0);
        assert_eq!(machine.due(), now + 5 * SECOND);
    }

    #[test]
    fn what_is_gone_is_registered_at_once() {
        let start = Instant::now();
        let mut machine = Machine::new(TTL, true, start);
        assert!(machine.settle(Outcome::Gone, start, start, 1.0).is_empty());
        assert_eq!((machine.duty(), machine.due()), (Duty::Register, start));
        let events = machine.settle(Outcome::Registered(Vec::new()), start, start, 1.0);
        assert!(matches!(events[..], [KeepEvent::Registered { again: true, .. }]), "{events:?}");
        assert_eq!(machine.due(), start + 5 * SECOND, "so that a server that forgets at once is not asked without end");
    }

    #[test]
    fn loss_is_said_once_and_return_once() {
        let start = Instant::now();
        let mut machine = Machine::new(TTL, true, start);
        let mut now = start;
        let mut said = Vec::new();
        for _ in 0..100 {
            said.extend(machine.settle(Outcome::Failed(unreachable()), now, now, 1.0));
            let pause = machine.due() - now;
            assert!(pause >= Duration::from_millis(200) && pause <= 5 * SECOND, "{pause:?}");
            now = machine.due();
        }
        assert!(matches!(said[..], [KeepEvent::Lost { .. }]), "{said:?}");
        let back = machine.settle(Outcome::Gone, now, now, 1.0);
        assert!(matches!(back[..], [KeepEvent::Back]), "{back:?}");
        let again = machine.settle(Outcome::Registered(Vec::new()), now, now, 1.0);
        assert!(matches!(again[..], [KeepEvent::Registered { again: true, .. }]), "{again:?}");
    }

    #[test]
    fn refusals_that_last_end_it_and_others_do_not() {
        for (status, is_last) in [
            (400, true),
            (401, false),
            (403, false),
            (404, false),
            (409, true),
            (410, false),
            (422, true),
            (429, false),
            (500, false),
            (503, false),
            (507, false),
        ] {
            assert_eq!(is_final(&refused(status)), is_last, "{status}");
        }
        let start = Instant::now();
        let mut machine = Machine::new(TTL, true, start);
        let events = machine.settle(Outcome::Failed(refused(409)), start, start, 1.0);
        assert!(matches!(events[..], [KeepEvent::Stopped { .. }]), "{events:?}");
        assert_eq!(machine.duty(), Duty::Rest);
    }

    #[test]
    fn the_servers_own_wish_is_heeded() {
        let start = Instant::now();
        let mut machine = Machine::new(TTL, true, start);
        let busy = Problem { status: 503, retry_after: Some(20 * SECOND), ..Problem::default() };
        let _ = machine.settle(Outcome::Failed(ClientError::Refused(Box::new(busy))), start, start, 0.0);
        assert_eq!(machine.due(), start + 20 * SECOND);
    }
}
