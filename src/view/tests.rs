use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::feed::{Bounds, Step};
use super::*;
use crate::model::{
    Addresses, Health, Instance, Meta, Registration, ServiceName, ServiceSettings, State, Timestamp, Transport,
};
use crate::registry::{Actor, Cause, Change};

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn instance(service: &str) -> Instance {
    let registration = Registration {
        addresses: Addresses::new(["10.0.0.1".parse().unwrap()]).unwrap(),
        port: 80,
        protocol: Transport::Tcp,
        ports: Arc::default(),
        priority: 0,
        weight: 1,
        tags: Arc::default(),
        meta: Meta::default(),
        ttl: None,
        https: false,
        checks: Arc::new([]),
        initial_health: Health::Unknown,
        evict_after: None,
        generation: None,
        shared_address: false,
    };
    Instance {
        service: name(service),
        id: "i1".parse().unwrap(),
        registration,
        amended_from: None,
        lease: None,
        state: State::Up,
        state_until: None,
        checks: Box::default(),
        health_since: Timestamp::from_millis(0),
        registered_at: Timestamp::from_millis(0),
        revision: Revision(1),
        epoch: Revision(1),
    }
}

/// A batch with one change for each service.
fn batch(revision: u64, services: &[&str]) -> Arc<Batch> {
    let put = |service: &&str| Change::Put { instance: Arc::new(instance(service)), cause: Cause::Registered };
    let changes = services.iter().map(put).collect();
    Arc::new(Batch { revision: Revision(revision), at: Timestamp::from_millis(0), actor: Actor::server(), changes })
}

fn next(feed: &Feed, interest: &Interest, position: u64) -> String {
    match feed.step(interest, Revision(position), feed.era()) {
        Step::Wait(head) => format!("wait at {head}"),
        Step::Batch(published) => format!("batch {}", published.batch.revision),
        Step::Lagged => "lagged".to_owned(),
        Step::Reset => "reset".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_the_revision_and_then_sees_it() {
    let (writer, reader) = channel();
    assert!(!reader.is_loaded());
    let waiting = tokio::spawn({
        let reader = reader.clone();
        async move {
            reader.reached(Revision(2)).await;
            reader.load().revision()
        }
    });
    writer.reset(Registry::starting_at(Revision(1)));
    assert!(reader.is_loaded());
    writer.publish(Registry::starting_at(Revision(3)), &[]);
    assert_eq!(waiting.await.unwrap(), Revision(3));
}

#[test]
fn each_finds_what_is_of_interest_and_skips_the_rest() {
    let feed = Feed::default();
    feed.reset(Revision(0));
    let (web, group, all) = (Interest::Service(name("web")), Interest::Under(name("payments")), Interest::All);
    let joined = [&web, &group, &all].map(|interest| feed.join(interest));
    feed.push(&[batch(1, &["web"]), batch(2, &["api.payments", "web"]), batch(3, &["a.b.payments"])]);
    feed.push(&[batch(3, &["web"]), batch(4, &["payments"])]);
    for (position, web_next, group_next, all_next) in [
        (0, "batch 1", "batch 2", "batch 1"),
        (1, "batch 2", "batch 2", "batch 2"),
        (2, "wait at 4", "batch 3", "batch 3"),
        (3, "wait at 4", "wait at 4", "batch 4"),
        (9, "wait at 9", "wait at 9", "wait at 9"),
    ] {
        let found = [&web, &group, &all].map(|interest| next(&feed, interest, position));
        assert_eq!(found, [web_next, group_next, all_next], "after {position}");
    }
    drop(joined);
}

#[test]
fn settings_and_remembered_names_are_of_no_interest() {
    let feed = Feed::default();
    feed.reset(Revision(0));
    let interest = Interest::Service(name("web"));
    let woken = feed.join(&interest);
    let configured = Change::Configured { service: name("web"), settings: Some(Arc::new(ServiceSettings::default())) };
    let forgotten = Change::Forgotten { service: name("web"), transport: Transport::Tcp };
    let changes = vec![configured, forgotten];
    feed.push(&[Arc::new(Batch {
        revision: Revision(1),
        at: Timestamp::from_millis(0),
        actor: Actor::server(),
        changes,
    })]);
    assert!(!woken.has_changed().unwrap());
    assert_eq!(next(&feed, &interest, 0), "wait at 1");
}

#[test]
fn whoever_is_quiet_falls_behind_only_by_what_concerns_it() {
    for bounds in [
        Bounds { batches: 10, ..Bounds::default() },
        Bounds { changes: 10, ..Bounds::default() },
        Bounds { octets: 10 * 1536, ..Bounds::default() },
    ] {
        let feed = Feed::bounded(bounds);
        feed.reset(Revision(0));
        let (web, quiet) = (Interest::Service(name("web")), Interest::Service(name("quiet")));
        let joined = [&web, &quiet].map(|interest| feed.join(interest));
        feed.push(&[batch(1, &["quiet"])]);
        for revision in 2..=100 {
            feed.push(&[batch(revision, &["web"])]);
        }
        assert_eq!(next(&feed, &web, 50), "lagged");
        assert_eq!(next(&feed, &web, 90), "batch 91", "{bounds:?}");
        assert_eq!(next(&feed, &quiet, 0), "lagged");
        assert_eq!(next(&feed, &quiet, 1), "wait at 100", "nothing was missed, long ago as that is");
        assert_eq!((feed.era_reaching(Revision(89)), feed.era_reaching(Revision(90))), (None, Some(1)));
        drop(joined);
        feed.push(&[batch(101, &["b.a", "web"])]);
    }
}

#[test]
fn one_batch_is_kept_however_large_it_is() {
    let feed = Feed::bounded(Bounds { batches: 10, changes: 2, octets: 10 });
    feed.reset(Revision(0));
    feed.push(&[batch(1, &["a"]), batch(2, &["a", "b", "c"])]);
    let _joined = feed.join(&Interest::All);
    assert_eq!(next(&feed, &Interest::All, 1), "batch 2");
}

#[test]
fn topics_go_with_those_who_wait_and_with_what_is_kept() {
    let feed = Feed::bounded(Bounds { batches: 1, ..Bounds::default() });
    feed.reset(Revision(0));
    let interests: Vec<Interest> = (0..1000).map(|n| Interest::Service(name(&format!("s{n}")))).collect();
    for interest in &interests {
        let (first, second) = (feed.join(interest), feed.join(interest));
        drop((first, second));
    }
    assert_eq!(feed.topics(), 1000);
    for interest in interests.iter().chain(&interests) {
        feed.leave(interest);
    }
    assert_eq!(feed.topics(), 0);
    feed.push(&[batch(1, &["a.b.c"]), batch(2, &["d"])]);
    assert_eq!(feed.topics(), 2, "d and all");
    feed.reset(Revision(3));
    assert_eq!(feed.topics(), 0);
}

/// Counts how often a future was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_change_wakes_those_whom_it_concerns_and_nobody_else() {
    let (writer, reader) = channel();
    writer.reset(Registry::starting_at(Revision(5)));
    let interests = [
        Interest::Service(name("web")),
        Interest::Service(name("api.payments")),
        Interest::Service(name("payments")),
        Interest::Under(name("payments")),
        Interest::Under(name("web")),
        Interest::All,
    ];
    let mut waiting: Vec<_> = interests
        .iter()
        .map(|interest| {
            let mut following = reader.follow(interest.clone(), Some(Revision(5)));
            let waker = Arc::new(Count::default());
            let mut future = Box::pin(async move { following.changed().await });
            assert_eq!(future.as_mut().poll(&mut Context::from_waker(&Waker::from(waker.clone()))), Poll::Pending);
            (future, waker)
        })
        .collect();
    let woken = |waiting: &[(_, Arc<Count>)]| -> Vec<usize> {
        waiting.iter().map(|(_, count)| count.0.load(Ordering::Relaxed)).collect()
    };
    writer.publish(Registry::starting_at(Revision(6)), &[batch(6, &["other"])]);
    assert_eq!(woken(&waiting), [0, 0, 0, 0, 0, 1]);
    writer.publish(Registry::starting_at(Revision(7)), &[batch(7, &["api.payments"])]);
    assert_eq!(woken(&waiting), [0, 1, 0, 1, 0, 1]);
    writer.publish(Registry::starting_at(Revision(8)), &[batch(8, &["web"])]);
    assert_eq!(woken(&waiting), [1, 1, 0, 1, 0, 1]);
    for ((future, _), ready) in waiting.iter_mut().zip([true, true, false, true, false, true]) {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled.is_ready(), ready);
    }
    drop(waiting);
    assert_eq!(reader.0.feed.topics(), 5, "other, api.payments, web, under payments and all, for what is kept");
}

