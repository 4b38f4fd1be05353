//! What `rollcall history` shows.

use super::*;

fn event(revision: u64, from: &str, to: &str, reason: &str) -> Value {
    json!({"revision": revision, "time": format!("2026-01-01T00:00:{revision:02}.000Z"), "service": "web", "id": "w1",
           "from": from, "to": to, "kind": "x", "reason": reason, "actor": "10.0.0.9"})
}

#[tokio::test]
async fn history_is_told_in_the_order_it_happened() {
    let page = |events: &[Value], next: Value| {
        fake::json("200 OK", &json!({"store": "s", "revision": 9, "begins": "t0", "events": events, "next": next}))
    };
    let two = [
        event(3, "passing", "critical", "health: check tcp is critical: refused"),
        event(2, "absent", "passing", "registered"),
    ];
    let pages = || vec![page(&two[..1], json!("3.0")), page(&[], json!("2.1")), page(&two[1..], Value::Null)];
    let (ended, requests) = against(pages(), "history web --id w1 --since 2026-01-01T00:00:00Z --limit 2").await;
    assert_eq!(
        ended.out,
        "TIME (UTC)                ID  FROM     TO        REASON                                  ACTOR\n\
         2026-01-01T00:00:02.000Z  w1  absent   passing   registered                              10.0.0.9\n\
         2026-01-01T00:00:03.000Z  w1  passing  critical  health: check tcp is critical: refused  10.0.0.9\n"
    );
    let first = "GET /v1/events?service=web&id=w1&since=2026-01-01T00%3A00%3A00.000Z&limit=2 ";
    assert!(requests[0].starts_with(first), "{requests:?}");
    assert!(requests[2].contains("&limit=1&cursor=2.1 "), "{requests:?}");
    let (ended, _) = against(pages(), "history web --limit 1 --output json").await;
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((told["events"].as_array().unwrap().len(), &told["next"]), (1, &json!("3.0")));
    let (ended, requests) = against(vec![page(&two, Value::Null)], "history --under payments").await;
    assert!(requests[0].starts_with("GET /v1/events?under=payments&limit=100 "), "{requests:?}");
    assert!(ended.out.starts_with("TIME (UTC)                SERVICE  ID "), "{}", ended.out);
    let mut configured = event(4, "absent", "ttl 10s; when all are critical none", "configured");
    configured["kind"] = json!("configured");
    let (ended, _) = against(vec![page(&[configured, two[1].clone()], Value::Null)], "history web").await;
    assert!(ended.out.starts_with("TIME (UTC)                ID  FROM    TO       REASON  "), "{}", ended.out);
    let told = "  -       -        configured: absent -> ttl 10s; when all are critical none  10.0.0.9\n";
    assert!(ended.out.ends_with(told), "{}", ended.out);
    let (ended, _) = against(vec![page(&[], Value::Null)], "history web").await;
    assert_eq!(ended.err, "nothing of this has happened; the journal tells of what was since t0\n");
}

#[tokio::test]
async fn history_at_a_time_says_who_was_in_answers() {
    let at = |instances: Value| {
        let at = "2026-01-01T14:03:00.000Z";
        fake::json("200 OK", &json!({"store": "s", "revision": 9, "service": "web", "at": at, "instances": instances}))
    };
    let stood = json!([
        {"id": "w1", "addresses": ["10.0.0.1"], "port": 80, "standing": "passing", "answered": true,
         "withheld_because": null},
        {"id": "w2", "addresses": ["10.0.0.2"], "port": 80, "standing": "draining", "answered": false,
         "withheld_because": "state is draining"},
    ]);
    let (ended, requests) = against(vec![at(stood)], "history --at 2026-01-01T15:03:00+01:00 web").await;
    assert!(requests[0].starts_with("GET /v1/history?service=web&at=2026-01-01T14%3A03%3A00.000Z "), "{requests:?}");
    assert_eq!(
        ended.out,
        "web at 2026-01-01T14:03:00.000Z (UTC)\n\
         ID  ADDRESSES  PORT  STOOD     ANSWERED  WITHHELD BECAUSE\n\
         w1  10.0.0.1   80    passing   yes       -\n\
         w2  10.0.0.2   80    draining  no        state is draining\n"
    );
    let (ended, _) = against(vec![at(json!([]))], "history --at 10m web").await;
    assert_eq!(ended.out, "web at 2026-01-01T14:03:00.000Z (UTC)\nnobody was registered\n");
}
