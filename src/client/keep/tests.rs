use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::client::fake::{FakeRegistry, Heard, Said};

const TTL: Duration = Duration::from_secs(15);

fn instance(id: &str) -> Value {
    json!({"service": "web", "id": id, "port": 80, "revision": 7, "generation": 5, "dns_name": format!("{id}.web.zone.")})
}

fn client(registry: &FakeRegistry) -> Client {
    Client::new([&registry.address], None).unwrap()
}

fn registration() -> Registration {
    Registration::new("web", "w1", 80)
}

fn lease() -> Value {
    json!({"id": "ab", "ttl": "15s"})
}

fn refused(status: u16, kind: &str) -> Said {
    Said::Answer(status, json!({"type": format!("urn:rollcall:{kind}"), "title": kind, "status": status}))
}

/// A server that knows its instance from a registration until it is told to forget it.
fn remembering() -> (FakeRegistry, Arc<AtomicBool>) {
    let known = Arc::new(AtomicBool::new(false));
    let knows = known.clone();
    let registry = FakeRegistry::start(move |heard: &Heard| match heard.line.split(' ').next() {
        Some("PUT") => {
            knows.store(true, Ordering::Relaxed);
            Said::Answer(201, instance("w1"))
        }
        Some("POST") if knows.load(Ordering::Relaxed) => Said::Answer(200, json!({"lease": lease()})),
        Some("DELETE") if knows.swap(false, Ordering::Relaxed) => Said::Answer(204, Value::Null),
        _ => refused(404, "no-instance"),
    });
    (registry, known)
}

const PUT: &str = "PUT /v1/services/web/instances/w1";
const RENEW: &str = "POST /v1/services/web/instances/w1/renew";
const DELETE: &str = "DELETE /v1/services/web/instances/w1";

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_every_third_of_its_ttl_over_one_connection() {
    let (registry, _) = remembering();
    let kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    assert_eq!(kept.instances()[0].dns_name, "w1.web.zone.");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lines = registry.lines();
    assert_eq!(lines[0], PUT);
    assert!((12..=15).contains(&lines.iter().filter(|line| *line == RENEW).count()), "{lines:?}");
    assert_eq!(registry.heard()[0].body, json!({"port": 80, "lease_ttl": "15s"}));
    assert_eq!(kept.standing(), Standing::Listed);
    assert_eq!(registry.connections(), 1);
    kept.close().await.unwrap();
    assert_eq!(registry.lines().last().unwrap(), DELETE);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgot_is_told_again_what_it_was_told() {
    let (registry, known) = remembering();
    let mut kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    known.store(false, Ordering::Relaxed);
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Registered { again: true, .. }), "{event:?}");
    assert_eq!(registry.lines(), [PUT, RENEW, PUT]);
    assert_eq!(registry.heard()[0].body, registry.heard()[2].body);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgets_at_once_is_not_asked_without_end() {
    let registry = FakeRegistry::start(|heard: &Heard| match heard.line.as_str() {
        PUT => Said::Answer(201, instance("w1")),
        _ => refused(410, "lease-gone"),
    });
    let kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // A renewal and a registration every 4 to 5 s.
    assert!(registry.lines().len() <= 31, "{:?}", registry.lines());
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn loss_and_return_are_said_once() {
    let (registry, known) = remembering();
    let mut kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    registry.go_away(true);
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Lost { .. }), "{event:?}");
    assert_eq!(kept.standing(), Standing::Lost);
    tokio::time::sleep(Duration::from_secs(600)).await;
    known.store(false, Ordering::Relaxed);
    registry.go_away(false);
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Back), "{event:?}");
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Registered { again: true, .. }), "{event:?}");
    assert_eq!(kept.standing(), Standing::Listed);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_superseded_stops_and_leaves_the_other_alone() {
    let registry = FakeRegistry::start(|heard: &Heard| match heard.line.as_str() {
        RENEW => refused(410, "lease-gone"),
        _ => refused(409, "superseded"),
    });
    let mut kept = client(&registry).keep_registered(&registration(), TTL);
    let event = kept.next().await.unwrap();
    assert!(
        matches!(&event, KeepEvent::Stopped { because: ClientError::Refused(problem) } if problem.kind == "urn:rollcall:superseded"),
        "{event:?}"
    );
    assert!(kept.next().await.is_none());
    assert_eq!(kept.standing(), Standing::Stopped);
    tokio::time::sleep(Duration::from_secs(60)).await;
    kept.close().await.unwrap();
    assert_eq!(registry.lines(), [PUT]);
}

