use serde_json::{Value, json};

use super::*;
use crate::client::fake::{self, FakeServer};

mod history;

/// What a command printed, said and ended with.
#[derive(Debug, PartialEq)]
struct Ended {
    out: String,
    err: String,
    code: ExitCode,
}

fn rollcall(words: &str, environment: &[(&str, &str)]) -> Ended {
    let variable = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
    let words = ["rollcall"].into_iter().chain(words.split_whitespace()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(words, &variable, |_| ExitCode::from(42), &mut out, &mut err);
    Ended { out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap(), code }
}

/// Runs a command against a server with the given answers; returns what the server heard too.
async fn against(answers: Vec<String>, words: &'static str) -> (Ended, Vec<String>) {
    let server = FakeServer::start(answers).await;
    let address = server.address.clone();
    let ended = tokio::task::spawn_blocking(move || rollcall(words, &[("ROLLCALL_HTTP_ADDR", &address)])).await;
    (ended.unwrap(), server.requests())
}

fn instance() -> Value {
    json!({
        "service": "web", "id": "i1", "addresses": ["10.0.0.7", "fd00::7"], "port": 8080, "state": "up",
        "health": "critical", "answered": false, "tags": ["primary"], "revision": 7,
        "withheld_because": ["check http is critical"], "dns_name": "i1.web.svc.internal.",
        "lease": {"id": "00000000000000ab", "ttl": "15s", "expires_at": "2026-01-01T00:00:00.000Z"},
        "checks": [{"name": "http", "type": "http", "health": "critical", "since": "2026-01-01T00:00:00.000Z",
                    "last_error": "status 500 \u{1b}[2J"}],
    })
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn serve_hands_over_a_valid_configuration() {
    assert_eq!(rollcall("serve --memory", &[]).code, ExitCode::from(42));
    assert_eq!(rollcall("serve --data /nowhere", &[]).code, ExitCode::from(42));
    let refused = rollcall("serve --data /nowhere --ttl 2h", &[]);
    assert_eq!(refused.code, ExitCode::from(2));
    assert!(refused.err.starts_with("rollcall: --ttl \"2h\""), "{}", refused.err);
}

#[test]
fn mistakes_in_usage_exit_with_2() {
    for words in [
        "",
        "serv",
        "serve --zones x",
        "register web",
        "register --port 80",
        "register web --service web --port 80",
        "register web --port 0",
        "register web --port 80 --interval 5s",
        "register web --port 80 --check ftp",
        "register web --port 80 --ttl 5",
        "register web --port 80 --lease x --lease-ttl 5s",
        "register web --port 80 --meta novalue",
        "register web --port 80 --meta a=1 --meta a=2",
        "register web --port 80 --check tcp --rise 0",
        "register web --port 80 --generation -1",
        "run --service web --port 80",
        "run --service web --port 80 --",
        "run --port 80 -- true",
        "run --service web -- true",
        "run --service web --port 80 true",
        "run --service web --port 80 --lease-ttl 1s -- true",
        "run --service web --port 80 --lease x -- true",
        "run --service web --port 80 --meta a=1 --meta a=2 -- true",
        "set web i1",
        "set web",
        "set web i1 --state down",
        "set web i1 --expires 10m",
        "set web i1 --meta novalue",
        "set web i1 --meta a=1 --meta a=2",
        "deregister web",
        "deregister web i1 --all",
        "deregister --under payments --all",
        "deregister web --under payments",
        "register web --port 80 --wait 10",
        "drain web",
        "drain web i1 --expires 10",
        "deregister web --yes",
        "get web i1 --passing",
        "explain",
        "explain web A --client here",
        "watch web --under payments",
        "history web --under payments",
        "history --at 14:03",
        "history web --at 25:00",
        "history web --at 14:03 --id i1",
        "history web --since yesterday",
        "history web --limit 0",
        "status --http https://host",
        "check-config --memory --ttl 2h",
    ] {
        assert_eq!(rollcall(words, &[]).code, ExitCode::from(2), "{words}");
    }
}

#[tokio::test]
async fn register_says_everything_it_was_told() {
    let words = "register web --id i1 --port 8080 --address 10.0.0.7,fd00::7 --protocol tcp --named-port metrics=9090 \
                 --priority 1 --weight 5 --tag primary --tag b --meta version=1.4=x --ttl 90s --lease-ttl 15s \
                 --check tcp --check http:/healthz --interval 2s --fast-interval 100ms --timeout 500ms --rise 2 --fall 1 --hold \
                 --initial-health passing --https --generation 17";
    let (ended, requests) = against(vec![fake::json("201 Created", &instance())], words).await;
    assert_eq!(ended.err, "");
    assert_eq!(
        ended.out,
        "ID  SERVICE  DNS NAME              REVISION  HEALTH\n\
         i1  web      i1.web.svc.internal.  7         critical\n"
    );
    assert!(requests[0].starts_with("PUT /v1/services/web/instances/i1 "), "{requests:?}");
    let rhythm = json!({"interval": "2s", "fast_interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 1});
    let check = |mut fields: Value| {
        fields.as_object_mut().unwrap().extend(rhythm.as_object().unwrap().clone());
        fields
    };
    assert_eq!(
        body(&requests[0]),
        json!({
            "port": 8080, "addresses": ["10.0.0.7", "fd00::7"], "protocol": "tcp", "ports": {"metrics": 9090},
            "priority": 1, "weight": 5, "tags": ["primary", "b"], "meta": {"version": "1.4=x"}, "ttl": "1m30s",
            "lease_ttl": "15s", "initial_health": "passing", "https": true, "generation": 17,
            "checks": [check(json!({"type": "tcp", "hold": true})), check(json!({"type": "http", "path": "/healthz"}))],
        })
    );
}

#[tokio::test]
async fn register_without_an_id_lets_the_server_choose_and_says_no_more_than_it_was_told() {
    let answer = fake::json("201 Created", &instance());
    let (ended, requests) = against(vec![answer], "register --service web --port 80 --output json").await;
    assert!(requests[0].starts_with("POST /v1/services/web/instances "), "{requests:?}");
    assert_eq!(body(&requests[0]), json!({"port": 80}));
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), instance());
}

#[tokio::test]
async fn register_says_that_the_first_probe_is_still_running() {
    let mut unknown = instance();
    unknown["health"] = json!("unknown");
    let answer = || vec![fake::json("201 Created", &unknown)];
    let (ended, _) = against(answer(), "register web --id i1 --port 80 --check tcp").await;
    assert_eq!(ended.err, "its first probe is still running: `rollcall get web i1` shows how it went\n");
    assert_eq!(ended.code, ExitCode::SUCCESS);
    let (ended, _) = against(answer(), "register web --id i1 --port 80 --check tcp --output json").await;
    assert_eq!(ended.err, "");
}

#[tokio::test]
async fn set_changes_what_it_is_told_and_no_more() {
    let answer = || vec![fake::json("200 OK", &instance())];
    let words = "set web i1 --state draining --weight 0 --tag a,b --tag c --meta version=2=x --meta alpn=h2";
    let (ended, requests) = against(answer(), words).await;
    assert!(requests[0].starts_with("PATCH /v1/services/web/instances/i1 "), "{requests:?}");
    let meta = json!({"version": "2=x", "alpn": "h2"});
    assert_eq!(body(&requests[0]), json!({"state": "draining", "weight": 0, "tags": ["a", "b", "c"], "meta": meta}));
    assert!(ended.out.starts_with("ID  SERVICE  STATE"), "{}", ended.out);
    let (_, requests) = against(answer(), "set web i1 --state maintenance --expires 10m").await;
    assert_eq!(body(&requests[0]), json!({"state": "maintenance", "expires": "10m"}));
    let (_, requests) = against(answer(), "set web i1 --state up").await;
    assert_eq!(body(&requests[0]), json!({"state": "up"}));
    let (_, requests) = against(answer(), "set web i1 --tag= --meta=").await;
    assert_eq!(body(&requests[0]), json!({"tags": [], "meta": {}}));
}

#[test]
fn deregister_without_an_id_says_how_to_take_all() {
    let ended = rollcall("deregister web", &[]);
    assert_eq!(ended.err, "rollcall: which instance of web? Give its id, or --all for every one\n");
}

#[tokio::test]
async fn deregister_takes_one_or_all() {
    let none = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let (ended, requests) = against(vec![none], "deregister web i1").await;
    assert!(requests[0].starts_with("DELETE /v1/services/web/instances/i1 "), "{requests:?}");
    assert_eq!(ended.out, "SERVICE  DEREGISTERED\nweb      i1\n");
    let three = fake::json("200 OK", &json!({"deregistered": 3}));
    let (ended, requests) = against(vec![three], "deregister web --all --yes --output json").await;
    assert!(requests[0].starts_with("DELETE /v1/services/web "), "{requests:?}");
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), json!({"deregistered": 3}));
}

