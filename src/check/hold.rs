//! When a connection is held beside the probes of a check, and what its end means.

use std::time::Duration;

use super::clock::{Tick, ticks};
use crate::model::{HoldReport, HoldState};

/// Refusals in a row, after the connection has ended, that prove the instance gone.
const REFUSALS: u8 = 2;
/// A connection that has stood for so long goes together with its peer, whatever ends it.
const SETTLED_AFTER: Duration = Duration::from_secs(10 * 60);
/// Connections in a row that ended before, and a probe passed at once.
const FRUITLESS_MAX: u8 = 3;
/// Connections in a row that did not come about, though a probe had just passed.
const UNOPENED_MAX: u8 = 3;
/// How often a probe may have no answer while there is a connection, and have one as soon as there is none.
const HUNG_MAX: u8 = 2;
/// How long one that was given up is not tried again. Each further fault gives it up again, until one has settled.
const RETRIED_AFTER: Duration = Duration::from_secs(60 * 60);

/// What of a peer does not go together with a connection that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It closes those on which nothing is said.
    Closes,
    /// It answers nobody else meanwhile.
    Hangs,
    /// It takes none beside probes.
    Refuses,
    /// It says more than is listened to.
    Floods,
}

impl Fault {
    fn reason(self) -> &'static str {
        match self {
            Self::Closes => "it closes idle connections: three in a row within ten minutes, while probes passed",
            Self::Hangs => "probes have no answer while a connection is held, and have one when it is closed",
            Self::Refuses => "no connection comes about though probes pass, three times in a row",
            Self::Floods => "it sends more than 64 KiB unasked",
        }
    }
}

/// What this machine lacks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// As many are held as may be, in all.
    Room,
    /// As many are held with this address as may be.
    RoomOfHost,
    /// As many are held with this address and port as may be.
    RoomOfSocket,
    /// Descriptors, or memory.
    Descriptors,
}

impl Lack {
    fn reason(self) -> &'static str {
        match self {
            Self::Room => "as many connections are held as may be",
            Self::RoomOfHost => "as many connections are held with its address as may be",
            Self::RoomOfSocket => "as many connections are held with its address and port as may be",
            Self::Descriptors => "this machine lacks descriptors or memory",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none, perhaps for want of something.
    Closed(Option<Lack>),
    Opening {
        since: Tick,
    },
    Held {
        since: Tick,
    },
    /// It has ended, and that many probes in a row were refused since.
    Lost {
        refusals: u8,
        /// Whether the probe that ends next began before, and proves nothing by passing.
        stale: bool,
    },
    /// It was closed because a probe of the check at this place had no answer while it was held.
    Suspected {
        by: u32,
    },
    GivenUp {
        fault: Fault,
        until: Tick,
    },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing.
    None,
    /// A connection is opened.
    Open,
    /// The connection is closed.
    Close,
    /// The instance is probed now.
    Probe,
}

impl From<()> for Advice {
    fn from((): ()) -> Self {
        Self::None
    }
}

/// What follows of the outcome of a probe because of connections that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequel {
    /// Nothing.
    None,
    /// What was held is closed, and another probe follows when the peer has had a fast interval to notice. An outcome that
    /// would take the instance out does not count, because it may be our own doing.
    Alone { counts: bool },
    /// Another probe follows at once.
    AtOnce,
    /// Another probe follows after a fast interval in full.
    Soon,
}

/// The connection that a check holds, as far as it is to be reasoned about. Pure.
///
/// The end of a connection proves nothing. It has the instance probed, at once and again after a fast interval, and two
/// refusals are the proof: whoever has come back by then was never out.
#[derive(Debug)]
pub(super) struct Hold {
    state: State,
    fruitless: u8,
    unopened: u8,
    hung: u8,
}

impl Default for Hold {
    fn default() -> Self {
        Self { state: State::Closed(None), fruitless: 0, unopened: 0, hung: 0 }
    }
}

impl Hold {
    /// What is told of it.
    pub(super) fn report(&self) -> HoldReport {
        let (state, reason) = match self.state {
            State::Closed(lack) => (HoldState::Closed, lack.map(Lack::reason)),
            State::Opening { .. } => (HoldState::Opening, None),
            State::Held { .. } => (HoldState::Held, None),
            State::Lost { .. } => (HoldState::Lost, None),
            State::Suspected { .. } => (HoldState::Closed, Some("a probe had no answer while it was held")),
            State::GivenUp { fault, .. } => (HoldState::GivenUp, Some(fault.reason())),
        };
        HoldReport { state, reason }
    }

    /// Whether its end is being looked into.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// Whether it was closed to see whether probes have answers then.
    pub(super) fn is_suspected(&self) -> bool {
        matches!(self.state, State::Suspected { .. })
    }

    /// A connection is being made.
    pub(super) fn opening(&mut self, now: Tick) {
        self.state = State::Opening { since: now };
    }

    /// One would be made, were there not this lack.
    pub(super) fn lacks(&mut self, lack: Lack) {
        self.state = State::Closed(Some(lack));
    }

