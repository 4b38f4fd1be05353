//! The checks of all instances, under keys that are small, dense and never mistaken for one another.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clock::{Clock, Tick};
use super::held::ConnectionId;
use super::hints::Hinted;
use super::hold::Hold;
use super::latency::Latencies;
use super::post::{Key, Turn};
use super::rhythm::{Pace, Rhythm};
use super::slots::Standing;
use super::ttl::Awaited;
use super::{TargetRefused, Targets, Threshold};
use crate::guard::Verdict;
use crate::model::{
    Cadence, CheckDefaults, CheckSpec, Duration, Health, Heard, Instance, InstanceId, Label, ProbeReport, Revision,
    ServiceName, Timestamp, Unheard,
};

/// What the check is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing; the wheel knows when it comes up.
    Idle,
    /// Its first probe waits for room.
    Waiting,
    /// A probe runs; the wheel knows when it has to end.
    Running(Running),
    /// It is not probed but waits for a report; the wheel knows when that has to have come.
    Awaiting(Awaited),
}

/// A probe that runs, and the room that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) flight: u32,
    pub(super) address: IpAddr,
    pub(super) standing: Standing,
    pub(super) began: Instant,
    /// The tick of the turn that it began in.
    pub(super) at: Tick,
}

/// The connection that a check is to hold beside its probes.
#[derive(Debug, Default)]
pub(super) struct Holding {
    pub(super) hold: Hold,
    /// The one that there is, and with whom.
    pub(super) connection: Option<(ConnectionId, SocketAddr)>,
}

/// One check of one instance.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) instance: Arc<Instance>,
    position: usize,
    /// How often it is made, under the settings of its service.
    pub(super) cadence: Cadence,
    pub(super) target: Result<SocketAddr, TargetRefused>,
    pub(super) threshold: Threshold,
    pub(super) stage: Stage,
    pub(super) rhythm: Rhythm,
    /// How the last probe was come to.
    pub(super) pace: Pace,
    /// When the last probe ended, since the epoch began or this node started.
    pub(super) probed_at: Option<Tick>,
    /// Why the last probe or report that failed did.
    pub(super) last_failure: Option<Arc<str>>,
    pub(super) latencies: Latencies,
    pub(super) hinted: Hinted,
    /// Most have none.
    pub(super) holding: Option<Box<Holding>>,
    transitions: u32,
    /// What the last result asks for; none when it confirms the standing opinion or what it asked for is committed.
    pub(super) transition: Option<Turn>,
    /// What the guard said when it last fell silent; to leave, when nothing keeps it.
    pub(super) verdict: Verdict,
    /// Whether a commit of a transition is under way or waits for room.
    pub(super) committing: bool,
    /// Who waits for that.
    pub(super) waiter: Option<oneshot::Sender<Result<Heard, Unheard>>>,
    /// The revision up to which the standing opinion is known. The watch may still have older news to tell.
    settled_at: Revision,
}

impl Check {
    /// What is to be done.
    pub(super) fn spec(&self) -> &CheckSpec {
        &self.instance.registration.checks[self.position]
    }

    /// Takes the opinion that stands in the store at a revision.
    pub(super) fn settle(&mut self, health: Health, revision: Revision, now: Tick) {
        if revision >= self.settled_at {
            self.settled_at = revision;
            self.transitions += u32::from(self.threshold.settle(health, now));
        }
    }

    /// What was said of it has been heard, and what it led to stands.
    pub(super) fn heard(&self, clock: Clock, stalled: Tick, now: Instant) -> Heard {
        Heard { report: self.report(clock, stalled, now), revision: self.settled_at }
    }

    /// How long its silence has to go on, once this node is well again, to be believed: what began before has ended then.
    pub(super) fn confirmed_after(&self) -> Duration {
        if self.spec().kind.is_probed() { self.cadence.timeout } else { self.cadence.interval }
    }

