//! Transitions on their way into the store.

use tokio::time::Instant;

use super::checker::Checker;
use super::post::{Ended, Turn, Wish};
use crate::model::Unheard;
use crate::registry::Observation;

impl Checker {
    /// Has transitions committed, as there is room for them. The one place from which they leave.
    pub(super) fn commit_turned(&mut self) {
        while self.wished < self.lines.wishes.max_capacity()
            && let Some(key) = self.turned.pop_front()
        {
            let Some(check) = self.table.get_mut(key) else { continue };
            let Some(Turn { health, error, at }) = check.transition.clone() else {
                // A result that came while it waited contradicts it.
                check.committing = false;
                self.unparked = true;
                continue;
            };
            let observation = Observation {
                service: check.instance.service.clone(),
                id: check.instance.id.clone(),
                epoch: check.instance.epoch,
                check: check.spec().name.clone(),
                health,
                error,
                at,
            };
            if self.lines.wishes.try_send(Wish { key, observation }).is_err() {
                // Nobody is there any more, which the next turn finds out.
                return;
            }
            self.wished += 1;
        }
    }

    pub(super) fn commit_ended(&mut self, Ended { key, health, error, result }: Ended, now: Instant) {
        self.wished -= 1;
        if let Err(error) = &result
            && !self.store_away
        {
            tracing::warn!(%error, "no transition of health can be committed; each is tried again with its next probe");
        }
        self.store_away = result.is_err();
        self.unparked = true;
        if let Some(check) = self.table.get_mut(key) {
            check.committing = false;
            // What a later result asked for, it asked of an opinion that stood no longer.
            check.transition = None;
            if let Ok(committed) = &result {
                check.settle(health, committed.revision, self.clock.tick(now));
                self.metrics.turned(health);
                tracing::debug!(
                    service.name = %check.instance.service,
                    instance.id = %check.instance.id,
                    check.name = %check.spec().name,
                    error = error.as_deref(),
                    "check is {health}",
                );
            }
            let stalled = self.stalls.total();
            check.answer(|check| match result {
                Ok(_) => Ok(check.heard(self.clock, stalled, now)),
                Err(error) => Err(Unheard::NotKept(error.to_string())),
            });
        }
        self.commit_turned();
    }
}
