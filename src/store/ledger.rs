//! The books of an engine that runs on one node: registry, leases, remembered names.
//!
//! `decide` reads and changes nothing; `settle` carries a decision out. An engine that must write to disk does so
//! between the two.

use std::sync::Arc;

use tokio::time::Instant;

use super::deadlines::Deadlines;
use super::leases::{Leases, Moment};
use super::{Committed, Settings};
use crate::model::{Duration, InstanceLease, Lease, LeaseId, Revision, ServiceName, Transport};
use crate::registry::{Batch, Cause, Change, Command, Judgement, LeaseWish, Outcome, Refusal, Register, Registry};

/// Lapsed leases whose instances leave in one batch. More wait for the next, which follows at once.
const LAPSED_PER_BATCH: usize = 512;

/// What a command or the passing of time changes.
#[derive(Debug)]
pub(super) struct Decision {
    /// The next batch of the history, when anything changes in it.
    pub(super) batch: Option<Arc<Batch>>,
    leases: Vec<LeaseEdit>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
enum LeaseEdit {
    Grant(LeaseId, Duration),
    Renew(LeaseId),
    End(LeaseId),
}

#[derive(Debug)]
pub(super) struct Ledger {
    registry: Registry,
    leases: Leases,
    /// Names without instances, and when they are forgotten.
    memory: Deadlines<(ServiceName, Transport)>,
    settings: Settings,
}

impl Ledger {
    pub(super) fn new(settings: Settings, revision: Revision) -> Self {
        let registry = Registry::starting_at(revision);
        Self { registry, leases: Leases::new(), memory: Deadlines::new(), settings }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn lease(&self, id: LeaseId, now: Moment) -> Option<Lease> {
        self.leases.get(id, now)
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Moment) -> Option<Lease> {
        self.leases.renew(id, now)
    }

    fn fresh_lease(&self) -> LeaseId {
        loop {
            let id = LeaseId::new(rand::random());
            if !self.leases.contains(id) {
                return id;
            }
        }
    }

    /// What a command would change.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn decide(&self, command: &Command, now: Moment) -> Result<Decision, Refusal> {
        match command {
            Command::Register(register) => self.decide_register(register, now),
            Command::Amend(amendment) => {
                self.registry.judge_amend(amendment, &self.settings.limits).map(|j| self.decided(j, now))
            }
            Command::Deregister { service, id, precondition } => {
                self.registry.judge_deregister(service, id, *precondition).map(|j| self.decided(j, now))
            }
            Command::DeregisterAll(scope) => Ok(self.decided(self.registry.judge_deregister_all(scope), now)),
            Command::Configure { service, settings } => self
                .registry
                .judge_configure(service, settings.as_ref(), &self.settings.limits)
                .map(|judgement| self.decided(judgement, now)),
            Command::Observe(observation) => Ok(self.decided(self.registry.judge_observe(observation), now)),
            Command::Grant { ttl } => {
                self.check_room_for_lease()?;
                let (id, ttl) = (self.fresh_lease(), *ttl);
                let lease = Lease { id, ttl, expires_at: now.wall.after(ttl.std()) };
                let leases = vec![LeaseEdit::Grant(id, ttl)];
                Ok(Decision { batch: None, leases, outcome: Outcome::Granted(lease) })
            }
            Command::Revoke(id) => {
                self.leases.get(*id, now).ok_or(Refusal::LeaseGone(*id))?;
                let changes = self.departures(*id, Cause::Revoked);
                let outcome = Outcome::Revoked(changes.len());
                let mut decision = self.decided(Judgement { changes, outcome }, now);
                decision.leases.push(LeaseEdit::End(*id));
                Ok(decision)
            }
        }
    }

    fn check_room_for_lease(&self) -> Result<(), Refusal> {
        let max = self.settings.limits.leases;
        if self.leases.len() < max { Ok(()) } else { Err(Refusal::LeasesFull(max)) }
    }

    fn decide_register(&self, register: &Register, now: Moment) -> Result<Decision, Refusal> {
        let before = self.registry.instance(&register.service, register.id.id().as_str());
        let own = before.and_then(|instance| instance.lease).filter(|lease| lease.own);
        let (lease, edit) = match register.lease {
            LeaseWish::None => (None, None),
            LeaseWish::Own(ttl) => match own.filter(|own| own.ttl == ttl && self.leases.get(own.id, now).is_some()) {
                Some(own) => (Some(own), Some(LeaseEdit::Renew(own.id))),
                None => {
                    self.check_room_for_lease()?;
                    let id = self.fresh_lease();
                    (Some(InstanceLease { id, ttl, own: true }), Some(LeaseEdit::Grant(id, ttl)))
                }
            },
            LeaseWish::Join(id) => {
                let lease = self.leases.get(id, now).ok_or(Refusal::LeaseGone(id))?;
                // An instance that names its own lease keeps it as its own.
                let own = own.is_some_and(|own| own.id == id);
                // Its end with the other would leave this one listed without any.
                if !own && self.is_own(id) {
                    return Err(Refusal::LeaseNotShared(id));
                }
                (Some(InstanceLease { id, ttl: lease.ttl, own }), None)
            }
        };
        let judgement = self.registry.judge_register(register, lease, &self.settings.limits, now.wall)?;
        let mut decision = self.decided(judgement, now);
        decision.leases.extend(edit);
        Ok(decision)
    }