#[tokio::test(start_paused = true)]
async fn registering_in_the_background_goes_on_until_a_server_is_there() {
    let (registry, _) = remembering();
    registry.go_away(true);
    let mut kept = client(&registry).keep_registered(&registration(), TTL);
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Lost { .. }), "{event:?}");
    assert_eq!(kept.standing(), Standing::Pending, "what was never registered is not lost");
    tokio::time::sleep(Duration::from_secs(60)).await;
    registry.go_away(false);
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Back), "{event:?}");
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Registered { again: false, .. }), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_given_up_in_time_for_another_try() {
    let renewals = AtomicU32::new(0);
    let registry = FakeRegistry::start(move |heard: &Heard| match heard.line.as_str() {
        PUT => Said::Answer(201, instance("w1")),
        _ if renewals.fetch_add(1, Ordering::Relaxed) == 0 => Said::Silence,
        _ => Said::Late(Duration::from_secs(4), 200, json!({"lease": lease()})),
    });
    let mut kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    let began = Instant::now();
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Lost { .. }), "{event:?}");
    let event = kept.next().await.unwrap();
    assert!(matches!(event, KeepEvent::Back), "{event:?}");
    assert!(began.elapsed() < TTL, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_heeded() {
    let registry = FakeRegistry::start(|heard: &Heard| match heard.line.as_str() {
        PUT => Said::Answer(201, instance("w1")),
        _ => Said::Headed(503, "retry-after: 30", json!({"title": "busy"})),
    });
    let kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5 + 29)).await;
    assert_eq!(registry.lines(), [PUT, RENEW]);
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_to_read_and_the_latest_events_are_kept() {
    let registry = FakeRegistry::start(|heard: &Heard| match heard.line.as_str() {
        PUT => Said::Answer(201, instance("w1")),
        _ => refused(410, "lease-gone"),
    });
    let mut kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let mut read = 0;
    while tokio::time::timeout(Duration::from_millis(1), kept.next()).await.is_ok() {
        read += 1;
    }
    assert_eq!(read, EVENTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_renews_no_more() {
    let (registry, _) = remembering();
    drop(client(&registry).register_with_lease(&registration(), TTL).await.unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(registry.lines(), [PUT]);
}

#[tokio::test(start_paused = true)]
async fn the_successor_of_an_instance_is_left_alone() {
    let registry = FakeRegistry::start(|heard: &Heard| match heard.line.as_str() {
        DELETE => panic!("it is another's"),
        // Another start of it has generation 5.
        _ => Said::Answer(200, instance("w1")),
    });
    let kept = client(&registry).register_with_lease(&registration().generation(4), TTL).await.unwrap();
    kept.close().await.unwrap();
    assert_eq!(registry.lines().last().unwrap(), "GET /v1/services/web/instances/w1");
}

#[tokio::test(start_paused = true)]
async fn neither_is_it_drained() {
    let registry = FakeRegistry::start(|_: &Heard| Said::Answer(200, instance("w1")));
    let drain = "POST /v1/services/web/instances/w1/drain?wait=true".to_owned();
    for (generation, is_ours) in [(4, false), (5, true)] {
        let registration = registration().generation(generation);
        let kept = client(&registry).register_with_lease(&registration, TTL).await.unwrap();
        kept.drain(Duration::from_secs(30)).await.unwrap();
        assert_eq!(registry.lines().contains(&drain), is_ours);
    }
    assert!(registry.heard().last().unwrap().head.contains("\r\nif-match: \"7\""));
}

#[tokio::test(start_paused = true)]
async fn what_changed_since_it_registered_is_still_its_own() {
    let deletions = AtomicU32::new(0);
    let registry = FakeRegistry::start(move |heard: &Heard| match heard.line.as_str() {
        DELETE if deletions.fetch_add(1, Ordering::Relaxed) == 0 => refused(412, "precondition-failed"),
        DELETE => {
            assert!(heard.head.contains("\r\nif-match: \"7\""), "{}", heard.head);
            Said::Answer(204, Value::Null)
        }
        _ => Said::Answer(200, instance("w1")),
    });
    let kept = client(&registry).register_with_lease(&registration().generation(5), TTL).await.unwrap();
    kept.close().await.unwrap();
    let get = "GET /v1/services/web/instances/w1";
    assert_eq!(registry.lines(), [PUT, get, DELETE, get, DELETE]);
}

#[tokio::test(start_paused = true)]
async fn a_shared_lease_that_ended_is_granted_anew_for_all_and_the_refused_are_left_out() {
    let grants = AtomicU32::new(0);
    let renewals = AtomicU32::new(0);
    let registry = FakeRegistry::start(move |heard: &Heard| match heard.line.as_str() {
        "POST /v1/leases" => {
            let id = format!("lease-{}", grants.fetch_add(1, Ordering::Relaxed));
            Said::Answer(201, json!({"id": id, "ttl": "15s"}))
        }
        "POST /v1/leases/lease-0/renew" if renewals.fetch_add(1, Ordering::Relaxed) == 0 => Said::Answer(200, lease()),
        "POST /v1/leases/lease-1/renew" => Said::Answer(200, lease()),
        line if line.ends_with("/renew") => refused(410, "lease-gone"),
        "PUT /v1/services/web/instances/w2" if heard.body["lease"] == "lease-1" => refused(409, "superseded"),
        line if line.starts_with("PUT") => Said::Answer(201, instance(line.rsplit('/').next().unwrap_or_default())),
        _ => Said::Answer(204, Value::Null),
    });
    let members = [registration(), Registration::new("web", "w2", 81)];
    let mut kept = client(&registry).register_on_shared_lease(&members, TTL).await.unwrap();
    assert_eq!(kept.instances().len(), 2);
    let event = kept.next().await.unwrap();
    assert!(matches!(&event, KeepEvent::LeftOut { id, .. } if id == "w2"), "{event:?}");
    let event = kept.next().await.unwrap();
    assert!(matches!(&event, KeepEvent::Registered { instances, again: true } if instances.len() == 1), "{event:?}");
    kept.close().await.unwrap();
    let lines = registry.lines();
    assert_eq!(lines.last().unwrap(), "DELETE /v1/leases/lease-1", "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "POST /v1/leases").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shared_lease_is_revoked_when_one_of_its_first_members_is_refused() {
    let registry = FakeRegistry::start(|heard: &Heard| match heard.line.as_str() {
        "POST /v1/leases" => Said::Answer(201, lease()),
        "PUT /v1/services/web/instances/w2" => refused(422, "invalid-value"),
        line if line.starts_with("PUT") => Said::Answer(201, instance("w1")),
        _ => Said::Answer(204, Value::Null),
    });
    let members = [registration(), Registration::new("web", "w2", 81)];
    let error = client(&registry).register_on_shared_lease(&members, TTL).await.unwrap_err();
    assert_eq!(error.status(), Some(422));
    assert_eq!(registry.lines().last().unwrap(), "DELETE /v1/leases/ab");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_server_that_is_away_and_no_longer_than_it_may() {
    let (registry, _) = remembering();
    let kept = client(&registry).register_with_lease(&registration(), TTL).await.unwrap();
    kept.drain(Duration::from_secs(30)).await.unwrap();
    assert_eq!(registry.lines().last().unwrap(), "POST /v1/services/web/instances/w1/drain?wait=true");
    registry.go_away(true);
    let began = Instant::now();
    let error = kept.drain(Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
}
