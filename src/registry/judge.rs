//! What a command would change: the rules of the registry in one place, for every store to call within its own
//! transaction.

use std::sync::Arc;

use super::actor::Actor;
use super::change::{Batch, Cause, Change};
use super::command::{Amendment, Expiry, IdChoice, Observation, Outcome, Precondition, Refusal, Register, Scope};
use super::conflict;
use super::limits::Limits;
use super::state::Registry;
use crate::model::{
    CheckState, Guarded, Health, Instance, InstanceId, InstanceLease, Registration, Revision, ServiceName,
    ServiceSettings, State, Timestamp,
};

/// What a command changes and what its caller hears. No changes means no new revision.
#[derive(Debug)]
pub struct Judgement {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// What becomes of the command once they are durable.
    pub outcome: Outcome,
}

/// Whether a precondition holds for what exists.
///
/// # Errors
/// [`Refusal::Precondition`] when it does not.
fn check_precondition(precondition: Precondition, existing: Option<&Arc<Instance>>) -> Result<(), Refusal> {
    let current = existing.map(|instance| instance.revision);
    let holds = match precondition {
        Precondition::None => true,
        Precondition::Absent => current.is_none(),
        Precondition::Present => current.is_some(),
        Precondition::Unchanged(revision) => current == Some(revision),
    };
    if holds { Ok(()) } else { Err(Refusal::Precondition { current }) }
}

/// The states of checks that nobody has run yet.
fn fresh_checks(registration: &Registration, now: Timestamp) -> Box<[CheckState]> {
    let fresh = CheckState { health: registration.initial_health, since: now, last_error: None };
    vec![fresh; registration.checks.len()].into()
}

fn superseded(ghost: &Arc<Instance>) -> Change {
    Change::Gone { instance: ghost.clone(), cause: Cause::Superseded }
}

impl Registry {
    /// The revision of the next batch.
    fn next_revision(&self) -> Revision {
        self.revision().next()
    }