#[tokio::test]
async fn a_group_is_deregistered_when_that_is_meant() {
    let five = || fake::json("200 OK", &json!({"deregistered": 5}));
    let (ended, requests) = against(vec![five()], "deregister --under payments --yes").await;
    assert!(requests[0].starts_with("DELETE /v1/services?under=payments "), "{requests:?}");
    assert_eq!(ended.out, "UNDER     DEREGISTERED\npayments  5\n");
    // Tests have no terminal, as scripts have none.
    let (ended, requests) = against(vec![five()], "deregister --under payments").await;
    assert_eq!((ended.code, requests.len()), (ExitCode::from(2), 0));
    assert_eq!(ended.err, "rollcall: --under in a script needs --yes, because nobody can be asked\n");
}

#[tokio::test]
async fn register_waits_and_says_why_it_waited_in_vain() {
    let words = "register web --id i1 --port 80 --wait 10s --evict-after 10m --generation 7 --shared-address";
    let (ended, requests) = against(vec![fake::json("202 Accepted", &instance())], words).await;
    assert!(requests[0].starts_with("PUT /v1/services/web/instances/i1?wait=10000ms "), "{requests:?}");
    let said = json!({"port": 80, "evict_after": "10m", "generation": 7, "shared_address": true});
    assert_eq!(body(&requests[0]), said);
    assert_eq!(ended.code, ExitCode::from(1));
    let why = "rollcall: web/i1 is registered, but not answered after 10s: check http is critical\n";
    assert_eq!(ended.err, why);
    let mut answered = instance();
    answered["answered"] = json!(true);
    let (ended, requests) =
        against(vec![fake::json("201 Created", &answered)], "register web --port 80 --wait 1m").await;
    assert!(requests[0].starts_with("POST /v1/services/web/instances?wait=60000ms "), "{requests:?}");
    assert_eq!(ended.code, ExitCode::SUCCESS);
}

