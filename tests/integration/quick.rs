//! The quick path of a question says what the full one says, to the octet.

use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::explain::{NAMES, populate, registration};
use super::support::world::World;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const TYPES: [u16; 6] = [A, AAAA, SRV, 16, 12, 255];

/// What a question carries besides its name and type.
#[derive(Debug, Clone)]
struct Extras {
    flags: [u8; 2],
    payload: Option<u16>,
    dnssec_ok: bool,
    cookie: bool,
    upper: bool,
    /// An octet of the message that is another one, and what it is.
    turned: Option<(prop::sample::Index, u8)>,
    client: [u8; 4],
}

fn extras() -> impl Strategy<Value = Extras> {
    let flags = prop_oneof![3 => Just([1, 0]), 1 => any::<[u8; 2]>()];
    let payload = prop_oneof![Just(None), Just(Some(0)), Just(Some(1232)), (300..1400u16).prop_map(Some)];
    let turned = prop_oneof![4 => Just(None), 1 => any::<(prop::sample::Index, u8)>().prop_map(Some)];
    (flags, payload, any::<[bool; 3]>(), turned, any::<[u8; 4]>()).prop_map(
        |(flags, payload, bools, turned, client)| {
            let [dnssec_ok, cookie, upper] = bools;
            Extras { flags, payload, dnssec_ok, cookie, upper, turned, client }
        },
    )
}

fn message(name: &str, record_type: u16, extras: &Extras) -> Vec<u8> {
    let name = if extras.upper { name.to_uppercase() } else { name.to_owned() };
    let mut message = vec![0x12, 0x34, extras.flags[0], extras.flags[1], 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend([record_type.to_be_bytes(), [0, 1]].concat());
    if let Some(payload) = extras.payload {
        message[11] = 1;
        message.extend([0, 0, 41]);
        message.extend(payload.to_be_bytes());
        message.extend([0, 0, u8::from(extras.dnssec_ok) << 7, 0]);
        let options: &[u8] = if extras.cookie { &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8] } else { &[] };
        message.extend((options.len() as u16).to_be_bytes());
        message.extend(options);
    }
    if let Some((place, octet)) = &extras.turned {
        let place = place.index(message.len());
        message[place] = *octet;
    }
    message
}

/// Whether the quick path took it.
fn compare(world: &World, name: &str, record_type: u16, extras: &Extras) -> Result<bool, TestCaseError> {
    let message = message(name, record_type, extras);
    let client = SocketAddr::from((extras.client, 5353));
    let (quickly, fully) = world.handler.both_ways(&message, client);
    let took = quickly.is_some();
    if took {
        prop_assert_eq!(quickly, fully, "{} {} {:?}", name, record_type, extras);
    }
    Ok(took)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_say_the_same(
        registrations in prop::collection::vec(registration(), 0..14),
        many in prop_oneof![Just(0u16), Just(20), Just(80)],
        ttl in prop::option::of(0..9u8),
        questions in prop::collection::vec((0..NAMES.len(), 0..TYPES.len(), extras()), 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            populate(&world, &registrations, many, ttl).await;
            for (name, record_type, extras) in questions {
                compare(&world, &format!("{}svc.internal.", NAMES[name]), TYPES[record_type], &extras)?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_most_is_taken_quickly() {
    let world = World::new().await;
    for n in 1..4 {
        let body = format!(r#"{{"addresses":["10.0.0.{n}","fd00::{n}"],"port":80,"weight":{n}}}"#);
        world.call("PUT", &format!("/v1/services/api.payments/instances/i{n}"), Some(&body)).await;
    }
    let plain = Extras {
        flags: [1, 0],
        payload: None,
        dnssec_ok: false,
        cookie: false,
        upper: false,
        turned: None,
        client: [10, 0, 0, 9],
    };
    let edns = Extras { payload: Some(1232), cookie: true, upper: true, dnssec_ok: true, ..plain.clone() };
    for (name, record_type) in [
        ("api.payments.svc.internal", A),
        ("api.payments.svc.internal", AAAA),
        ("api.payments.svc.internal", SRV),
        ("_api._tcp.payments.svc.internal", SRV),
    ] {
        for extras in [&plain, &edns] {
            assert!(compare(&world, name, record_type, extras).unwrap(), "{name} {record_type} {extras:?}");
        }
    }
    world.call("PUT", "/v1/services/web/instances/i1", Some(r#"{"address":"10.0.0.1","port":80}"#)).await;
    for (name, record_type) in [("nobody.svc.internal", A), ("x.y.svc.internal", SRV), ("web.svc.internal", AAAA)] {
        assert!(compare(&world, name, record_type, &plain).unwrap(), "{name} {record_type}");
        assert!(!compare(&world, name, record_type, &edns).unwrap(), "why is said at length: {name} {record_type}");
    }
    for (name, record_type) in [("api.payments.svc.internal", 16), ("i1.web.svc.internal", A), ("example.com", A)] {
        assert!(!compare(&world, name, record_type, &plain).unwrap(), "{name} {record_type}");
    }
}
