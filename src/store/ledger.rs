//! The books of an engine that runs on one node: registry, leases, remembered names.
//!
//! `decide` reads and changes nothing; `settle` carries a decision out. What was settled can be taken back until it is
//! kept, so that commands of one group see each other before the group is on disk, and are as if never asked when it
//! cannot be.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use tokio::time::Instant;

use super::census::census;
use super::clock::Moment;
use super::deadlines::Deadlines;
use super::draft::Draft;
use super::leases::{LeaseEdit, Leases};
use super::waits::Waits;
use super::{Committed, Lapsed, Settings};
use crate::guard::{self, Silent};
use crate::model::{Duration, Instance, InstanceId, InstanceLease, Lease, LeaseId, ServiceName, Transport};
use crate::registry::{
    Actor, Batch, Cause, Change, Command, Judgement, LeaseWish, Outcome, Refusal, Register, Registry, Renewal,
};

/// Lapsed leases whose instances leave in one batch. More wait for the next, which follows at once.
const LAPSED_PER_BATCH: usize = 512;

/// By how much the end of a lease is put off at a time: an eighth of its length, within these.
const PUT_OFF: StdDuration = StdDuration::from_secs(1);
const PUT_OFF_MAX: StdDuration = StdDuration::from_secs(5);
/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
struct By<'a> {
    actor: &'a Actor,
    now: Moment,
}

/// What a command or the passing of time changes.
#[derive(Debug)]
pub(super) struct Decision {
    /// The next batch of the history, when anything changes in it.
    pub(super) batch: Option<Arc<Batch>>,
    leases: Vec<LeaseEdit>,
    pub(super) outcome: Outcome,
}

impl Decision {
    /// Whether it changes nothing but deadlines, which are not kept.
    pub(super) fn only_renews(&self) -> bool {
        self.batch.is_none() && self.leases.iter().all(|edit| matches!(edit, LeaseEdit::Renew(_)))
    }
}

/// What the end of a lease changes.
fn departures(draft: &Draft<'_>, lease: LeaseId, cause: Cause) -> Vec<Change> {
    draft.on(lease).map(|instance| Change::Gone { instance: instance.clone(), cause }).collect()
}

#[derive(Debug)]
pub(super) struct Ledger {
    registry: Registry,
    leases: Leases,
    waits: Waits,
    /// Names without instances, and when they are forgotten.
    memory: Deadlines<(ServiceName, Transport)>,
    /// What the memory was before what has happened since the last [`Self::keep`].
    memory_before: Vec<((ServiceName, Transport), Option<Instant>)>,
    settings: Settings,
}

impl Ledger {
    /// The books of a registry: every lease and the patience with every critical instance start a full term; states end
    /// and names are forgotten when what is left of their time has passed.
    pub(super) fn restored(
        settings: Settings,
        registry: Registry,
        leases: impl IntoIterator<Item = (LeaseId, Duration)>,
        now: Moment,
    ) -> Self {
        let mut ledger = Self {
            registry,
            leases: Leases::new(),
            waits: Waits::new(),
            memory: Deadlines::new(),
            memory_before: Vec::new(),
            settings,
        };
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
                ledger.waits.enrol(instance, now);
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
        self.waits.keep();
        self.memory_before.clear();
    }