#[tokio::test]
async fn drain_shows_when_it_is_safe_to_stop() {
    let mut drained = instance();
    drained["state"] = json!("draining");
    drained["safe_to_stop_at"] = json!("2026-01-01T00:00:05.000Z");
    let answer = || vec![fake::json("200 OK", &drained)];
    let (ended, requests) = against(answer(), "drain web i1").await;
    assert!(requests[0].starts_with("POST /v1/services/web/instances/i1/drain "), "{requests:?}");
    let table = "ID  SERVICE  STATE     SAFE TO STOP AT\ni1  web      draining  2026-01-01T00:00:05.000Z\n";
    assert_eq!(ended.out, table);
    let (ended, requests) = against(answer(), "drain web i1 --wait --expires 10m --output json").await;
    assert!(requests[0].starts_with("POST /v1/services/web/instances/i1/drain?wait=true "), "{requests:?}");
    assert_eq!(body(&requests[0]), json!({"expires": "10m"}));
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), drained);
}

#[tokio::test]
async fn reports_say_what_follows() {
    let check = json!({"check": {"name": "self", "health": "critical", "report_by": "2026-01-01T00:00:15Z"}});
    let (ended, requests) =
        against(vec![fake::json("200 OK", &check)], "report web i1 self --fail --reason full").await;
    assert!(requests[0].starts_with("POST /v1/services/web/instances/i1/checks/self/fail "), "{requests:?}");
    assert_eq!(body(&requests[0]), json!({"reason": "full"}));
    assert!(ended.out.contains("self   critical  2026-01-01T00:00:15Z"), "{ended:?}");
    let answer = fake::json("202 Accepted", &json!({"probed": true}));
    let (ended, requests) = against(vec![answer], "report web i1 --failed refused").await;
    assert_eq!((body(&requests[0]), &*ended.out), (json!({"failed": "refused"}), "PROBED\nyes\n"));
    let answer = fake::json("202 Accepted", &json!({"probed": false}));
    let (ended, _) = against(vec![answer], "report web i1 --failed refused").await;
    assert_eq!((&*ended.out, ended.err.contains("it fails already")), ("PROBED\nno\n", true), "{ended:?}");
    for bad in ["report web i1", "report web i1 self", "report web i1 --pass", "report web i1 self --failed x"] {
        assert_eq!(against(Vec::new(), bad).await.0.code, ExitCode::from(2), "{bad}");
    }
}