    /// What is known of it beyond its opinion, now.
    pub(super) fn report(&self, clock: Clock, stalled: Tick, now: Instant) -> ProbeReport {
        let (flaps, rise_needed) = self.threshold.calm(clock.tick(now));
        let since = |tick: Tick| now.saturating_duration_since(clock.at(tick));
        ProbeReport {
            check: self.spec().name.clone(),
            flaps: flaps.saturating_sub(1),
            rise_needed,
            transitions: self.transitions,
            hints: self.hinted.count(),
            last_probe_at: self.probed_at.map(|tick| Timestamp::now().before(since(tick))),
            last_failure: self.last_failure.clone(),
            latency_us: self.latencies.p50_and_p99(),
            report_by: match self.stage {
                Stage::Awaiting(awaited) => {
                    let left = clock.at(awaited.due_after(stalled)).saturating_duration_since(now);
                    Some(Timestamp::now().after(left))
                }
                _ => None,
            },
            hold: self.holding.as_ref().map(|holding| holding.hold.report()),
        }
    }
}

#[derive(Debug)]
struct Place {
    turn: u32,
    check: Option<Check>,
}

#[derive(Debug)]
struct Tested {
    epoch: Revision,
    keys: Box<[Key]>,
}

/// What is tested of a service.
#[derive(Debug, Default)]
struct Served {
    defaults: CheckDefaults,
    instances: HashMap<InstanceId, Tested, foldhash::fast::RandomState>,
}

/// All checks. An instance without checks is not in it, and neither is a service without those and without defaults.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    services: HashMap<ServiceName, Served, foldhash::fast::RandomState>,
}

impl Table {
    /// How many checks there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The check at a place, which is taken, and its key.
    pub(super) fn at_mut(&mut self, place: u32) -> Option<(Key, &mut Check)> {
        let slot = self.places.get_mut(place as usize)?;
        Some((Key { place, turn: slot.turn }, slot.check.as_mut()?))
    }

