use serde_json::json;
use tokio::net::TcpListener;

use super::fake::{self, FakeServer};
use super::*;

fn client(addresses: &[&str]) -> Client {
    let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
    Client::new(&addresses, Some("s3cret")).unwrap()
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
    assert_eq!(client.preferred.load(Ordering::Relaxed), 1, "and is asked first from then on");
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
    assert_eq!(Client::new(&["localhost".to_owned()], Some("a\nb")).unwrap_err(), AddressError::Token);
    assert_eq!(Client::new(&[], None).unwrap_err(), AddressError::None);
}