#[tokio::test]
async fn renew_shows_the_lease() {
    let answer = fake::json("200 OK", &json!({"lease": instance()["lease"]}));
    let (ended, requests) = against(vec![answer], "renew web i1").await;
    assert!(requests[0].starts_with("POST /v1/services/web/instances/i1/renew "), "{requests:?}");
    assert!(ended.out.ends_with("\n00000000000000ab  15s  2026-01-01T00:00:00.000Z\n"), "{}", ended.out);
}

#[tokio::test]
async fn lists_are_followed_to_their_end() {
    let page = |names: &[&str], next: Value| {
        let services: Vec<Value> =
            names.iter().map(|name| json!({"name": name, "instances": 2, "answered": 1})).collect();
        fake::json("200 OK", &json!({"store": "s", "revision": 9, "services": services, "next": next}))
    };
    let pages = || vec![page(&["a", "b"], json!("c1")), page(&["c"], json!("c2")), page(&[], Value::Null)];
    let (ended, requests) = against(pages(), "services --under payments").await;
    assert_eq!(ended.out.lines().count(), 4, "{}", ended.out);
    assert!(ended.out.starts_with("SERVICE  INSTANCES  ANSWERED\na        2          1\n"), "{}", ended.out);
    assert!(requests[2].starts_with("GET /v1/services?under=payments&cursor=c2 "), "{requests:?}");
    let (ended, _) = against(pages(), "list --output json").await;
    let list: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(list["services"].as_array().unwrap().len(), 3);
    assert_eq!((&list["revision"], &list["next"]), (&json!(9), &Value::Null));
}

#[tokio::test]
async fn a_cursor_that_leads_to_itself_is_not_followed_for_ever() {
    let page = fake::json("200 OK", &json!({"services": [{"name": "a"}], "next": "c"}));
    let (ended, requests) = against(vec![page; 5], "services").await;
    assert_eq!((ended.code, requests.len()), (ExitCode::SUCCESS, 2));
}

#[tokio::test]
async fn an_answer_that_is_no_list_exits_with_3() {
    let (ended, _) = against(vec![fake::json("200 OK", &json!({"services": 3}))], "services").await;
    assert_eq!(ended.code, ExitCode::from(3));
    assert!(ended.err.ends_with(": the answer has no list of services\n"), "{}", ended.err);
}

