//! Connections that are held beside probes: opened after a probe has passed, and looked into when they end.

use tokio::time::Instant;

use super::checker::Checker;
use super::clock::{Tick, ticks};
use super::held::{News, Unheld};
use super::hold::{Advice, Hold, Lack, Sequel};
use super::outcome::{Failure, Outcome};
use super::post::Key;
use super::rhythm::Pace;
use super::table::{Check, Holding, Stage};
use crate::model::{Health, HoldState};

impl Checker {
    /// Counts a check that is to hold a connection.
    pub(super) fn begin_holding(&mut self, key: Key) {
        if self.table.get_mut(key).is_some_and(|check| check.holding.is_some()) {
            self.holdings.checks += 1;
            self.metrics.hold_turned(None, Some(HoldState::Closed));
        }
    }

    /// Ends what a check has held that is gone.
    pub(super) fn end_holding(&mut self, Holding { hold, connection }: Holding) {
        self.holdings.checks -= 1;
        self.holdings.suspected -= usize::from(hold.is_suspected());
        self.metrics.hold_turned(Some(hold.report().state), None);
        if let Some((id, target)) = connection {
            self.prober.let_go(id);
            self.holdings.give_back(target);
        }
    }

    /// Takes what has happened to connections.
    pub(super) fn hear_of_held(&mut self, now: Instant) {
        if self.holdings.checks == 0 {
            return;
        }
        let tick = self.clock.tick(now);
        for (place, id, news) in self.prober.news() {
            let Some((key, check)) = self.table.at_mut(place) else { continue };
            let Some(holding) = &mut check.holding else { continue };
            let Some((_, target)) = holding.connection.filter(|(held, _)| *held == id) else { continue };
            if news != News::Opened {
                holding.connection = None;
                self.holdings.give_back(target);
            }
            let is_probed = matches!(check.stage, Stage::Running(_));
            let advice = self.turn_hold(key, |hold| {
                match news {
                    News::Opened => hold.opened(tick),
                    News::Flooded => hold.flooded(tick),
                    News::Refused => return hold.not_opened(true, tick),
                    News::Unreached => return hold.not_opened(false, tick),
                    News::Ended => return hold.lost(is_probed, tick),
                }
                Advice::None
            });
            if advice == Advice::Probe {
                self.probe_now(key, tick);
            }
        }
    }

    /// Closes what may be held no longer, before a probe of a check begins: another target, or one that did not answer.
    pub(super) fn look_after_held(&mut self, key: Key, now: Tick) {
        let Some(check) = self.table.get_mut(key) else { return };
        let Some((_, with)) = check.holding.as_ref().and_then(|holding| holding.connection) else { return };
        let within = ticks(check.cadence.timeout.std());
        if check.target != Ok(with) {
            self.turn_hold(key, Hold::released);
            self.close_held(key);
        } else if self.turn_hold(key, |hold| hold.overdue(within, now)) == Advice::Close {
            self.close_held(key);
        }
    }

    /// Weighs what a probe has found, before it counts, by what is held or was until now.
    pub(super) fn weigh_held(&mut self, key: Key, outcome: &Outcome, now: Tick) -> Sequel {
        if self.holdings.checks == 0 {
            return Sequel::None;
        }
        if self.holdings.suspected > 0 && *outcome != Outcome::Abandoned {
            let passed = *outcome == Outcome::Passed;
            for other in self.keys_of_instance(key) {
                self.turn_hold(other, |hold| hold.tried_without(key.place, passed, now));
            }
        }
        match outcome {
            Outcome::Passed => match self.turn_hold(key, |hold| hold.passed(now)) {
                Advice::Open => return self.open_held(key, now),
                Advice::Probe => return Sequel::AtOnce,
                Advice::None | Advice::Close => {}
            },
            Outcome::Failed(Failure::Refused(_)) => {
                let mut is_proof = false;
                self.turn_hold(key, |hold| is_proof = hold.refused());
                if is_proof && let Some(check) = self.table.get_mut(key) {
                    check.threshold.condemn();
                }
            }
            Outcome::Failed(failure) if failure.is_silence() => return self.suspect_held(key, now),
            Outcome::Failed(_) | Outcome::Abandoned => {}
        }
        let is_lost = |check: &mut Check| {
            let lost = check.holding.as_ref().is_some_and(|holding| holding.hold.is_lost());
            lost && check.threshold.standing() == Health::Passing
        };
        if self.table.get_mut(key).is_some_and(is_lost) { Sequel::Soon } else { Sequel::None }
    }

