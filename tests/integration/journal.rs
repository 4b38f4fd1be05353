//! The journal of events, on every engine: who changed from what to what, when, why, and by whom.

use std::sync::Arc;
use std::time::Duration;

use rollcall::model::{
    GuardChoice, Guarded, Health, Registration, Revision, ServiceSettings, State, Timestamp, WhenAllCritical,
};
use rollcall::registry::{
    Actor, Amendment, Command, Event, EventPosition, Expiry, LeaseWish, Observation, Outcome, Past, Precondition,
    Scope, Standing,
};
use rollcall::store::snapshot::Reader;
use rollcall::store::{Embedded, EventPage, EventQuery, Followed, Keep, Memory, Settings, Store};

use super::store::{check, engines, id, register, registration, service};
use super::support::world::store_settings;

fn by(name: &str) -> Actor {
    Actor::client(name.parse().unwrap())
}

fn up_to_now(limit: usize) -> EventQuery {
    EventQuery::up_to(Revision(u64::MAX - 1), limit)
}

async fn page(store: &dyn Store, query: EventQuery) -> EventPage {
    store.events(query).await.unwrap()
}

/// All events, oldest first, each on a line.
async fn told(store: &dyn Store) -> Vec<String> {
    let events = page(store, up_to_now(1000)).await.events;
    events.iter().rev().map(line).collect()
}

fn line(event: &Event) -> String {
    let id = event.id.as_ref().map_or("-", |id| id.as_str());
    let Event { at, service, from, to, reason, actor, .. } = event;
    let name = service.as_str();
    format!("{} {name}/{id} {} {} {reason} ({actor})", at.revision, from.as_str(), to.as_str())
}

fn observed(epoch: Revision, health: Health) -> Command {
    Command::Observe(Box::new(Observation {
        service: service("web"),
        id: id("i1"),
        epoch,
        check: "tcp".parse().unwrap(),
        health,
        error: (health == Health::Critical).then(|| "refused 10.0.0.1:80".into()),
        at: Timestamp::now(),
    }))
}

fn amended(state: Option<State>, expiry: Expiry, weight: Option<u16>) -> Command {
    Command::Amend(Box::new(Amendment {
        service: service("web"),
        id: id("i1"),
        precondition: Precondition::None,
        state,
        expiry,
        weight,
        tags: None,
        meta: None,
    }))
}

fn alone(last: u8) -> Registration {
    Registration { shared_address: false, ..registration(last) }
}

#[tokio::test(start_paused = true)]
async fn every_change_has_an_event_that_says_who_and_why() {
    for store in engines() {
        let commit = async |actor: Actor, command| store.commit_by(actor, command).await.unwrap();
        let tested = Registration { checks: [check("tcp")].into(), ..registration(1) };
        let epoch = commit(by("192.0.2.1"), register("web", "i1", tested.clone(), LeaseWish::None)).await.revision;
        let tcp = || Actor::check(&"tcp".parse().unwrap());
        commit(tcp(), observed(epoch, Health::Passing)).await;
        commit(tcp(), observed(epoch, Health::Critical)).await;
        let until = Expiry::After(rollcall::model::Duration::from_secs(60));
        commit(by("192.0.2.2"), amended(Some(State::Draining), until, None)).await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        commit(by("192.0.2.2"), amended(None, Expiry::Kept, Some(7))).await;
        let moved = Registration { addresses: registration(9).addresses, ..tested };
        commit(by("::ffff:192.0.2.1"), register("web", "i1", moved, LeaseWish::None)).await;
        let ttl = rollcall::model::Duration::from_secs(2);
        let own = commit(by("192.0.2.3"), register("lapse", "l1", registration(3), LeaseWish::Own(ttl))).await;
        let Outcome::Registered { instance, .. } = own.outcome else { panic!() };
        let lease = instance.lease.unwrap().id;
        tokio::time::sleep(Duration::from_secs(4)).await;
        commit(by("192.0.2.4"), register("api", "old", alone(5), LeaseWish::None)).await;
        commit(by("192.0.2.5"), register("api", "new", alone(5), LeaseWish::None)).await;
        commit(by("192.0.2.5"), Command::DeregisterAll(Scope::Service(service("api")))).await;
        let settings = |ttl: Option<u64>| Command::Configure {
            service: service("api"),
            settings: ttl.map(|ttl| rollcall::model::ServiceSettings {
                ttl: Some(rollcall::model::Ttl::new(rollcall::model::Duration::from_secs(ttl)).unwrap()),
                ..Default::default()
            }),
        };
        commit(by("192.0.2.6"), settings(Some(9))).await;
        commit(by("192.0.2.6"), settings(None)).await;

        let told = told(&*store).await;
        let drained = told[3].split(" until ").next().unwrap().to_owned();
        assert_eq!(drained, "4 web/i1 critical draining amended: draining");
        let expected = [
            "1 web/i1 absent unknown registered (192.0.2.1)",
            "2 web/i1 unknown passing health: check tcp is passing (check:tcp)",
            "3 web/i1 passing critical health: check tcp is critical: refused 10.0.0.1:80 (check:tcp)",
            told[3].as_str(),
            "5 web/i1 draining critical lifted: draining is over (rollcall)",
            "6 web/i1 critical critical amended: weight 7 (192.0.2.2)",
            "7 web/i1 critical unknown replaced: moved from 10.0.0.1:80 (192.0.2.1)",
            "8 lapse/l1 absent passing registered (192.0.2.3)",
            &format!("9 lapse/l1 passing absent expired: lease {lease} (lease)"),
            "10 api/old absent passing registered (192.0.2.4)",
            "11 api/old passing absent superseded: by new (192.0.2.5)",
            "11 api/new absent passing registered (192.0.2.5)",
            "12 api/new passing absent deregistered (192.0.2.5)",
            "13 api/- absent ttl 9s configured (192.0.2.6)",
            "14 api/- ttl 9s absent configured (192.0.2.6)",
        ];
        assert_eq!(told, expected, "{}", store.engine());
    }
}

