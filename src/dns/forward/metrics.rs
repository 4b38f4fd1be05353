//! What forwarding counts.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::failure::Failure;
use super::reply::{NOERROR, NXDOMAIN, Reply};

/// Upper bounds in seconds: from an upstream's cache next door to the longest wait.
const DURATION_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 4.0];

type Label = [(&'static str, &'static str); 1];

/// What became of a question that is not about our own names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// An answer with this response code.
    Answered(u16),
    /// No: the client is not allowed, or there is nobody to ask.
    Refused,
    /// Too many wait already.
    Full,
}

#[derive(Debug, Clone)]
pub(super) struct Metrics {
    forwarded: Family<Label, Counter>,
    cache: Family<Label, Counter>,
    pub(super) in_flight: Gauge,
    exchanges: Family<Label, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            forwarded: Family::default(),
            cache: Family::default(),
            in_flight: Gauge::default(),
            exchanges: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
        };
        registry.register(
            "dns_forwarded",
            "Questions about names of others by result: noerror, nxdomain, servfail, refused (the client may not, or \
             nobody knows the name) or full (too many wait)",
            metrics.forwarded.clone(),
        );
        registry.register(
            "dns_forward_cache",
            "Questions about names of others by what was known: hit, joined (the same question was waiting) or miss",
            metrics.cache.clone(),
        );
        registry.register("dns_forward_in_flight", "Questions that wait for an upstream", metrics.in_flight.clone());
        registry.register(
            "dns_forward_upstream_duration_seconds",
            "Time from asking an upstream to the end of it, by result: answered, failed (it said that it cannot), \
             silent or network",
            metrics.exchanges.clone(),
        );
        metrics
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        let result = match outcome {
            Outcome::Answered(NOERROR) => "noerror",
            Outcome::Answered(NXDOMAIN) => "nxdomain",
            Outcome::Answered(_) => "servfail",
            Outcome::Refused => "refused",
            Outcome::Full => "full",
        };
        self.forwarded.get_or_create(&[("result", result)]).inc();
    }

    pub(super) fn looked_up(&self, result: &'static str) {
        self.cache.get_or_create(&[("result", result)]).inc();
    }

    pub(super) fn exchanged(&self, outcome: &Result<Reply, Failure>, took: Duration) {
        let result = match outcome {
            Ok(reply) if reply.is_final() => "answered",
            Ok(_) => "failed",
            Err(Failure::Silent) => "silent",
            Err(Failure::Network(_)) => "network",
        };
        self.exchanges.get_or_create(&[("result", result)]).observe(took.as_secs_f64());
    }
}
