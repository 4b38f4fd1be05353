//! The contract of a store, run on every engine: who supersedes whom, who is evicted and lifted, and batches.

use std::time::Duration;

use rollcall::model::{Duration as Span, Health, Instance, Registration, State, Timestamp};
use rollcall::registry::{
    Amendment, Cause, Command, Expiry, LeaseWish, Observation, Outcome, Precondition, Refusal, Registry, Renewal,
};
use rollcall::store::Store;

use super::store::{Follower, check, engines, id, refusal, register, registration, service};

fn alone(last: u8) -> Registration {
    Registration { shared_address: false, ..registration(last) }
}

fn started(last: u8, generation: Option<u64>) -> Registration {
    Registration { generation, ..alone(last) }
}

async fn put(store: &dyn Store, instance: &str, registration: Registration) -> Instance {
    put_on(store, instance, registration, LeaseWish::None).await
}

async fn put_on(store: &dyn Store, instance: &str, registration: Registration, lease: LeaseWish) -> Instance {
    match store.commit(register("web", instance, registration, lease)).await.unwrap().outcome {
        Outcome::Registered { instance, .. } => Instance::clone(&instance),
        other => panic!("{other:?}"),
    }
}

async fn now(store: &dyn Store) -> Registry {
    let mut follower = Follower::new(store, None);
    follower.step().await;
    follower.registry
}

fn ids(registry: &Registry) -> Vec<String> {
    registry.service(&service("web")).map_or(&[][..], |web| web.instances()).iter().map(|i| i.id.to_string()).collect()
}

async fn superseded(store: &dyn Store, instance: &str, registration: Registration) -> bool {
    let command = register("web", instance, registration, LeaseWish::None);
    matches!(refusal(store, command).await, Refusal::Superseded { .. })
}