    /// The connection has come about.
    pub(super) fn opened(&mut self, now: Tick) {
        if matches!(self.state, State::Opening { .. }) {
            self.state = State::Held { since: now };
            self.unopened = 0;
        }
    }

    /// It has not, after a probe that passed. That it was refused is looked into like an end.
    pub(super) fn not_opened(&mut self, refused: bool, now: Tick) -> Advice {
        self.unopened = self.unopened.saturating_add(1);
        if self.unopened >= UNOPENED_MAX {
            self.give_up(Fault::Refuses, now);
            return Advice::None;
        }
        self.state = if refused { State::Lost { refusals: 0, stale: false } } else { State::Closed(None) };
        if refused { Advice::Probe } else { Advice::None }
    }

    /// Whether the connection should have come about by now; then it has not.
    pub(super) fn overdue(&mut self, within: Tick, now: Tick) -> Advice {
        match self.state {
            State::Opening { since } if now >= since + within => {
                self.not_opened(false, now);
                Advice::Close
            }
            _ => Advice::None,
        }
    }

    /// The peer, or the way to it, has ended the connection. `probing` says that a probe runs, which began before.
    pub(super) fn lost(&mut self, probing: bool, now: Tick) -> Advice {
        let State::Held { since } = self.state else { return Advice::None };
        self.settle(since, now);
        self.state = State::Lost { refusals: 0, stale: probing };
        Advice::Probe
    }

    /// The peer has said more than is listened to.
    pub(super) fn flooded(&mut self, now: Tick) {
        self.give_up(Fault::Floods, now);
    }

    /// The connection is closed here, for a reason that has nothing to do with its peer.
    pub(super) fn released(&mut self) {
        if matches!(self.state, State::Opening { .. } | State::Held { .. }) {
            self.state = State::Closed(None);
        }
    }

    /// A probe of the check has passed.
    pub(super) fn passed(&mut self, now: Tick) -> Advice {
        match &mut self.state {
            State::Closed(_) => return Advice::Open,
            State::GivenUp { until, .. } if now >= *until => return Advice::Open,
            State::Opening { .. } | State::Held { .. } | State::Suspected { .. } | State::GivenUp { .. } => {}
            State::Lost { stale, .. } if *stale => {
                *stale = false;
                return Advice::Probe;
            }
            State::Lost { refusals: 0, .. } => {
                self.fruitless = self.fruitless.saturating_add(1);
                self.state = State::Closed(None);
                if self.fruitless < FRUITLESS_MAX {
                    return Advice::Open;
                }
                self.give_up(Fault::Closes, now);
            }
            // It was gone and is back.
            State::Lost { .. } => {
                self.fruitless = 0;
                self.state = State::Closed(None);
                return Advice::Open;
            }
        }
        Advice::None
    }

    /// A probe of the check was refused; whether that proves the instance gone.
    pub(super) fn refused(&mut self) -> bool {
        let State::Lost { refusals, stale } = &mut self.state else { return false };
        *refusals += 1;
        *stale = false;
        let is_proof = *refusals >= REFUSALS;
        if is_proof {
            self.state = State::Closed(None);
        }
        is_proof
    }

    /// A probe of the check had no answer. After an end that is silence like any other, which takes `fall`.
    pub(super) fn silent(&mut self) {
        if self.is_lost() {
            self.state = State::Closed(None);
        }
    }

    /// A probe of the same instance, of the check at a place, had no answer: it is made again without the connection.
    pub(super) fn suspect(&mut self, by: u32, now: Tick) -> Advice {
        let State::Held { since } = self.state else { return Advice::None };
        self.settle(since, now);
        self.state = State::Suspected { by };
        Advice::Close
    }

    /// A probe of the check at a place has ended, which may have been made again to see that.
    pub(super) fn tried_without(&mut self, by: u32, passed: bool, now: Tick) {
        if self.state != (State::Suspected { by }) {
            return;
        }
        self.state = State::Closed(None);
        if passed {
            self.hung = self.hung.saturating_add(1);
            if self.hung >= HUNG_MAX {
                self.give_up(Fault::Hangs, now);
            }
        }
    }

    /// Forgets faults where a connection has stood for long.
    fn settle(&mut self, since: Tick, now: Tick) {
        if now.saturating_sub(since) >= ticks(SETTLED_AFTER) {
            (self.fruitless, self.hung) = (0, 0);
        }
    }

