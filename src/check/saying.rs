//! What services say of themselves, which is a result, and what clients say of them, which only has them probed: nobody is
//! taken out by hearsay.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::checker::Checker;
use super::clock::{Tick, ticks};
use super::hints::Advice;
use super::outcome::{Failure, Outcome};
use super::post::{Key, Saying};
use super::rhythm::Pace;
use super::slots::Slots;
use super::table::{Check, Stage};
use super::ttl::Awaited;
use crate::guard::Verdict;
use crate::model::{Duration, Health, Heard, Hint, SelfReport, Unheard};

/// What was said and waits, for a commit under way or for news of the store that who said it has seen. Beyond it the answer
/// is [`Unheard::Busy`].
const PARKED_MAX: usize = 1024;

impl Checker {
    /// Takes what somebody says: now, or when there is nothing any more that it has to wait for.
    pub(super) fn take_saying(&mut self, saying: Saying, now: Instant) {
        match self.act_on(saying, now) {
            Some(later) if self.parked.len() < PARKED_MAX => self.parked.push_back(later),
            Some(later) => later.refuse(Unheard::Busy),
            None => {}
        }
    }

    /// Takes what has waited, in its order, as far as it has to wait no longer.
    pub(super) fn take_parked(&mut self, now: Instant) {
        for saying in std::mem::take(&mut self.parked) {
            if let Some(later) = self.act_on(saying, now) {
                self.parked.push_back(later);
            }
        }
    }

    /// Does what follows of what was said; what has to wait comes back.
    fn act_on(&mut self, saying: Saying, now: Instant) -> Option<Saying> {
        // Whoever saw an instance register speaks of it before the store has told of it here.
        if saying.seen() > self.known {
            return Some(saying);
        }
        match saying {
            Saying::Report(report, reply) => self.take_report(report, reply, now),
            Saying::Hint(hint, reply) => {
                let _ = reply.send(Ok(self.take_hint(&hint, now)));
                None
            }
        }
    }

    fn take_report(
        &mut self,
        report: SelfReport,
        reply: oneshot::Sender<Result<Heard, Unheard>>,
        now: Instant,
    ) -> Option<Saying> {
        let tick = self.clock.tick(now);
        let key = self.table.key(&report.service, &report.id, report.epoch, &report.check);
        let known = key.and_then(|key| Some((key, self.table.get_mut(key)?)));
        let Some((key, check)) = known.filter(|(_, check)| matches!(check.stage, Stage::Awaiting(_))) else {
            Saying::Report(report, reply).refuse(Unheard::Unknown);
            return None;
        };
        // What it says next is judged by the opinion that is being kept.
        if check.committing {
            return Some(Saying::Report(report, reply));
        }
        if let Stage::Awaiting(awaited) = &mut check.stage {
            awaited.heard(tick, self.stalls.total());
            self.wheel.insert(key.place, awaited.due());
        }
        check.threshold.admit(!report.passed);
        let outcome =
            if report.passed { Outcome::Passed } else { Outcome::Failed(Failure::Reported(report.remark.clone())) };
        self.metrics.reported(&outcome);
        self.observe(key, &outcome, tick);
        if let Some(check) = self.table.get_mut(key) {
            if check.committing {
                check.waiter = Some(reply);
            } else {
                let heard = check.heard(self.clock, self.stalls.total(), now);
                // Whoever said it may have left, here and below.
                let _ = reply.send(Ok(heard));
            }
        }
        None
    }

    /// Has an instance probed of which a client says that it fails; whether it is because of this.
    pub(super) fn take_hint(&mut self, hint: &Hint, now: Instant) -> bool {
        let (tick, micros) = (self.clock.tick(now), self.clock.micros(now));
        let mut probes = 0;
        for key in self.table.keys(&hint.service, &hint.id) {
            let Some(check) = self.table.get_mut(key) else { continue };
            check.hinted.hear();
            let advice = advice(check, tick);
            if advice == Advice::None || !has_room(&mut self.slots, check, micros) {
                continue;
            }
            check.hinted.take(advice, ticks(check.cadence.fast_interval.std()), tick);
            if advice == Advice::Now {
                self.wheel.insert(key.place, tick);
            }
            probes += 1;
        }
        self.metrics.hinted(probes);
        if probes > 0 {
            tracing::debug!(
                service.name = %hint.service,
                instance.id = %hint.id,
                reason = hint.failed.as_ref().map(tracing::field::display),
                "a client says that it fails; it is probed",
            );
        }
        probes > 0
    }

    /// Begins to wait for reports of a check, for a full interval.
    pub(super) fn await_reports(&mut self, key: Key, now: Tick) {
        let Some(check) = self.table.get_mut(key) else { return };
        let awaited = Awaited::new(ticks(check.cadence.interval.std()), now, self.stalls.total());
        let before = std::mem::replace(&mut check.stage, Stage::Awaiting(awaited));
        self.awaiting += usize::from(!matches!(before, Stage::Awaiting(_)));
        self.wheel.insert(key.place, awaited.due());
    }

    /// The time for a report is over.
    pub(super) fn not_reported(&mut self, key: Key, now: Tick) {
        let stalled = self.stalls.total();
        let Some(check) = self.table.get_mut(key) else { return };
        let (interval, soon) = (check.cadence.interval, now + ticks(check.cadence.fast_interval.std()).max(1));
        let Stage::Awaiting(awaited) = &mut check.stage else { return };
        match awaited.passed(now, stalled) {
            None => {}
            // What was said last is still being kept.
            Some(_) if check.committing => awaited.look_again(soon),
            Some(intervals) => {
                let span = Duration::from_millis(interval.as_millis().saturating_mul(intervals.into()));
                let outcome = Outcome::Failed(Failure::Unreported(span));
                check.threshold.admit(false);
                self.metrics.reported(&outcome);
                self.observe(key, &outcome, now);
                // Who waits for a word of the guard asks again soon.
                if let Some(check) = self.table.get_mut(key)
                    && check.verdict == Verdict::Wait
                    && let Stage::Awaiting(awaited) = &mut check.stage
                {
                    awaited.look_again(soon);
                }
            }
        }
        if let Some(Check { stage: Stage::Awaiting(awaited), .. }) = self.table.get_mut(key) {
            self.wheel.insert(key.place, awaited.due());
        }
    }
}

impl Check {
    /// Answers who waits for what was said to be kept.
    pub(super) fn answer(&mut self, answer: impl FnOnce(&Self) -> Result<Heard, Unheard>) {
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.send(answer(self));
        }
    }
}

/// What a hint asks of a check. One that is critical is left to its rounds: it has nothing to lose, and is to rest where it
/// flaps; so is one that is probed fast already, or has yet to be probed.
fn advice(check: &Check, now: Tick) -> Advice {
    let is_calm = check.threshold.standing() == Health::Passing && check.pace == Pace::Ordinary;
    match check.stage {
        _ if !is_calm || !check.hinted.is_open(now) => Advice::None,
        Stage::Idle => Advice::Now,
        Stage::Running(_) => Advice::Again,
        Stage::Waiting | Stage::Awaiting(_) => Advice::None,
    }
}

/// Whether a further probe of a check may be made by hearsay.
fn has_room<K>(slots: &mut Slots<K>, check: &Check, micros: u64) -> bool {
    check.target.is_ok_and(|target| slots.take_extra(target.ip(), micros))
}
