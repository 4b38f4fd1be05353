//! What checks count.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::outcome::Outcome;
use crate::model::{CheckKind, Health, HoldState};

/// Upper bounds in seconds: from a probe of the same machine to the longest timeout.
const DURATION_BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0];
/// The same for how late a turn of the wheel is: from one tick to a stall.
const LAG_BUCKETS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Why there was a round without a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// It had passed before anybody looked.
    Late,
    /// The probe of the round before still ran.
    Running,
    /// As many run as may.
    Room,
    /// As many run against the address as may.
    RoomOfHost,
    /// As many have begun lately as may.
    Rate,
    /// As many of the address have begun lately as may.
    RateOfHost,
    /// Whether the target is a listener of our own could not be found out.
    Target,
}

impl Skip {
    const ALL: [(Self, &str); 7] = [
        (Self::Late, "late"),
        (Self::Running, "running"),
        (Self::Room, "room"),
        (Self::RoomOfHost, "room_of_host"),
        (Self::Rate, "rate"),
        (Self::RateOfHost, "rate_of_host"),
        (Self::Target, "target"),
    ];
}

/// What is counted of one kind, without looking it up by its labels for each probe.
#[derive(Debug)]
struct OfKind {
    kind: &'static str,
    results: [Counter; 4],
    durations: Histogram,
}

#[derive(Debug)]
pub(super) struct Metrics {
    probes: Family<Labels<2>, Counter>,
    durations: Family<Labels<1>, Histogram, fn() -> Histogram>,
    kinds: Vec<OfKind>,
    /// By the first of the results: no report is abandoned.
    reports: [Counter; 3],
    hints: [Counter; 2],
    hint_probes: Counter,
    transitions: Family<Labels<1>, Counter>,
    skipped: [Counter; Skip::ALL.len()],
    /// How much later than due the latest of those was that came up in a turn of the wheel, in seconds.
    pub(super) lag: Histogram,
    /// Checks of all instances.
    pub(super) checks: Gauge,
    holds: [Gauge; HoldState::ALL.len()],
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let skipped = Family::<Labels<1>, Counter>::default();
        let reports = Family::<Labels<1>, Counter>::default();
        let hints = Family::<Labels<1>, Counter>::default();
        let holds = Family::<Labels<1>, Gauge>::default();
        let metrics = Self {
            probes: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            kinds: Vec::new(),
            hints: ["counted", "probed"].map(|result| hints.get_or_create(&[("result", result)]).clone()),
            hint_probes: Counter::default(),
            reports: std::array::from_fn(|at| reports.get_or_create(&[("result", Outcome::RESULTS[at])]).clone()),
            transitions: Family::default(),
            skipped: Skip::ALL.map(|(_, reason)| skipped.get_or_create(&[("reason", reason)]).clone()),
            lag: Histogram::new(LAG_BUCKETS),
            checks: Gauge::default(),
            holds: HoldState::ALL.map(|state| holds.get_or_create(&[("state", state.as_str())]).clone()),
        };
        registry.register(
            "check_probes",
            "Probes that ended, by check type and result: passed, failed (somebody answered wrongly), silent \
             (nobody answered) or abandoned (this machine lacked descriptors or memory)",
            metrics.probes.clone(),
        );
        registry.register(
            "check_probe_duration_seconds",
            "Time from the start of a probe to its end, by check type",
            metrics.durations.clone(),
        );
        registry.register(
            "check_reports",
            "Reports of services to their checks of type ttl, by result: passed, failed, or silent for an interval without one",
            reports,
        );
        registry.register(
            "check_hints",
            "Reports of clients that an instance fails, by result: probed, or only counted because it is probed soon anyway, \
             has no check that passes, or too many were made",
            hints,
        );
        registry.register(
            "check_hint_probes",
            "Probes that were made because a client said that an instance fails",
            metrics.hint_probes.clone(),
        );
        registry.register(
            "check_transitions",
            "Opinions of checks that turned and were committed, by new health",
            metrics.transitions.clone(),
        );
        registry.register(
            "check_probes_skipped",
            "Rounds without a probe, by reason: late (this machine had too much to do), running (the one before still \
             ran), room and room_of_host (too many at once), rate and rate_of_host (too many lately), target (this \
             machine's addresses could not be looked up)",
            skipped,
        );
        registry.register(
            "check_lag_seconds",
            "How much later than due the latest probe or deadline was, in each turn that had one",
            metrics.lag.clone(),
        );
        registry.register(
            "check_holds",
            "Checks that are to hold a connection, by the state of that: closed (none, for now), opening, held, lost (it has \
             ended, and probes find out why) or given_up (it does not go together with the peer)",
            holds,
        );
        registry.register("checks", "Checks of all instances", metrics.checks.clone());
        metrics
    }

    pub(super) fn probed(&mut self, kind: &CheckKind, outcome: &Outcome, took: Duration) {
        let kind = kind.as_str();
        let at = self.kinds.iter().position(|of| of.kind == kind).unwrap_or_else(|| {
            let results =
                Outcome::RESULTS.map(|result| self.probes.get_or_create(&[("type", kind), ("result", result)]).clone());
            let durations = self.durations.get_or_create(&[("type", kind)]).clone();
            self.kinds.push(OfKind { kind, results, durations });
            self.kinds.len() - 1
        });
        let OfKind { results, durations, .. } = &self.kinds[at];
        results[outcome.result()].inc();
        durations.observe(took.as_secs_f64());
    }

    /// A service has said something of itself, or nothing for an interval.
    pub(super) fn reported(&self, outcome: &Outcome) {
        self.reports[outcome.result()].inc();
    }

    /// A client has said that an instance fails, which led to so many probes.
    pub(super) fn hinted(&self, probes: u64) {
        self.hints[usize::from(probes > 0)].inc();
        self.hint_probes.inc_by(probes);
    }

    pub(super) fn skipped(&self, reason: Skip, rounds: u64) {
        if rounds > 0 {
            self.skipped[reason as usize].inc_by(rounds);
        }
    }

    /// The connection of a check is of another state, or the check is new or gone.
    pub(super) fn hold_turned(&self, from: Option<HoldState>, to: Option<HoldState>) {
        let of = |state: HoldState| HoldState::ALL.iter().position(|one| *one == state);
        if let Some(from) = from.and_then(of) {
            self.holds[from].dec();
        }
        if let Some(to) = to.and_then(of) {
            self.holds[to].inc();
        }
    }

    pub(super) fn turned(&self, to: Health) {
        let to = match to {
            Health::Unknown => "unknown",
            Health::Passing => "passing",
            Health::Critical => "critical",
        };
        self.transitions.get_or_create(&[("to", to)]).inc();
    }
}
