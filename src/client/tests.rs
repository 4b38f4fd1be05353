use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::net::TcpListener;

use super::fake::{self, FakeRegistry, FakeServer, Heard, Said};
use super::*;

fn client(addresses: &[&str]) -> Client {
    Client::new(addresses, Some("s3cret")).unwrap()
}

/// An address where nothing listens.
async fn dead_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn registration_is_a_put_with_json_and_the_token() {
    let server = FakeServer::start([fake::json("201 Created", &json!({"id": "i1"}))]).await;
    let body = client(&[&server.address]).register("web", Some("i1"), &json!({"port": 80})).await.unwrap();
    assert_eq!(body["id"], "i1");
    let request = server.requests().remove(0);
    assert!(request.starts_with("PUT /v1/services/web/instances/i1 HTTP/1.1\r\n"), "{request}");
    for line in ["content-type: application/json", "authorization: Bearer s3cret", &format!("host: {}", server.address)]
    {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{line} in {request}");
    }
    assert!(request.ends_with("\r\n\r\n{\"port\":80}"), "{request}");
}

#[tokio::test]
async fn without_an_id_the_server_chooses() {
    let server = FakeServer::start([fake::json("201 Created", &json!({"id": "x7"}))]).await;
    client(&[&server.address]).register("web", None, &json!({"port": 80})).await.unwrap();
    assert!(server.requests()[0].starts_with("POST /v1/services/web/instances HTTP/1.1\r\n"));
}

#[tokio::test]
async fn an_empty_answer_is_null_and_a_bodyless_request_has_no_media_type() {
    let server = FakeServer::start(["HTTP/1.1 204 No Content\r\n\r\n".to_owned()]).await;
    client(&[&server.address]).deregister("web", "i1").await.unwrap();
    assert!(!server.requests()[0].contains("content-type"));
}

#[tokio::test]
async fn what_a_service_says_of_itself_is_a_post_with_or_without_a_reason() {
    let ok = || fake::json("200 OK", &json!({"check": {"health": "passing"}}));
    let hinted = fake::json("202 Accepted", &json!({"probed": false}));
    let server = FakeServer::start([ok(), ok(), hinted]).await;
    let client = client(&[&server.address]);
    assert_eq!(client.pass("web", "i1", "self", None).await.unwrap()["check"]["health"], "passing");
    client.fail("web", "i1", "a/b", Some("disk full")).await.unwrap();
    assert_eq!(client.report_failed("web", "i1", "refused").await.unwrap()["probed"], false);
    let requests = server.requests();
    assert!(requests[2].starts_with("POST /v1/services/web/instances/i1/report HTTP/1.1\r\n"), "{}", requests[2]);
    let path = "/v1/services/web/instances/i1/checks";
    assert!(requests[0].starts_with(&format!("POST {path}/self/pass HTTP/1.1\r\n")), "{}", requests[0]);
    assert!(requests[1].starts_with(&format!("POST {path}/a%2Fb/fail HTTP/1.1\r\n")), "{}", requests[1]);
    assert!(requests[1].ends_with("\r\n\r\n{\"reason\":\"disk full\"}"), "{}", requests[1]);
}

#[tokio::test]
async fn problem_documents_are_refusals() {
    let problem = json!({
        "type": "urn:rollcall:name-taken", "title": "Name taken", "status": 409,
        "detail": "choose another id", "pointer": "/id", "instance": "later extension",
    });
    let answer = fake::answer("409 Conflict", "application/problem+json", &problem.to_string());
    let server = FakeServer::start([answer]).await;
    let error = client(&[&server.address]).renew("web", "i1").await.unwrap_err();
    assert_eq!(error.status(), Some(409));
    assert_eq!(error.to_string(), "Name taken (409): choose another id [/id]");
}

#[tokio::test]
async fn a_proxys_page_is_a_refusal_by_its_status() {
    let server = FakeServer::start([fake::answer("502 Bad Gateway", "text/html", "<html>")]).await;
    let error = client(&[&server.address]).status().await.unwrap_err();
    assert_eq!(error.to_string(), "Bad Gateway (502)");
}

#[tokio::test]
async fn the_second_address_answers_when_the_first_refuses() {
    let ok = || fake::json("200 OK", &json!({"revision": 4}));
    let server = FakeServer::start([ok(), ok()]).await;
    let client = client(&[&dead_address().await, &server.address]);
    assert_eq!(client.status().await.unwrap()["revision"], 4);
    assert_eq!(client.shared.preferred.load(Ordering::Relaxed), 1, "and is asked first from then on");
    assert_eq!(client.status().await.unwrap()["revision"], 4);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_only_when_that_is_harmless() {
    let other = FakeServer::start([fake::json("200 OK", &json!({}))]).await;
    let closing = FakeServer::start([String::new(), String::new()]).await;
    let client = client(&[&closing.address, &other.address]);
    let error = client.register("web", None, &json!({"port": 80})).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { tried, .. } if tried.len() == 1), "{error}");
    client.status().await.unwrap();
    assert_eq!(other.requests().len(), 1);
}

