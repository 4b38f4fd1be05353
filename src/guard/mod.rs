//! The mass-failure guard: whether an instance that has fallen silent is gone, or this node cannot hear.
//!
//! ```text
//! results of probes, lag, clocks, link, canaries ─▶ Witnesses: what this node has against itself
//!                                                        ▼
//! a check by silence, a lease not renewed ──ask──▶ Case of the service ──▶ Leave | Wait | Hold
//!                                                        ▼
//!                                    turns: what the registry is to know of it
//! ```
//!
//! A timeout and a lease that was not renewed have two explanations: the instance is gone, or this node is cut off,
//! stopped or starved. If many of a service fall silent at once and the node's own witnesses fail too, the second is as
//! likely as the first, and then taking everyone out of answers is the greater harm: what was last known good stays.
//! Whoever refuses, resets or answers wrongly has been heard, and is never asked about here.
//!
//! Pure but for the lock around it: time is an argument, and nothing here reads a clock, a socket or an interface. Who
//! asks does nothing but ask; who watches the node says what it saw; who tells the registry takes the [`Turn`]s. Further
//! witnesses, such as other nodes, are further [`Witness`]es.

mod case;
mod hosts;
mod witnesses;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use witnesses::{Evidence, Witness};

use crate::model::{GuardRule, Guarded, InstanceId, ServiceName, Timestamp};
use case::Case;
use witnesses::Witnesses;

/// What one who has fallen silent is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is gone.
    Leave,
    /// It stays for now: this node doubts itself, or has not heard enough yet.
    Wait,
    /// It stays: the last good set of its service is kept.
    Hold,
}

impl Verdict {
    /// Whether it is not to leave now.
    pub fn stays(self) -> bool {
        self != Self::Leave
    }
}

/// Who has fallen silent.
#[derive(Debug, Clone, Copy)]
pub struct Silent<'a> {
    /// Its service.
    pub service: &'a ServiceName,
    /// Its id.
    pub id: &'a InstanceId,
    /// For how long it has to stay silent after this node has found itself well again: as long as a probe takes, or as a
    /// lease lasts, so that it is judged by what was heard since.
    pub confirm: Duration,
}

/// How a service stands.
#[derive(Debug, Clone)]
pub struct Census {
    /// Instances in answers.
    pub answered: usize,
    /// The rule of the guard; none when it is off.
    pub rule: Option<GuardRule>,
    /// The hosts of all its instances. What they say is no witness for or against one another.
    pub hosts: Vec<IpAddr>,
}

/// A service that is guarded from now on, in another way, or no longer.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The service.
    pub service: ServiceName,
    /// How it is guarded.
    pub guarded: Option<Guarded>,
    /// By whom, when the guard begins with this.
    pub begun: Vec<Witness>,
    /// Why it ended, when it did.
    pub ended: Option<&'static str>,
}

/// A moment on both clocks: the guard goes by the first, people by the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the clock that nobody can set.
    pub instant: Instant,
    /// By the clock on the wall.
    pub wall: Timestamp,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }
}

#[derive(Debug, Default)]
struct State {
    witnesses: Witnesses,
    cases: HashMap<ServiceName, Case, foldhash::fast::RandomState>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held for one look at one service, never across an await.
    state: Mutex<State>,
    turned: Notify,
    alarmed: Notify,
}

/// The guard of a node; cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Guard(Arc<Shared>);

impl Guard {
    /// What somebody who has fallen silent is to do. `census` is taken a few times a second at most for one service.
    ///
    /// Whoever is not to leave asks again, after its next probe or a moment later.
    pub fn ask(&self, silent: &Silent<'_>, now: Moment, census: impl FnOnce() -> Census) -> Verdict {
        let mut state = self.0.state.lock();
        let State { witnesses, cases } = &mut *state;
        let known = cases.get_mut(silent.service);
        let case = match known {
            Some(case) => {
                if case.is_outdated(witnesses, now.instant) {
                    case.look(census(), witnesses, now.instant);
                }
                case
            }
            None => {
                let case = cases.entry(silent.service.clone()).or_default();
                case.look(census(), witnesses, now.instant);
                case
            }
        };
        let verdict = case.ask(silent.id, silent.confirm, witnesses, now);
        self.0.turned.notify_one();
        verdict
    }

    /// Somebody who was to stay is heard again, or has left otherwise.
    pub fn settled(&self, service: &ServiceName, id: &InstanceId) {
        let mut state = self.0.state.lock();
        if let Some(case) = state.cases.get_mut(service)
            && case.settled(id)
        {
            self.0.turned.notify_one();
        }
    }

    /// A probe of a host has ended: whether nothing was heard. Loopback says nothing of the network.
    pub fn probed(&self, host: IpAddr, is_silent: bool, now: Instant) {
        if !host.is_loopback() && self.0.state.lock().witnesses.probed(host, is_silent, now) {
            self.0.alarmed.notify_one();
        }
    }

    /// Waits until a host has fallen silent, which is when it is worth to look at the link at once.
    pub async fn alarmed(&self) {
        self.0.alarmed.notified().await;
    }

    /// The node looks after itself: it does so every [`TICK`], and is late when it comes late.
    pub fn tick(&self, now: Moment) {
        self.0.state.lock().witnesses.tick(now);
    }

    /// Whether an interface that leads elsewhere is up.
    pub fn link(&self, is_up: bool, now: Moment) {
        self.0.state.lock().witnesses.link(is_up, now);
    }

    /// A canary was asked: whether it was heard.
    pub fn canary(&self, address: SocketAddr, is_heard: bool, now: Moment) {
        self.0.state.lock().witnesses.canary(address, is_heard, now);
    }

    /// Whether this node doubts itself.
    pub fn doubts(&self, now: Instant) -> bool {
        let mut state = self.0.state.lock();
        !state.witnesses.against(&[], now).is_empty() || state.cases.values().any(Case::is_holding)
    }

    /// What this node has against itself.
    pub fn evidence(&self, now: Instant) -> Vec<Evidence> {
        self.0.state.lock().witnesses.against(&[], now)
    }

    /// Waits until there may be a [`Turn`].
    pub async fn turned(&self) {
        self.0.turned.notified().await;
    }

    /// Whether anybody is being kept or waits, so that [`Self::turns`] has to be called again soon.
    pub fn is_busy(&self) -> bool {
        !self.0.state.lock().cases.is_empty()
    }

    /// Goes on with what the passing of time and the absence of `is_answered` instances change, and says what the registry
    /// does not know yet.
    pub fn turns(&self, now: Moment, is_answered: impl Fn(&ServiceName, &InstanceId) -> bool) -> Vec<Turn> {
        let mut state = self.0.state.lock();
        let State { witnesses, cases } = &mut *state;
        let mut turns = Vec::new();
        cases.retain(|service, case| {
            case.go_on(witnesses, now, |id| is_answered(service, id));
            // One round after the last turn, so that this can be told again.
            if case.is_over() {
                return false;
            }
            turns.extend(case.turn().map(|(guarded, begun, ended)| {
                let service = service.clone();
                Turn { service, guarded, begun, ended }
            }));
            true
        });
        turns
    }

    /// The registry could not be told of a turn, so it is to be told again.
    pub fn untold(&self, service: &ServiceName) {
        if let Some(case) = self.0.state.lock().cases.get_mut(service) {
            case.untold();
        }
    }

    /// Instances that are kept now.
    pub fn held(&self) -> usize {
        self.0.state.lock().cases.values().map(Case::held).sum()
    }
}

/// How often the node looks after itself.
pub const TICK: Duration = witnesses::TICK;
