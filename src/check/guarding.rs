//! Asking the guard before a check turns critical by silence: the one place where this module knows of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::outcome::{Failure, Outcome};
use crate::guard::{Census, Guard, Moment, Silent, Verdict};
use crate::model::{Duration, Instance, ServiceName};

/// Says how a service stands.
type CensusOf = dyn Fn(&ServiceName) -> Census + Send + Sync;

/// The guard as checks know it.
#[derive(Clone)]
pub struct Guarding {
    guard: Guard,
    census: Arc<CensusOf>,
}

impl fmt::Debug for Guarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarding").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Default for Guarding {
    /// One that guards nothing.
    fn default() -> Self {
        Self::new(Guard::default(), |_| Census { answered: 0, rule: None, hosts: Vec::new() })
    }
}

impl Guarding {
    /// A guard that is told by `census` how services stand.
    pub fn new(guard: Guard, census: impl Fn(&ServiceName) -> Census + Send + Sync + 'static) -> Self {
        Self { guard, census: Arc::new(census) }
    }

    /// Notes what a probe heard of a host.
    pub(super) fn probed(&self, host: IpAddr, outcome: &Outcome) {
        let is_silent = match outcome {
            Outcome::Passed => false,
            Outcome::Failed(Failure::TargetRefused(_)) | Outcome::Abandoned => return,
            Outcome::Failed(failure) => failure.is_silence(),
        };
        self.guard.probed(host, is_silent, tokio::time::Instant::now());
    }

    /// Whether an instance that has fallen silent may leave answers, or is to stay for now. `timeout` is that of its probes: what
    /// began before this node was well again has ended after it.
    pub(super) fn judge(&self, instance: &Instance, timeout: Duration) -> Verdict {
        let silent = Silent { service: &instance.service, id: &instance.id, confirm: timeout.std() };
        let census = || (self.census)(&instance.service);
        // Who is out of answers already has nothing to lose.
        if instance.answered() { self.guard.ask(&silent, Moment::now(), census) } else { Verdict::Leave }
    }

    /// An instance that was to stay is heard again, or leaves for a reason of its own.
    pub(super) fn settled(&self, instance: &Instance) {
        self.guard.settled(&instance.service, &instance.id);
    }
}