#[tokio::test]
async fn nobody_there_names_every_address_that_was_tried() {
    let (first, second) = (dead_address().await, dead_address().await);
    let error = client(&[&first, &second]).status().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("no server answered at {first}, {second}: ")), "{error}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let limits = Limits { body_octets_max: 1000, ..Limits::default() };
    let declared = "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_owned();
    let streamed = format!("HTTP/1.1 200 OK\r\n\r\n\"{}\"", "x".repeat(2000));
    let server = FakeServer::start([declared + &"x".repeat(2000), streamed]).await;
    let client = client(&[&server.address]).with_limits(limits);
    for _ in 0..2 {
        let error = client.status().await.unwrap_err().to_string();
        assert!(error.ends_with("the answer is larger than 1000 octets"), "{error}");
    }
}

#[tokio::test]
async fn other_protocols_are_recognised() {
    let answers = ["SSH-2.0-OpenSSH\r\n\r\n".to_owned(), fake::answer("200 OK", "text/html", "<html>")];
    let server = FakeServer::start(answers).await;
    let client = client(&[&server.address]);
    for _ in 0..2 {
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_at_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { response_timeout: Duration::from_millis(10), ..Limits::default() };
    let client = client(&[&silent.local_addr().unwrap().to_string()]).with_limits(limits);
    let error = client.status().await.unwrap_err().to_string();
    assert!(error.ends_with("no answer within 0.01 s"), "{error}");
}

#[tokio::test]
async fn an_event_beyond_the_limit_is_not_read() {
    let limits = Limits { body_octets_max: 1000, ..Limits::default() };
    let endless = fake::answer("200 OK", "text/event-stream", &format!("data: a\n\ndata: {}", "x".repeat(2000)));
    let lines = fake::answer("200 OK", "text/event-stream", &"data: xxxxxxxxxx\n".repeat(200));
    let server = FakeServer::start([endless, lines]).await;
    let client = client(&[&dead_address().await, &server.address]).with_limits(limits);
    let mut events = client.watch(Watched::default(), None).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().data, "a");
    let error = events.next().await.unwrap_err().to_string();
    assert!(error.ends_with("an event is larger than 1000 octets"), "{error}");
    let mut events = client.watch(Watched::default(), None).await.unwrap();
    assert!(matches!(events.next().await, Err(ClientError::Protocol { .. })));
}

#[tokio::test]
async fn lists_are_asked_for_with_filters_and_cursor() {
    let server = FakeServer::start([fake::json("200 OK", &json!({})), fake::json("200 OK", &json!({}))]).await;
    let client = client(&[&server.address]);
    let page = Page { limit: Some(2), cursor: Some("c+1") };
    client.instances("web", Selection { passing: true, tag: Some("a") }, page).await.unwrap();
    client.services(Some("payments"), Page::default()).await.unwrap();
    let requests = server.requests();
    assert!(
        requests[0].starts_with("GET /v1/services/web?health=passing&tag=a&limit=2&cursor=c%2B1 HTTP"),
        "{requests:?}"
    );
    assert!(requests[1].starts_with("GET /v1/services?under=payments HTTP"), "{requests:?}");
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    assert_eq!(Client::new(["localhost"], Some("a\nb")).unwrap_err(), AddressError::Token);
    assert_eq!(Client::new([""; 0], None).unwrap_err(), AddressError::None);
}

fn found(servers: &[&FakeRegistry]) -> Client {
    Client::new(servers.iter().map(|server| server.address.as_str()), None).unwrap()
}

