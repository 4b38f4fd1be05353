//! Groups, what is due while a write is under way, and disks that stand still.

use std::sync::mpsc::Sender;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::model::{Addresses, Duration as Span, Health, Meta, Registration, StoreId, Timestamp, Transport, Ttl};
use crate::registry::{IdChoice, LeaseWish, Limits, Outcome, Precondition, Register, Registry};
use crate::store::history::Keep;
use crate::store::journal::{Restored, Unwritten};
use crate::store::local::Local;
use crate::store::ring::Ring;
use crate::store::{Followed, Settings, Store};

const KEEP: Keep = Keep { age: Duration::from_secs(3600), events: 10 };

/// How much each group held.
type Sizes = Arc<Mutex<Vec<usize>>>;

/// Writes when it is let, and notes the size of each group.
struct Slow {
    may_write: std::sync::mpsc::Receiver<()>,
    groups: Sizes,
}

impl Journal for Slow {
    const ENGINE: &'static str = "slow";
    const KEEPS: bool = true;
    type History = Ring;

    fn history(&self) -> Ring {
        Ring::new(KEEP, Timestamp::from_millis(0))
    }

    fn write(&mut self, group: &Group, _: &Unknown) -> Result<(), String> {
        self.groups.lock().push(group.leases.len());
        self.may_write.recv().map_err(|error| error.to_string())
    }

    fn replace(&mut self, _: &Whole) -> Result<(), Unwritten> {
        Ok(())
    }
}

fn grant() -> Command {
    Command::Grant { ttl: Span::from_secs(600) }
}

#[tokio::test(start_paused = true)]
async fn groups_form_while_a_write_is_under_way_and_the_queue_is_bounded() {
    let (store, let_write, groups) = slow();
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.commit(grant()).await }
    });
    while groups.lock().is_empty() {
        tokio::task::yield_now().await;
    }

    let commits = join_all((0..10_000).map(|_| store.commit(grant())));
    let release = async {
        // Enough for all groups, once everyone has asked.
        tokio::task::yield_now().await;
        (0..100).for_each(|_| let_write.send(()).unwrap());
    };
    let (committed, ()) = tokio::join!(commits, release);

    assert!(first.await.unwrap().is_ok());
    let refused = committed.iter().filter(|committed| committed.is_err()).count();
    assert_eq!(refused, 10_000 - 8192, "more than the queue holds");
    let reason = committed.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(reason.contains("8192 changes are waiting"), "{reason}");
    assert_eq!(*groups.lock(), [vec![1], vec![GROUP_MAX; 8]].concat());
}

fn limits() -> Limits {
    Limits {
        instances_per_service: 10_000,
        instances: 100_000,
        leases: 100_000,
        remembered_names: 10,
        configured: 10,
        zone_octets: 14,
        reserved: Default::default(),
    }
}

fn put(service: &str, id: &str, lease: LeaseWish) -> Command {
    Command::Register(Box::new(Register {
        service: service.parse().unwrap(),
        id: IdChoice::Given(id.parse().unwrap()),
        registration: Registration {
            addresses: Addresses::new([[10, 0, 0, 1].into()]).unwrap(),
            port: 80,
            protocol: Transport::Tcp,
            ports: Arc::default(),
            priority: 0,
            weight: 1,
            tags: Arc::default(),
            meta: Meta::default(),
            ttl: None,
            https: false,
            checks: [].into(),
            initial_health: Health::Unknown,
            evict_after: None,
            generation: None,
            shared_address: true,
        },
        lease,
        precondition: Precondition::None,
    }))
}

/// A store with a slow journal, what lets it write, and how much it wrote.
fn slow() -> (Arc<Local<Slow>>, Sender<()>, Sizes) {
    let restored = Restored {
        id: StoreId::new("test"),
        serial_base: 0,
        registry: Registry::default(),
        leases: Vec::new(),
        unknown: Unknown::default(),
    };
    let (let_write, may_write) = std::sync::mpsc::channel();
    let groups = Sizes::default();
    let journal = Slow { may_write, groups: groups.clone() };
    let name_memory = Duration::from_secs(60);
    let settings =
        Settings { limits: limits(), ttl: Ttl::USUAL, name_memory, history: KEEP, guard: Default::default() };
    (Arc::new(Local::start(restored, settings, journal)), let_write, groups)
}

