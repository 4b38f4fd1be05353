//! What is thought of one service whose instances fall silent.
//!
//! ```text
//!            silent, witnesses fail             more than ratio, at least min
//!   Quiet ──────────────────────────▶ Doubtful ───────────────────────────────▶ Holding
//!     ▲                                  │ a window at most                        │ │ max
//!     │◀─ nobody is silent any more ─────┘                                         │ └────────▶ Spent: all leave
//!     │◀───────────────────────────────────────────────────────────────────────────┤
//!     │                                                witnesses are well again    ▼
//!     └◀─ who stays silent leaves, each when that is confirmed ──────────────── Confirming
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::witnesses::{Evidence, Witness, Witnesses};
use super::{Census, Moment, Verdict};
use crate::model::{GuardRule, Guarded, InstanceId};

/// For how long a look at a service and at the witnesses holds.
const LOOKED_FOR: Duration = Duration::from_millis(250);
/// For how long witnesses have to be well before a guard ends: the first probes that get through come in this time.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// For how long somebody waits at most for others to be asked, when some of them are silent too, or for the link to be
/// looked at.
const SOUNDED_WITHIN: Duration = Duration::from_secs(5);
/// Instances that are remembered to have left by silence.
const LEFT_MAX: usize = 4096;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Phase {
    /// Nobody is kept by the guard; some may wait.
    #[default]
    Quiet,
    /// The last good set is kept.
    Holding { since: Moment },
    /// This node found itself well again at this time. Who stays silent leaves once that is confirmed.
    Confirming { since: Instant },
    /// The set was kept for as long as may be. Everybody leaves until the witnesses are well again.
    Spent,
}