    /// Whether a lease was granted for one instance alone, which is then the only one on it.
    fn is_own(&self, lease: LeaseId) -> bool {
        let owner = self.leases.members(lease).next();
        let owner = owner.and_then(|(service, id)| self.registry.instance(service, id.as_str()));
        owner.and_then(|owner| owner.lease).is_some_and(|lease| lease.own)
    }

    fn departures(&self, lease: LeaseId, cause: Cause) -> Vec<Change> {
        let members = self.leases.members(lease);
        let instances = members.filter_map(|(service, id)| self.registry.instance(service, id.as_str()));
        instances.map(|instance| Change::Gone { instance: instance.clone(), cause }).collect()
    }

    fn decided(&self, judgement: Judgement, now: Moment) -> Decision {
        let Judgement { changes, outcome } = judgement;
        let revision = self.registry.revision().next();
        let batch = (!changes.is_empty()).then(|| Arc::new(Batch { revision, at: now.wall, changes }));
        Decision { batch, leases: Vec::new(), outcome }
    }

    /// What the passing of time changes: lapsed leases, and names that nobody needs to remember.
    pub(super) fn decide_due(&self, now: Moment) -> Option<Decision> {
        let lapsed = self.leases.lapsed(now.instant, LAPSED_PER_BATCH);
        let mut changes: Vec<Change> =
            lapsed.iter().flat_map(|lease| self.departures(*lease, Cause::Expired)).collect();
        let forgotten = self.memory.passed(now.instant, LAPSED_PER_BATCH);
        changes.extend(forgotten.into_iter().map(|(service, transport)| Change::Forgotten { service, transport }));
        if lapsed.is_empty() && changes.is_empty() {
            return None;
        }
        let outcome = Outcome::Revoked(changes.len());
        let mut decision = self.decided(Judgement { changes, outcome }, now);
        decision.leases.extend(lapsed.into_iter().map(LeaseEdit::End));
        Some(decision)
    }

    /// When [`Self::decide_due`] will next have something to say.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.leases.next_deadline().into_iter().chain(self.memory.next()).min()
    }

    /// Carries a decision out.
    pub(super) fn settle(&mut self, decision: &Decision, now: Moment) -> Committed {
        for edit in &decision.leases {
            match edit {
                LeaseEdit::Grant(id, ttl) => self.leases.grant(*id, *ttl, now),
                LeaseEdit::Renew(id) => drop(self.leases.renew(*id, now)),
                LeaseEdit::End(_) => {}
            }
        }
        if let Some(batch) = &decision.batch {
            for change in &batch.changes {
                let before = match change {
                    Change::Put { instance, .. } | Change::Gone { instance, .. } => {
                        self.registry.instance(&instance.service, instance.id.as_str())
                    }
                    Change::Configured { .. } | Change::Forgotten { .. } => None,
                };
                self.leases.follow(before.map(AsRef::as_ref), change);
            }
            self.registry.apply(batch);
            for change in &batch.changes {
                self.remember(change.service(), now);
            }
        }
        for edit in &decision.leases {
            if let LeaseEdit::End(id) = edit {
                self.leases.end(*id);
            }
        }
        Committed { revision: self.registry.revision(), outcome: decision.outcome.clone() }
    }

    /// Keeps the memory in step with a service that a batch touched.
    fn remember(&mut self, name: &ServiceName, now: Moment) {
        for transport in Transport::ALL {
            let key = (name.clone(), transport);
            let left = self.registry.service(name).and_then(|service| service.left(transport));
            match left {
                None => self.memory.clear(&key),
                Some(_) if self.memory.get(&key).is_some() => {}
                // Beyond the limit the newest is forgotten at once: it costs a scan for nobody.
                Some(_) if self.memory.len() >= self.settings.limits.remembered_names => {
                    self.memory.set(key, now.instant);
                }
                Some(_) => self.memory.set(key, now.instant + self.settings.name_memory),
            }
        }
    }
}
