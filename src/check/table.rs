//! The checks of all instances, under keys that are small, dense and never mistaken for one another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{TargetRefused, Targets, Threshold};
use crate::model::{CheckSpec, Health, Instance, InstanceId, Revision, ServiceName, Timestamp};

/// Names one check of one instance under one epoch. A place is used again, a key is not: what comes late for a check
/// that is gone finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    place: u32,
    turn: u32,
}

/// What the check is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing; the schedule knows when it comes up.
    Idle,
    /// Its first probe waits for room.
    Waiting,
    /// A probe runs.
    Running,
}

/// An opinion that should stand but does not yet.
#[derive(Debug, Clone)]
pub(super) struct Transition {
    pub(super) health: Health,
    pub(super) error: Option<Arc<str>>,
    pub(super) at: Timestamp,
}

/// One check of one instance.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) instance: Arc<Instance>,
    position: usize,
    pub(super) target: Result<SocketAddr, TargetRefused>,
    pub(super) threshold: Threshold,
    pub(super) stage: Stage,
    /// Whether a probe has ended since the epoch began or this node started.
    pub(super) probed: bool,
    /// What the last result asks for; none when it confirms the standing opinion or what it asked for is committed.
    pub(super) transition: Option<Transition>,
    /// Whether it has fallen silent and the guard has it stay for now.
    pub(super) kept: bool,
    /// Whether a commit of a transition is under way or waits for room.
    pub(super) committing: bool,
    /// The revision up to which the standing opinion is known. The watch may still have older news to tell.
    settled_at: Revision,
}

impl Check {
    /// What is to be done.
    pub(super) fn spec(&self) -> &CheckSpec {
        &self.instance.registration.checks[self.position]
    }

    /// All specs of the instance and the position of this check's, to share with a probe.
    pub(super) fn shared_spec(&self) -> (Arc<[CheckSpec]>, usize) {
        (self.instance.registration.checks.clone(), self.position)
    }

    /// Takes the opinion that stands in the store at a revision.
    pub(super) fn settle(&mut self, health: Health, revision: Revision) {
        if revision >= self.settled_at {
            self.settled_at = revision;
            self.threshold.settle(health);
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

/// All checks. An instance without checks is not in it.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    instances: HashMap<(ServiceName, InstanceId), Tested, foldhash::fast::RandomState>,
}

impl Table {
    /// How many checks there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Check> {
        self.places.get_mut(key.place as usize).filter(|place| place.turn == key.turn)?.check.as_mut()
    }

    /// Takes a newer state of an instance whose checks go on; false when it has none here under its epoch.
    pub(super) fn refresh(&mut self, instance: &Arc<Instance>) -> bool {
        let name = (instance.service.clone(), instance.id.clone());
        let Some(tested) = self.instances.get(&name).filter(|tested| tested.epoch == instance.epoch) else {
            return false;
        };
        for (key, state) in tested.keys.iter().zip(&instance.checks) {
            let check = self.places[key.place as usize].check.as_mut().expect("an instance's keys have checks");
            check.instance = instance.clone();
            check.settle(state.health, instance.revision);
        }
        true
    }

    /// Begins with an instance that is not in the table; the keys of its checks.
    pub(super) fn insert(&mut self, instance: &Arc<Instance>, targets: &Targets) -> Box<[Key]> {
        let specs = instance.registration.checks.iter().zip(&instance.checks).enumerate();
        let keys: Box<[Key]> = specs
            .map(|(position, (spec, state))| {
                self.place(Check {
                    instance: instance.clone(),
                    position,
                    target: targets.resolve(&instance.registration, spec),
                    threshold: Threshold::new(spec.rise, spec.fall, state.health),
                    stage: Stage::Idle,
                    probed: false,
                    transition: None,
                    kept: false,
                    committing: false,
                    settled_at: instance.revision,
                })
            })
            .collect();
        if !keys.is_empty() {
            let name = (instance.service.clone(), instance.id.clone());
            self.instances.insert(name, Tested { epoch: instance.epoch, keys: keys.clone() });
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

    /// Ends all checks of an instance; the keys they had.
    pub(super) fn remove(&mut self, service: &ServiceName, id: &InstanceId) -> Box<[Key]> {
        let Some(tested) = self.instances.remove(&(service.clone(), id.clone())) else { return Box::default() };
        for key in &tested.keys {
            let place = &mut self.places[key.place as usize];
            place.check = None;
            place.turn = place.turn.wrapping_add(1);
            self.free.push(key.place);
        }
        tested.keys
    }

    /// The instances for which something does not hold.
    pub(super) fn without(&self, holds: impl Fn(&ServiceName, &InstanceId) -> bool) -> Vec<(ServiceName, InstanceId)> {
        self.instances.keys().filter(|(service, id)| !holds(service, id)).cloned().collect()
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
        let keys = instances.iter().flat_map(|instance| table.insert(instance, &targets)).collect();
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
        assert_eq!(*table.remove(&one.service, &one.id), keys[..]);
        assert_eq!(table.len(), 0);
        let again = table.insert(&one, &Targets::new(&Settings::default()));
        assert_eq!(table.places.len(), 2, "places are");
        assert!(keys.iter().all(|key| table.get_mut(*key).is_none()));
        assert!(again.iter().all(|key| table.get_mut(*key).is_some()));
        assert!(table.remove(&one.service, &"i2".parse().unwrap()).is_empty());
    }

    #[test]
    fn same_epoch_goes_on_and_a_new_one_does_not() {
        let one = instance("i1", [tcp_check()]);
        let (mut table, keys) = table_of(std::slice::from_ref(&one));
        assert!(table.refresh(&revised(&one, 9, Health::Passing)));
        assert_eq!(table.get_mut(keys[0]).unwrap().threshold.standing(), Health::Passing);
        let mut moved = Instance::clone(&one);
        moved.epoch = Revision(10);
        assert!(!table.refresh(&Arc::new(moved)));
    }

    #[test]
    fn old_news_of_the_watch_does_not_undo_a_commit() {
        let one = instance("i1", [tcp_check()]);
        let (mut table, keys) = table_of(std::slice::from_ref(&one));
        table.get_mut(keys[0]).unwrap().settle(Health::Critical, Revision(20));
        assert!(table.refresh(&revised(&one, 19, Health::Passing)));
        assert_eq!(table.get_mut(keys[0]).unwrap().threshold.standing(), Health::Critical);
        assert!(table.refresh(&revised(&one, 21, Health::Passing)));
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
