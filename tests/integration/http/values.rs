//! Values of a registration: which are possible, and what a caller hears of those that are not.

use serde_json::{Value, json};

use super::{SMALL, WEB1, with_field};
use crate::support::world::World;

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn names_that_dns_cannot_carry_come_back_with_the_nearest_that_it_can() {
    let world = World::new().await;
    let (l62, l63) = ("a".repeat(62), "a".repeat(63));
    for (name, nearest) in [
        (".", None),
        ("..", None),
        ("a..b", Some("a.b")),
        ("-a", Some("a")),
        ("a-", Some("a")),
        ("_x", Some("x")),
        ("my_service", Some("my-service")),
        (&*l63, Some(&*l62)),
        ("a b", Some("a-b")),
        ("*", None),
        ("emoji\u{1f600}", Some("emoji")),
        ("a\0", Some("a")),
        ("a\nb", Some("a-b")),
        ("../x", Some("x")),
        ("a/b", Some("a-b")),
        ("a\\b", Some("a-b")),
        ("web.", Some("web")),
        ("\u{212a}elvin", Some("elvin")),
        ("w\u{131}b", Some("w-b")),
        ("web;x", Some("web-x")),
        ("%2e%2e", Some("2e-2e")),
    ] {
        let path = format!("/v1/services/{}/instances/i1", escaped(name));
        let reply = world.refused("PUT", &path, Some(SMALL), 422, "invalid-name").await;
        assert_eq!(reply.body["nearest"].as_str(), nearest, "{name:?}");
        for (method, path) in [("GET", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/renew"))] {
            world.refused(method, &path, None, 422, "invalid-name").await;
        }
        if let Some(nearest) = nearest {
            let path = format!("/v1/services/{nearest}/instances/i1");
            assert!(world.call("PUT", &path, Some(SMALL)).await.status < 300, "{nearest} is taken");
        }
    }
    let long = vec!["b"; 130].join(".");
    world.refused("PUT", &format!("/v1/services/{long}/instances/i1"), Some(SMALL), 422, "invalid-name").await;
    for name in [&*l62, "xn--bcher-kva", "0", "a.b.c", "1.2"] {
        assert!(
            world.call("PUT", &format!("/v1/services/{name}/instances/i1"), Some(SMALL)).await.status < 300,
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn names_fold_by_ascii_rules() {
    let world = World::new().await;
    world.put("/v1/services/Web/instances/I1", &json!({"port": 80})).await;
    let again = world.call("PUT", WEB1, Some(r#"{"port":80}"#)).await;
    assert_eq!((again.status, again.header("etag")), (200, "\"1\""));
}

#[tokio::test(start_paused = true)]
async fn ids_make_no_names_outside_their_service() {
    let world = World::new().await;
    for id in ["a.b", "../x", "_tcp", "_services", "..", "%00", "a b", &"a".repeat(64)] {
        let path = format!("/v1/services/web/instances/{}", escaped(id));
        world.refused("PUT", &path, Some(SMALL), 422, "invalid-name").await;
    }
    for path in
        ["ns/instances/i1", "one.web/instances/i1", "all.web/instances/i1", "web/instances/one", "web/instances/all"]
    {
        world.refused("PUT", &format!("/v1/services/{path}"), Some(SMALL), 409, "name-taken").await;
    }
    world.put("/v1/services/web/instances/ns1", &json!({"port": 80, "tags": ["t"], "ports": {"p": 1}})).await;
    for service in ["ns1.web", "t.web", "p.web"] {
        world.refused("PUT", &format!("/v1/services/{service}/instances/x"), Some(SMALL), 409, "name-taken").await;
    }
    world.refused("PUT", "/v1/services/web/instances/t", Some(SMALL), 409, "name-taken").await;
    let body = with_field("tags", r#"["ns1"]"#);
    world.refused("PUT", "/v1/services/web/instances/x", Some(&body), 409, "name-taken").await;

    let long = format!("a.{}", vec!["b".repeat(60); 3].join("."));
    let path = format!("/v1/services/{long}/instances/{}", "i".repeat(63));
    world.refused("PUT", &path, Some(SMALL), 422, "invalid-name").await;
}

#[tokio::test(start_paused = true)]
async fn addresses_are_literals_that_something_can_listen_on() {
    let world = World::new().await;
    for address in [
        "",
        " ",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "010.0.0.1",
        "::ffff:192.0.2.1",
        "fe80::1%eth0",
        "10.0.0.1 ",
        " 10.0.0.1",
        "10.0.0.1:80",
        "[::1]",
        "host.example",
        "10.0.0.256",
    ] {
        let value = json!(address).to_string();
        let reply = world.refused("PUT", WEB1, Some(&with_field("address", &value)), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), "/address", "{address:?}");
        world.refused("PUT", WEB1, Some(&with_field("addresses", &format!("[{value}]"))), 422, "invalid-value").await;
    }
    for (field, value, pointer) in [
        ("address", "1", "/address"),
        ("addresses", "[]", "/addresses"),
        ("addresses", r#"["10.0.0.1","10.0.0.2"]"#, "/addresses"),
        ("addresses", r#"["10.0.0.1","::1","::2"]"#, "/addresses"),
        ("addresses", r#"["10.0.0.1","x"]"#, "/addresses/1"),
        ("addresses", r#""10.0.0.1""#, "/addresses"),
    ] {
        let reply = world.refused("PUT", WEB1, Some(&with_field(field, value)), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), pointer, "{value}");
    }
    let both = r#"{"port":80,"address":"10.0.0.1","addresses":["::1"]}"#;
    world.refused("PUT", WEB1, Some(both), 422, "invalid-value").await;
}

#[tokio::test(start_paused = true)]
async fn numbers_and_durations_never_wrap() {
    let world = World::new().await;
    for (field, values) in [
        (
            "port",
            &["0", "65536", "-1", "80.5", "\"80\"", "null", "1e3", "4294967376", "99999999999999999999", "true"][..],
        ),
        ("priority", &["-1", "65536", "1.0", "\"0\"", "1e18"]),
        ("weight", &["-1", "65536", "-9223372036854775809", "[1]"]),
        (
            "ttl",
            &["0", "60", "\"-1s\"", "\"1h1s\"", "\"2147483648s\"", "\"4294967296s\"", "\"1e18s\"", "\"500ms\"", "\"\""],
        ),
        ("protocol", &["\"sctp\"", "\"TCP\"", "6"]),
        ("initial_health", &["\"critical\"", "1"]),
        ("evict_after", &["\"10\"", "\"999ms\"", "600", "\"\""]),
    ] {
        for value in values {
            let reply = world.refused("PUT", WEB1, Some(&with_field(field, value)), 422, "invalid-value").await;
            assert_eq!(reply.pointer(), format!("/{field}"), "{field}: {value}");
        }
    }
    for (field, value) in
        [("port", "65535"), ("priority", "65535"), ("weight", "0"), ("ttl", "\"0s\""), ("ttl", "\"1h\"")]
    {
        let reply = world.call("PUT", WEB1, Some(&with_field(field, value))).await;
        assert!(reply.status < 300, "{field}: {value}");
        assert_eq!(reply.body[field], serde_json::from_str::<Value>(value).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_tags_and_ports_are_what_dns_can_carry() {
    let world = World::new().await;
    let pairs = |count: usize, octets: usize| -> Value {
        (0..count)
            .map(|n| (format!("k{n:04}"), Value::from("v".repeat(octets))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for (meta, pointer) in [
        (json!({"": "x"}), "/meta/"),
        (json!({"a=b": "x"}), "/meta/a=b"),
        (json!({"tab\t": "x"}), "/meta/tab\t"),
        (json!({"ä": "x"}), "/meta/ä"),
        (json!({"k": "v".repeat(254)}), "/meta/k"),
        (json!({"A": "1", "a": "2"}), "/meta/a"),
        (pairs(1000, 1), "/meta"),
        (pairs(17, 245), "/meta"),
    ] {
        let reply =
            world.refused("PUT", WEB1, Some(&with_field("meta", &meta.to_string())), 422, "invalid-value").await;
        assert_eq!(reply.pointer(), pointer);
    }
    let tags: Vec<String> = (0..65).map(|n| format!("t{n}")).collect();
    let reply =
        world.refused("PUT", WEB1, Some(&with_field("tags", &json!(tags).to_string())), 422, "invalid-value").await;
    assert_eq!(reply.pointer(), "/tags");
    let ports: Value = (0..17).map(|n| (format!("p{n}"), Value::from(1))).collect::<serde_json::Map<_, _>>().into();
    let reply = world.refused("PUT", WEB1, Some(&with_field("ports", &ports.to_string())), 422, "invalid-value").await;
    assert_eq!(reply.pointer(), "/ports");
    for (ports, kind, pointer) in [
        (json!({"m": 0}), "invalid-value", "/ports/m"),
        (json!({"m": 65536}), "invalid-value", "/ports/m"),
        (json!({"m_x": 1}), "invalid-name", "/ports/m_x"),
        (json!({"a".repeat(63): 1}), "invalid-name", &*format!("/ports/{}", "a".repeat(63))),
        (json!({"M": 1, "m": 2}), "invalid-value", "/ports"),
    ] {
        let reply = world.refused("PUT", WEB1, Some(&with_field("ports", &ports.to_string())), 422, kind).await;
        assert_eq!(reply.pointer(), pointer);
    }
    let quoted = json!({"q": "\"\\\u{7f}\u{0}\n", "empty": "", "k": "v".repeat(253)});
    let reply = world.put(WEB1, &json!({"port": 80, "meta": quoted, "tags": tags[..64]})).await;
    assert_eq!(reply.body["meta"], quoted, "values are any text (RFC 6763 §6.5)");
}

#[tokio::test(start_paused = true)]
async fn checks_describe_requests_that_can_be_sent() {
    let world = World::new().await;
    let refused = async |check: Value, kind: &str, field: &str| {
        let body = with_field("checks", &json!([{"type": "tcp", "name": "first"}, check]).to_string());
        let reply = world.refused("PUT", WEB1, Some(&body), 422, kind).await;
        assert_eq!(reply.pointer(), format!("/checks/1/{field}"), "{check}");
    };
    for (check, field) in [
        (json!({"type": "exec"}), "type"),
        (json!({"type": "ttl", "service": "x"}), "service"),
        (json!({"type": "ttl", "tls_verify": true}), "tls_verify"),
        (json!({"type": "tcp", "path": "/"}), "path"),
        (json!({"type": "tcp", "server_name": "web.example"}), "server_name"),
        (json!({"type": "http", "hold": true}), "hold"),
        (json!({"type": "https", "hold": false}), "hold"),
        (json!({"type": "grpc", "hold": true}), "hold"),
        (json!({"type": "ttl", "hold": true}), "hold"),
        (json!({"type": "http", "service": "x"}), "service"),
        (json!({"type": "http", "tls_verify": true}), "tls_verify"),
        (json!({"type": "https", "service": "x"}), "service"),
        (json!({"type": "https", "path": "healthz"}), "path"),
        (json!({"type": "https", "url": "http://10.0.0.1/"}), "url"),
        (json!({"type": "https", "url": "https://web.example/"}), "url"),
        (json!({"type": "https", "headers": {"host": "x"}}), "headers/host"),
        (json!({"type": "https", "server_name": ""}), "server_name"),
        (json!({"type": "https", "server_name": "10.0.0.7"}), "server_name"),
        (json!({"type": "https", "server_name": "a\r\nX: y"}), "server_name"),
        (json!({"type": "https", "server_name": "web.example:443"}), "server_name"),
        (json!({"type": "grpc", "path": "/"}), "path"),
        (json!({"type": "grpc", "tls_verify": false}), "tls_verify"),
        (json!({"type": "grpc", "service": "a b"}), "service"),
        (json!({"type": "grpc", "service": "x".repeat(256)}), "service"),
        (json!({"type": "tcp", "name": "first"}), "name"),
        (json!({"type": "ttl", "timeout": "1s"}), "timeout"),
        (json!({"type": "ttl", "fast_interval": "1s"}), "fast_interval"),
        (json!({"type": "ttl", "port": 80}), "port"),
        (json!({"type": "ttl", "path": "/"}), "path"),
        (json!({"type": "tcp", "interval": "999ms"}), "interval"),
        (json!({"type": "tcp", "interval": "1h1s"}), "interval"),
        (json!({"type": "tcp", "interval": "5"}), "interval"),
        (json!({"type": "tcp", "fast_interval": "49ms"}), "fast_interval"),
        (json!({"type": "tcp", "interval": "2s", "fast_interval": "2001ms"}), "fast_interval"),
        (json!({"type": "tcp", "timeout": "9ms"}), "timeout"),
        (json!({"type": "tcp", "timeout": "6s"}), "timeout"),
        (json!({"type": "tcp", "rise": 0}), "rise"),
        (json!({"type": "tcp", "fall": 101}), "fall"),
        (json!({"type": "tcp", "port": 0}), "port"),
        (json!({"type": "http", "path": "healthz"}), "path"),
        (json!({"type": "http", "path": "/a b"}), "path"),
        (json!({"type": "http", "path": "/a\r\nX: y"}), "path"),
        (json!({"type": "http", "path": format!("/{}", "a".repeat(1024))}), "path"),
        (json!({"type": "http", "path": "/", "url": "http://10.0.0.1/"}), "url"),
        (json!({"type": "http", "url": "file:///etc/passwd"}), "url"),
        (json!({"type": "http", "url": "https://10.0.0.1/"}), "url"),
        (json!({"type": "http", "url": "http://user:pw@10.0.0.1/"}), "url"),
        (json!({"type": "http", "url": "http://host/"}), "url"),
        (json!({"type": "http", "url": "http://10.0.0.1/a b"}), "url"),
        (json!({"type": "http", "url": "http://10.0.0.1/", "port": 80}), "port"),
        (json!({"type": "http", "method": "DELETE"}), "method"),
        (json!({"type": "http", "method": "get"}), "method"),
        (json!({"type": "http", "headers": {"Host": "x"}}), "headers/Host"),
        (json!({"type": "http", "headers": {"Keep-Alive": "x"}}), "headers/Keep-Alive"),
        (json!({"type": "http", "headers": {"a b": "x"}}), "headers/a b"),
        (json!({"type": "http", "headers": {"a/b": "x"}}), "headers/a~1b"),
        (json!({"type": "http", "headers": {"a": "x\r\nHost: y"}}), "headers/a"),
        (json!({"type": "http", "expect_status": "2xx"}), "expect_status"),
        (json!({"type": "http", "expect_status": (["200"; 17].join(","))}), "expect_status"),
        (json!({"type": "http", "expect_body": ""}), "expect_body"),
        (json!({"type": "http", "expect_body": "x", "method": "HEAD"}), "expect_body"),
    ] {
        refused(check, "invalid-value", field).await;
    }
    refused(json!({"type": "tcp", "name": "a b"}), "invalid-name", "name").await;
    let headers: Value = (0..17).map(|n| (format!("x{n}"), Value::from(""))).collect::<serde_json::Map<_, _>>().into();
    refused(json!({"type": "http", "headers": headers}), "invalid-value", "headers").await;
    let nine: Vec<Value> = (0..9).map(|n| json!({"type": "tcp", "name": format!("c{n}")})).collect();
    let body = with_field("checks", &json!(nine).to_string());
    assert_eq!(world.refused("PUT", WEB1, Some(&body), 422, "invalid-value").await.pointer(), "/checks");

    let url = json!([{"type": "http", "url": "http://[::1]/x?y=1"}]);
    let reply = world.put(WEB1, &json!({"port": 80, "checks": url})).await;
    let check = &reply.body["checks"][0];
    assert_eq!((&check["path"], &check["url"]), (&"/x?y=1".into(), &"http://[::1]:80/x?y=1".into()));

    let fields = |check: &Value, fields: &[&str]| fields.iter().map(|field| check[*field].clone()).collect::<Value>();
    let checks = json!([
        {"type": "https", "url": "https://[::1]/x", "server_name": "Web.example", "tls_verify": false},
        {"type": "https", "name": "plain"},
        {"type": "grpc", "service": "payments.v1.Api", "port": 81},
        {"type": "grpc", "name": "whole"},
    ]);
    let checks =
        &world.put("/v1/services/web/instances/i2", &json!({"port": 81, "checks": checks})).await.body["checks"];
    let https = ["type", "path", "url", "tls_verify", "server_name"];
    let given = json!(["https", "/x", "https://[::1]:443/x", false, "web.example"]);
    assert_eq!(fields(&checks[0], &https), given);
    assert_eq!(fields(&checks[1], &https), json!(["https", "/", null, true, null]));
    let grpc = ["type", "service", "port", "path", "tls_verify"];
    assert_eq!(fields(&checks[2], &grpc), json!(["grpc", "payments.v1.Api", 81, null, null]));
    assert_eq!(fields(&checks[3], &grpc), json!(["grpc", "", null, null, null]));
}