#[tokio::test]
async fn get_lists_instances_or_shows_one() {
    let list = json!({"store": "s", "revision": 9, "instances": [instance()], "next": null});
    let (ended, requests) = against(vec![fake::json("200 OK", &list)], "get web --passing --tag primary").await;
    assert!(requests[0].starts_with("GET /v1/services/web?health=passing&tag=primary "), "{requests:?}");
    for cell in ["10.0.0.7,fd00::7  8080", "critical  no ", "primary  check http is critical\n"] {
        assert!(ended.out.contains(cell), "{cell} in {}", ended.out);
    }
    let (ended, _) = against(vec![fake::json("200 OK", &instance())], "get web i1").await;
    let line = "check http        critical since 2026-01-01T00:00:00.000Z: status 500 \\u{1b}[2J\n";
    assert!(ended.out.contains(line), "{}", ended.out);
}

#[tokio::test]
async fn get_says_that_there_is_nobody() {
    let list = || fake::json("200 OK", &json!({"store": "s", "revision": 9, "instances": [], "next": null}));
    let status = || fake::json("200 OK", &json!({"zone": "svc.internal."}));
    let because = |text: &str| fake::json("200 OK", &json!({"extended_error": {"code": 0, "text": text}}));
    for (answers, words, err) in [
        (vec![list()], "get nosuch", "nobody is registered as nosuch\n"),
        (
            vec![list(), status(), because("no such service; did you mean web?")],
            "get wbe",
            "nobody is registered as wbe; did you mean web?\n",
        ),
        (vec![list(), status(), because("no such service")], "get nosuch", "nobody is registered as nosuch\n"),
        (
            vec![list(), status()],
            "get web.svc.internal",
            "nobody is registered as web.svc.internal; did you mean web?\n",
        ),
        (vec![list()], "get web --passing --tag a", "nobody is registered as web whom --passing --tag a selects\n"),
    ] {
        let (ended, requests) = against(answers, words).await;
        assert_eq!(ended, Ended { out: String::new(), err: err.to_owned(), code: ExitCode::SUCCESS });
        assert!(requests.len() < 3 || requests[2].starts_with("GET /v1/explain?name="), "{requests:?}")
    }
    let (ended, requests) = against(vec![list()], "get nosuch --output json").await;
    assert_eq!((ended.err.as_str(), ended.code, requests.len()), ("", ExitCode::SUCCESS, 1));
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap()["instances"], json!([]));
}

#[tokio::test]
async fn explain_shows_the_answer_and_every_instance() {
    let explanation = json!({
        "store": "s", "revision": 9, "meaning": "service web", "rcode": "NOERROR", "flags": ["aa", "tc"],
        "question": {"name": "web.svc.internal.", "type": "SRV", "client": "10.1.2.3", "protocol": "tcp"},
        "extended_error": {"code": 0, "text": "web: 1 of 2 fit"},
        "answer": ["web.svc.internal. 5 IN SRV 0 1 80 i1.web.svc.internal."],
        "authority": [], "additional": ["i1.web.svc.internal. 5 IN A 10.0.0.1"],
        "instances": [
            {"id": "i1", "kept": true, "because": "answered"},
            {"id": "i2", "kept": false, "because": "withheld: check tcp is critical: \u{1b}[2J"},
        ],
    });
    let words = "explain web.svc.internal SRV --client 10.1.2.3 --tcp";
    let (ended, requests) = against(vec![fake::json("200 OK", &explanation)], words).await;
    let path = "GET /v1/explain?name=web.svc.internal&type=SRV&client=10.1.2.3&protocol=tcp ";
    assert!(requests[0].starts_with(path), "{requests:?}");
    assert_eq!(
        ended.out,
        "question    web.svc.internal. SRV for 10.1.2.3 over tcp\n\
         meaning     service web\n\
         reply       NOERROR aa tc\n\
         because     web: 1 of 2 fit (code 0)\n\
         answer      web.svc.internal. 5 IN SRV 0 1 80 i1.web.svc.internal.\n\
         additional  i1.web.svc.internal. 5 IN A 10.0.0.1\n\
         \n\
         ID  KEPT  BECAUSE\n\
         i1  yes   answered\n\
         i2  no    withheld: check tcp is critical: \\u{1b}[2J\n"
    );
    let (ended, requests) = against(vec![fake::json("200 OK", &explanation)], "explain web --output json").await;
    assert!(requests[0].starts_with("GET /v1/explain?name=web "), "{requests:?}");
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), explanation);
}