#[tokio::test(start_paused = true)]
async fn connections_are_used_again_and_what_cannot_be_repeated_has_one_of_its_own() {
    let server = FakeRegistry::start(|_: &Heard| Said::Answer(200, json!({})));
    let client = found(&[&server]);
    for _ in 0..3 {
        client.status().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    client.deregister("web", "w1").await.unwrap();
    assert_eq!(server.connections(), 2);
    tokio::time::sleep(Duration::from_secs(91)).await;
    client.status().await.unwrap();
    assert_eq!(server.connections(), 3, "one that has waited for long is not trusted");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_while_it_waited_is_nobodys_trouble() {
    let mut requests = 0;
    let server = FakeRegistry::start(move |_: &Heard| {
        requests += 1;
        // The second is heard by the first connection, which ends at it.
        if requests == 2 { Said::Close } else { Said::Answer(200, json!({"requests": requests})) }
    });
    let client = found(&[&server]);
    for requests in [1, 3] {
        assert_eq!(client.status().await.unwrap()["requests"], requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_registry_is_passed_over_for_one_that_has_it() {
    let mut is_well = false;
    let first = FakeRegistry::start(move |heard: &Heard| match heard.line.as_str() {
        "GET /v1/status" if std::mem::replace(&mut is_well, true) => Said::Answer(200, json!({"first": true})),
        _ => Said::Headed(503, "retry-after: 1", json!({"type": "urn:rollcall:unavailable"})),
    });
    let second = FakeRegistry::start(|_: &Heard| Said::Answer(200, json!({"first": false})));
    let client = found(&[&first, &second]);
    let error = client.amend("web", "w1", &json!({"weight": 1})).await.unwrap_err();
    assert_eq!((error.status(), error.retry_after()), (Some(503), Some(Duration::from_secs(1))));
    assert_eq!(client.status().await.unwrap()["first"], false);
    assert_eq!(client.shared.preferred.load(Ordering::Relaxed), 1, "and the one that has it is asked first then");
    let alone = found(&[&first]);
    assert_eq!(alone.register("web", Some("w1"), &json!({})).await.unwrap_err().status(), Some(503));
    assert_eq!(alone.status().await.unwrap()["first"], true);
}

#[tokio::test(start_paused = true)]
async fn a_condition_makes_a_put_unrepeatable() {
    let first = FakeRegistry::start(|_: &Heard| Said::Close);
    let second = FakeRegistry::start(|_: &Heard| Said::Answer(200, json!({})));
    let client = found(&[&first, &second]);
    let put = async |headers: &[(&'static str, &str)]| {
        client.request(Method::PUT, "/v1/services/web/instances/w1", None, headers).await
    };
    assert!(matches!(put(&[("if-none-match", "*")]).await, Err(ClientError::Unreachable { .. })));
    assert_eq!(second.lines().len(), 0);
    put(&[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_to_their_end_and_begun_again_when_they_move_on() {
    let mut cursors = 0;
    let service = |name: &str| json!([{"name": name, "instances": 2, "answered": 1}]);
    let server = FakeRegistry::start(move |heard: &Heard| match heard.line.as_str() {
        "GET /v1/services?under=payments" => Said::Answer(200, json!({"services": service("a"), "next": "c"})),
        _ => {
            cursors += 1;
            if cursors == 1 {
                Said::Answer(410, json!({"type": "urn:rollcall:cursor-gone"}))
            } else {
                Said::Answer(200, json!({"services": service("b"), "next": "c"}))
            }
        }
    });
    let services = found(&[&server]).services_under("payments").await.unwrap();
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!((names, services[0].instances, services[0].answered), (vec!["a", "b"], 2, 1));
    assert_eq!(server.lines().len(), 4, "and a cursor that leads to itself is not followed for ever");
}

#[tokio::test(start_paused = true)]
async fn leases_are_granted_renewed_and_revoked() {
    let server = FakeRegistry::start(|heard: &Heard| match heard.line.as_str() {
        "DELETE /v1/leases/ab" => Said::Answer(204, Value::Null),
        _ => Said::Answer(200, json!({"id": "ab", "ttl": "15s", "expires_at": "2026-01-01T00:00:00Z"})),
    });
    let client = found(&[&server]);
    let lease = client.grant(Duration::from_secs(15)).await.unwrap();
    assert_eq!((lease.id.as_str(), lease.ttl), ("ab", Duration::from_secs(15)));
    client.renew_lease("ab").await.unwrap();
    client.lease("ab").await.unwrap();
    client.revoke("ab").await.unwrap();
    assert_eq!(
        server.lines(),
        ["POST /v1/leases", "POST /v1/leases/ab/renew", "GET /v1/leases/ab", "DELETE /v1/leases/ab"]
    );
    assert_eq!(server.heard()[0].body, json!({"ttl": "15s"}));
}

#[test]
fn futures_can_be_sent_to_other_threads() {
    fn send<T: Send>(_: T) {}
    let client = Client::new(["localhost"], None).unwrap();
    send(client.services_under("payments"));
    send(client.instances_of("web", Selection::default()));
    send(client.grant(Duration::from_secs(15)));
    let registration = Registration::new("web", "w1", 80);
    send(client.register_with_lease(&registration, Duration::from_secs(15)));
    send(client.register_on_shared_lease(&[], Duration::from_secs(15)));
    send(client.rehearse(&registration));
    send(async { client.watch_under("payments").next().await });
}