#[tokio::test(start_paused = true)]
async fn revoked_and_evicted_instances_are_told_apart() {
    for store in engines() {
        let ttl = rollcall::model::Duration::from_secs(600);
        let Outcome::Granted(lease) = store.commit(Command::Grant { ttl }).await.unwrap().outcome else { panic!() };
        store.commit(register("web", "i2", registration(2), LeaseWish::Join(lease.id))).await.unwrap();
        store.commit_by(by("192.0.2.1"), Command::Revoke(lease.id)).await.unwrap();
        let doomed = Registration {
            checks: [check("tcp")].into(),
            evict_after: Some(rollcall::model::Duration::from_secs(10)),
            ..registration(1)
        };
        let epoch = store.commit(register("web", "i1", doomed, LeaseWish::None)).await.unwrap().revision;
        store.commit(observed(epoch, Health::Critical)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(11)).await;
        let told = told(&*store).await;
        assert_eq!(told[1], format!("2 web/i2 passing absent revoked: lease {} (192.0.2.1)", lease.id));
        assert!(told[4].starts_with("5 web/i1 critical absent evicted: critical since 20"), "{told:?}");
        assert!(told[4].ends_with(" (rollcall)"), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_holds_for_a_whole_service_is_told_without_an_id() {
    for store in engines() {
        store.commit(register("web", "i1", registration(1), LeaseWish::None)).await.unwrap();
        let settings = ServiceSettings {
            guard: Some(GuardChoice::Off),
            when_all_critical: WhenAllCritical::All,
            fallback: Some(service("spare")),
            ..ServiceSettings::default()
        };
        let configure = |settings| Command::Configure { service: service("web"), settings: Some(settings) };
        store.commit_by(by("192.0.2.1"), configure(settings)).await.unwrap();
        store.commit_by(by("192.0.2.1"), configure(ServiceSettings::default())).await.unwrap();
        let at = Timestamp::now();
        let guarded = Guarded { since: at, until: at, evidence: "the link is down".into(), held: [id("i1")].into() };
        for guarded in [Some(guarded), None] {
            store.commit(Command::Guard { service: service("web"), guarded }).await.unwrap();
        }
        assert_eq!(
            told(&*store).await[1..],
            [
                "2 web/- absent all when all critical, fallback spare, no guard configured (192.0.2.1)",
                "3 web/- all when all critical, fallback spare, no guard nothing set configured (192.0.2.1)",
                "4 web/- absent guarded guarded: the link is down; keeps i1 (rollcall)",
                "5 web/- guarded absent unguarded (rollcall)",
            ],
            "{}",
            store.engine()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_revision_with_an_event_for_each_change() {
    for store in engines() {
        let gone =
            |n: &str| Command::Deregister { service: service("web"), id: id(n), precondition: Precondition::None };
        let put = |n: &str, last| register("web", n, registration(last), LeaseWish::None);
        store.commit(put("i1", 1)).await.unwrap();
        store.commit(Command::Batch(vec![put("i2", 2), gone("i1"), put("i1", 3)])).await.unwrap();
        let events = page(&*store, up_to_now(10)).await.events;
        let lines: Vec<String> = events.iter().rev().map(line).collect();
        assert_eq!(
            lines[1..],
            [
                "2 web/i2 absent passing registered (rollcall)",
                "2 web/i1 passing absent deregistered (rollcall)",
                "2 web/i1 absent passing registered (rollcall)",
            ]
        );
        let positions: Vec<u32> = events.iter().map(|event| event.at.change).collect();
        assert_eq!(positions, [2, 1, 0, 0], "newest first");
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_in_pages_and_by_what_is_asked_for() {
    for store in engines() {
        for n in 0..10 {
            let name = if n % 2 == 0 { "web" } else { "api.payments" };
            store.commit(register(name, &format!("i{n}"), registration(n), LeaseWish::None)).await.unwrap();
        }
        let ids = async |query: EventQuery| -> Vec<String> {
            page(&*store, query).await.events.iter().map(|event| event.id.as_ref().unwrap().to_string()).collect()
        };
        let mut query = up_to_now(3);
        let mut all = Vec::new();
        loop {
            let page = page(&*store, query.clone()).await;
            all.extend(page.events.iter().map(|event| event.at.revision.0));
            assert!(page.events.len() <= 3);
            let Some(next) = page.next else { break };
            query.below = next;
        }
        assert_eq!(all, (1..=10).rev().collect::<Vec<_>>(), "none twice and none missing");

        let all = up_to_now(100);
        let of = EventQuery { service: Some(service("web")), ..all.clone() };
        assert_eq!(ids(of).await, ["i8", "i6", "i4", "i2", "i0"]);
        let under = EventQuery { under: Some(service("payments")), after: Revision(6), ..all.clone() };
        assert_eq!(ids(under).await, ["i9", "i7"]);
        assert_eq!(ids(EventQuery { id: Some(id("i3")), ..all.clone() }).await, ["i3"]);
        let below = EventQuery { below: EventPosition::before(Revision(3)), ..all.clone() };
        assert_eq!(ids(below).await, ["i1", "i0"]);
        let future = Timestamp::now().after(Duration::from_secs(60));
        assert!(ids(EventQuery { since: Some(future), ..all.clone() }).await.is_empty());
        assert!(ids(EventQuery { until: Some(Timestamp::from_millis(1)), ..all.clone() }).await.is_empty());
        assert_eq!(ids(EventQuery { until: Some(future), ..all.clone() }).await.len(), 10);
        assert!(ids(EventQuery { service: Some(service("none")), ..all }).await.is_empty());
    }
}

fn keeping(events: usize, age: Duration) -> Vec<Arc<dyn Store>> {
    let settings = Settings { history: Keep { age, events }, ..store_settings() };
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(dir.path(), settings.clone()).unwrap();
    vec![Arc::new(Memory::new(settings)), Arc::new(embedded)]
}

#[tokio::test(start_paused = true)]
async fn the_oldest_events_make_room_and_the_journal_says_from_when_on_it_is_whole() {
    for store in keeping(5, Duration::from_secs(3600)) {
        let began = page(&*store, up_to_now(9)).await.begins;
        for n in 0..9 {
            store.commit(register("web", &format!("i{n}"), registration(n), LeaseWish::None)).await.unwrap();
        }
        let kept = page(&*store, up_to_now(100)).await;
        let revisions: Vec<u64> = kept.events.iter().map(|event| event.at.revision.0).collect();
        assert_eq!(revisions, [9, 8, 7, 6, 5], "{}", store.engine());
        assert!(kept.begins >= began && kept.begins <= kept.events[4].time);

        // More at once than there is room for.
        let many = (0..20).map(|n| register("many", &format!("m{n}"), registration(n), LeaseWish::None)).collect();
        store.commit(Command::Batch(many)).await.unwrap();
        let kept = page(&*store, up_to_now(100)).await;
        let changes: Vec<u32> = kept.events.iter().map(|event| event.at.change).collect();
        assert_eq!(changes, [19, 18, 17, 16, 15], "{}", store.engine());
        assert_eq!(kept.begins, kept.events[0].time, "of this very batch some is missing");
    }
    for store in keeping(0, Duration::from_secs(3600)) {
        store.commit(register("web", "i1", registration(1), LeaseWish::None)).await.unwrap();
        assert!(page(&*store, up_to_now(9)).await.events.is_empty(), "{}", store.engine());
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_are_too_old_are_not_shown() {
    for store in keeping(100, Duration::ZERO) {
        let at = store.commit(register("web", "i1", registration(1), LeaseWish::None)).await.unwrap().revision;
        let time = loop {
            // Until the clock has moved on by its smallest step.
            let now = Timestamp::now();
            let page = page(&*store, up_to_now(9)).await;
            if page.events.is_empty() {
                break now;
            }
            assert_eq!(page.events[0].at.revision, at);
        };
        assert!(page(&*store, up_to_now(9)).await.begins >= time.before(Duration::from_millis(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_survives_a_restart_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Embedded::open(dir.path(), store_settings()).unwrap();
    let store = open();
    store.commit_by(by("192.0.2.1"), register("web", "i1", registration(1), LeaseWish::None)).await.unwrap();
    let before = page(&store, up_to_now(9)).await;
    store.close().await;
    assert!(store.events(up_to_now(9)).await.is_err(), "closed");
    drop(store);

    let store = open();
    assert_eq!(page(&store, up_to_now(9)).await, before, "also from when on it is whole");
    let gone = Command::Deregister { service: service("web"), id: id("i1"), precondition: Precondition::None };
    store.commit_by(by("2001:db8::1"), gone).await.unwrap();
    let events = page(&store, up_to_now(9)).await.events;
    assert_eq!(
        events.iter().rev().map(line).collect::<Vec<_>>(),
        ["1 web/i1 absent passing registered (192.0.2.1)", "2 web/i1 passing absent deregistered (2001:db8::1)",]
    );
    assert_eq!(events[0].place, Some(registration(1).place()));
}

#[tokio::test(start_paused = true)]
async fn a_restored_snapshot_is_no_event_and_the_journal_is_whole_from_then_on() {
    for store in engines() {
        store.commit(register("web", "i1", registration(1), LeaseWish::None)).await.unwrap();
        let at = Timestamp::now();
        let mut lines = store.snapshot().await.unwrap().into_lines("svc.internal".parse().unwrap(), store.id(), at);
        store.commit(register("web", "i2", registration(2), LeaseWish::None)).await.unwrap();
        let Some(Followed::Reset(registry)) = store.watch(None).next().await else { panic!() };
        let mut reader = Reader::new(store.limits().clone(), registry);
        while let Some(chunk) = lines.next_chunk() {
            reader.take(&chunk).unwrap();
        }
        let before = Timestamp::now();
        store.restore(reader.finish().unwrap()).await.unwrap();
        let after = page(&*store, up_to_now(9)).await;
        assert!(after.begins >= before, "{}", store.engine());
        assert_eq!(after.events.len(), 2, "what was before is still told");
        let gone = Command::Deregister { service: service("web"), id: id("i1"), precondition: Precondition::None };
        store.commit(gone).await.unwrap();
        let told = told(&*store).await;
        assert!(told[2].ends_with("web/i1 passing absent deregistered (rollcall)"), "{told:?}");
    }
}

/// What a follower would show of a service now, without causes.
async fn present(store: &dyn Store) -> Past {
    let Some(Followed::Reset(registry)) = store.watch(None).next().await else { panic!() };
    Past::present(registry.service(&service("web")).map(AsRef::as_ref))
}

#[tokio::test(start_paused = true)]
async fn going_back_through_the_events_leads_to_every_state_there_was() {
    for store in engines() {
        let tested = Registration { checks: [check("tcp")].into(), ..registration(1) };
        let put = |name: &str, registration| register("web", name, registration, LeaseWish::None);
        let gone =
            |n: &str| Command::Deregister { service: service("web"), id: id(n), precondition: Precondition::None };
        let steps = [
            put("i1", tested.clone()),
            observed(Revision(1), Health::Passing),
            put("i2", alone(2)),
            observed(Revision(1), Health::Critical),
            put("i3", alone(2)),
            amended(Some(State::Maintenance), Expiry::Kept, None),
            put("i3", alone(4)),
            Command::Batch(vec![gone("i1"), put("i1", registration(8)), put("i4", registration(7))]),
            gone("i1"),
            put("i1", registration(5)),
            Command::DeregisterAll(Scope::Service(service("web"))),
        ];
        let stands = |past: &Past| -> Vec<String> {
            let row = |(id, stood): (&rollcall::model::InstanceId, &rollcall::registry::Stood)| {
                format!("{id} {} {:?}", stood.standing.as_str(), stood.place)
            };
            past.instances().map(row).collect()
        };
        let mut known = vec![(Revision(0), Vec::new())];
        for step in steps {
            let revision = store.commit(step).await.unwrap().revision;
            known.push((revision, stands(&present(&*store).await)));
        }
        let mut past = present(&*store).await;
        let events = page(&*store, up_to_now(100)).await.events;
        let mut events = events.iter().peekable();
        for (revision, known) in known.iter().rev() {
            while let Some(event) = events.next_if(|event| event.at.revision > *revision) {
                past.undo(event);
            }
            assert_eq!(stands(&past), *known, "{} at {revision}", store.engine());
        }
        assert!(events.next().is_none());
    }
}

#[test]
fn who_is_in_answers_stands_as_passing() {
    let mut instance = super::store::instance("web", "i1");
    for state in [State::Up, State::Draining, State::Maintenance] {
        instance.state = state;
        assert_eq!(instance.answered(), Standing::of(&instance) == Standing::Passing, "{state}");
    }
}