/// Lets simulated time pass in steps, as it does for a server that runs.
async fn pass(milliseconds: u64) {
    for _ in 0..milliseconds / 10 {
        tokio::time::advance(Duration::from_millis(10)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lapses_is_told_while_a_write_is_under_way_and_records_follow_in_batches() {
    const LEASES: usize = 5_000;
    let (store, let_write, groups) = slow();
    let ttl = LeaseWish::Own(Span::from_secs(10));
    (0..LEASES.div_ceil(GROUP_MAX)).for_each(|_| let_write.send(()).unwrap());
    let all = (0..LEASES).map(|n| store.commit(put(&format!("s{}", n % 10), &format!("i{n}"), ttl)));
    assert!(join_all(all).await.iter().all(Result::is_ok));
    let mut watch = store.watch(None);
    let Some(Followed::Reset(mut registry)) = watch.next().await else { panic!() };
    assert_eq!(registry.instances(), LEASES);

    // One more write, which the disk does not end in time.
    pass(9_900).await;
    let last = tokio::spawn({
        let store = store.clone();
        async move { store.commit(put("last", "i1", LeaseWish::None)).await }
    });
    pass(50).await;
    let written = LEASES.div_ceil(GROUP_MAX) + 1;
    while groups.lock().len() < written {
        tokio::task::yield_now().await;
    }
    assert!(watch.next().now_or_never().is_none(), "nothing has lapsed yet");
    pass(100).await;
    let Some(Some(Followed::Lapsed(lapsed))) = watch.next().now_or_never() else { panic!("not told") };
    assert_eq!(lapsed.len(), LEASES, "all of them, within a hundredth of a second");
    assert!(watch.next().now_or_never().is_none(), "once");
    let Some(Some(Followed::Reset(shown))) = store.watch(None).next().now_or_never() else { panic!() };
    assert_eq!(shown.instances(), LEASES, "and none of it is on record");

    (0..10).for_each(|_| let_write.send(()).unwrap());
    assert!(last.await.unwrap().is_ok());
    while registry.instances() > 1 {
        let Some(Followed::Batches(batches, _)) = watch.next().await else { panic!() };
        batches.iter().for_each(|batch| registry.apply(batch));
    }
    assert_eq!(groups.lock().len() - written, 2, "5,000 ends in two writes");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stands_still_takes_no_lease_from_who_waits_for_it() {
    let (store, let_write, _) = slow();
    let_write.send(()).unwrap();
    let again = || put("web", "i1", LeaseWish::Own(Span::from_secs(10)));
    let Outcome::Registered { instance, .. } = store.commit(again()).await.unwrap().outcome else { panic!() };
    let lease = instance.lease.unwrap().id;
    let waiting = [put("web", "i2", LeaseWish::None), again()].map(|command| {
        let store = store.clone();
        let waiting = tokio::spawn(async move { store.commit(command).await });
        async move { waiting.await.unwrap() }
    });
    pass(60_000).await;
    assert!(store.lease(lease).is_some());
    (0..10).for_each(|_| let_write.send(()).unwrap());
    for committed in join_all(waiting).await {
        let Outcome::Registered { instance, .. } = committed.unwrap().outcome else { panic!() };
        assert!(instance.id.as_str() == "i2" || instance.lease.unwrap().id == lease, "renewed, not granted anew");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_takes_no_lease_from_who_registers_again() {
    let (store, let_write, _) = slow();
    let_write.send(()).unwrap();
    let again = || store.commit(put("web", "i1", LeaseWish::Own(Span::from_secs(10))));
    assert!(again().await.is_ok());
    drop(let_write);
    assert!(store.commit(put("web", "i2", LeaseWish::None)).await.is_err(), "the disk refuses");
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let renewed = again().await.unwrap();
        let Outcome::Registered { created: false, instance } = renewed.outcome else { panic!() };
        assert!(store.lease(instance.lease.unwrap().id).is_some());
        assert!(store.commit(put("web", "i2", LeaseWish::None)).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_an_engine_that_is_gone_comes_to_the_end() {
    let (store, let_write, _) = slow();
    let_write.send(()).unwrap();
    store.commit(put("web", "i1", LeaseWish::None)).await.unwrap();
    let (mut ahead, mut behind) = (store.watch(None), store.watch(Some(Revision(0))));
    let mut from_nowhere = store.watch(Some(Revision(77)));
    assert!(matches!(ahead.next().await, Some(Followed::Reset(_))));
    drop((store, let_write));
    assert!(ahead.next().await.is_none());
    assert!(matches!(behind.next().await, Some(Followed::Batches(..))), "all that happened comes before it");
    assert!(behind.next().await.is_none());
    assert!(matches!(from_nowhere.next().await, Some(Followed::Reset(_))));
    assert!(from_nowhere.next().await.is_none());
}