#[tokio::test(start_paused = true)]
async fn a_place_belongs_to_the_last_who_registered_it() {
    for store in engines() {
        let first = put_on(&*store, "old", alone(1), LeaseWish::Own(Span::from_secs(60))).await;
        let mut follower = Follower::new(&*store, Some(first.revision));
        let second = put(&*store, "new", alone(1)).await;
        follower.step().await;
        assert_eq!(follower.causes, ["superseded", "registered"], "one step");
        assert_eq!(second.revision, first.revision.next(), "one revision");
        assert!(store.lease(first.lease.unwrap().id).is_none(), "its own lease ended with it");
        assert_eq!(ids(&now(&*store).await), ["new"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_service_protocol_port_and_any_of_the_addresses() {
    for store in engines() {
        put(&*store, "a", alone(1)).await;
        put(&*store, "port", Registration { port: 81, ..alone(1) }).await;
        put(&*store, "udp", Registration { protocol: rollcall::model::Transport::Udp, ..alone(1) }).await;
        put(&*store, "address", alone(2)).await;
        put(&*store, "shared", Registration { shared_address: true, ..alone(1) }).await;
        store.commit(register("api", "a", alone(1), LeaseWish::None)).await.unwrap();
        assert_eq!(ids(&now(&*store).await), ["a", "address", "port", "shared", "udp"]);
        let both = ["10.0.0.2", "fd00::2"].map(|address| address.parse().unwrap());
        let both = Registration { addresses: rollcall::model::Addresses::new(both).unwrap(), ..alone(2) };
        put(&*store, "both", both).await;
        put(&*store, "b", alone(1)).await;
        assert_eq!(ids(&now(&*store).await), ["b", "both", "port", "shared", "udp"]);
        assert_eq!(now(&*store).await.registered(&service("api")).unwrap().instances().len(), 1, "another service");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_moves_to_a_place_supersedes_too() {
    for store in engines() {
        put(&*store, "a", alone(1)).await;
        put(&*store, "b", alone(2)).await;
        put(&*store, "a", alone(2)).await;
        assert_eq!(ids(&now(&*store).await), ["a"]);
        assert!(superseded(&*store, "b", alone(2)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ghost_keeps_no_names() {
    for store in engines() {
        let tagged = |last, tag: &str| Registration { tags: [tag.parse().unwrap()].into(), ..alone(last) };
        put(&*store, "i1", tagged(1, "blue")).await;
        put(&*store, "blue", alone(1)).await;
        put(&*store, "i2", tagged(1, "blue")).await;
        assert_eq!(ids(&now(&*store).await), ["i2"]);
        put(&*store, "i3", tagged(3, "green")).await;
        let taken = register("web", "green", alone(1), LeaseWish::None);
        assert!(matches!(refusal(&*store, taken).await, Refusal::NameTaken { .. }), "i3 is no ghost");
        assert_eq!(ids(&now(&*store).await), ["i2", "i3"], "and nobody was superseded");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ghost_does_not_come_back() {
    for store in engines() {
        put(&*store, "old", started(1, Some(5))).await;
        let there = put(&*store, "new", alone(1)).await;
        for generation in [None, Some(4), Some(5)] {
            assert!(superseded(&*store, "old", started(1, generation)).await, "{generation:?}");
        }
        assert_eq!(now(&*store).await.revision(), there.revision, "and changes nothing");
        put(&*store, "old", started(2, Some(5))).await;
        assert_eq!(ids(&now(&*store).await), ["new", "old"], "elsewhere it is welcome");
    }
    for store in engines() {
        put(&*store, "old", started(1, Some(5))).await;
        put(&*store, "new", alone(1)).await;
        put(&*store, "old", started(1, Some(6))).await;
        assert_eq!(ids(&now(&*store).await), ["old"], "a newer start takes the place back");
        assert!(superseded(&*store, "new", alone(1)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ghost_may_come_when_its_place_is_free_or_shared() {
    for store in engines() {
        put(&*store, "old", alone(1)).await;
        put(&*store, "new", alone(1)).await;
        put(&*store, "old", Registration { shared_address: true, ..alone(1) }).await;
        assert_eq!(ids(&now(&*store).await), ["new", "old"]);
    }
    for store in engines() {
        put(&*store, "old", alone(1)).await;
        put(&*store, "new", alone(1)).await;
        assert!(superseded(&*store, "old", alone(1)).await);
        let leave = Command::Deregister { service: service("web"), id: id("new"), precondition: Precondition::None };
        store.commit(leave).await.unwrap();
        put(&*store, "old", alone(1)).await;
        assert_eq!(ids(&now(&*store).await), ["old"], "a deployment is taken back");
    }
}

fn observed(instance: &Instance, health: Health) -> Command {
    Command::Observe(Box::new(Observation {
        service: instance.service.clone(),
        id: instance.id.clone(),
        epoch: instance.epoch,
        check: "tcp".parse().unwrap(),
        health,
        error: (health == Health::Critical).then(|| "refused".into()),
        at: Timestamp::now(),
    }))
}

fn state(state: State, expiry: Expiry) -> Command {
    Command::Amend(Box::new(Amendment {
        service: service("web"),
        id: id("i1"),
        precondition: Precondition::None,
        state: Some(state),
        expiry,
        weight: None,
        tags: None,
        meta: None,
    }))
}

fn impatient(seconds: u64) -> Registration {
    Registration { checks: [check("tcp")].into(), evict_after: Some(Span::from_secs(seconds)), ..alone(1) }
}

/// Lets time pass; what is then due has happened when the millisecond after it ends, on top of the duration.
async fn advance(seconds: u64) {
    // Passing, not jumping: a jump is a server that was stopped, and extends everything.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_critical_for_longer_than_it_asked_is_evicted() {
    for store in engines() {
        let i1 = put(&*store, "i1", impatient(30)).await;
        advance(60).await;
        assert_eq!(ids(&now(&*store).await), ["i1"], "unknown is not critical");
        store.commit(observed(&i1, Health::Critical)).await.unwrap();
        advance(20).await;
        store.commit(observed(&i1, Health::Passing)).await.unwrap();
        advance(60).await;
        let critical = store.commit(observed(&i1, Health::Critical)).await.unwrap();
        advance(29).await;
        assert_eq!(ids(&now(&*store).await), ["i1"], "what was before it passed does not count");
        let mut follower = Follower::new(&*store, Some(critical.revision));
        advance(1).await;
        follower.step().await;
        assert_eq!(follower.causes, [Cause::Evicted.as_str()]);
        assert!(ids(&now(&*store).await).is_empty());
        put(&*store, "i1", impatient(30)).await;
        advance(3000).await;
        assert_eq!(ids(&now(&*store).await), ["i1"], "the old clock is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_does_not_run_out_while_somebody_works_on_it() {
    for store in engines() {
        let i1 = put(&*store, "i1", impatient(30)).await;
        store.commit(observed(&i1, Health::Critical)).await.unwrap();
        advance(20).await;
        for stopped in [State::Maintenance, State::Draining] {
            store.commit(state(stopped, Expiry::Kept)).await.unwrap();
            advance(1000).await;
        }
        store.commit(state(State::Up, Expiry::Kept)).await.unwrap();
        advance(9).await;
        assert_eq!(ids(&now(&*store).await), ["i1"]);
        advance(1).await;
        assert!(ids(&now(&*store).await).is_empty(), "what was spent before counts");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_other_patience_gets_it() {
    for store in engines() {
        let i1 = put(&*store, "i1", impatient(30)).await;
        store.commit(observed(&i1, Health::Critical)).await.unwrap();
        advance(20).await;
        put(&*store, "i1", Registration { evict_after: None, ..impatient(30) }).await;
        advance(1000).await;
        put(&*store, "i1", impatient(60)).await;
        advance(59).await;
        assert_eq!(ids(&now(&*store).await), ["i1"]);
        put(&*store, "i1", impatient(30)).await;
        advance(0).await;
        assert!(ids(&now(&*store).await).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_ends_when_it_was_said_to() {
    for store in engines() {
        put(&*store, "i1", alone(1)).await;
        let after = |seconds| Expiry::After(Span::from_secs(seconds));
        let current = async || now(&*store).await.instance(&service("web"), "i1").unwrap().state;
        store.commit(state(State::Draining, after(60))).await.unwrap();
        let drained = store.commit(state(State::Draining, Expiry::Kept)).await.unwrap();
        put(&*store, "i1", Registration { weight: 9, ..alone(1) }).await;
        advance(59).await;
        assert_eq!(current().await, State::Draining);
        let mut follower = Follower::new(&*store, Some(drained.revision));
        advance(1).await;
        follower.step().await;
        assert_eq!(follower.causes, ["replaced", "lifted"]);
        assert_eq!(current().await, State::Up);
        for (changed, expiry, stays) in [
            (State::Draining, Expiry::Never, true),
            (State::Maintenance, Expiry::Kept, true),
            (State::Up, after(1), true),
        ] {
            store.commit(state(State::Draining, after(60))).await.unwrap();
            store.commit(state(changed, expiry)).await.unwrap();
            advance(100).await;
            assert_eq!(current().await == changed, stays, "{changed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_with_its_lease_neither_returns_nor_leaves_twice() {
    for store in engines() {
        let i1 = put_on(&*store, "i1", impatient(30), LeaseWish::Own(Span::from_secs(30))).await;
        store.commit(state(State::Draining, Expiry::After(Span::from_secs(30)))).await.unwrap();
        let last = store.commit(observed(&i1, Health::Critical)).await.unwrap();
        let mut follower = Follower::new(&*store, Some(last.revision));
        advance(60).await;
        follower.until(|registry| registry.instances() == 0 && registry.revision() > last.revision).await;
        assert_eq!(follower.causes, ["expired"]);
    }
}

fn gone(instance: &str) -> Command {
    Command::Deregister { service: service("web"), id: id(instance), precondition: Precondition::None }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_revision() {
    for store in engines() {
        let first = put_on(&*store, "i1", alone(1), LeaseWish::Own(Span::from_secs(10))).await;
        let mut follower = Follower::new(&*store, Some(first.revision));
        advance(9).await;
        let own = |service: &str, instance: &str| Command::Renew(Renewal::Own(service.parse().unwrap(), id(instance)));
        let batch = Command::Batch(vec![
            register("web", "i2", alone(2), LeaseWish::Own(Span::from_secs(10))),
            own("web", "i2"),
            own("web", "i1"),
            register("api", "i1", alone(3), LeaseWish::None),
            gone("i2"),
            register("web", "i3", alone(2), LeaseWish::None),
        ]);
        let done = store.commit(batch).await.unwrap();
        assert_eq!(done.revision, first.revision.next());
        let Outcome::Batch(outcomes) = done.outcome else { panic!() };
        assert!(matches!(outcomes[0], Outcome::Registered { created: true, .. }), "{outcomes:?}");
        assert!(matches!(outcomes[2], Outcome::Renewed(lease) if lease.id == first.lease.unwrap().id));
        assert_eq!(outcomes[4], Outcome::Deregistered(1));
        follower.step().await;
        assert_eq!(follower.causes, ["registered", "registered", "deregistered", "registered"]);
        assert_eq!(follower.registry.revision(), done.revision);
        advance(9).await;
        assert_eq!(ids(&now(&*store).await), ["i1", "i3"]);
        advance(1).await;
        assert_eq!(ids(&now(&*store).await), ["i3"]);
        let nothing = store.commit(Command::Batch(Vec::new())).await.unwrap();
        assert_eq!(nothing.outcome, Outcome::Batch(Vec::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_and_goes_in_a_batch_renews_the_memory_of_a_name() {
    for store in engines() {
        put(&*store, "i1", alone(1)).await;
        store.commit(gone("i1")).await.unwrap();
        advance(3000).await;
        let visit = vec![register("web", "i1", alone(1), LeaseWish::None), gone("i1")];
        store.commit(Command::Batch(visit)).await.unwrap();
        advance(3000).await;
        assert!(now(&*store).await.service(&service("web")).is_some(), "left less than an hour ago");
        advance(601).await;
        assert!(now(&*store).await.service(&service("web")).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_carried_out_whole_or_not_at_all() {
    for store in engines() {
        let first = put_on(&*store, "i1", alone(1), LeaseWish::Own(Span::from_secs(10))).await;
        let lease = first.lease.unwrap().id;
        advance(9).await;
        for (last, why) in [
            (gone("i9"), Refusal::NoInstance),
            (Command::Renew(Renewal::Own(service("web"), id("i2"))), Refusal::NoOwnLease(None)),
            (Command::Renew(Renewal::Lease(lease)), Refusal::LeaseGone(lease)),
            (register("web", "i4", alone(4), LeaseWish::Join(lease)), Refusal::LeaseGone(lease)),
        ] {
            let commands = vec![
                Command::Renew(Renewal::Lease(lease)),
                register("web", "i2", alone(2), LeaseWish::None),
                gone("i1"),
                last,
            ];
            let refused = refusal(&*store, Command::Batch(commands)).await;
            assert_eq!(refused, Refusal::InBatch { position: 3, refusal: Box::new(why) });
        }
        let there = now(&*store).await;
        assert_eq!((ids(&there), there.revision()), (vec!["i1".to_owned()], first.revision));
        advance(1).await;
        assert!(ids(&now(&*store).await).is_empty(), "the lease was not renewed either");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_and_returns_in_a_batch_stays_on_its_lease() {
    for store in engines() {
        let ttl = Span::from_secs(10);
        let Outcome::Granted(lease) = store.commit(Command::Grant { ttl }).await.unwrap().outcome else { panic!() };
        let join = || register("web", "i1", alone(1), LeaseWish::Join(lease.id));
        store.commit(join()).await.unwrap();
        store.commit(Command::Batch(vec![gone("i1"), join()])).await.unwrap();
        advance(9).await;
        assert_eq!(ids(&now(&*store).await), ["i1"]);
        advance(1).await;
        assert!(ids(&now(&*store).await).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_lease_is_shared_also_when_somebody_leaves_it_in_the_same_batch() {
    for store in engines() {
        let Outcome::Granted(shared) = store.commit(Command::Grant { ttl: Span::from_secs(60) }).await.unwrap().outcome
        else {
            panic!("no lease")
        };
        put_on(&*store, "i1", alone(1), LeaseWish::Join(shared.id)).await;
        let moves = vec![
            register("web", "i1", alone(1), LeaseWish::Own(Span::from_secs(10))),
            register("web", "i2", alone(2), LeaseWish::Join(shared.id)),
        ];
        store.commit(Command::Batch(moves)).await.unwrap();
        assert_eq!(ids(&now(&*store).await), ["i1", "i2"]);
        store.commit(Command::Revoke(shared.id)).await.unwrap();
        assert_eq!(ids(&now(&*store).await), ["i1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_superseded_within_a_batch_leaves_no_lease() {
    for store in engines() {
        let batch = Command::Batch(vec![
            register("web", "old", alone(1), LeaseWish::Own(Span::from_secs(10))),
            register("web", "new", alone(1), LeaseWish::None),
        ]);
        let Outcome::Batch(outcomes) = store.commit(batch).await.unwrap().outcome else { panic!() };
        let Outcome::Registered { instance: old, .. } = &outcomes[0] else { panic!() };
        assert!(store.lease(old.lease.unwrap().id).is_none());
        assert_eq!(ids(&now(&*store).await), ["new"]);
        assert!(superseded(&*store, "old", alone(1)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_been_critical_for_a_day_is_counted() {
    for store in engines() {
        let i1 = put(&*store, "i1", Registration { checks: [check("tcp")].into(), ..alone(1) }).await;
        put(&*store, "i2", Registration { checks: [check("tcp")].into(), ..alone(2) }).await;
        put(&*store, "i3", alone(3)).await;
        store.commit(observed(&i1, Health::Critical)).await.unwrap();
        let registry = now(&*store).await;
        let hours = |hours: u64| Timestamp::now().after(Duration::from_secs(hours * 3600));
        assert_eq!((registry.critical_for_a_day(hours(23)), registry.critical_for_a_day(hours(25))), (0, 1));
    }
}
