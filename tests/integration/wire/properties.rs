//! What holds of all registries and all packets, as far as chance finds them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A runtime of simulated time that cases can share.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn cases(cases: u32) -> ProptestConfig {
    // Without a file of past failures: a failure becomes a test with a name.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The case of a name by the bits of a number.
fn cased(name: &str, bits: u64) -> String {
    let flip = |(at, letter): (usize, char)| match bits >> (at % 64) & 1 {
        0 => letter,
        _ => letter.to_ascii_uppercase(),
    };
    name.chars().enumerate().map(flip).collect()
}

fn service() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,20}", "[a-z]{1,62}\\.[a-z]{1,40}\\.[a-z]{1,30}", "([a-z]\\.){30,70}[b-y]"]
}

#[test]
fn no_reply_is_longer_than_allowed() {
    let runtime = runtime();
    let instance = ("[a-z0-9]{1,40}", any::<[u8; 3]>(), 1..4u8, 0..2u16);
    let asked = (0..5usize, prop_oneof![Just(A), Just(AAAA), Just(SRV), Just(ANY)], any::<u64>(), any::<Option<u16>>());
    let case = (service(), vec(instance, 1..40), vec(asked, 1..40));
    let mut runner = proptest::test_runner::TestRunner::new(cases(40));
    let result = runner.run(&case, |(service, instances, questions)| {
        runtime.block_on(async {
            let world = World::new().await;
            let mut ids = Vec::new();
            for (id, [a, b, c], families, priority) in instances {
                let (v4, v6) = (format!(r#""10.{a}.{b}.{c}""#), format!(r#""fd00::{a:x}:{b:x}:{c:x}""#));
                let addresses = [Some(v4).filter(|_| families & 1 != 0), Some(v6).filter(|_| families & 2 != 0)];
                let addresses = addresses.into_iter().flatten().collect::<Vec<_>>().join(",");
                let body = format!(
                    r#"{{"addresses":[{addresses}],"port":1,"priority":{priority},"ports":{{"x--x":9}},"tags":["y--y"]}}"#
                );
                // Some names are too long, and some ids are `one`: the registry says so.
                let path = format!("/v1/services/{service}/instances/{id}");
                if world.call("PUT", &path, Some(&body)).await.status < 300 {
                    ids.push(id);
                }
            }
            let Some(id) = ids.first() else { return };
            let (first, group) = service.split_once('.').unwrap_or((&service, ""));
            let names = [
                format!("{service}.svc.internal"),
                format!("_{first}._tcp.{group}.svc.internal").replace("..", "."),
                format!("_x--x._tcp.{service}.svc.internal"),
                format!("y--y.{service}.svc.internal"),
                format!("{id}.{service}.svc.internal"),
            ];
            for (name, record_type, bits, payload) in questions {
                let name = wire(&cased(&names[name], bits));
                if name.len() > 255 {
                    continue;
                }
                let mut message = question(&name, record_type);
                let mut limit = 512;
                if let Some(payload) = payload {
                    limit = usize::from((payload % 2000).clamp(512, 1232));
                    message = with_opt(message, payload % 2000, 0, &[]);
                }
                let reply = send(&world, &message, Protocol::Udp).await.unwrap();
                let whole = send(&world, &message, Protocol::Tcp).await.unwrap();
                assert!(reply.octets.len() <= limit, "{} of {limit} for {name:?}", reply.octets.len());
                assert_eq!(reply.opt.is_some(), payload.is_some());
                assert!(!whole.truncated);
                assert_eq!(reply.truncated, reply.sections[0].len() < whole.sections[0].len());
                assert!(whole.sections[0].iter().all(|record| record.owner == name), "the case that was asked");
            }
        });
        Ok(())
    });
    result.unwrap();
}

/// Octets to mutate: questions that are served, with and without EDNS.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for name in ["web.svc.internal", "_web._tcp.svc.internal", "i1.web.svc.internal", "svc.internal", "nope.example"] {
        for record_type in [A, SRV, ANY] {
            let plain = question(&wire(name), record_type);
            seeds.push(with_opt(plain.clone(), 1232, 0x8000, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]));
            seeds.push(with_opt(plain.clone(), 512, 0, &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2]));
            seeds.push(plain);
        }
    }
    // Records of types that have parsers of their own, in every section.
    for record_type in [1u16, 5, 6, 15, 16, 24, 25, 28, 33, 35, 41, 43, 46, 47, 50, 52, 64, 65, 249, 250, 257] {
        let mut message = question(&wire("web.svc.internal"), A);
        message[7 + 2 * usize::from(record_type % 3)] = 1;
        message.extend([&[0xc0, 12][..], &record_type.to_be_bytes(), &[0, 1, 0, 0, 0, 9, 0, 24], &[1; 24]].concat());
        seeds.push(message);
    }
    seeds
}

#[test]
fn no_packet_is_too_much() {
    let runtime = runtime();
    let world = runtime.block_on(async {
        let world = World::new().await;
        put(&world, "web", "i1", r#"{"addresses":["10.0.0.1","fd00::1"],"port":80,"ports":{"x":1}}"#).await;
        world
    });
    let edits = vec((any::<proptest::sample::Index>(), any::<u8>(), 0..4u8), 1..8);
    let mutated = (proptest::sample::select(seeds()), edits).prop_map(|(mut octets, edits)| {
        for (at, value, edit) in edits {
            let at = at.index(octets.len().max(1)).min(octets.len());
            match edit {
                0 => octets.insert(at, value),
                1 => drop(octets.get(at).is_some().then(|| octets.remove(at))),
                2 => octets.truncate(at.max(12)),
                _ => octets[at..].iter_mut().take(1).for_each(|octet| *octet = value),
            }
        }
        octets
    });
    let random = vec(any::<u8>(), 0..600);
    // Mostly a header that is let through, so that what follows is read.
    let headed =
        (vec(0..3u8, 4), vec(prop_oneof![0..4u8, any::<u8>(), Just(0xc0)], 0..200)).prop_map(|(counts, rest)| {
            let counts = [u16::from(counts[0].min(1)), counts[1].into(), counts[2].into(), counts[3].into()];
            [header([1, 0], counts), rest].concat()
        });
    let packets = prop_oneof![6 => mutated, 1 => random, 2 => headed];
    let mut runner = proptest::test_runner::TestRunner::new(cases(15_000));
    let result = runner.run(&packets, |octets| {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            // `send` reads the reply with two parsers and checks QR and the id.
            let reply = runtime.block_on(send(&world, &octets, protocol));
            let request = octets.len() >= 12 && octets[2] & 0x80 == 0;
            assert_eq!(reply.is_some(), request, "every request gets a reply and nothing else does");
            if let Some(reply) = reply {
                assert!(protocol == Protocol::Tcp || reply.octets.len() <= 1232);
                assert!(reply.rcode != 2, "never SERVFAIL");
            }
        }
        Ok(())
    });
    result.unwrap();
}
