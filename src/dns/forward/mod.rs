//! Names of others: asked of upstreams, for a `resolv.conf` that points here.
//!
//! ```text
//! Handler ─▶ Forwarder::begin ─┬▶ refusal: not allowed, no upstream for the name
//!                              ├▶ Cache ─▶ reply, at once
//!                              └▶ Flights ─▶ Pending ·· reply, when the exchange is over
//!                                   └ one task a question: ask ─▶ exchange (UDP, then TCP)
//! ```
//!
//! Replies stay in the form they came in: only header, question, lifetimes and the OPT record are our own, so a type
//! that nobody here knows passes unharmed. Names of our own zones never come this far. Nothing is validated (DNSSEC)
//! here, and options of EDNS are not passed on in either direction, but for an upstream's explanation of a failure.

mod ask;
mod cache;
mod exchange;
mod failure;
mod flight;
mod forwarder;
mod metrics;
mod reply;
mod rule;
mod system;
mod upstream;
mod wire;

use std::time::Duration;

use ipnet::IpNet;

pub use cache::CacheLimits;
pub use flight::FlightLimits;
pub use forwarder::Forwarder;
pub(in crate::dns) use forwarder::{Pending, Question, Step};
pub use rule::Rule;
pub use system::{is_own, nameservers};

/// What is forwarded, for whom, and how much of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where names are asked; the longest domain wins, one without a domain takes all others.
    pub rules: Vec<Rule>,
    /// Nets whose questions are forwarded.
    pub allow: Vec<IpNet>,
    /// How long upstreams are waited for.
    pub times: Times,
    /// How many questions may wait.
    pub in_flight: FlightLimits,
    /// What may be kept.
    pub cache: CacheLimits,
}

impl Settings {
    /// Rules for the clients of some nets, with the limits that hold unless a test has others.
    pub fn new(rules: Vec<Rule>, allow: Vec<IpNet>) -> Self {
        Self {
            rules,
            allow,
            times: Times::default(),
            in_flight: FlightLimits::default(),
            cache: CacheLimits::default(),
        }
    }
}

/// How long upstreams are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// One upstream over UDP, before the next one is asked; twice this over TCP.
    pub attempt: Duration,
    /// All upstreams together, before the client is told that it failed.
    pub total: Duration,
    /// How long an upstream that failed is asked after all others.
    pub hold_down: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(1), total: Duration::from_secs(4), hold_down: Duration::from_secs(10) }
    }
}