/// A stream of events that ends, and the refusal that ends a watch.
fn streams(first: &str, second: &str) -> Vec<String> {
    let refusal = fake::json("403 Forbidden", &json!({"title": "No", "status": 403, "detail": "not for you"}));
    vec![
        fake::answer("200 OK", "text/event-stream", first),
        fake::answer("200 OK", "text/event-stream", second),
        refusal,
    ]
}

#[tokio::test]
async fn watch_prints_lines_and_goes_on_where_it_was() {
    let withheld = instance();
    let first = format!(
        "event: reset\ndata: {{\"store\":\"s\",\"revision\":7}}\n\n\
         event: snapshot\nid: s-7\ndata: {{\"revision\":7,\"instances\":[{withheld}],\"last\":true}}\n\n:\nid: s-8\n\n"
    );
    let gone = json!({"kind": "expired", "service": "web", "id": "i1", "instance": null});
    let mut answered = withheld.clone();
    (answered["answered"], answered["withheld_because"]) = (json!(true), json!("\u{1b}[2J"));
    let odd = json!({"kind": "\u{1b}[2J", "service": "web", "id": "i2", "instance": answered});
    let second = format!(
        "event: change\nid: s-9\ndata: {}\n\nevent: lagged\ndata: {{\"revision\":9}}\n\nevent: new",
        json!({"revision": 9, "changes": [gone, odd]})
    );
    let (ended, requests) = against(streams(&first, &second), "watch web").await;
    assert_eq!((ended.code, ended.err.as_str()), (ExitCode::from(1), "rollcall: No (403): not for you\n"));
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[0], "       7  reset");
    assert!(
        lines[1].starts_with("       7  is            i1.web                    10.0.0.7,fd00::7 8080"),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "       9  expired       i1.web");
    assert!(lines[3].contains("\\u{1b}[2J") && !ended.out.contains('\u{1b}'), "{}", lines[3]);
    assert_eq!((lines[4], lines.len()), ("       9  lagged", 5));
    assert!(requests[0].starts_with("GET /v1/watch?service=web ") && !requests[0].contains("last-event-id"));
    assert!(requests[1].contains("\r\nlast-event-id: s-8\r\n"), "{requests:?}");
    assert!(requests[2].contains("\r\nlast-event-id: s-9\r\n"), "{requests:?}");
}

#[tokio::test]
async fn watch_prints_a_line_of_json_for_each_event() {
    let first = "event: change\nid: s-9\ndata: {\"revision\":9,\"changes\":[]}\n\n";
    let (ended, requests) = against(streams(first, first), "watch --under payments --after 8 --output json").await;
    let line = json!({"event": "change", "id": "s-9", "revision": 9, "changes": []});
    let lines: Vec<Value> = ended.out.lines().take(2).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [line.clone(), line], "and then the refusal");
    assert!(
        requests[0].starts_with("GET /v1/watch?under=payments ") && requests[0].contains("\r\nlast-event-id: 8\r\n")
    );
}

#[tokio::test]
async fn watch_does_not_take_pages_for_events() {
    let (ended, _) = against(vec![fake::json("200 OK", &json!({}))], "watch").await;
    assert_eq!(ended.code, ExitCode::from(3));
    assert!(ended.err.ends_with("the answer is no stream of events\n"), "{}", ended.err);
}

#[tokio::test]
async fn status_shows_every_field() {
    let status = json!({"version": "0.1.0", "counts": {"services": 2, "instances": 5}, "peers": []});
    let (ended, _) = against(vec![fake::json("200 OK", &status)], "status").await;
    assert_eq!(ended.out, "counts.instances  5\ncounts.services   2\npeers             -\nversion           0.1.0\n");
}

