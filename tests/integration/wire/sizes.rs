//! Replies that fit, hold as much as fits, and say what is missing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rollcall::dns::Handler;
use rollcall::model::{Ttl, ZoneName};
use rollcall::registry::Registry;
use rollcall::zone::{self, Publisher};

use super::*;
use crate::support::world::answering;

const TXT: u16 = 16;
const INSTANCES: usize = 60;

/// What a name and type have in full.
const FULL: [(&str, u16, usize); 14] = [
    ("big.svc.internal", A, INSTANCES),
    ("big.svc.internal", AAAA, INSTANCES),
    ("big.svc.internal", SRV, INSTANCES),
    ("bIg.svc.intErnal", ANY, INSTANCES),
    ("big.svc.internal", TXT, 0),
    ("_big._TCP.svc.internal", SRV, INSTANCES),
    ("_metrics._tcp.big.svc.internal", SRV, INSTANCES),
    ("even.big.svc.internal", AAAA, INSTANCES / 2),
    ("even.big.svc.internal", SRV, INSTANCES / 2),
    ("instance-number-07.big.svc.internal", SRV, 1),
    ("svc.internal", SOA, 1),
    ("svc.internal", NS, 1),
    ("Nope.Svc.internal", A, 0),
    ("_tcp.svc.internal", A, 0),
];