#[tokio::test(start_paused = true)]
async fn a_follower_starts_over_when_it_has_to() {
    let (writer, reader) = channel();
    writer.reset(Registry::starting_at(Revision(5)));
    let follow = |after| reader.follow(Interest::All, after);
    for unknown in [None, Some(Revision(4))] {
        let mut following = follow(unknown);
        assert!(matches!(following.next().await, News::Reset), "{unknown:?}");
        assert_eq!(following.restart().revision(), Revision(5));
        assert!(!following.has_changed());
    }
    let mut following = follow(Some(Revision(5)));
    writer.publish(Registry::starting_at(Revision(6)), &[batch(6, &["web"])]);
    assert!(matches!(following.next().await, News::Batch(published) if published.batch.revision == Revision(6)));
    writer.reset(Registry::starting_at(Revision(9)));
    assert!(matches!(following.next().await, News::Reset));
    assert_eq!((following.restart().revision(), following.position()), (Revision(9), Revision(9)));
    writer.publish(Registry::starting_at(Revision(10)), &[batch(10, &["web"])]);
    assert!(matches!(following.next().await, News::Batch(_)));
    let mut future = follow(Some(Revision(12)));
    assert_eq!(future.position(), Revision(12));
    writer.publish(Registry::starting_at(Revision(12)), &[batch(11, &["web"]), batch(12, &["web"])]);
    assert!(!future.has_changed());
    writer.publish(Registry::starting_at(Revision(13)), &[batch(13, &["web"])]);
    assert!(matches!(future.next().await, News::Batch(published) if published.batch.revision == Revision(13)));
}