#[tokio::test]
async fn a_refusal_exits_with_1_and_stays_on_one_line() {
    let problem = json!({"title": "Name taken", "status": 409, "detail": "choose\nanother \u{1b}[31mid"});
    let answer = fake::answer("409 Conflict", "application/problem+json", &problem.to_string());
    let (ended, _) = against(vec![answer], "register web --id i1 --port 80").await;
    let err = "rollcall: Name taken (409): choose\\nanother \\u{1b}[31mid\n".to_owned();
    assert_eq!(ended, Ended { out: String::new(), err, code: ExitCode::from(1) });
}

#[tokio::test]
async fn a_refusal_is_a_problem_document_for_scripts() {
    let problem =
        json!({"type": "urn:rollcall:lease-gone", "title": "Gone", "status": 410, "detail": "register again"});
    let answer = fake::answer("410 Gone", "application/problem+json", &problem.to_string());
    let (ended, _) = against(vec![answer], "renew web i1 --output json").await;
    assert_eq!((ended.code, ended.err.as_str()), (ExitCode::from(1), "rollcall: Gone (410): register again\n"));
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), problem);
    let problem = json!({"type": "urn:rollcall:invalid-name", "title": "Name", "status": 422, "detail": "no",
                         "pointer": "/tags/0", "nearest": "a-b"});
    let answer = fake::answer("422 Unprocessable Content", "application/problem+json", &problem.to_string());
    let (ended, _) = against(vec![answer], "register web --port 80 --tag a_b --output json").await;
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), problem);
}

#[test]
fn help_says_what_holds_when_nothing_is_said() {
    let help = |name: &str| {
        let mut command = command();
        let command = command.find_subcommand_mut(name).unwrap();
        command.render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let register = help("register");
    for text in [
        "1s to 1h [default: 5s]",
        "10ms to 1m and at most --interval [default: 1s]",
        "1 to 100 [default: 1]",
        "1 to 100 [default: 3]",
        "0 to 65535: lower is asked first [default: 0]",
        "0 to 65535 [default: 1]",
        "2s to 24h [default: stays until deregistered]",
        "https in the same forms, grpc, grpc:PORT/SERVICE, or ttl when it reports itself",
    ] {
        assert!(register.contains(text), "{text} in {register}");
    }
}

#[test]
fn nobody_there_exits_with_3() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ended = rollcall("status", &[("ROLLCALL_HTTP_ADDR", &dead)]);
    assert_eq!(ended.code, ExitCode::from(3));
    assert!(ended.err.starts_with(&format!("rollcall: no server answered at {dead}: ")), "{}", ended.err);
}

#[test]
fn check_config_shows_values_and_where_they_come_from() {
    let ended = rollcall("check-config --demo --ttl 90s", &[("ROLLCALL_DNS", "::1")]);
    assert_eq!(ended.err, "");
    let rows: Vec<Vec<&str>> = ended.out.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        ["ttl", "1m30s", "--ttl"],
        ["dns", "[::1]:8600", "ROLLCALL_DNS"],
        ["memory", "yes", "--demo"],
        ["http", "127.0.0.1:8500", "default"],
    ] {
        assert!(rows.contains(&row.to_vec()), "{row:?} in {}", ended.out);
    }
    let json: Value = serde_json::from_str(&rollcall("check-config --memory --output json", &[]).out).unwrap();
    assert_eq!(json["udp_payload"], json!({"value": 1232, "from": "default"}));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = rollcall(&format!("completions {shell}"), &[]);
        assert!(ended.out.contains("check-config") && ended.out.contains("name-memory"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_heard_enough_is_no_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let words = ["rollcall", "completions", "bash"].map(OsString::from);
    let mut err = Vec::new();
    let code = run(words, &|_| None, |_| ExitCode::SUCCESS, &mut Closed, &mut err);
    assert_eq!((code, err), (ExitCode::SUCCESS, Vec::new()));
}
