//! What has once been written can be read: a file of the first version is kept in the repository.

use std::fs;
use std::net::SocketAddr;

use redb::{ReadableDatabase, ReadableTable};

use super::super::event_record;
use super::super::schema::{INSTANCES, META, SERVICES};
use super::*;
use crate::model::{
    CheckDefaults, GuardChoice, GuardRule, HttpCheck, HttpMethod, Instance, Place, RequestHeaders, Share,
    WhenAllCritical,
};
use crate::registry::{Cause, End, Event, EventPosition, Lingering, Remains, Whose};
use crate::store::EventQuery;
use crate::store::record::{self, instance_key};
use crate::store::service_record;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store-v1.redb");

/// An instance with everything that one can have.
fn laden() -> Registration {
    let http = HttpCheck {
        path: "/healthz?deep=1".parse().unwrap(),
        target: Some("10.9.9.9:81".parse::<SocketAddr>().unwrap()),
        method: HttpMethod::Head,
        headers: RequestHeaders::new([("x-token".to_owned(), "a b".to_owned())]).unwrap(),
        expect_status: "200-204,301".parse().unwrap(),
        expect_body: Some("fine".to_owned()),
    };
    let mut checks = checked(2).checks.to_vec();
    checks.push(CheckSpec {
        name: "deep".parse().unwrap(),
        kind: CheckKind::Http(Box::new(http)),
        interval: Duration::from_millis(1500),
        fast_interval: Duration::from_millis(150),
        timeout: Duration::from_millis(250),
        rise: 2,
        fall: 5,
        unsaid: Unsaid { fast_interval: true, ..Unsaid::default() },
        port: Some(81),
    });
    Registration {
        addresses: Addresses::new(["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()]).unwrap(),
        port: 8080,
        protocol: Transport::Udp,
        ports: [("grpc".parse().unwrap(), 9091), ("metrics".parse().unwrap(), 9090)].into(),
        priority: 10,
        weight: 0,
        tags: ["primary".parse().unwrap(), "v2".parse().unwrap()].into(),
        meta: Meta::new([("version".to_owned(), "1.4.2".to_owned()), ("path".to_owned(), "ä=\"\\".to_owned())])
            .unwrap(),
        ttl: Some(Ttl::new(Duration::from_secs(30)).unwrap()),
        https: true,
        checks: checks.into(),
        initial_health: Health::Passing,
        evict_after: Some(Duration::from_secs(600)),
        generation: Some(1_764_000_000),
        shared_address: true,
    }
}

/// Writes the file that the repository keeps. Its bytes are never to change; a new version has a file of its own.
#[tokio::test(start_paused = true)]
#[ignore = "writes into the repository"]
async fn write_the_file_of_the_first_version() {
    let disk = founded();
    let store = serve(&disk);
    let commit = async |command| store.commit(command).await.unwrap();
    commit(register("web", "i1", registration(1), LeaseWish::None)).await;
    let own = LeaseWish::Own(Duration::from_secs(15));
    let epoch = commit(register("web", "i2", laden(), own)).await.revision;
    commit(observe("web", "i2", epoch, Health::Critical)).await;
    commit(amend("web", "i1", State::Maintenance)).await;
    let shared = granted(&commit(Command::Grant { ttl: Duration::from_secs(86_400) }).await);
    commit(register("api.payments", "i1", checked(3), LeaseWish::Join(shared))).await;
    commit(configure("web", 7)).await;
    let brief = LeaseWish::Own(Duration::from_secs(2));
    commit(register("gone", "g1", registration(1), brief)).await;
    tokio::time::sleep(StdDuration::from_secs(5)).await;
    assert_eq!(snapshot(&store).await.instances(), 3);
    store.close().await;

    // What a newer version may have added to a record without a new form.
    let (database, ..) = load(&disk).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(INSTANCES).unwrap();
        let mut octets = table.get("web/i1").unwrap().unwrap().value().to_vec();
        octets.pop();
        octets.extend(br#","zeta":{"deep":[1,2]}}"#);
        table.insert("web/i1", octets.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    fs::create_dir_all(std::path::Path::new(FILE).parent().unwrap()).unwrap();
    fs::write(FILE, &disk.images()[0]).unwrap();
}

pub(super) fn kept() -> Disk {
    Disk::holding([fs::read(FILE).expect("the repository keeps it"), Vec::new()])
}

fn instance(registry: &Registry, service: &str, id: &str) -> Instance {
    Instance::clone(registry.instance(&service.parse().unwrap(), id).unwrap())
}

#[test]
fn a_file_of_the_first_version_says_what_it_said() {
    let (_, restored, unknown) = load(&kept()).unwrap();
    let registry = &restored.registry;
    assert_eq!((registry.revision(), registry.instances(), restored.leases.len()), (Revision(8), 3, 2));

    let plain = instance(registry, "web", "i1");
    let tags = ["primary".parse().unwrap()].into();
    assert_eq!(plain.registration, Registration { tags, ..registration(1) });
    assert_eq!((plain.state, plain.lease, plain.revision), (State::Maintenance, None, Revision(4)));
    let zeta = serde_json::json!({"deep": [1, 2]});
    assert_eq!(unknown.instances["web/i1"]["zeta"], zeta, "what it does not know is kept");

    let full = instance(registry, "web", "i2");
    assert_eq!(full.registration, laden());
    assert_eq!((full.epoch, full.revision, full.health()), (Revision(2), Revision(3), Health::Critical));
    let lease = full.lease.unwrap();
    assert!(lease.own && restored.leases.contains(&(lease.id, Duration::from_secs(15))));
    let [tcp, deep] = &*full.checks else { panic!("{:?}", full.checks) };
    assert_eq!(
        (tcp.health, tcp.since, tcp.last_error.as_deref()),
        (Health::Critical, full.health_since, Some("refused"))
    );
    assert_eq!((deep.health, &deep.last_error), (Health::Passing, &None));
    assert_eq!(full.health_since, Timestamp::from_millis(1_764_000_000_000));

    let shared = instance(registry, "api.payments", "i1").lease.unwrap();
    assert!(!shared.own && shared.ttl == Duration::from_secs(86_400));
    let web = registry.service(&"web".parse().unwrap()).unwrap();
    assert_eq!(web.settings().unwrap().ttl.unwrap().secs(), 7);
    let gone = registry.service(&"gone".parse().unwrap()).unwrap();
    assert!(gone.left(Transport::Tcp).is_some() && gone.has_lapsed(&"g1".parse().unwrap()));
}

#[test]
fn a_fast_interval_is_written_where_it_is_not_the_usual_one() {
    let mut full = instance(&load(&kept()).unwrap().1.registry, "web", "i2");
    assert!(!String::from_utf8(record::write_instance(&full, None)).unwrap().contains("fast_interval"));
    let mut checks = full.registration.checks.to_vec();
    checks[1].fast_interval = Duration::from_millis(200);
    checks[1].unsaid.fast_interval = false;
    full.registration.checks = checks.into();
    let octets = record::write_instance(&full, None);
    let (read, _) = record::read_instance(&full.service, full.id.clone(), &octets).unwrap();
    assert_eq!(read, full);
}

#[test]
fn what_a_check_says_and_what_it_leaves_to_others_are_told_apart() {
    let mut full = instance(&load(&kept()).unwrap().1.registry, "web", "i2");
    let written = |full: &Instance| String::from_utf8(record::write_instance(full, None)).unwrap();
    assert!(!written(&full).contains("said"), "what is usual was not said");
    let tcp = full.registration.checks[0].clone();
    let (unsaid, all_said) = (tcp.unsaid, Unsaid::default());
    let of_ttl = CheckSpec { name: "self".parse().unwrap(), kind: CheckKind::Ttl, fall: 1, ..tcp.clone() };
    full.checks = full.checks[..1].into();
    for (check, said) in [
        (tcp.clone(), None),
        (of_ttl.clone(), None),
        (CheckSpec { fall: 3, unsaid: Unsaid { fall: false, ..unsaid }, ..of_ttl.clone() }, None),
        (
            CheckSpec { unsaid: Unsaid { interval: false, fall: false, ..unsaid }, ..of_ttl },
            Some(r#"["interval","fall"]"#),
        ),
        (CheckSpec { unsaid: all_said, ..tcp }, Some(r#"["interval","fast_interval","timeout","rise","fall"]"#)),
    ] {
        full.registration.checks = [check].into();
        let text = written(&full);
        assert_eq!(text.contains("said"), said.is_some(), "{text}");
        assert!(said.is_none_or(|said| text.contains(&format!("\"said\":{said}"))), "{text}");
        let (read, _) = record::read_instance(&full.service, full.id.clone(), text.as_bytes()).unwrap();
        assert_eq!(read, full);
    }
}

#[test]
fn a_record_that_is_written_again_is_the_same_to_the_octet() {
    let (database, restored, unknown) = load(&kept()).unwrap();
    let transaction = database.begin_read().unwrap();
    let (mut instances, mut services) = (0, 0);
    for service in restored.registry.services_after(None) {
        for instance in service.instances() {
            let key = instance_key(instance.service.as_str(), instance.id.as_str());
            let before = transaction.open_table(INSTANCES).unwrap().get(key.as_str()).unwrap().unwrap();
            let after = record::write_instance(instance, unknown.instances.get(&key));
            assert_eq!(String::from_utf8(after), String::from_utf8(before.value().to_vec()));
            instances += 1;
        }
        if let Some(before) = transaction.open_table(SERVICES).unwrap().get(service.name().as_str()).unwrap() {
            assert_eq!(service_record::write(&service.remains(), None), before.value());
            services += 1;
        }
    }
    assert_eq!((instances, services), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_added_outlives_a_change_by_this_one() {
    let disk = kept();
    let store = serve(&disk);
    store.commit(amend("web", "i1", State::Up)).await.unwrap();
    store.close().await;
    let (_, _, unknown) = load(&disk).unwrap();
    assert!(unknown.instances["web/i1"].contains_key("zeta"));

    let store = serve(&disk);
    store.commit(deregister("web", "i1")).await.unwrap();
    store.commit(put("web", "i1")).await.unwrap();
    store.close().await;
    assert!(load(&disk).unwrap().2.instances.is_empty(), "another life of the name begins anew");
}

/// The first form of an event's record. These octets are never to change.
const EVENTS_V1: [(&[u8], &str); 3] = [
    (
        b"1\x00\x00\x01\x9a\xb6\x97\xe8\x7b\x00\x03web\x00\x02w1\x02\x03\x03\x00\x1echeck tcp is critical: \"b\" \xc3\xa9!\
          \x00\x09check:tcp\x00\x00",
        "web w1 passing critical health: check tcp is critical: \"b\" é! check:tcp None None",
    ),
    (
        b"1\x00\x00\x01\x9a\xb6\x97\xe8\x7b\x00\x0capi.payments\x00\x02a1\x03\x01\x01\x00\x16moved from 10.0.0.1:80\
          \x00\x0810.0.0.9\x07\x0a\x00\x00\x02\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x51\
          \x01\x0a\x00\x00\x01\x00\x50",
        "api.payments a1 critical unknown replaced: moved from 10.0.0.1:80 10.0.0.9 \
         Some(\"10.0.0.2,fd00::2 81 udp\") Some(\"10.0.0.1 80 tcp\")",
    ),
    (
        b"1\x00\x00\x01\x9a\xb6\x97\xe8\x7b\x00\x03web\x00\x00\x00\xff\x00\x07ttl 10s\x0a\x00\x00\x00\x08rollcall\x00\x00",
        "web - absent ttl 10s configured rollcall None None",
    ),
];

fn in_words(event: &Event) -> String {
    let place = |place: Option<Place>| {
        place.map(|Place { addresses, port, protocol }| {
            let addresses: Vec<String> = addresses.iter().map(|address| address.to_string()).collect();
            format!("{} {port} {}", addresses.join(","), protocol.as_str())
        })
    };
    let id = event.id.as_ref().map_or("-", |id| id.as_str());
    let Event { service, from, to, reason, actor, .. } = event;
    let (from, to) = (from.as_str(), to.as_str());
    let (is, was) = (place(event.place), place(event.moved_from));
    format!("{} {id} {from} {to} {reason} {actor} {is:?} {was:?}", service.as_str())
}

#[test]
fn an_event_of_the_first_form_says_what_it_said_and_is_written_again_to_the_octet() {
    let at = EventPosition { revision: Revision(7), change: 3 };
    for (octets, expected) in EVENTS_V1 {
        let event = event_record::read_event(at, octets).unwrap();
        assert_eq!(in_words(&event), expected);
        assert_eq!((event.at, event.time), (at, Timestamp::from_millis(1_764_000_000_123)));
        assert_eq!(event_record::write_event(&event), octets);
        let head = event_record::read_event_head(octets).unwrap();
        assert_eq!((head.time, head.service), (event.time, event.service.as_str()));
        for cut in 1..octets.len() {
            assert!(event_record::read_event(at, &octets[..cut]).is_err(), "{expected} cut to {cut}");
        }
        let added = [octets, b"more"].concat();
        assert_eq!(event_record::read_event(at, &added).unwrap(), event, "what a newer version adds is passed over");
    }
    let newer = event_record::read_event_head(b"2").unwrap_err();
    assert_eq!(newer, record::RecordError::Future('2'));
    for malformed in [&b""[..], b"x", b"1"] {
        assert!(matches!(event_record::read_event_head(malformed), Err(record::RecordError::Malformed(_))));
    }
}

#[test]
fn every_cause_and_standing_has_an_octet_of_its_own() {
    let at = EventPosition { revision: Revision(7), change: 3 };
    let mut event = event_record::read_event(at, EVENTS_V1[0].0).unwrap();
    let causes = [
        Cause::Registered,
        Cause::Replaced,
        Cause::Amended,
        Cause::Health,
        Cause::Lifted,
        Cause::Deregistered,
        Cause::Expired,
        Cause::Revoked,
        Cause::Superseded,
        Cause::Evicted,
    ];
    let words = causes.map(Cause::as_str).into_iter().chain([
        "configured",
        "guarded",
        "unguarded",
        "health: x",
        "superseded: by a: b",
    ]);
    let octets = |event: &Event| event_record::write_event(event);
    for reason in words {
        event.reason = reason.into();
        let shorter = octets(&event);
        assert_eq!(event_record::read_event(at, &shorter).unwrap().reason, event.reason);
        event.reason = format!("new-{reason}").into();
        assert_eq!(event_record::read_event(at, &octets(&event)).unwrap().reason, event.reason);
        assert!(octets(&event).len() > shorter.len() + "new-".len(), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_from_before_the_journal_begins_one() {
    let disk = kept();
    let opened = Timestamp::now();
    let store = serve(&disk);
    let query = || EventQuery::up_to(Revision(u64::MAX - 1), 10);
    let page = store.events(query()).await.unwrap();
    assert!(page.events.is_empty() && page.begins >= opened);
    let gone = store.commit(deregister("web", "i1")).await.unwrap().revision;
    let told = store.events(query()).await.unwrap().events;
    assert_eq!(told.iter().map(|event| event.at).collect::<Vec<_>>(), [EventPosition::before(gone)]);
    store.close().await;
    let store = serve(&disk);
    assert_eq!(store.events(query()).await.unwrap().begins, page.begins, "once");
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_writes_in_another_form_is_refused() {
    type Edit = fn(&redb::WriteTransaction);
    let edits: [(Edit, &str); 4] = [
        (|t| drop(t.open_table(META).unwrap().insert("format", 3).unwrap()), "it is in format 3"),
        (
            |t| drop(t.open_table(INSTANCES).unwrap().insert("web/i1", &b"2{}"[..]).unwrap()),
            "instance web/i1 is in form 2",
        ),
        (|t| drop(t.open_table(SERVICES).unwrap().insert("web", &b"3"[..]).unwrap()), "service web is in form 3"),
        (
            |t| drop(t.open_table(INSTANCES).unwrap().insert("web/i1", &b"1{}"[..]).unwrap()),
            "instance web/i1: missing field",
        ),
    ];
    for (edit, expected) in edits {
        let disk = kept();
        let (database, ..) = load(&disk).unwrap();
        let transaction = database.begin_write().unwrap();
        edit(&transaction);
        transaction.commit().unwrap();
        drop(database);
        match load(&disk).map(|_| ()).unwrap_err() {
            LoadError::Future(said) | LoadError::Damaged(said) => assert!(said.starts_with(expected), "{said}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn settings_of_every_kind_are_read_as_they_were_written() {
    let rule = GuardRule {
        ratio: Share::new(0.25).unwrap(),
        min: 7,
        window: Duration::from_secs(10),
        max: Duration::from_secs(90),
    };
    let fallback = Some("spare.payments".parse().unwrap());
    let all = WhenAllCritical::All;
    let check_defaults = CheckDefaults {
        interval: Some(Duration::from_secs(30)),
        fast_interval: Some(Duration::from_secs(2)),
        timeout: Some(Duration::from_secs(3)),
        rise: Some(2),
        fall: Some(4),
    };
    for (settings, json) in [
        (ServiceSettings::default(), r#"{}"#),
        (ServiceSettings { guard: Some(GuardChoice::Off), ..ServiceSettings::default() }, r#"{"guard":"off"}"#),
        (
            ServiceSettings {
                guard: Some(GuardChoice::On(rule)),
                when_all_critical: all,
                fallback,
                ..ServiceSettings::default()
            },
            r#"{"guard":{"on":{"ratio":0.25,"min":7,"window":"10s","max":"1m30s"}},"all_when_critical":true,"fallback":"spare.payments"}"#,
        ),
        (
            ServiceSettings { check_defaults, ..ServiceSettings::default() },
            r#"{"check_defaults":{"interval":"30s","fast_interval":"2s","timeout":"3s","rise":2,"fall":4}}"#,
        ),
    ] {
        let remains = Remains { settings: Some(settings.into()), ..Remains::default() };
        let octets = service_record::write(&remains, None);
        assert_eq!(String::from_utf8(octets.clone()).unwrap(), format!("1{{\"settings\":{json}}}"));
        assert_eq!(service_record::read(&octets).unwrap().0, remains);
    }
}

/// The first form of what lingers of a service.
#[test]
fn what_lingers_has_a_form() {
    let place = Place { addresses: registration(7).addresses, port: 80, protocol: Transport::Udp };
    let end = |seconds| End {
        until: Timestamp::from_millis(1_764_000_000_000 + seconds * 1000),
        span: Ttl::new(Duration::from_secs(seconds)).unwrap(),
    };
    let ends =
        [(Whose::All, end(5)), (Whose::Unasking, end(60)), (Whose::Instance("i1".parse().unwrap(), place), end(3600))];
    let lingering = Some(std::sync::Arc::new(Lingering::new(ends).unwrap()));
    let remains = Remains { lingering, ..Remains::default() };
    let octets = service_record::write(&remains, None);
    let json = concat!(
        r#"1{"lingering":[{"until":1764000005000,"span":"5s"},{"until":1764000060000,"span":"1m","unasking":true},"#,
        r#"{"until":1764003600000,"span":"1h","instance":{"id":"i1","addresses":["10.0.0.7"],"port":80,"protocol":"udp"}}]}"#,
    );
    assert_eq!(String::from_utf8(octets.clone()).unwrap(), json);
    assert_eq!(service_record::read(&octets).unwrap().0, remains);
    let many = vec![r#"{"until":0,"span":"5s"}"#; 65].join(",");
    for bad in [format!(r#"1{{"lingering":[{many}]}}"#), r#"1{"lingering":[{"until":0,"span":"2h"}]}"#.to_owned()] {
        assert!(matches!(service_record::read(bad.as_bytes()), Err(record::RecordError::Malformed(_))), "{bad}");
    }
}