    /// Judges a registration on the lease that the store found for it.
    ///
    /// # Errors
    /// Every [`Refusal`] but those of leases.
    pub fn judge_register(
        &self,
        register: &Register,
        lease: Option<InstanceLease>,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Judgement, Refusal> {
        let Register { service, registration, .. } = register;
        let id = register.id.id();
        let before = self.instance(service, id.as_str());
        check_precondition(register.precondition, before)?;
        let rivals = self.rivals(service, id, registration);
        if let Some(before) = before {
            if matches!(register.id, IdChoice::Chosen(_)) {
                return Err(Refusal::Precondition { current: Some(before.revision) });
            }
            if let (Some(current), Some(new)) = (before.registration.generation, registration.generation)
                && new < current
            {
                return Err(Refusal::StaleGeneration { current });
            }
            if before.registered_as() == registration && before.lease == lease {
                let outcome = Outcome::Registered { created: false, instance: before.clone() };
                return Ok(Judgement { changes: Vec::new(), outcome });
            }
        } else {
            self.check_not_superseded(service, id, registration, rivals.first())?;
            let siblings = self.service(service).map_or(0, |service| service.instances().len());
            if siblings - rivals.len() >= limits.instances_per_service {
                return Err(Refusal::ServiceFull(limits.instances_per_service));
            }
            if self.instances() - rivals.len() >= limits.instances {
                return Err(Refusal::RegistryFull(limits.instances));
            }
        }
        let free = conflict::check(self, limits, service, id, registration);
        free.or_else(|refusal| match &rivals[..] {
            [] => Err(refusal),
            // What a ghost was called is free once it is gone.
            rivals => conflict::check(&self.without(rivals, now), limits, service, id, registration),
        })?;

        let revision = self.next_revision();
        let siblings = self.service(service);
        let mut registration = registration.clone();
        for sibling in siblings.iter().flat_map(|service| [service.instances().first(), service.instances().last()]) {
            sibling.inspect(|sibling| registration.share_with(&sibling.registration));
        }
        let mut instance = Instance {
            service: siblings.map_or(service, |known| known.name()).clone(),
            id: id.clone(),
            registration,
            amended_from: None,
            lease,
            state: State::Up,
            state_until: None,
            checks: fresh_checks(&register.registration, now),
            health_since: now,
            registered_at: now,
            revision,
            epoch: revision,
        };
        if let Some(before) = before {
            instance.state = before.state;
            instance.state_until = before.state_until;
            instance.registered_at = before.registered_at;
            if *before.registered_as() == register.registration {
                instance.registration = before.registration.clone();
                instance.amended_from = before.amended_from.clone();
            }
            if register.registration.is_tested_like(&before.registration) {
                instance.checks = before.checks.clone();
                instance.health_since = before.health_since;
                instance.epoch = before.epoch;
            }
        }
        let instance = Arc::new(instance);
        let cause = if before.is_some() { Cause::Replaced } else { Cause::Registered };
        let outcome = Outcome::Registered { created: before.is_none(), instance: instance.clone() };
        let ghosts = rivals.iter().map(superseded);
        Ok(Judgement { outcome, changes: ghosts.chain([Change::Put { instance, cause }]).collect() })
    }

    /// What there would be once these have been superseded.
    fn without(&self, ghosts: &[Arc<Instance>], now: Timestamp) -> Self {
        let mut without = self.clone();
        let changes = ghosts.iter().map(superseded).collect();
        without.foresee(&Batch { revision: self.next_revision(), at: now, actor: Actor::server(), changes });
        without
    }

    /// The other instances of a service that cannot be real together with this one.
    fn rivals(&self, service: &ServiceName, id: &InstanceId, registration: &Registration) -> Vec<Arc<Instance>> {
        let others = self.service(service).map_or(&[][..], |service| service.instances());
        let is_rival = |other: &&Arc<Instance>| other.id != *id && registration.displaces(&other.registration);
        others.iter().filter(is_rival).cloned().collect()
    }

    /// Whether an instance that lost its place may take it back: not while the other is there, unless it is a newer
    /// start. Two that renew side by side would otherwise push each other out for ever.
    fn check_not_superseded(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        registration: &Registration,
        rival: Option<&Arc<Instance>>,
    ) -> Result<(), Refusal> {
        let (Some(rival), Some(gone)) = (rival, self.service(service).and_then(|service| service.superseded(id)))
        else {
            return Ok(());
        };
        if registration.generation > gone.generation || !registration.place().overlaps(&gone.place) {
            return Ok(());
        }
        Err(Refusal::Superseded { by: rival.id.clone(), generation: gone.generation })
    }

    /// Judges a change of what may be changed without registering again.
    ///
    /// # Errors
    /// [`Refusal::NoInstance`], [`Refusal::Precondition`], [`Refusal::NameTaken`], [`Refusal::NameTooLong`].
    pub fn judge_amend(&self, amendment: &Amendment, limits: &Limits, now: Timestamp) -> Result<Judgement, Refusal> {
        let Amendment { service, id, state, expiry, weight, tags, meta, precondition } = amendment;
        let before = self.instance(service, id.as_str()).ok_or(Refusal::NoInstance)?;
        check_precondition(*precondition, Some(before))?;
        let mut after = Instance::clone(before);
        after.state = state.unwrap_or(after.state);
        after.state_until = match expiry {
            _ if after.state == State::Up => None,
            Expiry::Kept if after.state == before.state => before.state_until,
            Expiry::Kept | Expiry::Never => None,
            Expiry::After(span) => Some(now.after(span.std())),
        };
        after.registration.weight = weight.unwrap_or(after.registration.weight);
        if let Some(tags) = tags {
            conflict::check_lengths(limits, service, tags.iter())?;
            conflict::check_tags(self, limits, service, id, tags)?;
            after.registration.tags = tags.clone();
        }
        if let Some(meta) = meta {
            after.registration.meta = meta.clone();
        }
        if after == **before {
            return Ok(Judgement { changes: Vec::new(), outcome: Outcome::Amended(before.clone()) });
        }
        if after.registration == *before.registered_as() {
            after.amended_from = None;
        } else if after.amended_from.is_none() {
            after.amended_from = Some(Arc::new(before.registration.clone()));
        }
        after.revision = self.next_revision();
        let instance = Arc::new(after);
        let changes = vec![Change::Put { instance: instance.clone(), cause: Cause::Amended }];
        Ok(Judgement { changes, outcome: Outcome::Amended(instance) })
    }

    /// Judges the departure of one instance.
    ///
    /// # Errors
    /// [`Refusal::NoInstance`], [`Refusal::Precondition`].
    pub fn judge_deregister(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        precondition: Precondition,
    ) -> Result<Judgement, Refusal> {
        let instance = self.instance(service, id.as_str()).ok_or(Refusal::NoInstance)?;
        check_precondition(precondition, Some(instance))?;
        let changes = vec![Change::Gone { instance: instance.clone(), cause: Cause::Deregistered }];
        Ok(Judgement { changes, outcome: Outcome::Deregistered(1) })
    }

    /// Judges the departure of all instances of a scope.
    pub fn judge_deregister_all(&self, scope: &Scope) -> Judgement {
        let gone = |instance: &Arc<Instance>| Change::Gone { instance: instance.clone(), cause: Cause::Deregistered };
        let changes: Vec<Change> = match scope {
            Scope::Service(name) => {
                self.service(name).into_iter().flat_map(|service| service.instances()).map(gone).collect()
            }
            Scope::Under(group) => {
                self.services_under(group, None).flat_map(|service| service.instances()).map(gone).collect()
            }
        };
        Judgement { outcome: Outcome::Deregistered(changes.len()), changes }
    }

    /// Judges settings of a whole service.
    ///
    /// # Errors
    /// [`Refusal::SettingsFull`].
    pub fn judge_configure(
        &self,
        service: &ServiceName,
        settings: Option<&ServiceSettings>,
        limits: &Limits,
    ) -> Result<Judgement, Refusal> {
        let before = self.service(service).and_then(|service| service.settings());
        if before.is_none() && settings.is_some() && self.configured() >= limits.configured {
            return Err(Refusal::SettingsFull(limits.configured));
        }
        let outcome = Outcome::Configured { existed: before.is_some() };
        let change = || Change::Configured { service: service.clone(), settings: settings.cloned().map(Arc::new) };
        let changes = if before.map(AsRef::as_ref) == settings { Vec::new() } else { vec![change()] };
        Ok(Judgement { changes, outcome })
    }

    /// Judges that the last good set of a service is kept, or no longer.
    pub fn judge_guard(&self, service: &ServiceName, guarded: Option<&Guarded>) -> Judgement {
        let before = self.service(service).and_then(|service| service.guarded()).map(AsRef::as_ref);
        let possible = guarded.is_none() || self.registered(service).is_some();
        let change = || Change::Guarded { service: service.clone(), guarded: guarded.cloned().map(Arc::new) };
        let changes = if before == guarded || !possible { Vec::new() } else { vec![change()] };
        Judgement { changes, outcome: Outcome::Guarded }
    }

    /// Whether all instances of a service may come together with those of the service one label to the `right`, in place
    /// of this registry: whether the names that they make are theirs. Names that are taken by other means do not count
    /// when the service has them here already.
    ///
    /// # Errors
    /// [`Refusal::NameTaken`] and [`Refusal::NameTooLong`], and the position of the instance at fault.
    pub fn judge_together(
        &self,
        limits: &Limits,
        right: &[Arc<Instance>],
        service: &ServiceName,
        instances: &[Arc<Instance>],
    ) -> Result<(), (usize, Refusal)> {
        conflict::check_together(self, limits, right, service, instances)
    }

    /// What the end of a state's time changes.
    pub fn judge_lift(&self, service: &ServiceName, id: &InstanceId) -> Option<Change> {
        let before = self.instance(service, id.as_str()).filter(|instance| instance.state_until.is_some())?;
        let revision = self.next_revision();
        let after = Instance { state: State::Up, state_until: None, revision, ..Instance::clone(before) };
        Some(Change::Put { instance: Arc::new(after), cause: Cause::Lifted })
    }

    /// What the end of an instance's patience changes.
    pub fn judge_evict(&self, service: &ServiceName, id: &InstanceId) -> Option<Change> {
        let instance = self.instance(service, id.as_str())?.clone();
        Some(Change::Gone { instance, cause: Cause::Evicted })
    }

    /// Judges a check's opinion. A late, repeated or unknown one changes nothing: the instance has moved on.
    pub fn judge_observe(&self, observation: &Observation) -> Judgement {
        let changes = self.observed(observation).map(|instance| Change::Put { instance, cause: Cause::Health });
        Judgement { changes: changes.into_iter().collect(), outcome: Outcome::Observed }
    }

    fn observed(&self, observation: &Observation) -> Option<Arc<Instance>> {
        let Observation { service, id, epoch, check, health, error, at } = observation;
        let before = self.instance(service, id.as_str()).filter(|instance| instance.epoch == *epoch)?;
        let position = before.registration.checks.iter().position(|spec| spec.name == *check)?;
        if before.checks[position].health == *health {
            return None;
        }
        let mut after = Instance::clone(before);
        let last_error = error.clone().filter(|_| *health == Health::Critical);
        after.checks[position] = CheckState { health: *health, since: *at, last_error };
        if after.health() != before.health() {
            after.health_since = *at;
        }
        after.revision = self.next_revision();
        Some(Arc::new(after))
    }
}