    /// What is known of each check of an instance, in the order of the checks.
    pub(super) fn reports(
        &self,
        name: &(ServiceName, InstanceId),
        clock: Clock,
        stalled: Tick,
        now: Instant,
    ) -> Vec<ProbeReport> {
        let keys = self.tested(&name.0, &name.1).map_or(&[][..], |tested| &tested.keys);
        let report = |key: &Key| Some(self.places[key.place as usize].check.as_ref()?.report(clock, stalled, now));
        keys.iter().filter_map(report).collect()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Check> {
        self.places.get_mut(key.place as usize).filter(|place| place.turn == key.turn)?.check.as_mut()
    }

    fn tested(&self, service: &ServiceName, id: &InstanceId) -> Option<&Tested> {
        self.services.get(service)?.instances.get(id)
    }

    /// The checks of an instance.
    pub(super) fn keys(&self, service: &ServiceName, id: &InstanceId) -> Box<[Key]> {
        self.tested(service, id).map(|tested| tested.keys.clone()).unwrap_or_default()
    }

    /// A check of an instance under an epoch, by its name.
    pub(super) fn key(&self, service: &ServiceName, id: &InstanceId, epoch: Revision, name: &Label) -> Option<Key> {
        let tested = self.tested(service, id).filter(|tested| tested.epoch == epoch)?;
        let is_it = |key: &&Key| {
            let check = self.places[key.place as usize].check.as_ref();
            check.is_some_and(|check| check.spec().name == *name)
        };
        tested.keys.iter().find(is_it).copied()
    }

    /// Takes a newer state of an instance whose checks go on; false when it has none here under its epoch.
    pub(super) fn refresh(&mut self, instance: &Arc<Instance>, now: Tick) -> bool {
        let tested = self.services.get(&instance.service).and_then(|served| served.instances.get(&instance.id));
        let Some(tested) = tested.filter(|tested| tested.epoch == instance.epoch) else { return false };
        for (key, state) in tested.keys.iter().zip(&instance.checks) {
            let check = self.places[key.place as usize].check.as_mut().expect("an instance's keys have checks");
            check.instance = instance.clone();
            check.settle(state.health, instance.revision, now);
        }
        true
    }

    /// Begins with an instance that is not in the table; the keys of its checks. `phase` gives random numbers from 0 to
    /// 1.
    pub(super) fn insert(
        &mut self,
        instance: &Arc<Instance>,
        targets: &Targets,
        phase: impl Fn() -> f64,
        now: Tick,
    ) -> Box<[Key]> {
        let defaults =
            self.services.get(&instance.service).map_or_else(CheckDefaults::default, |served| served.defaults);
        let specs = instance.registration.checks.iter().zip(&instance.checks).enumerate();
        let keys: Box<[Key]> = specs
            .map(|(position, (spec, state))| {
                let cadence = spec.cadence(&defaults);
                self.place(Check {
                    instance: instance.clone(),
                    position,
                    cadence,
                    target: targets.resolve(&instance.registration, spec),
                    threshold: Threshold::new(cadence.rise, cadence.fall, state.health),
                    stage: Stage::Idle,
                    rhythm: Rhythm::new(&cadence, phase(), now),
                    pace: Pace::Ordinary,
                    probed_at: None,
                    last_failure: None,
                    latencies: Latencies::default(),
                    hinted: Hinted::default(),
                    holding: spec.kind.holds().then(Box::default),
                    transitions: 0,
                    transition: None,
                    verdict: Verdict::Leave,
                    committing: false,
                    waiter: None,
                    settled_at: instance.revision,
                })
            })
            .collect();
        if !keys.is_empty() {
            let served = self.services.entry(instance.service.clone()).or_default();
            served.instances.insert(instance.id.clone(), Tested { epoch: instance.epoch, keys: keys.clone() });
        }
        keys
    }

    fn place(&mut self, check: Check) -> Key {
        if let Some(place) = self.free.pop() {
            let slot = &mut self.places[place as usize];
            slot.check = Some(check);
            return Key { place, turn: slot.turn };
        }
        let place = u32::try_from(self.places.len()).expect("checks are fewer than 2^32");
        self.places.push(Place { turn: 0, check: Some(check) });
        Key { place, turn: 0 }
    }

    /// Ends all checks of an instance; the places they had, and what they were.
    pub(super) fn remove(&mut self, service: &ServiceName, id: &InstanceId) -> Vec<(u32, Check)> {
        let Some(served) = self.services.get_mut(service) else { return Vec::new() };
        let Some(tested) = served.instances.remove(id) else { return Vec::new() };
        self.forget_idle(service);
        let mut ended = Vec::with_capacity(tested.keys.len());
        for key in &tested.keys {
            let place = &mut self.places[key.place as usize];
            ended.extend(place.check.take().map(|check| (key.place, check)));
            place.turn = place.turn.wrapping_add(1);
            self.free.push(key.place);
        }
        ended
    }

    /// Takes what holds for checks of a service that do not say so themselves; the keys of those that are made in another
    /// way now. `phase` gives random numbers from 0 to 1.
    pub(super) fn configure(
        &mut self,
        service: &ServiceName,
        defaults: CheckDefaults,
        phase: impl Fn() -> f64,
        now: Tick,
    ) -> Vec<Key> {
        if self.services.get(service).map_or_else(CheckDefaults::default, |served| served.defaults) == defaults {
            return Vec::new();
        }
        let served = self.services.entry(service.clone()).or_default();
        served.defaults = defaults;
        let mut changed = Vec::new();
        for key in served.instances.values().flat_map(|tested| &tested.keys) {
            let Some(check) = &mut self.places[key.place as usize].check else { continue };
            let cadence = check.spec().cadence(&defaults);
            if cadence != check.cadence {
                check.cadence = cadence;
                check.threshold.change(cadence.rise, cadence.fall);
                check.rhythm = Rhythm::new(&cadence, phase(), now);
                changed.push(*key);
            }
        }
        self.forget_idle(service);
        changed
    }

    /// The services that have defaults.
    pub(super) fn configured(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter().filter(|(_, served)| !served.defaults.is_empty()).map(|(name, _)| name)
    }

    fn forget_idle(&mut self, service: &ServiceName) {
        let is_idle = |served: &Served| served.instances.is_empty() && served.defaults.is_empty();
        if self.services.get(service).is_some_and(is_idle) {
            self.services.remove(service);
        }
    }

    /// The instances for which something does not hold.
    pub(super) fn without(&self, holds: impl Fn(&ServiceName, &InstanceId) -> bool) -> Vec<(ServiceName, InstanceId)> {
        let all = self.services.iter().flat_map(|(name, served)| served.instances.keys().map(move |id| (name, id)));
        all.filter(|(service, id)| !holds(service, id)).map(|(service, id)| (service.clone(), id.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Settings;
    use crate::check::support::{instance, tcp_check};

    fn table_of(instances: &[Arc<Instance>]) -> (Table, Vec<Key>) {
        let mut table = Table::default();
        let targets = Targets::new(&Settings::default());
        let keys = instances.iter().flat_map(|instance| table.insert(instance, &targets, || 0.5, 0)).collect();
        (table, keys)
    }

    fn revised(instance: &Instance, revision: u64, health: Health) -> Arc<Instance> {
        let mut instance = instance.clone();
        instance.revision = Revision(revision);
        instance.checks.iter_mut().for_each(|state| state.health = health);
        Arc::new(instance)
    }

    #[test]
    fn keys_are_never_used_twice() {
        let one = instance("i1", [tcp_check(), tcp_check()]);
        let (mut table, keys) = table_of(std::slice::from_ref(&one));
        assert_eq!((table.len(), keys.len()), (2, 2));
        let places: Vec<(u32, Stage)> = keys.iter().map(|key| (key.place, Stage::Idle)).collect();
        let removed = table.remove(&one.service, &one.id).into_iter().map(|(place, check)| (place, check.stage));
        assert_eq!(removed.collect::<Vec<_>>(), places);
        assert_eq!(table.len(), 0);
        let again = table.insert(&one, &Targets::new(&Settings::default()), || 0.5, 0);
        assert_eq!(table.places.len(), 2, "places are");
        assert!(keys.iter().all(|key| table.get_mut(*key).is_none()));
        assert!(again.iter().all(|key| table.get_mut(*key).is_some()));
        assert!(table.remove(&one.service, &"i2".parse().unwrap()).is_empty());
    }

    #[test]
    fn same_epoch_goes_on_and_a_new_one_does_not() {
        let one = instance("i1", [tcp_check()]);
        let (mut table, keys) = table_of(std::slice::from_ref(&one));
        assert!(table.refresh(&revised(&one, 9, Health::Passing), 0));
        assert_eq!(table.get_mut(keys[0]).unwrap().threshold.standing(), Health::Passing);
        let mut moved = Instance::clone(&one);
        moved.epoch = Revision(10);
        assert!(!table.refresh(&Arc::new(moved), 0));
    }

    #[test]
    fn old_news_of_the_watch_does_not_undo_a_commit() {
        let one = instance("i1", [tcp_check()]);
        let (mut table, keys) = table_of(std::slice::from_ref(&one));
        table.get_mut(keys[0]).unwrap().settle(Health::Critical, Revision(20), 0);
        assert!(table.refresh(&revised(&one, 19, Health::Passing), 0));
        assert_eq!(table.get_mut(keys[0]).unwrap().threshold.standing(), Health::Critical);
        assert!(table.refresh(&revised(&one, 21, Health::Passing), 0));
        assert_eq!(table.get_mut(keys[0]).unwrap().threshold.standing(), Health::Passing);
    }

    #[test]
    fn instances_without_checks_are_not_kept() {
        let (table, keys) = table_of(&[instance("i1", []), instance("i2", [tcp_check()])]);
        assert_eq!((table.len(), keys.len()), (1, 1));
        let gone = table.without(|_, _| false);
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].1.as_str(), "i2");
    }
}
