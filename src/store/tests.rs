//! What an engine shows, what it tells and what its journal keeps agree, whatever becomes of single writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;

use super::group::{Group, InstanceName, Whole};
use super::journal::{Journal, Restored, Unwritten};
use super::ledger::tests::{Op, command, grants, op, settings};
use super::local::Local;
use super::ring::Ring;
use super::unknown::Unknown;
use super::{CommitError, Followed, Store, Watch};
use crate::model::{Duration, Instance, LeaseId, Revision, ServiceName, StoreId, Timestamp};
use crate::registry::{Registry, Remains};

/// What becomes of a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Kept,
    /// It fails and leaves nothing.
    Lost,
    /// It fails, and yet is there.
    KeptUnknown,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Disk {
    revision: Revision,
    instances: BTreeMap<InstanceName, Arc<Instance>>,
    services: BTreeMap<ServiceName, Remains>,
    leases: BTreeMap<LeaseId, Duration>,
}

fn write_all<K: Ord + Clone, V: Clone>(kept: &mut BTreeMap<K, V>, written: &[(K, Option<V>)]) {
    for (key, value) in written {
        match value {
            Some(value) => drop(kept.insert(key.clone(), value.clone())),
            None => drop(kept.remove(key)),
        }
    }
}

/// Keeps things in memory, unless it is told to fail the next time.
#[derive(Debug, Default, Clone)]
struct Flaky {
    disk: Arc<Mutex<Disk>>,
    next: Arc<Mutex<Fate>>,
}

impl Journal for Flaky {
    const ENGINE: &'static str = "flaky";
    const KEEPS: bool = true;
    type History = Ring;

    fn history(&self) -> Ring {
        Ring::new(settings().history, Timestamp::from_millis(0))
    }

    fn write(&mut self, group: &Group, _: &Unknown) -> Result<(), String> {
        let fate = std::mem::take(&mut *self.next.lock());
        if fate != Fate::Lost {
            let mut disk = self.disk.lock();
            disk.revision = group.revision;
            write_all(&mut disk.instances, &group.instances);
            write_all(&mut disk.services, &group.services);
            write_all(&mut disk.leases, &group.leases);
        }
        if fate == Fate::Kept { Ok(()) } else { Err("the disk is in a mood".to_owned()) }
    }

    fn replace(&mut self, whole: &Whole) -> Result<(), Unwritten> {
        let leases = whole.leases.iter().copied().collect();
        *self.disk.lock() = Disk { leases, ..as_kept(&whole.registry) };
        Ok(())
    }
}

async fn snapshot(store: &dyn Store) -> Registry {
    match store.watch(None).next().await {
        Some(Followed::Reset(snapshot)) => snapshot,
        other => panic!("{other:?}"),
    }
}

/// A registry as it should be on disk, with the leases that its instances are on.
fn as_kept(registry: &Registry) -> Disk {
    let mut disk = Disk { revision: registry.revision(), ..Disk::default() };
    for service in registry.services_after(None) {
        for instance in service.instances() {
            disk.instances.insert((service.name().clone(), instance.id.clone()), instance.clone());
            disk.leases.extend(instance.lease.map(|lease| (lease.id, lease.ttl)));
        }
        if !service.remains().is_empty() {
            disk.services.insert(service.name().clone(), service.remains());
        }
    }
    disk
}

async fn follow(watch: &mut dyn Watch, registry: &mut Registry, until: Revision) {
    while registry.revision() < until {
        match watch.next().await.expect("the store is open") {
            Followed::Reset(snapshot) => *registry = snapshot,
            Followed::Batches(batches, _) => batches.iter().for_each(|batch| registry.apply(batch)),
            // The batch that says so follows.
            Followed::Lapsed(_) => {}
        }
    }
}

async fn play(script: Vec<(Op, Fate)>) {
    let restored = Restored {
        id: StoreId::new("f1"),
        serial_base: 0,
        registry: Registry::default(),
        leases: Vec::new(),
        unknown: Unknown::default(),
    };
    let journal = Flaky::default();
    let store = Local::start(restored, settings(), journal.clone());
    let (mut watch, mut followed) = (store.watch(Some(Revision(0))), Registry::default());
    let mut granted: Vec<LeaseId> = Vec::new();
    for (op, fate) in script {
        let before = snapshot(&store).await;
        *journal.next.lock() = fate;
        match store.commit(command(&op, &before, &granted)).await {
            Ok(committed) => {
                granted.extend(grants(&committed.outcome));
                assert!(snapshot(&store).await.revision() >= committed.revision, "what is acknowledged is shown");
            }
            Err(CommitError::Refused(_)) => {}
            Err(CommitError::Unavailable(_)) => {
                assert_ne!(fate, Fate::Kept);
                assert_eq!(
                    as_kept(&snapshot(&store).await),
                    as_kept(&before),
                    "what could not be written is not shown"
                );
            }
        }
        // Longer than the writer waits before it tries again, and no lease ends in just that moment.
        *journal.next.lock() = Fate::Kept;
        tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
        let shown = snapshot(&store).await;
        let alive = granted.iter().filter_map(|id| store.lease(*id)).map(|lease| (lease.id, lease.ttl));
        let mut expected = as_kept(&shown);
        expected.leases.extend(alive);
        // Also after a write that failed and left changes which have never happened.
        assert_eq!(*journal.disk.lock(), expected);
        follow(&mut *watch, &mut followed, shown.revision()).await;
        assert_eq!(as_kept(&followed), as_kept(&shown), "who follows sees what is shown");
    }
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_is_what_is_kept_whatever_writes_fail(
        script in vec((op(), prop_oneof![3 => Just(Fate::Kept), 1 => Just(Fate::Lost), 1 => Just(Fate::KeptUnknown)]), 1..24)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(script));
    }
}
