//! The contract of a store, run on every engine.

use std::sync::Arc;
use std::time::Duration;

use rollcall::model::{
    Addresses, Guarded, Health, InstanceId, Label, Meta, Registration, Revision, ServiceName, ServiceSettings, State,
    Transport, Ttl,
};
use rollcall::model::{Instance, Timestamp};
use rollcall::registry::{
    Amendment, Cause, Change, Command, Expiry, IdChoice, LeaseWish, Observation, Outcome, Precondition, Refusal,
    Register, Registry, Scope, guard_word,
};
use rollcall::store::{CommitError, Committed, Embedded, Followed, Memory, Settings, Store, Watch};

use super::support::world::store_settings;

pub(crate) fn engines() -> Vec<Arc<dyn Store>> {
    engines_with(&store_settings())
}

fn engines_with(settings: &Settings) -> Vec<Arc<dyn Store>> {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(dir.path(), settings.clone()).unwrap();
    // The directory goes here; the file lives on for as long as it is open, and nobody opens it again.
    vec![Arc::new(Memory::new(settings.clone())), Arc::new(embedded)]
}

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub(crate) fn id(id: &str) -> InstanceId {
    id.parse().unwrap()
}

pub(crate) fn registration(last: u8) -> Registration {
    Registration {
        addresses: Addresses::new([[10, 0, 0, last].into()]).unwrap(),
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
    }
}

/// An instance as it is after its first registration.
pub(crate) fn instance(name: &str, instance: &str) -> Instance {
    let at = Timestamp::from_millis(0);
    Instance {
        service: service(name),
        id: id(instance),
        registration: registration(1),
        amended_from: None,
        lease: None,
        state: State::Up,
        state_until: None,
        checks: Box::default(),
        health_since: at,
        registered_at: at,
        revision: Revision(1),
        epoch: Revision(1),
    }
}

pub(crate) fn check(name: &str) -> rollcall::model::CheckSpec {
    rollcall::model::CheckSpec {
        name: name.parse().unwrap(),
        kind: rollcall::model::CheckKind::Tcp { hold: false },
        interval: rollcall::model::Duration::from_secs(5),
        fast_interval: rollcall::model::Duration::from_millis(500),
        timeout: rollcall::model::Duration::from_secs(1),
        rise: 1,
        fall: 3,
        unsaid: Default::default(),
        port: None,
    }
}

pub(crate) fn register(name: &str, instance: &str, registration: Registration, lease: LeaseWish) -> Command {
    Command::Register(Box::new(Register {
        service: service(name),
        id: IdChoice::Given(id(instance)),
        registration,
        lease,
        precondition: Precondition::None,
    }))
}

async fn put(store: &dyn Store, name: &str, instance: &str) -> Committed {
    store.commit(register(name, instance, registration(1), LeaseWish::None)).await.unwrap()
}