async fn world() -> World {
    let world = World::new().await;
    for n in 0..INSTANCES {
        let tags = if n % 2 == 0 { r#","tags":["even"]"# } else { "" };
        let ports = r#""ports":{"metrics":9090}"#;
        let body = format!(r#"{{"addresses":["10.0.0.{n}","fd00::{n:x}"],"port":80,{ports}{tags}}}"#);
        put(&world, "big", &format!("instance-number-{n:02}"), &body).await;
    }
    world
}

/// What holds of every reply: its size, its OPT, TC exactly when answers are missing, glue for targets only.
fn check(reply: &Reply, limit: usize, edns: bool, full: usize) {
    let length = reply.octets.len();
    assert!(length <= limit, "{length} octets where {limit} were allowed");
    assert_eq!(reply.opt.is_some(), edns, "OPT exactly when asked");
    let [answers, authorities, additionals] = &reply.sections;
    assert_eq!(
        reply.truncated,
        answers.len() < full,
        "TC exactly when answers are missing: {} of {full}",
        answers.len()
    );
    assert_eq!(authorities.len(), usize::from(full == 0), "a SOA with every denial, and with nothing else");
    let distinct: HashSet<_> = answers.iter().map(|record| &record.data).collect();
    assert_eq!(distinct.len(), answers.len(), "no record twice");
    if reply.truncated {
        // Over TCP there is a last word beside the answers: that there are more.
        let length = if limit == 65_535 { length + 86 } else { length };
        let next = answers.iter().map(|record| 12 + record.data.len()).max().unwrap_or(270);
        assert!(length + next > limit, "{length} of {limit} octets used, and {next} would be one more");
    }
    let targets: HashSet<&[u8]> = answers
        .iter()
        .filter_map(|record| match record.record_type {
            SRV => Some(&record.data[6..]),
            NS => Some(&b"\x02ns\x03svc\x08internal\0"[..]),
            _ => None,
        })
        .collect();
    for record in additionals {
        assert!(targets.contains(&record.owner[..]), "an address of no target");
    }
}

#[tokio::test(start_paused = true)]
async fn replies_fit_whatever_a_client_takes() {
    let world = world().await;
    for (name, record_type, full) in FULL {
        let plain = question(&wire(name), record_type);
        let reply = send(&world, &plain, Protocol::Udp).await.unwrap();
        check(&reply, 512, false, full);
        let few = [0, 1, 511, 2000, 4096, 65_535];
        // Every size where sizes matter.
        let step = if full > 1 { 1 } else { 37 };
        for payload in few.into_iter().chain((512..=1400).step_by(step)) {
            let reply = send(&world, &with_opt(plain.clone(), payload, 0, &[]), Protocol::Udp).await.unwrap();
            check(&reply, usize::from(payload.clamp(512, 1232)), true, full);
        }
        let reply = send(&world, &with_opt(plain, 512, 0, &[]), Protocol::Tcp).await.unwrap();
        check(&reply, 65_535, true, full);
        assert!(!reply.truncated, "all of it over TCP");
        if record_type == SRV {
            assert_eq!(reply.sections[2].len(), 2 * full, "and the addresses of every target");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_instances_go_over_tcp() {
    let world = World::new().await;
    for n in 0..1000 {
        let body = format!(r#"{{"addresses":["10.0.{}.{}","fd00::{n:x}"],"port":80}}"#, n / 250, n % 250);
        put(&world, "short", &format!("i{n}"), &body).await;
        put(&world, "long", &format!("{}{n}", "long-".repeat(11)), &body).await;
    }
    for (name, record_type) in [
        ("short.svc.internal", A),
        ("short.svc.internal", AAAA),
        ("short.svc.internal", SRV),
        ("long.svc.internal", A),
        ("long.svc.internal", SRV),
        ("_long._tcp.svc.internal", SRV),
    ] {
        for edns in [false, true] {
            let asked = question(&wire(name), record_type);
            let asked = if edns { with_opt(asked, 1232, 0, &[]) } else { asked };
            let reply = send(&world, &asked, Protocol::Tcp).await.unwrap();
            check(&reply, 65_535, edns, 1000);
            assert_eq!(reply.truncated, record_type == SRV && name.contains("long"), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_instance_comes_first_equally_often() {
    let world = World::new().await;
    for n in 0..6 {
        let body = format!(r#"{{"addresses":["10.0.0.{n}","fd00::{n:x}"],"port":80}}"#);
        put(&world, "web", &format!("i{n}"), &body).await;
    }
    let rounds = 600;
    let mut first: HashMap<(u16, Vec<u8>), usize> = HashMap::new();
    for _ in 0..rounds {
        // A resolver asks for both families each time: neither may get only every other turn.
        for record_type in [A, AAAA] {
            let reply = send(&world, &question(&wire("web.svc.internal"), record_type), Protocol::Udp).await.unwrap();
            let [answers, ..] = reply.sections;
            let distinct: HashSet<_> = answers.iter().map(|record| record.data.clone()).collect();
            assert_eq!(distinct.len(), 6, "every set is complete");
            *first.entry((record_type, answers[0].data.clone())).or_default() += 1;
        }
    }
    assert_eq!(first.len(), 2 * 6, "{first:?}");
    for count in first.into_values() {
        let share = rounds / 6;
        assert!((share * 8 / 10..=share * 12 / 10).contains(&count), "{count} where {share} are fair");
    }
}

/// A zone of the longest name there may be and a reverse zone, without services.
fn long_zone(addresses: u8) -> (Vec<u8>, Handler) {
    let name = format!("{0}.{0}.{0}.internal", "z".repeat(61));
    let mut publisher = Publisher::new(zone::Settings {
        name: name.parse::<ZoneName>().unwrap(),
        ttl: Ttl::new("5s".parse().unwrap()).unwrap(),
        name_server: (0..addresses).map(|n| [10, 0, 0, n].into()).collect(),
        serial: 1,
        reverse: vec!["10.0.0.0/8".parse().unwrap()],
    });
    publisher.publish_all(&Registry::default());
    (wire(&name), Handler::new(Arc::clone(&publisher.zone()), answering(4096), &mut Default::default()))
}

async fn ask_long(handler: &Handler, message: Vec<u8>) -> Reply {
    read(handler.respond(&message, "192.0.2.1:9".parse().unwrap(), Protocol::Udp).await.unwrap())
}

#[tokio::test]
async fn denials_fit_in_the_longest_zone() {
    let (zone, handler) = long_zone(1);
    let left = 255 - zone.len() - 1;
    for name in [zone.clone(), [&[left as u8][..], &vec![b'x'; left], &zone].concat()] {
        for record_type in [A, SOA, TXT] {
            for name in [name.clone(), name.to_ascii_uppercase()] {
                let plain = question(&name, record_type);
                assert!(ask_long(&handler, plain.clone()).await.octets.len() <= 512);
                let reply = ask_long(&handler, with_opt(plain, 512, 0, &[])).await;
                assert!(reply.octets.len() <= 512, "{} octets", reply.octets.len());
                assert!(!reply.truncated && reply.opt.is_some());
            }
        }
    }
}

#[tokio::test]
async fn denials_fit_below_reverse_zones() {
    let (_, handler) = long_zone(1);
    for left in [0, 1, 60, 120, 234] {
        let labels: Vec<u8> = vec![b'x'; left].chunks(60).flat_map(|l| [&[l.len() as u8][..], l].concat()).collect();
        let name = [labels, wire("10.in-addr.arpa")].concat();
        for record_type in [A, SOA, NS] {
            let reply = ask_long(&handler, with_opt(question(&name, record_type), 512, 0, &[])).await;
            let records = reply.sections[0].len() + reply.sections[1].len();
            assert_eq!(reply.truncated, records == 0, "{left} octets before, {} octets", reply.octets.len());
            assert!(reply.octets.len() <= 512 && reply.opt.is_some());
        }
    }
}

#[tokio::test]
async fn many_name_server_addresses_fit() {
    for count in [0, 1, 30, 100, 255] {
        let (zone, handler) = long_zone(count);
        let server = [&b"\x02ns"[..], &zone].concat();
        for payload in [512, 700, 1232, 4095, 4096] {
            let reply = ask_long(&handler, with_opt(question(&zone, NS), payload, 0, &[])).await;
            assert!(reply.octets.len() <= usize::from(payload), "{} of {payload}", reply.octets.len());
            assert_eq!((reply.sections[0].len(), reply.truncated), (1, false), "glue is optional");
            let reply = ask_long(&handler, with_opt(question(&server, A), payload, 0, &[])).await;
            assert!(reply.octets.len() <= usize::from(payload), "{} of {payload}", reply.octets.len());
            assert_eq!(reply.truncated, reply.sections[0].len() < usize::from(count));
        }
    }
}
