//! Active health checks: when to probe, how, and when results become an opinion that the registry hears of.
//!
//! ```text
//!           ┌─────────────────────── one thread ───────────────────────┐
//! store ─▶ follow ─▶ Table ─▶ Wheel ─▶ Slots ─▶ Prober ─▶ Threshold ─▶ follow ─▶ store.commit(Observe)
//!           │        who is   when is  may it   tcp, http  has the     │         only transitions,
//!           │        tested   it due   run now             opinion     │         never a confirmation
//!           └─────────────────────────────────────────── turned ───────┘
//! ```
//!
//! A thread of its own makes the probes and keeps everything about them, without a lock, a task or a timer for each:
//! one wheel says when a check comes up or a probe has to end, and one set of sockets says what has happened. A check
//! that is not being probed is an entry in a table and nothing else. [`Targets`] says where a probe may go, and is
//! asked by the API when an instance registers, and here before every probe. A kind of probe is one file that says what
//! to do on a connection (`check::dialogue`).
//!
//! An opinion stands when the store says so. A transition that could not be committed leaves the threshold where
//! it was, so the next probe that agrees asks for it again, and one that disagrees withdraws it. All of them leave by
//! one function, `Checker::commit_turned`.
//!
//! What a full queue means: a due probe that finds no room is skipped for this round and counted; a first probe waits
//! instead, up to a bound; reports wait for what has to come before them, up to a bound, and are refused; transitions wait for room among the commits, at most one for each check.
//!
//! A check of type `ttl` is not probed but hears from its service; a report is a result like that of a probe, and so is an
//! interval without one. A report that turns the opinion is answered once that is committed, others at once.
//!
//! A check of type `tcp` may hold a connection beside its probes (`check::hold`). Its end has the instance probed at once, and
//! proves nothing without what that probe and the next find.
//!
//! Nobody turns critical by silence before the guard was asked ([`Guarding`]): while it holds, the standing opinion stays
//! in the store, and every further result asks again.
//!
//! It knows nothing of how records are served, and nothing of leases.

// Policy, pure.
mod clock;
mod flaps;
mod hints;
mod hold;
mod holdings;
mod latency;
mod rate;
mod rhythm;
mod slots;
mod target;
mod threshold;
mod ttl;
mod wheel;

// Probes.
mod answer;
mod dialogue;
mod grpc;
mod held;
mod http;
mod kind;
mod outcome;
mod prober;
mod sessions;
mod socket;
mod tcp;
mod tls;
mod trust;

// The thread, what it keeps, and what it talks with.
mod checker;
mod follow;
mod guarding;
mod holding;
mod metrics;
mod post;
mod saying;
mod table;
mod turning;

#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;

pub use follow::{Reports, spawn};
pub use guarding::Guarding;
pub use target::{TargetRefused, Targets};
pub use trust::{Trust, TrustError};

use threshold::Threshold;

/// What checks may do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Nets that a check may aim into besides the instance's own addresses (`--check-allow`).
    pub allow: Vec<ipnet::IpNet>,
    /// Rollcall's own listeners as they are bound, with their real ports. No check may aim at one.
    pub listeners: Vec<SocketAddr>,
    /// Looks up the addresses of this machine. A listener on an unspecified address listens on these and on loopback.
    pub local_addresses: fn() -> io::Result<Vec<SocketAddr>>,
    /// Probes that run at once, at least 1. Each holds one descriptor.
    pub concurrency_max: usize,
    /// Probes that run at once against one address, at least 1.
    pub concurrency_per_host_max: usize,
    /// Connections that are held beside probes. Each holds one descriptor.
    pub held_max: usize,
    /// The same with one address, but for loopback.
    pub held_per_host_max: usize,
    /// Who is asked before an instance leaves by silence.
    pub guarding: Guarding,
    /// Probes that begin within a second, from 1 to 1,000,000; in a burst a quarter of that.
    pub rate_max: u32,
    /// The same for one address, except for loopback.
    pub rate_per_host_max: u32,
    /// Which certificates are trusted; without any, TLS probes pass only where nothing is verified.
    pub trust: Trust,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            listeners: Vec::new(),
            local_addresses: crate::net::local_addresses,
            concurrency_max: 4096,
            concurrency_per_host_max: 64,
            held_max: 4096,
            held_per_host_max: 1024,
            guarding: Guarding::default(),
            rate_max: 20_000,
            rate_per_host_max: 1_000,
            trust: Trust::default(),
        }
    }
}
