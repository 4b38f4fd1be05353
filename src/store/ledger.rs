//! The books of an engine that runs on one node: registry, leases, remembered names.
//!
//! `decide` reads and changes nothing; `settle` carries a decision out. What was settled can be taken back until it is
//! kept, so that commands of one group see each other before the group is on disk, and are as if never asked when it
//! cannot be.

use std::sync::Arc;
use std::time::Duration as StdDuration;

use tokio::time::Instant;

use super::clock::Moment;
use super::deadlines::Deadlines;
use super::leases::Leases;
use super::{Committed, Settings};
use crate::model::{Duration, InstanceLease, Lease, LeaseId, ServiceName, Transport};
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
    /// What the memory was before what has happened since the last [`Self::keep`].
    memory_before: Vec<((ServiceName, Transport), Option<Instant>)>,
    settings: Settings,
}

impl Ledger {
    /// The books of a registry: every lease starts a full term, and names are remembered for what is left of the time.
    pub(super) fn restored(
        settings: Settings,
        registry: Registry,
        leases: impl IntoIterator<Item = (LeaseId, Duration)>,
        now: Moment,
    ) -> Self {
        let mut ledger =
            Self { registry, leases: Leases::new(), memory: Deadlines::new(), memory_before: Vec::new(), settings };
        for (id, ttl) in leases {
            ledger.leases.grant(id, ttl, now);
        }
        for service in ledger.registry.services_after(None) {
            for instance in service.instances() {
                // Both are written in one transaction; should a lease be missing all the same, its end must not be.
                if let Some(lease) = instance.lease.filter(|lease| !ledger.leases.contains(lease.id)) {
                    ledger.leases.grant(lease.id, lease.ttl, now);
                }
                ledger.leases.enrol(instance);
            }
            for transport in Transport::ALL {
                if let Some(left) = service.left(transport) {
                    let ago = StdDuration::from_millis(now.wall.as_millis().saturating_sub(left.as_millis()));
                    let rest = ledger.settings.name_memory.saturating_sub(ago);
                    ledger.memory.set((service.name().clone(), transport), now.instant + rest);
                }
            }
        }
        ledger.keep();
        ledger
    }

    /// What has happened stays.
    pub(super) fn keep(&mut self) {
        self.leases.keep();
        self.memory_before.clear();
    }

    /// Takes back what has happened since the last [`Self::keep`], when this was the registry.
    pub(super) fn undo(&mut self, registry: Registry) {
        self.registry = registry;
        self.leases.undo();
        for (key, before) in std::mem::take(&mut self.memory_before).into_iter().rev() {
            match before {
                Some(deadline) => self.memory.set(key, deadline),
                None => self.memory.clear(&key),
            }
        }
    }

    /// The leases that were granted or ended since the last [`Self::keep`].
    pub(super) fn leases_touched(&self) -> impl Iterator<Item = LeaseId> {
        self.leases.touched()
    }

    /// The length of a lease that has not been ended.
    pub(super) fn lease_ttl(&self, id: LeaseId) -> Option<Duration> {
        self.leases.ttl(id)
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
            let before = self.memory.get(&key);
            let is_full = self.memory.len() >= self.settings.limits.remembered_names;
            match (left, before) {
                (None, None) | (Some(_), Some(_)) => continue,
                (None, Some(_)) => self.memory.clear(&key),
                // Beyond the limit the newest is forgotten at once: it costs a scan for nobody.
                (Some(_), None) if is_full => self.memory.set(key.clone(), now.instant),
                (Some(_), None) => self.memory.set(key.clone(), now.instant + self.settings.name_memory),
            }
            self.memory_before.push((key, before));
        }
    }
}