    fn give_up(&mut self, fault: Fault, now: Tick) {
        self.state = State::GivenUp { fault, until: now + ticks(RETRIED_AFTER) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Tick {
        ticks(Duration::from_secs(60 * minutes))
    }

    /// Plays words; what each advises, and the state at the end.
    fn play(hold: &mut Hold, now: Tick, words: &str) -> (String, HoldState) {
        let said: Vec<&str> = words.split(' ').map(|word| heard(hold, now, word)).collect();
        (said.join(" "), hold.report().state)
    }

    fn heard(hold: &mut Hold, now: Tick, word: &str) -> &'static str {
        let mut advice = Advice::None;
        match word {
            "passed" => advice = hold.passed(now),
            "opening" => hold.opening(now),
            "opened" => {
                hold.opening(now);
                hold.opened(now);
            }
            "overdue" => advice = hold.overdue(0, now),
            "unopened" => advice = hold.not_opened(true, now),
            "lost" => advice = hold.lost(false, now),
            "lost-amid" => advice = hold.lost(true, now),
            "refused" if hold.refused() => return "proof",
            "refused" => {}
            "silent" => {
                hold.silent();
                advice = hold.suspect(7, now);
            }
            "alone-passed" => hold.tried_without(7, true, now),
            "alone-failed" => hold.tried_without(7, false, now),
            "other-passed" => hold.tried_without(8, true, now),
            "released" => hold.released(),
            "flooded" => hold.flooded(now),
            other => panic!("{other}"),
        }
        match advice {
            Advice::None => "-",
            Advice::Open => "open",
            Advice::Close => "close",
            Advice::Probe => "probe",
        }
    }

    #[test]
    fn each_word_leads_to_what_it_should() {
        use HoldState::{Closed, GivenUp, Held, Lost, Opening};
        for (words, said, state) in [
            ("passed opening", "open -", Opening),
            ("opened passed passed", "- - -", Held),
            // An end alone proves nothing, and neither does one refusal.
            ("opened lost", "- probe", Lost),
            ("opened lost refused", "- probe -", Lost),
            ("opened lost refused refused", "- probe - proof", Closed),
            ("opened lost refused refused refused", "- probe - proof -", Closed),
            // Who was away for less than it takes was never out, and is held again.
            ("opened lost refused passed opened", "- probe - open -", Held),
            (
                "opened lost refused passed opened lost refused passed opened lost refused passed",
                "- probe - open - probe - open - probe - open",
                Closed,
            ),
            // Refusals count after an end only, and silence after it is silence.
            ("refused refused refused", "- - -", Closed),
            ("opened refused refused", "- - -", Held),
            ("opened lost silent refused refused", "- probe - - -", Closed),
            // A probe that was under way proves life by nothing, and death as well as any.
            ("opened lost-amid passed refused refused", "- probe probe - proof", Closed),
            ("opened lost-amid refused refused", "- probe - proof", Closed),
            ("opened lost-amid passed passed", "- probe probe open", Closed),
            // Nothing is lost twice, or without having been there.
            ("lost", "-", Closed),
            ("opening lost", "- -", Opening),
            ("opened lost lost", "- probe -", Lost),
            // One that does not come about.
            ("opening overdue passed opening", "- close open -", Opening),
            ("opening unopened refused refused", "- probe - proof", Closed),
            ("opening overdue opening overdue opening overdue", "- close - close - close", GivenUp),
            ("opening overdue opening overdue opened released opening overdue", "- close - close - - - close", Closed),
            // One that stands while probes have no answer.
            ("opened silent", "- close", Closed),
            ("opened silent passed", "- close -", Closed),
            ("opened silent other-passed passed", "- close - -", Closed),
            ("opened silent alone-failed passed", "- close - open", Closed),
            ("opened silent alone-passed passed opened", "- close - open -", Held),
            ("opened silent alone-passed opened silent alone-passed passed", "- close - - close - -", GivenUp),
            // One that talks.
            ("opened flooded passed", "- - -", GivenUp),
            ("opened released passed", "- - open", Closed),
        ] {
            assert_eq!(play(&mut Hold::default(), 0, words), (said.to_owned(), state), "{words}");
        }
    }

    #[test]
    fn who_closes_idle_connections_is_known_by_the_third_in_a_row() {
        let mut hold = Hold::default();
        for at in [0, 2] {
            assert_eq!(
                play(&mut hold, minutes(at), "opened lost passed"),
                ("- probe open".to_owned(), HoldState::Closed)
            );
        }
        assert_eq!(play(&mut hold, minutes(4), "opened lost passed"), ("- probe -".to_owned(), HoldState::GivenUp));
        assert!(hold.report().reason.unwrap().contains("closes idle connections"));
        // Tried again after an hour, and given up by the first end.
        assert_eq!(play(&mut hold, minutes(63), "passed").0, "-");
        assert_eq!(play(&mut hold, minutes(64), "passed").0, "open");
        assert_eq!(play(&mut hold, minutes(65), "opened lost passed").1, HoldState::GivenUp);
    }

    #[test]
    fn one_that_stood_for_long_was_no_fault() {
        let mut hold = Hold::default();
        for at in (0..200).step_by(10) {
            assert_eq!(play(&mut hold, minutes(at), "opened").1, HoldState::Held);
            let later = minutes(at + 10);
            assert_eq!(play(&mut hold, later, "lost passed"), ("probe open".to_owned(), HoldState::Closed));
            play(&mut hold, later, "opened");
            assert_eq!(play(&mut hold, later + minutes(10), "silent alone-passed").1, HoldState::Closed);
        }
    }

    #[test]
    fn time_to_come_about_is_over_when_it_is_over() {
        let mut hold = Hold::default();
        hold.opening(100);
        assert_eq!((hold.overdue(50, 149), hold.report().state), (Advice::None, HoldState::Opening));
        assert_eq!((hold.overdue(50, 150), hold.report().state), (Advice::Close, HoldState::Closed));
    }
}
