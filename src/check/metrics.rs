//! What checks count.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::outcome::Outcome;
use crate::model::{CheckKind, Health};

/// Upper bounds in seconds: from a probe of the same machine to the longest timeout.
const DURATION_BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

#[derive(Debug)]
pub(super) struct Metrics {
    probes: Family<Labels<2>, Counter>,
    durations: Family<Labels<1>, Histogram, fn() -> Histogram>,
    transitions: Family<Labels<1>, Counter>,
    /// Rounds that found no room, came late, or found the round before still running.
    pub(super) skipped: Counter,
    /// Checks of all instances.
    pub(super) checks: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            probes: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            transitions: Family::default(),
            skipped: Counter::default(),
            checks: Gauge::default(),
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
            "check_transitions",
            "Opinions of checks that turned and were committed, by new health",
            metrics.transitions.clone(),
        );
        registry.register(
            "check_probes_skipped",
            "Rounds without a probe, because there was no room, it was late, or the one before still ran",
            metrics.skipped.clone(),
        );
        registry.register("checks", "Checks of all instances", metrics.checks.clone());
        metrics
    }

    pub(super) fn probed(&self, kind: &CheckKind, outcome: &Outcome, took: Duration) {
        let kind = ("type", kind.as_str());
        self.probes.get_or_create(&[kind, ("result", outcome.as_str())]).inc();
        self.durations.get_or_create(&[kind]).observe(took.as_secs_f64());
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