    /// Closes what an instance's checks hold, because the probe of one of them had no answer: it may be why.
    fn suspect_held(&mut self, key: Key, now: Tick) -> Sequel {
        self.turn_hold(key, Hold::silent);
        let mut is_closed = false;
        for other in self.keys_of_instance(key) {
            if self.turn_hold(other, |hold| hold.suspect(key.place, now)) == Advice::Close {
                self.close_held(other);
                is_closed = true;
            }
        }
        // Nobody is taken out by what we have done ourselves.
        let falls = self.table.get_mut(key).is_some_and(|check| check.threshold.falls_next());
        if is_closed { Sequel::Alone { counts: !falls } } else { Sequel::None }
    }

    fn keys_of_instance(&mut self, key: Key) -> Box<[Key]> {
        let instance = self.table.get_mut(key).map(|check| check.instance.clone());
        instance.map(|instance| self.table.keys(&instance.service, &instance.id)).unwrap_or_default()
    }

    /// Opens a connection, if there is room for it; what follows.
    fn open_held(&mut self, key: Key, now: Tick) -> Sequel {
        let Some(check) = self.table.get_mut(key) else { return Sequel::None };
        let (Ok(target), interval) = (check.target, check.cadence.interval.std()) else { return Sequel::None };
        if let Err(lack) = self.holdings.take(target) {
            self.turn_hold(key, |hold| hold.lacks(lack));
            return Sequel::None;
        }
        // Its turn comes with the next probe that passes.
        if !self.slots.take_extra(target.ip(), self.clock.micros(self.clock.at(now))) {
            self.holdings.give_back(target);
            return Sequel::None;
        }
        let begun = self.prober.hold(key.place, target, interval);
        let Some(holding) = self.table.get_mut(key).and_then(|check| check.holding.as_mut()) else {
            return Sequel::None;
        };
        match begun {
            Ok((id, _)) => holding.connection = Some((id, target)),
            Err(_) => self.holdings.give_back(target),
        }
        let advice = self.turn_hold(key, |hold| {
            hold.opening(now);
            match begun {
                Ok((_, true)) => hold.opened(now),
                Ok((_, false)) => {}
                Err(Unheld::Want) => hold.lacks(Lack::Descriptors),
                Err(unheld) => return hold.not_opened(unheld == Unheld::Refused, now),
            }
            Advice::None
        });
        if advice == Advice::Probe { Sequel::AtOnce } else { Sequel::None }
    }

    fn close_held(&mut self, key: Key) {
        let holding = self.table.get_mut(key).and_then(|check| check.holding.as_mut());
        if let Some((id, target)) = holding.and_then(|holding| holding.connection.take()) {
            self.prober.let_go(id);
            self.holdings.give_back(target);
        }
    }

    /// Has a check that is idle probed now; one that is probed is probed again when that has ended.
    fn probe_now(&mut self, key: Key, now: Tick) {
        let Some(check) = self.table.get_mut(key) else { return };
        // Where there is no room at once, it is tried again that soon.
        check.pace = Pace::Fast;
        if check.stage == Stage::Idle {
            self.wheel.insert(key.place, now);
        }
    }

    /// Tells the machine of a check something; what it advises. What has become of it is counted, and said once.
    fn turn_hold<T: Into<Advice>>(&mut self, key: Key, tell: impl FnOnce(&mut Hold) -> T) -> Advice {
        let Some(check) = self.table.get_mut(key) else { return Advice::None };
        let Some(holding) = &mut check.holding else { return Advice::None };
        let (before, was_suspected) = (holding.hold.report(), holding.hold.is_suspected());
        let advice = tell(&mut holding.hold).into();
        let after = holding.hold.report();
        self.holdings.suspected -= usize::from(was_suspected);
        self.holdings.suspected += usize::from(holding.hold.is_suspected());
        if before.state != after.state {
            self.metrics.hold_turned(Some(before.state), Some(after.state));
        }
        if before.state != after.state && after.state == HoldState::GivenUp {
            tracing::info!(
                service.name = %check.instance.service,
                instance.id = %check.instance.id,
                check.name = %check.spec().name,
                reason = after.reason,
                "no connection is held any more; the check goes on by probes alone",
            );
        }
        advice
    }
}