/// The service's part of a turn: how it is guarded, by whom that began, why it ended.
pub(super) type CaseTurn = (Option<Guarded>, Vec<Witness>, Option<&'static str>);

/// One service. Pure: the time is an argument.
#[derive(Debug, Default)]
pub(super) struct Case {
    phase: Phase,
    rule: Option<GuardRule>,
    answered: usize,
    hosts: Vec<IpAddr>,
    evidence: Vec<Evidence>,
    is_unsure: bool,
    looked: Option<Instant>,
    /// Since when the witnesses are well.
    well_since: Option<Instant>,
    /// Who is silent and has not left, and since when.
    silent: BTreeMap<InstanceId, Instant>,
    /// Who left by silence, and when.
    left: VecDeque<(Instant, InstanceId)>,
    /// What the registry was told last.
    told: Option<Guarded>,
    told_before: Option<Guarded>,
    /// Whether it has not heard that.
    is_untold: bool,
    ended: Option<&'static str>,
}

impl Case {
    pub(super) fn is_outdated(&self, witnesses: &Witnesses, now: Instant) -> bool {
        self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOKED_FOR)
            || witnesses.has_link_turned_since(self.looked)
    }

    /// Takes how the service stands now, and what speaks against the node.
    pub(super) fn look(&mut self, census: Census, witnesses: &mut Witnesses, now: Instant) {
        let Census { answered, rule, mut hosts } = census;
        hosts.sort_unstable();
        hosts.dedup();
        (self.answered, self.rule, self.hosts) = (answered, rule, hosts);
        self.look_at_node(witnesses, now);
    }

    fn look_at_node(&mut self, witnesses: &mut Witnesses, now: Instant) {
        self.looked = Some(now);
        self.evidence = witnesses.against(&self.hosts, now);
        self.is_unsure = witnesses.are_unsure(&self.hosts, now);
        match (self.evidence.is_empty(), self.well_since) {
            (true, None) => self.well_since = Some(now),
            (true, Some(_)) => {}
            (false, _) => self.well_since = None,
        }
    }

    pub(super) fn is_holding(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. })
    }

    /// How many are kept.
    pub(super) fn held(&self) -> usize {
        if self.is_holding() { self.silent.len() } else { 0 }
    }

    /// What one who is silent is to do.
    pub(super) fn ask(&mut self, id: &InstanceId, confirm: Duration, witnesses: &Witnesses, now: Moment) -> Verdict {
        let Some(rule) = self.rule else {
            self.silent.remove(id);
            return Verdict::Leave;
        };
        if self.evidence.is_empty()
            && let Some(lag) = witnesses.stands_still(now.instant)
        {
            self.evidence = vec![lag];
            self.well_since = None;
        }
        self.forget_left(rule, now.instant);
        if !self.silent.contains_key(id) {
            self.silent.insert(id.clone(), now.instant);
        }
        self.change_phase(rule, now);
        let waited = now.instant.saturating_duration_since(self.silent[id]);
        let verdict = match self.phase {
            // However often the doubt comes and goes, nobody is kept for longer than this.
            _ if waited >= rule.window.std() + rule.max.std() => Verdict::Leave,
            Phase::Holding { .. } => Verdict::Hold,
            Phase::Spent => Verdict::Leave,
            Phase::Confirming { since } if now.instant.saturating_duration_since(since) < confirm => Verdict::Wait,
            Phase::Confirming { .. } => Verdict::Leave,
            // So few could never be too many to lose.
            Phase::Quiet if self.whole() < usize::from(rule.min) => Verdict::Leave,
            Phase::Quiet if !self.evidence.is_empty() && waited < rule.window.std() => Verdict::Wait,
            Phase::Quiet
                if (self.is_unsure || witnesses.is_link_unseen()) && waited < SOUNDED_WITHIN.min(rule.window.std()) =>
            {
                Verdict::Wait
            }
            Phase::Quiet => Verdict::Leave,
        };
        if verdict == Verdict::Leave { self.leave(id, now.instant) } else { verdict }
    }

    fn leave(&mut self, id: &InstanceId, now: Instant) -> Verdict {
        self.silent.remove(id);
        if !self.left.iter().any(|(_, left)| left == id) {
            if self.left.len() == LEFT_MAX {
                self.left.pop_front();
            }
            self.left.push_back((now, id.clone()));
            self.answered = self.answered.saturating_sub(1);
        }
        Verdict::Leave
    }

    fn forget_left(&mut self, rule: GuardRule, now: Instant) {
        while self.left.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= rule.window.std()) {
            self.left.pop_front();
        }
    }

    /// The set that was good: who is in answers, and who left by silence within the window.
    fn whole(&self) -> usize {
        self.answered.max(self.silent.len()) + self.left.len()
    }

    fn change_phase(&mut self, rule: GuardRule, now: Moment) {
        let is_settled =
            self.well_since.is_some_and(|since| now.instant.saturating_duration_since(since) >= SETTLED_AFTER);
        match self.phase {
            Phase::Quiet => {
                let leaving = self.silent.len() + self.left.len();
                let is_mass = leaving >= usize::from(rule.min) && rule.ratio.is_exceeded_by(leaving, self.whole());
                if is_mass && !self.evidence.is_empty() && !self.silent.is_empty() {
                    self.phase = Phase::Holding { since: now };
                }
            }
            Phase::Holding { since } => {
                if now.instant.saturating_duration_since(since.instant) >= rule.max.std() {
                    self.end(Phase::Spent, "it was kept for as long as its settings allow");
                } else if is_settled {
                    self.end(Phase::Confirming { since: now.instant }, "this server finds itself well again");
                }
            }
            Phase::Spent if is_settled => self.phase = Phase::Confirming { since: now.instant },
            // In doubt again before all was said: as if the doubt had never ended.
            Phase::Confirming { .. } if !self.evidence.is_empty() || self.silent.is_empty() => {
                self.phase = Phase::Quiet
            }
            Phase::Spent | Phase::Confirming { .. } => {}
        }
    }

    fn end(&mut self, phase: Phase, why: &'static str) {
        self.phase = phase;
        self.ended = Some(why);
    }

    /// Somebody is heard again, or has left otherwise; whether that was news.
    pub(super) fn settled(&mut self, id: &InstanceId) -> bool {
        let known = self.silent.remove(id).is_some();
        if self.silent.is_empty() && self.is_holding() {
            self.end(Phase::Quiet, "nobody of it is silent any more");
        }
        known
    }

    /// Lets time pass, and drops those who are not in answers any more.
    pub(super) fn go_on(&mut self, witnesses: &mut Witnesses, now: Moment, is_answered: impl Fn(&InstanceId) -> bool) {
        if self.is_outdated(witnesses, now.instant) {
            self.look_at_node(witnesses, now.instant);
        }
        let gone: Vec<InstanceId> = self.silent.keys().filter(|id| !is_answered(id)).cloned().collect();
        for id in gone {
            self.settled(&id);
        }
        match self.rule {
            Some(rule) => {
                self.forget_left(rule, now.instant);
                self.change_phase(rule, now);
            }
            None => {
                if self.is_holding() {
                    self.ended = Some("its settings ask for no guard any more");
                }
                (self.phase, self.silent, self.left) = (Phase::Quiet, BTreeMap::new(), VecDeque::new());
            }
        }
    }

    /// What the registry is to know and does not yet.
    pub(super) fn turn(&mut self) -> Option<CaseTurn> {
        let guarded = match self.phase {
            Phase::Holding { since } => {
                let told = self.told.as_ref().filter(|told| told.since == since.wall);
                let max = self.rule.unwrap_or_default().max.std();
                // As it was when the guard began: who looks later finds why, and not what is left of it.
                let evidence = told.map(|told| told.evidence.clone()).unwrap_or_else(|| self.said().into());
                let held = self.silent.keys().cloned().collect();
                Some(Guarded { since: since.wall, until: since.wall.after(max), evidence, held })
            }
            _ => None,
        };
        if self.told == guarded && !self.is_untold {
            return None;
        }
        let begins = self.told.is_none();
        self.is_untold = false;
        self.told_before = std::mem::replace(&mut self.told, guarded.clone());
        let begun = if begins { self.evidence.iter().map(|evidence| evidence.witness).collect() } else { Vec::new() };
        let ended = if guarded.is_none() { self.ended } else { None };
        Some((guarded, begun, ended))
    }

    fn said(&self) -> String {
        self.evidence.iter().map(|evidence| evidence.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// The registry has not heard what it was to be told.
    pub(super) fn untold(&mut self) {
        self.told = self.told_before.take();
        self.is_untold = true;
    }

    /// Whether there is nothing left to know.
    pub(super) fn is_over(&self) -> bool {
        let is_told = self.told.is_none() && !self.is_untold;
        self.silent.is_empty() && self.left.is_empty() && is_told && self.phase == Phase::Quiet
    }
}