    /// Takes back what has happened since the last [`Self::keep`], when this was the registry.
    pub(super) fn undo(&mut self, registry: Registry) {
        self.registry = registry;
        self.leases.undo();
        self.waits.undo();
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

    /// All leases that have not been ended, by id.
    pub(super) fn all_leases(&self) -> Vec<(LeaseId, Duration)> {
        self.leases.all()
    }

    /// How many leases have not been ended.
    pub(super) fn leases(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn lease(&self, id: LeaseId, now: Moment) -> Option<Lease> {
        self.leases.get(id, now)
    }

    /// The instances whose lease has lapsed after one moment and not after another, in the order of its end.
    pub(super) fn lapsed_after(&self, after: Instant, now: Instant) -> impl Iterator<Item = Lapsed> {
        let of = |lease| {
            let members = self.leases.members(lease);
            members.map(move |(service, id)| Lapsed { service: service.clone(), id: id.clone(), lease })
        };
        self.leases.lapsed_after(after, now).flat_map(of)
    }

    /// When the next lease lapses after a moment.
    pub(super) fn next_lapse_after(&self, after: Instant) -> Option<Instant> {
        self.leases.next_after(after)
    }

    /// Renews a lease that is alive.
    pub(super) fn renew(&mut self, id: LeaseId, now: Moment) -> Option<Lease> {
        let renewed = self.leases.renew(id, now)?;
        if self.leases.take_put_off(id) {
            let guard = &self.settings.guard;
            self.leases.members(id).for_each(|(service, id)| guard.settled(service, id));
        }
        Some(renewed)
    }

    /// Remembers names on which another service stands in for another term: an outage that lasts is when it is needed.
    fn keep_names(&mut self, now: Moment) {
        for key in self.memory.passed(now.instant, LAPSED_PER_BATCH) {
            let settings = self.registry.service(&key.0).and_then(|service| service.settings());
            if settings.is_some_and(|settings| settings.fallback.is_some()) {
                // At least a moment, so that a memory of nothing is no endless task.
                self.memory.set(key, now.instant + self.settings.name_memory.max(PUT_OFF));
            }
        }
    }

    /// Puts off the end of leases that lapsed after a moment and whose instances the guard keeps; they can be renewed
    /// meanwhile. Whoever takes in what has lapsed asks first.
    pub(super) fn hold_back(&mut self, after: Instant, now: Moment, guard_now: guard::Moment) {
        self.keep_names(now);
        let guard = &self.settings.guard;
        self.waits.doubt(guard.doubts(guard_now.instant), now.instant);
        let lapsed: Vec<LeaseId> = self.leases.lapsed_after(after, now.instant).collect();
        for lease in lapsed {
            let ttl = self.leases.ttl(lease).unwrap_or(Duration::ZERO).std();
            // Each is asked for, because each counts towards those of its service.
            let stay = self.leases.members(lease).filter(|(service, id)| {
                let answers = self.registry.instance(service, id.as_str()).is_some_and(|i| i.answered());
                let census = || census(&self.registry, service);
                answers && guard.ask(&Silent { service, id, confirm: ttl }, guard_now, census).stays()
            });
            if stay.count() > 0 {
                self.leases.put_off(lease, now.instant + (ttl / 8).clamp(PUT_OFF, PUT_OFF_MAX));
            }
        }
    }

    fn fresh_lease(draft: &Draft<'_>) -> LeaseId {
        loop {
            let id = LeaseId::new(rand::random());
            if !draft.knows(id) {
                return id;
            }
        }
    }

    /// What a command would change.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn decide(&self, command: &Command, actor: &Actor, now: Moment) -> Result<Decision, Refusal> {
        let mut draft = Draft::new(&self.registry, &self.leases);
        let by = By { actor, now };
        match command {
            Command::Batch(commands) => self.decide_batch(&mut draft, commands, by),
            command => self.decide_in(&draft, command, by),
        }
    }

    /// Decides the commands of a batch one after the other, each on what those before it lead to.
    fn decide_batch(&self, draft: &mut Draft<'_>, commands: &[Command], by: By<'_>) -> Result<Decision, Refusal> {
        let (mut changes, mut leases, mut outcomes) = (Vec::new(), Vec::new(), Vec::with_capacity(commands.len()));
        for (position, command) in commands.iter().enumerate() {
            let decision = self.decide_in(draft, command, by);
            let decision = decision.map_err(|refusal| Refusal::InBatch { position, refusal: Box::new(refusal) })?;
            draft.go_on(decision.batch.as_deref(), &decision.leases);
            changes.extend(decision.batch.into_iter().flat_map(|batch| batch.changes.clone()));
            leases.extend(decision.leases);
            outcomes.push(decision.outcome);
        }
        let decision = self.decided(Judgement { changes, outcome: Outcome::Batch(outcomes) }, by);
        Ok(Decision { leases, ..decision })
    }

    /// What one command would change of a draft.
    fn decide_in(&self, draft: &Draft<'_>, command: &Command, by: By<'_>) -> Result<Decision, Refusal> {
        let now = by.now;
        let (registry, limits) = (&draft.registry, &self.settings.limits);
        let decided = |judgement| self.decided(judgement, by);
        match command {
            Command::Register(register) => self.decide_register(draft, register, by),
            Command::Amend(amendment) => registry.judge_amend(amendment, limits, now.wall).map(decided),
            Command::Deregister { service, id, precondition } => {
                registry.judge_deregister(service, id, *precondition).map(decided)
            }
            Command::DeregisterAll(scope) => Ok(decided(registry.judge_deregister_all(scope))),
            Command::Configure { service, settings } => {
                registry.judge_configure(service, settings.as_ref(), limits).map(decided)
            }
            Command::Guard { service, guarded } => Ok(decided(registry.judge_guard(service, guarded.as_ref()))),
            Command::Observe(observation) => Ok(decided(registry.judge_observe(observation))),
            Command::Batch(commands) => self.decide_batch(&mut draft.clone(), commands, by),
            Command::Renew(renewal) => {
                let id = match renewal {
                    Renewal::Lease(id) => *id,
                    Renewal::Own(service, id) => {
                        let lease = registry.instance(service, id.as_str()).ok_or(Refusal::NoInstance)?.lease;
                        let own = lease.filter(|lease| lease.own);
                        own.ok_or(Refusal::NoOwnLease(lease.map(|lease| lease.id)))?.id
                    }
                };
                let ttl = draft.lease(id, now).ok_or(Refusal::LeaseGone(id))?;
                let lease = Lease { id, ttl, expires_at: now.wall_at(now.instant + ttl.std()) };
                Ok(Decision { batch: None, leases: vec![LeaseEdit::Renew(id)], outcome: Outcome::Renewed(lease) })
            }
            Command::Grant { ttl } => {
                self.check_room_for_lease(draft)?;
                let (id, ttl) = (Self::fresh_lease(draft), *ttl);
                let lease = Lease { id, ttl, expires_at: now.wall_at(now.instant + ttl.std()) };
                let leases = vec![LeaseEdit::Grant(id, ttl)];
                Ok(Decision { batch: None, leases, outcome: Outcome::Granted(lease) })
            }
            Command::Revoke(id) => {
                draft.lease(*id, now).ok_or(Refusal::LeaseGone(*id))?;
                let changes = departures(draft, *id, Cause::Revoked);
                let outcome = Outcome::Revoked(changes.len());
                let mut decision = self.decided(Judgement { changes, outcome }, by);
                decision.leases.push(LeaseEdit::End(*id));
                Ok(decision)
            }
        }
    }

    fn check_room_for_lease(&self, draft: &Draft<'_>) -> Result<(), Refusal> {
        let max = self.settings.limits.leases;
        if draft.leases() < max { Ok(()) } else { Err(Refusal::LeasesFull(max)) }
    }

    fn decide_register(&self, draft: &Draft<'_>, register: &Register, by: By<'_>) -> Result<Decision, Refusal> {
        let now = by.now;
        let before = draft.registry.instance(&register.service, register.id.id().as_str());
        let own = before.and_then(|instance| instance.lease).filter(|lease| lease.own);
        let (lease, edit) = match register.lease {
            LeaseWish::None => (None, None),
            LeaseWish::Own(ttl) => match own.filter(|own| own.ttl == ttl && draft.lease(own.id, now).is_some()) {
                Some(own) => (Some(own), Some(LeaseEdit::Renew(own.id))),
                None => {
                    self.check_room_for_lease(draft)?;
                    let id = Self::fresh_lease(draft);
                    (Some(InstanceLease { id, ttl, own: true }), Some(LeaseEdit::Grant(id, ttl)))
                }
            },
            LeaseWish::Join(id) => {
                let ttl = draft.lease(id, now).ok_or(Refusal::LeaseGone(id))?;
                // An instance that names its own lease keeps it as its own.
                let own = own.is_some_and(|own| own.id == id);
                // Its end with the other would leave this one listed without any.
                if !own && draft.is_own(id) {
                    return Err(Refusal::LeaseNotShared(id));
                }
                (Some(InstanceLease { id, ttl, own }), None)
            }
        };
        let judgement = draft.registry.judge_register(register, lease, &self.settings.limits, now.wall)?;
        let mut decision = self.decided(judgement, by);
        decision.leases.extend(edit);
        Ok(decision)
    }

    fn decided(&self, judgement: Judgement, By { actor, now }: By<'_>) -> Decision {
        let Judgement { changes, outcome } = judgement;
        let revision = self.registry.revision().next();
        let batch = |changes| Arc::new(Batch { revision, at: now.wall, actor: actor.clone(), changes });
        let batch = Some(changes).filter(|changes| !changes.is_empty()).map(batch);
        Decision { batch, leases: Vec::new(), outcome }
    }

    /// What the passing of time changes: lapsed leases, instances critical for too long, states that are over, and names
    /// that nobody needs to remember.
    pub(super) fn decide_due(&self, now: Moment) -> Option<Decision> {
        let lapsed = self.leases.lapsed(now.instant, LAPSED_PER_BATCH);
        let draft = Draft::new(&self.registry, &self.leases);
        let mut changes: Vec<Change> =
            lapsed.iter().flat_map(|lease| departures(&draft, *lease, Cause::Expired)).collect();
        let leave: HashSet<(ServiceName, InstanceId)> =
            lapsed.iter().flat_map(|lease| self.leases.members(*lease)).cloned().collect();
        let evicted = self.waits.to_evict(now.instant, LAPSED_PER_BATCH);
        let lifted = self.waits.to_lift(now.instant, LAPSED_PER_BATCH);
        // Nobody leaves twice in one batch, and nobody who leaves comes back up.
        let evicted: Vec<_> = evicted.into_iter().filter(|key| !leave.contains(key)).collect();
        let lifted = lifted.into_iter().filter(|key| !leave.contains(key) && !evicted.contains(key));
        changes.extend(evicted.iter().filter_map(|(service, id)| self.registry.judge_evict(service, id)));
        changes.extend(lifted.filter_map(|(service, id)| self.registry.judge_lift(&service, &id)));
        let forgotten = self.memory.passed(now.instant, LAPSED_PER_BATCH);
        changes.extend(forgotten.into_iter().map(|(service, transport)| Change::Forgotten { service, transport }));
        if lapsed.is_empty() && changes.is_empty() {
            return None;
        }
        let outcome = Outcome::Revoked(changes.len());
        let actor = Actor::server();
        let mut decision = self.decided(Judgement { changes, outcome }, By { actor: &actor, now });
        decision.leases.extend(lapsed.into_iter().map(LeaseEdit::End));
        Some(decision)
    }

    /// When [`Self::decide_due`] will next have something to say.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let deadlines = [self.leases.next_deadline(), self.waits.next_deadline(), self.memory.next()];
        deadlines.into_iter().flatten().min()
    }

