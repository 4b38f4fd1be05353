//! `GET /v1/explain` says what DNS says, whatever is registered and whatever is asked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::rr::RecordType;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rollcall::dns::Protocol;
use rollcall::model::Health;
use serde_json::{Value, json};

use super::support::dialogue::{Asking, extended_error, head, shown};
use super::support::world::World;

async fn explain(world: &World, query: &str) -> Value {
    let reply = world.call("GET", &format!("/v1/explain?{query}"), None).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body
}

async fn put(world: &World, path: &str, body: &Value) {
    let reply = world.call("PUT", &format!("/v1/services/{path}"), Some(&body.to_string())).await;
    assert!(reply.status < 300, "{}", reply.body);
}

/// The ids of the instances of an explanation that are kept, and what is said of each.
fn kept(explained: &Value) -> Vec<(&str, &str)> {
    let instances = explained["instances"].as_array().unwrap().iter().filter(|instance| instance["kept"] == true);
    instances.map(|i| (i["id"].as_str().unwrap(), i["because"].as_str().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn instances_that_stand_in_and_those_answered_for_want_of_any_that_is_well_say_so() {
    let world = World::new().await;
    let checked = json!({"address": "10.0.0.1", "port": 80, "checks": [{"type": "tcp"}]});
    put(&world, "web/instances/i1", &checked).await;
    put(&world, "spare/instances/s1", &json!({"address": "10.1.0.1", "port": 80})).await;
    put(&world, "web/settings", &json!({"fallback": "spare"})).await;
    world.observe("web", "i1", "tcp", Health::Critical, Some("connection refused")).await;
    let explained = explain(&world, "name=web.svc.internal").await;
    assert_eq!(explained["answer"], json!(["web.svc.internal. 5 IN A 10.1.0.1"]));
    let meaning = "service web; it has nobody to answer with, so its fallback spare stands in";
    assert_eq!(explained["meaning"], meaning);
    assert_eq!(explained["instances"].as_array().unwrap().len(), 2);
    assert_eq!(explained["instances"][0]["kept"], false);
    let stand_in = json!({"service": "spare", "id": "s1", "kept": true, "because": "answered"});
    assert_eq!(explained["instances"][1], stand_in);

    put(&world, "web/settings", &json!({"fallback": "spare", "when_all_critical": "all"})).await;
    let explained = explain(&world, "name=web.svc.internal").await;
    let [("i1", because)] = kept(&explained)[..] else { panic!("{explained}") };
    let said = "answered, as all are that are critical: check tcp is critical: connection refused, since 2";
    assert!(because.starts_with(said), "{because}");
    assert_eq!(explained["meaning"], "service web");
    assert_eq!(explained["extended_error"]["code"], 0);
}

#[tokio::test(start_paused = true)]
async fn every_instance_is_kept_or_withheld_with_the_reason() {
    let world = World::new().await;
    let checked = json!({"address": "10.0.0.2", "port": 80, "checks": [{"type": "tcp"}]});
    put(&world, "web/instances/i1", &json!({"address": "10.0.0.1", "port": 80, "tags": ["a"]})).await;
    put(&world, "web/instances/i2", &checked).await;
    put(&world, "web/instances/i3", &json!({"address": "fd00::3", "port": 80})).await;
    put(&world, "web/instances/i4", &json!({"address": "10.0.0.4", "port": 80, "priority": 9})).await;
    world.observe("web", "i2", "tcp", Health::Critical, Some("connection refused")).await;

    let explained = explain(&world, "name=web.svc.internal").await;
    assert_eq!(
        explained["question"],
        json!({"name": "web.svc.internal.", "type": "A", "client": "192.0.2.1", "protocol": "udp"})
    );
    assert_eq!(explained["meaning"], "service web");
    assert_eq!((&explained["rcode"], &explained["flags"]), (&json!("NOERROR"), &json!(["aa"])));
    assert_eq!(explained["extended_error"], Value::Null);
    assert_eq!(explained["answer"], json!(["web.svc.internal. 5 IN A 10.0.0.1"]));
    assert_eq!((&explained["authority"], &explained["additional"]), (&json!([]), &json!([])));
    assert_eq!(explained["revision"], world.view.load().revision().0);
    let instances = explained["instances"].as_array().unwrap();
    assert_eq!(instances[0], json!({"id": "i1", "kept": true, "because": "answered"}));
    let why = instances[1]["because"].as_str().unwrap();
    assert!(why.starts_with("withheld: check tcp is critical: connection refused, since 2"), "{why}");
    assert_eq!(instances[2], json!({"id": "i3", "kept": false, "because": "it has no IPv4 address"}));
    let why = "instances with a lower priority value than 9 are well";
    assert_eq!(instances[3], json!({"id": "i4", "kept": false, "because": why}));

    for (query, meaning, kept) in [
        ("name=A.Web.svc.internal.&type=a", "instances of service web with tag a", &["i1"][..]),
        ("name=_web._tcp.svc.internal&type=SRV", "service web over tcp", &["i1", "i3", "i4"]),
        ("name=web.svc.internal&type=AAAA", "service web", &["i3"]),
        ("name=i2.web.svc.internal", "instance i2 of service web", &["i2"]),
        ("name=i2.web.svc.internal&type=AAAA", "instance i2 of service web", &[]),
        ("name=i3._web._tcp.svc.internal&type=TXT", "instance i3 of service web, by DNS-SD", &["i3"]),
        ("name=web.svc.internal&type=TYPE15", "service web", &[]),
    ] {
        let explained = explain(&world, query).await;
        assert_eq!(explained["meaning"], meaning, "{query}");
        let instances = explained["instances"].as_array().unwrap();
        assert_eq!(instances.len(), 4, "{query}");
        let got: Vec<&str> =
            instances.iter().filter(|i| i["kept"] == true).map(|i| i["id"].as_str().unwrap()).collect();
        assert_eq!(got, kept, "{query}");
    }
    // Relative to nothing: what is not in the zone is outside.
    let outside = explain(&world, "name=web").await;
    assert_eq!((&outside["rcode"], &outside["instances"]), (&json!("REFUSED"), &json!([])));
    assert_eq!(outside["extended_error"], json!({"code": 20, "text": "only svc.internal. is served here"}));
}

#[tokio::test(start_paused = true)]
async fn detail_is_what_the_client_would_get() {
    let world = World::new().await;
    put(&world, "web/instances/i1", &json!({"address": "10.0.0.2", "port": 80, "checks": [{"type": "tcp"}]})).await;
    let text = async |client: &str| {
        let query = format!("name=web.svc.internal&client={client}");
        explain(&world, &query).await["extended_error"]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text("10.1.1.1").await, "web: 1 registered, 0 passing");
    for client in ["127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        let text = text(client).await;
        assert!(text.starts_with("web: 1 registered, 0 passing; i1: tcp unknown since "), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn questions_that_cannot_be_are_refused() {
    let world = World::new().await;
    let long = format!("name={}", "a".repeat(64));
    for query in [
        "",
        "name=",
        "name=a..b",
        "name=.a",
        &*long,
        "name=%C3%A4.svc.internal",
        "name=a&type=",
        "name=a&type=BOGUS",
        "name=a&type=TYPE65536",
        "name=a&type=AXFR",
        "name=a&client=x",
        "name=a&client=10.0.0.1:53",
        "name=a&protocol=quic",
        "name=a&name=b",
        "name=a&typ=A",
    ] {
        let reply = world.call("GET", &format!("/v1/explain?{query}"), None).await;
        assert_eq!(reply.status, 422, "{query}: {}", reply.body);
        assert_eq!(reply.body["type"], "urn:rollcall:invalid-parameter", "{query}");
        assert_eq!(reply.body.get("pointer"), None, "{query}");
    }
}

const SERVICES: [&str; 4] = ["web", "wep", "api.payments", "payments"];
const IDS: [&str; 4] = ["i1", "i2", "i3", "a-long-name-that-takes-room-in-an-answer"];
/// Names below the zone: every kind there is, slips of the pen, and nonsense.
pub(super) const NAMES: [&str; 30] = [
    "",
    "ns.",
    "web.",
    "WEP.",
    "wbe.",
    "api.payments.",
    "payments.",
    "apj.payments.",
    "i1.web.",
    "i9.web.",
    "x.i1.web.",
    "primary.web.",
    "one.web.",
    "a-long-name-that-takes-room-in-an-answer.wep.",
    "_tcp.",
    "_udp.",
    "_udp.payments.",
    "_web._tcp.",
    "_web._udp.",
    "_wbe._tcp.",
    "_api._tcp.payments.",
    "_metrics._tcp.web.",
    "_other._tcp.web.",
    "i1._web._tcp.",
    "i9._web._udp.",
    "i1._api._tcp.payments.",
    "_dns-sd._udp.",
    "_services._dns-sd._udp.",
    "_services._dns-sd._udp.payments.",
    "x._services._dns-sd._udp.",
];
const TYPES: [&str; 10] = ["A", "AAAA", "SRV", "TXT", "PTR", "HTTPS", "SOA", "NS", "MX", "ANY"];

/// One registration: service, id, body, what becomes of it.
pub(super) fn registration() -> impl Strategy<Value = (usize, usize, Value, u8)> {
    let places = (0..SERVICES.len(), 0..IDS.len(), 1..6u8, 0..3u8);
    let rest = (0..3u8, any::<[bool; 5]>(), 0..4u16, 0..5u8);
    (places, rest).prop_map(|((service, id, last, families), (priority, flags, weight, fate))| {
        let [tagged, ported, udp, https, meta] = flags;
        let (v4, v6) = (format!("10.0.0.{last}"), format!("fd00::{last}"));
        let addresses = [vec![v4.clone()], vec![v6.clone()], vec![v4, v6]][usize::from(families)].clone();
        let mut body = json!({
            "addresses": addresses, "port": 80, "priority": priority, "weight": weight, "https": https,
            "protocol": if udp { "udp" } else { "tcp" },
        });
        if tagged {
            body["tags"] = json!(["primary"]);
        }
        if ported {
            body["ports"] = json!({"metrics": 9090});
        }
        if meta {
            body["meta"] = json!({"version": last.to_string(), "alpn": "h2,h3"});
        }
        if fate >= 3 {
            body["checks"] = json!([{"type": "tcp"}]);
        }
        (service, id, body, fate)
    })
}

/// A registry in which names are taken, instances sick, drained and gone; refusals are part of it.
pub(super) async fn populate(world: &World, registrations: &[(usize, usize, Value, u8)], many: u16, ttl: Option<u8>) {
    for (service, id, body, fate) in registrations {
        let (service, id) = (SERVICES[*service], IDS[*id]);
        let path = format!("/v1/services/{service}/instances/{id}");
        if world.call("PUT", &path, Some(&body.to_string())).await.status >= 300 {
            continue;
        }
        match fate {
            1 => drop(world.call("PATCH", &path, Some(r#"{"state":"draining"}"#)).await),
            2 => drop(world.call("DELETE", &path, None).await),
            3 => world.observe(service, id, "tcp", Health::Critical, Some("refused")).await,
            _ => {}
        }
    }
    // Enough of one service that not all fit over UDP.
    for n in 0..many {
        let body = json!({"address": format!("10.1.0.{}", n + 1), "port": 80, "weight": n % 3, "https": true});
        put(world, &format!("wep/instances/m{n}"), &body).await;
    }
    if let Some(ttl) = ttl {
        put(world, "web/settings", &json!({"ttl": format!("{ttl}s")})).await;
    }
}

fn lines(section: &Value) -> BTreeSet<String> {
    section.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

async fn compare(world: &World, name: &str, record_type: &str, client: IpAddr, tcp: bool) -> Result<(), TestCaseError> {
    let mut asking = Asking::new(name, record_type.parse::<RecordType>().unwrap());
    asking.client.set_ip(client);
    asking.protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
    let reply = world.ask_from(asking.client, &asking.message(), asking.protocol).await;
    let protocol = if tcp { "tcp" } else { "udp" };
    let query = format!("name={name}&type={record_type}&client={client}&protocol={protocol}");
    let explained = explain(world, &query).await;

    // With less room there is less, never too much: `World` looks at the octets.
    for payload in [Some(512), Some(600 + name.len() as u16 * 7), None] {
        asking.payload = payload;
        let less = world.ask_from(asking.client, &asking.message(), asking.protocol).await;
        prop_assert_eq!(less.metadata.response_code, reply.metadata.response_code);
        prop_assert_eq!(
            less.metadata.truncation,
            less.answers.len() < reply.answers.len() || reply.metadata.truncation
        );
        prop_assert_eq!(less.edns.is_some(), payload.is_some());
    }

    let flags: Vec<&str> = explained["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    let said = std::iter::once(explained["rcode"].as_str().unwrap()).chain(flags).collect::<Vec<_>>().join(" ");
    prop_assert_eq!(said, head(&reply), "{}", query);
    let error = explained["extended_error"].as_object();
    let error = error.map(|e| (e["code"].as_u64().unwrap() as u16, e["text"].as_str().unwrap().to_owned()));
    prop_assert_eq!(error, extended_error(&reply), "{}", query);
    // Any one may be another one each time.
    if name.starts_with("one.") && !reply.answers.is_empty() {
        prop_assert_eq!(lines(&explained["answer"]).len(), reply.answers.len());
        return Ok(());
    }
    let sections = [("answer", &reply.answers), ("authority", &reply.authorities), ("additional", &reply.additionals)];
    for (section, records) in sections {
        // What a name has in common with the question is a pointer at it, in the question's case (RFC 4343).
        let folded =
            |lines: BTreeSet<String>| lines.into_iter().map(|line| line.to_lowercase()).collect::<BTreeSet<_>>();
        let shown = shown(records).into_iter().collect();
        prop_assert_eq!(folded(lines(&explained[section])), folded(shown), "{} {}", query, section);
    }
    let kept = explained["instances"].as_array().unwrap().iter().filter(|i| i["kept"] == true).count();
    let of_instances =
        !["SOA", "NS"].contains(&record_type) && !name.starts_with("_services.") && !name.starts_with("ns.");
    if of_instances && record_type != "ANY" {
        prop_assert_eq!(kept > 0, !reply.answers.is_empty(), "{}", query);
        prop_assert!(kept >= reply.answers.len(), "{}: {} kept for {} records", query, kept, reply.answers.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    // Ten questions, each asked five times, are as many searches for a near name as there are in a second.
    #[test]
    fn explanations_agree_with_dns(
        registrations in prop::collection::vec(registration(), 0..14),
        many in prop_oneof![Just(0u16), Just(80u16)],
        ttl in prop::option::of(0..9u8),
        questions in prop::collection::vec((0..NAMES.len(), 0..TYPES.len(), any::<bool>(), any::<bool>()), 10),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            populate(&world, &registrations, many, ttl).await;
            for (name, record_type, tcp, local) in questions {
                let name = format!("{}svc.internal.", NAMES[name]);
                let client: IpAddr = if local { [127, 0, 0, 1].into() } else { [10, 9, 8, 7].into() };
                compare(&world, &name, TYPES[record_type], client, tcp).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
