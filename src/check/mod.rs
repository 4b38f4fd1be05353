//! Active health checks: when to probe, how, and when results become an opinion that the registry hears of.
//!
//! ```text
//! store.watch ─▶ Table ─▶ Schedule ─▶ Slots ─▶ probe (tcp, http) ─▶ Threshold ─▶ store.commit(Observe)
//!                who is   when is     may it   one short task       has the      only transitions,
//!                tested   it due      run now  with one deadline    opinion      never a confirmation
//!                                                                   turned
//! ```
//!
//! One task owns everything left and right of the probes themselves: there is one timer for all checks, and a check
//! that is not being probed is an entry in two tables and nothing else. [`Targets`] says where a probe may go, and
//! is asked by the API when an instance registers, and here before every probe.
//!
//! An opinion stands when the store says so. A transition that could not be committed leaves the threshold where
//! it was, so the next probe that agrees asks for it again, and one that disagrees withdraws it.
//!
//! What a full queue means: a due probe that finds no room is skipped for this round and counted; a first probe waits
//! instead, up to a bound; transitions wait for room among the commits, at most one for each check.
//!
//! Nobody turns critical by silence before the guard was asked ([`Guarding`]): while it holds, the standing opinion stays
//! in the store, and every further result asks again.
//!
//! It knows nothing of how records are served, and nothing of leases.

// Policy, pure.
mod schedule;
mod slots;
mod target;
mod threshold;

// Probes.
mod http;
mod outcome;
mod probe;
mod tcp;

// The task and what it keeps.
mod checker;
mod guarding;
mod metrics;
mod table;

#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;

pub use checker::Checker;
pub use guarding::Guarding;
pub use target::{TargetRefused, Targets};

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
    /// Who is asked before an instance leaves by silence.
    pub guarding: Guarding,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            listeners: Vec::new(),
            local_addresses: crate::net::local_addresses,
            concurrency_max: 512,
            concurrency_per_host_max: 64,
            guarding: Guarding::default(),
        }
    }
}