    /// Carries a decision out.
    pub(super) fn settle(&mut self, decision: &Decision, now: Moment) -> Committed {
        for edit in &decision.leases {
            match edit {
                LeaseEdit::Grant(id, ttl) => self.leases.grant(*id, *ttl, now),
                LeaseEdit::Renew(id) => drop(self.renew(*id, now)),
                LeaseEdit::End(_) => {}
            }
        }
        if let Some(batch) = &decision.batch {
            // What the batch has made of an instance so far, which the registry shows only once it is whole.
            let mut so_far: HashMap<(&ServiceName, &InstanceId), Option<&Arc<Instance>>> = HashMap::new();
            for change in &batch.changes {
                let (instance, after) = match change {
                    Change::Put { instance, .. } => (instance, Some(instance)),
                    Change::Gone { instance, .. } => (instance, None),
                    Change::Configured { .. } | Change::Guarded { .. } | Change::Forgotten { .. } => continue,
                };
                let before = so_far.insert((&instance.service, &instance.id), after);
                let before = before
                    .unwrap_or_else(|| self.registry.instance(&instance.service, instance.id.as_str()))
                    .map(AsRef::as_ref);
                self.leases.follow(before, change);
                self.waits.follow(before, change, now);
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
                (None, None) => continue,
                // Nobody has used it since, unless somebody came and left within this batch.
                (Some(left), Some(_)) if left != now.wall => continue,
                (None, Some(_)) => self.memory.clear(&key),
                (Some(_), Some(_)) => self.memory.set(key.clone(), now.instant + self.settings.name_memory),
                // Beyond the limit the newest is forgotten at once: it costs a scan for nobody.
                (Some(_), None) if is_full => self.memory.set(key.clone(), now.instant),
                (Some(_), None) => self.memory.set(key.clone(), now.instant + self.settings.name_memory),
            }
            self.memory_before.push((key, before));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