pub(crate) async fn refusal(store: &dyn Store, command: Command) -> Refusal {
    match store.commit(command).await {
        Err(CommitError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A follower that keeps a registry of its own, as every reader does.
pub(crate) struct Follower {
    watch: Box<dyn Watch>,
    pub(crate) registry: Registry,
    /// Whether it began with a snapshot, and so with all there was.
    is_whole: bool,
    pub(crate) causes: Vec<&'static str>,
}

fn all(registry: &Registry) -> impl Iterator<Item = &Arc<Instance>> {
    registry.services_after(None).flat_map(|service| service.instances())
}

impl Follower {
    pub(crate) fn new(store: &dyn Store, after: Option<Revision>) -> Self {
        Self { watch: store.watch(after), registry: Registry::default(), is_whole: false, causes: Vec::new() }
    }

    pub(crate) async fn step(&mut self) {
        match self.watch.next().await.expect("the store is open") {
            Followed::Reset(snapshot) => (self.registry, self.is_whole) = (snapshot, true),
            // Their batch follows.
            Followed::Lapsed(_) => {}
            Followed::Batches(batches, registry) => {
                for batch in batches {
                    for change in &batch.changes {
                        self.causes.push(match change {
                            Change::Put { cause, .. } | Change::Gone { cause, .. } => cause.as_str(),
                            Change::Configured { .. } => "configured",
                            Change::Guarded { guarded, .. } => guard_word(guarded.as_ref()),
                            Change::Forgotten { .. } => "forgotten",
                        });
                    }
                    self.registry.apply(&batch);
                }
                assert_eq!(registry.revision(), self.registry.revision(), "the state that the batches led to");
                if self.is_whole {
                    assert!(all(&registry).eq(all(&self.registry)), "the state that the batches led to");
                }
            }
        }
    }

    /// Follows until the registry is as wanted; time passes as it must.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Registry) -> bool) {
        while !wanted(&self.registry) {
            let step = tokio::time::timeout(Duration::from_secs(86_400), self.step());
            assert!(step.await.is_ok(), "never came: {:?}", self.registry.revision());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_has_a_revision_and_none_is_without() {
    for store in engines() {
        let first = put(&*store, "web", "i1").await;
        let second = put(&*store, "web", "i2").await;
        assert!(second.revision > first.revision);
        let again = put(&*store, "web", "i2").await;
        assert_eq!(again.revision, second.revision, "an identical body changes nothing");
        assert!(matches!(again.outcome, Outcome::Registered { created: false, .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_sees_what_was_acknowledged_in_order() {
    for store in engines() {
        let mut follower = Follower::new(&*store, None);
        put(&*store, "web", "i1").await;
        put(&*store, "api.payments", "i1").await;
        let gone = Command::Deregister { service: service("web"), id: id("i1"), precondition: Precondition::None };
        let last = store.commit(gone).await.unwrap().revision;
        follower.until(|registry| registry.revision() >= last).await;
        assert!(follower.registry.instance(&service("web"), "i1").is_none());
        assert!(follower.registry.instance(&service("api.payments"), "i1").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_resumes_after_a_revision_without_gap_or_repetition() {
    for store in engines() {
        let first = put(&*store, "web", "i1").await.revision;
        let last = put(&*store, "web", "i2").await.revision;
        let mut follower = Follower::new(&*store, Some(first));
        follower.until(|registry| registry.revision() >= last).await;
        assert_eq!(follower.causes, ["registered"], "only what came after");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_from_an_unknown_position_starts_over() {
    for store in engines() {
        let last = put(&*store, "web", "i1").await.revision;
        let mut follower = Follower::new(&*store, Some(Revision(last.0 + 1000)));
        follower.until(|registry| registry.revision() == last).await;
        assert!(follower.causes.is_empty(), "a snapshot, not a history");
        assert!(follower.registry.instance(&service("web"), "i1").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_takes_its_instances_along() {
    for store in engines() {
        let mut follower = Follower::new(&*store, None);
        let ttl = rollcall::model::Duration::from_secs(10);
        let Outcome::Granted(lease) = store.commit(Command::Grant { ttl }).await.unwrap().outcome else { panic!() };
        for instance in ["i1", "i2"] {
            let command = register("web", instance, registration(1), LeaseWish::Join(lease.id));
            store.commit(command).await.unwrap();
        }
        put(&*store, "web", "i3").await;
        follower.until(|registry| registry.instances() == 3).await;
        follower.until(|registry| registry.instances() == 1).await;
        assert!(follower.registry.instance(&service("web"), "i3").is_some(), "who has no lease stays");
        assert_eq!(follower.causes.iter().filter(|cause| **cause == Cause::Expired.as_str()).count(), 2);
        assert!(store.lease(lease.id).is_none());
        assert_eq!(store.renew(&[lease.id]).await.unwrap(), [None], "what has lapsed is not renewed");
        let late = register("web", "i4", registration(4), LeaseWish::Join(lease.id));
        assert_eq!(refusal(&*store, late).await, Refusal::LeaseGone(lease.id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_lives_on_without_a_revision() {
    for store in engines() {
        let ttl = rollcall::model::Duration::from_secs(4);
        let command = register("web", "i1", registration(1), LeaseWish::Own(ttl));
        let committed = store.commit(command).await.unwrap();
        let Outcome::Registered { instance, .. } = &committed.outcome else { panic!() };
        let lease = instance.lease.unwrap();
        assert!(lease.own);
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let renewed = store.renew(&[lease.id]).await.unwrap();
            assert_eq!(renewed[0].map(|lease| lease.ttl), Some(ttl));
        }
        let mut follower = Follower::new(&*store, None);
        follower.step().await;
        assert_eq!(follower.registry.revision(), committed.revision);
        follower.until(|registry| registry.instances() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn registering_again_renews_the_own_lease() {
    for store in engines() {
        let ttl = rollcall::model::Duration::from_secs(4);
        let again = || register("web", "i1", registration(1), LeaseWish::Own(ttl));
        let first = store.commit(again()).await.unwrap();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(store.commit(again()).await.unwrap().revision, first.revision);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_lease_ends_with_its_instance() {
    for store in engines() {
        let ttl = rollcall::model::Duration::from_secs(4);
        let lease_of = |committed: Committed| match committed.outcome {
            Outcome::Registered { instance, .. } => instance.lease.unwrap().id,
            other => panic!("{other:?}"),
        };
        let first = lease_of(store.commit(register("web", "i1", registration(1), LeaseWish::Own(ttl))).await.unwrap());
        let longer = LeaseWish::Own(rollcall::model::Duration::from_secs(9));
        let second = lease_of(store.commit(register("web", "i1", registration(1), longer)).await.unwrap());
        assert!(store.lease(first).is_none() && store.lease(second).is_some(), "another length, another lease");
        store.commit(Command::DeregisterAll(Scope::Service(service("web")))).await.unwrap();
        assert!(store.lease(second).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lease_takes_its_instances_along_at_once() {
    for store in engines() {
        let ttl = rollcall::model::Duration::from_secs(3600);
        let Outcome::Granted(lease) = store.commit(Command::Grant { ttl }).await.unwrap().outcome else { panic!() };
        store.commit(register("web", "i1", registration(1), LeaseWish::Join(lease.id))).await.unwrap();
        let revoked = store.commit(Command::Revoke(lease.id)).await.unwrap();
        assert_eq!(revoked.outcome, Outcome::Revoked(1));
        let mut follower = Follower::new(&*store, None);
        follower.until(|registry| registry.revision() >= revoked.revision).await;
        assert_eq!(follower.registry.instances(), 0);
        assert_eq!(refusal(&*store, Command::Revoke(lease.id)).await, Refusal::LeaseGone(lease.id));
    }
}

#[tokio::test(start_paused = true)]
async fn groups_deregister_strictly_below() {
    for store in engines() {
        for name in ["payments", "api.payments", "eu.api.payments", "xpayments"] {
            put(&*store, name, "i1").await;
        }
        let all = Command::DeregisterAll(Scope::Under(service("payments")));
        assert_eq!(store.commit(all).await.unwrap().outcome, Outcome::Deregistered(2));
        let mut follower = Follower::new(&*store, None);
        follower.step().await;
        assert_eq!(follower.registry.instances(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn preconditions_hold_or_nothing_changes() {
    for store in engines() {
        let with = |precondition| {
            Command::Register(Box::new(Register {
                service: service("web"),
                id: IdChoice::Given(id("i1")),
                registration: registration(2),
                lease: LeaseWish::None,
                precondition,
            }))
        };
        let at = put(&*store, "web", "i1").await.revision;
        assert_eq!(refusal(&*store, with(Precondition::Absent)).await, Refusal::Precondition { current: Some(at) });
        let stale = Precondition::Unchanged(Revision(at.0 + 1));
        assert_eq!(refusal(&*store, with(stale)).await, Refusal::Precondition { current: Some(at) });
        assert!(store.commit(with(Precondition::Unchanged(at))).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_belongs_to_one_thing() {
    for store in engines() {
        let tagged = |tag: &str| Registration { tags: [tag.parse::<Label>().unwrap()].into(), ..registration(9) };
        let ported = |port: &str| Registration { ports: [(port.parse().unwrap(), 1)].into(), ..registration(9) };
        store.commit(register("web", "i1", tagged("primary"), LeaseWish::None)).await.unwrap();
        store.commit(register("web", "i2", ported("metrics"), LeaseWish::None)).await.unwrap();
        put(&*store, "v1.web", "i1").await;
        for (command, why) in [
            (register("i1.web", "x", registration(1), LeaseWish::None), "a service as an instance"),
            (register("primary.web", "x", registration(1), LeaseWish::None), "a service as a tag"),
            (register("metrics.web", "x", registration(1), LeaseWish::None), "a service as a named port"),
            (register("web", "v1", registration(1), LeaseWish::None), "an id as a service"),
            (register("web", "primary", registration(1), LeaseWish::None), "an id as a tag"),
            (register("web", "i3", tagged("i1"), LeaseWish::None), "a tag as an id"),
            (register("web", "i3", tagged("i3"), LeaseWish::None), "a tag as its own id"),
            (register("web", "i3", tagged("v1"), LeaseWish::None), "a tag as a service"),
            (register("web", "i3", ported("v1"), LeaseWish::None), "a port as a service"),
            (register("web", "one", registration(1), LeaseWish::None), "one"),
            (register("web", "i3", tagged("all"), LeaseWish::None), "all"),
            (register("one.web", "x", registration(1), LeaseWish::None), "one as a service"),
            (register("ns", "x", registration(1), LeaseWish::None), "the name server"),
        ] {
            let refused = refusal(&*store, command).await;
            assert!(matches!(refused, Refusal::NameTaken { .. }), "{why}: {refused}");
        }
        let amend = Amendment {
            service: service("web"),
            id: id("i2"),
            precondition: Precondition::None,
            state: None,
            expiry: Expiry::Kept,
            weight: None,
            tags: Some([label("i1")].into()),
            meta: None,
        };
        let refused = refusal(&*store, Command::Amend(Box::new(amend))).await;
        assert!(matches!(refused, Refusal::NameTaken { .. }), "{refused}");
    }
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn health_is_kept_while_the_instance_is_tested_alike() {
    for store in engines() {
        let checked = |last, weight| Registration { checks: [check("tcp")].into(), weight, ..registration(last) };
        let instance = |committed: &Committed| match &committed.outcome {
            Outcome::Registered { instance, .. } => instance.clone(),
            other => panic!("{other:?}"),
        };
        let commit = |registration| store.commit(register("web", "i1", registration, LeaseWish::None));
        let first = instance(&commit(checked(1, 1)).await.unwrap());
        assert_eq!(first.health(), Health::Unknown);
        let observe = |epoch| {
            Command::Observe(Box::new(Observation {
                service: service("web"),
                id: id("i1"),
                epoch,
                check: label("tcp"),
                health: Health::Passing,
                error: None,
                at: rollcall::model::Timestamp::now(),
            }))
        };
        let seen = store.commit(observe(first.epoch)).await.unwrap().revision;
        assert_eq!(store.commit(observe(first.epoch)).await.unwrap().revision, seen, "known already");
        let heavier = instance(&commit(checked(1, 7)).await.unwrap());
        assert_eq!(heavier.health(), Health::Passing, "only the weight changed");
        let moved = instance(&commit(checked(2, 7)).await.unwrap());
        assert_eq!(moved.health(), Health::Unknown, "another address");
        let late = store.commit(observe(first.epoch)).await.unwrap().revision;
        assert_eq!(late, moved.revision, "a probe of the old place counts for nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn state_survives_registering_again() {
    for store in engines() {
        put(&*store, "web", "i1").await;
        let drain = Amendment {
            service: service("web"),
            id: id("i1"),
            precondition: Precondition::None,
            state: Some(State::Draining),
            expiry: Expiry::Kept,
            weight: None,
            tags: None,
            meta: None,
        };
        store.commit(Command::Amend(Box::new(drain))).await.unwrap();
        let again = store.commit(register("web", "i1", registration(2), LeaseWish::None)).await.unwrap();
        let Outcome::Registered { instance, .. } = again.outcome else { panic!() };
        assert_eq!(instance.state, State::Draining);
        assert!(!instance.answered());
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_remembered_for_as_long_as_they_should_be() {
    for store in engines() {
        put(&*store, "web", "i1").await;
        store.commit(Command::DeregisterAll(Scope::Service(service("web")))).await.unwrap();
        let mut follower = Follower::new(&*store, None);
        follower.step().await;
        assert!(follower.registry.service(&service("web")).is_some_and(|service| service.knows(Transport::Tcp)));
        follower.until(|registry| registry.service(&service("web")).is_none()).await;
        assert_eq!(follower.causes, ["forgotten"]);
    }
}

pub(crate) fn configure(name: &str, settings: Option<ServiceSettings>) -> Command {
    Command::Configure { service: service(name), settings }
}

pub(crate) fn settings(seconds: u64) -> Option<ServiceSettings> {
    let ttl = Ttl::new(rollcall::model::Duration::from_secs(seconds)).unwrap();
    Some(ServiceSettings { ttl: Some(ttl), ..ServiceSettings::default() })
}

#[tokio::test(start_paused = true)]
async fn settings_are_set_replaced_and_removed() {
    for store in engines() {
        let commit = async |settings| store.commit(configure("web", settings)).await.unwrap();
        let absent = commit(None).await;
        assert_eq!(absent.outcome, Outcome::Configured { existed: false });
        let first = commit(settings(10)).await;
        assert_eq!(first.outcome, Outcome::Configured { existed: false });
        assert!(first.revision > absent.revision);
        let same = commit(settings(10)).await;
        assert_eq!((same.revision, same.outcome), (first.revision, Outcome::Configured { existed: true }));
        let other = commit(settings(20)).await;
        assert!(other.revision > first.revision);
        let none_of_its_own = commit(Some(ServiceSettings::default())).await;
        assert!(none_of_its_own.revision > other.revision, "settings that say nothing are settings");
        let removed = commit(None).await;
        assert_eq!(removed.outcome, Outcome::Configured { existed: true });
        let mut follower = Follower::new(&*store, Some(absent.revision));
        follower.until(|registry| registry.revision() >= removed.revision).await;
        assert!(follower.registry.service(&service("web")).is_none(), "nothing is left of it");
        assert_eq!(follower.registry.configured(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_a_change_and_goes_with_its_instances() {
    let guarded = |held: &str| Guarded {
        since: Timestamp::from_millis(1_000),
        until: Timestamp::from_millis(301_000),
        evidence: "no network interface is up".into(),
        held: [id(held)].into(),
    };
    for store in engines() {
        let guard =
            async |guarded| store.commit(Command::Guard { service: service("web"), guarded }).await.unwrap().revision;
        let nobody = guard(Some(guarded("i1"))).await;
        put(&*store, "web", "i1").await;
        let mut follower = Follower::new(&*store, Some(nobody));
        let begun = guard(Some(guarded("i1"))).await;
        assert!(begun > nobody);
        assert_eq!(guard(Some(guarded("i1"))).await, begun, "what is known is no change");
        assert!(guard(Some(guarded("i2"))).await > begun);
        follower.until(|registry| registry.guarded().len() == 1).await;
        let ended = guard(None).await;
        follower.until(|registry| registry.revision() == ended).await;
        assert_eq!(follower.causes, ["registered", "guarded", "guarded", "unguarded"]);
        assert_eq!(follower.registry.guarded().len(), 0);
        guard(Some(guarded("i1"))).await;
        store.commit(Command::DeregisterAll(Scope::Service(service("web")))).await.unwrap();
        put(&*store, "web", "i2").await;
        follower.until(|registry| registry.instance(&service("web"), "i2").is_some()).await;
        assert!(follower.registry.service(&service("web")).unwrap().guarded().is_none());
        assert_eq!(follower.registry.guarded().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn settings_outlive_instances_and_the_memory_of_the_name() {
    for store in engines() {
        store.commit(configure("web", settings(10))).await.unwrap();
        put(&*store, "web", "i1").await;
        store.commit(Command::DeregisterAll(Scope::Service(service("web")))).await.unwrap();
        let mut follower = Follower::new(&*store, None);
        let web = |registry: &Registry| registry.service(&service("web")).cloned();
        follower.until(|registry| web(registry).is_some_and(|service| !service.is_named())).await;
        assert_eq!(follower.causes, ["forgotten"]);
        assert_eq!(web(&follower.registry).unwrap().settings().map(AsRef::as_ref), settings(10).as_ref());
        assert!(follower.registry.registered(&service("web")).is_none());
        put(&*store, "api.web", "i1").await;
        put(&*store, "web", "i1").await;
        follower.until(|registry| web(registry).is_some_and(|service| service.is_named())).await;
        assert!(web(&follower.registry).unwrap().settings().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn limits_refuse_and_lose_nothing() {
    let mut settings = store_settings();
    settings.limits.instances_per_service = 2;
    settings.limits.instances = 3;
    settings.limits.leases = 1;
    settings.limits.configured = 1;
    for store in engines_with(&settings) {
        put(&*store, "web", "i1").await;
        put(&*store, "web", "i2").await;
        let more = |name: &str, lease| register(name, "i3", registration(3), lease);
        assert_eq!(refusal(&*store, more("web", LeaseWish::None)).await, Refusal::ServiceFull(2));
        put(&*store, "api", "i1").await;
        assert_eq!(refusal(&*store, more("api", LeaseWish::None)).await, Refusal::RegistryFull(3));
        let replaced = store.commit(register("web", "i2", registration(8), LeaseWish::None)).await;
        assert!(replaced.is_ok(), "replacing is free");
        let ttl = rollcall::model::Duration::from_secs(10);
        store.commit(Command::Grant { ttl }).await.unwrap();
        assert_eq!(refusal(&*store, Command::Grant { ttl }).await, Refusal::LeasesFull(1));
        let some = || Some(ServiceSettings::default());
        store.commit(configure("web", some())).await.unwrap();
        assert_eq!(refusal(&*store, configure("api", some())).await, Refusal::SettingsFull(1));
        assert!(store.commit(configure("web", some())).await.is_ok(), "replacing is free");
    }
}
