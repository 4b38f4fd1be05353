//! What other people's programs make of it: `dig`, the system's resolver, caches that forward.
//!
//! Each network namespace is a machine of its own in which port 53 is free.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use crate::support::dig::{self, Reply};
use crate::support::has_programs;
use crate::support::namespace::Namespace;
use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};
use crate::support::wait::until;

const NETWORK: &str = "root and iproute2";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `dig` without the habits of whoever runs the tests.
fn dig() -> Command {
    let mut dig = Command::new("dig");
    dig.arg("-r");
    dig
}

fn server_with_web() -> Server {
    let server = Server::start();
    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 8080}));
    server
}

fn assert_srv(reply: &Reply) {
    assert_eq!(reply.status, "NOERROR", "{}", reply.text);
    assert!(reply.has_flag("aa") && !reply.has_flag("tc"), "{}", reply.text);
    assert_eq!(reply.answer, ["_web._tcp.svc.internal. 5 IN SRV 0 1 8080 i1.web.svc.internal."], "{}", reply.text);
    assert_eq!(reply.additional, ["i1.web.svc.internal. 5 IN A 10.0.0.7"], "{}", reply.text);
}

#[test]
fn dig_is_content_however_it_asks() {
    if !has_programs("dig") {
        return;
    }
    let server = server_with_web();
    for options in [
        &[][..],
        &["+tcp"],
        &["+norec"],
        &["+nocookie"],
        &["+noedns"],
        &["+bufsize=4096"],
        &["+bufsize=512"],
        &["+dnssec"],
        &["+ednsopt=65001:00ff"],
        &["+nsid", "+subnet=192.0.2.0/24", "+padding=128"],
        &["+tcp", "+keepalive", "+keepopen"],
    ] {
        let srv = [options, &["_web._tcp.svc.internal", "SRV"]].concat();
        assert_srv(&dig::ask(dig(), server.dns, &srv));
        let a = [options, &["web.svc.internal", "A"]].concat();
        let reply = dig::ask(dig(), server.dns, &a);
        assert_eq!(reply.answer, ["web.svc.internal. 5 IN A 10.0.0.7"], "{}", reply.text);
        assert!(reply.has_flag("aa") && !reply.text.contains("retrying"), "{}", reply.text);
        assert_eq!(reply.has_flag("rd"), !options.contains(&"+norec"), "{}", reply.text);
        assert_eq!(reply.text.contains("OPT PSEUDOSECTION"), !options.contains(&"+noedns"), "{}", reply.text);
    }
    server.stop();
}

#[test]
fn dig_is_content_with_negative_answers() {
    if !has_programs("dig") {
        return;
    }
    let server = server_with_web();
    for (name, kind, status) in [
        ("nope.svc.internal", "A", "NXDOMAIN"),
        ("web.svc.internal", "AAAA", "NOERROR"),
        ("_tcp.svc.internal", "SRV", "NOERROR"),
    ] {
        let reply = dig::ask(dig(), server.dns, &[name, kind]);
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(reply.has_flag("aa") && reply.answer.is_empty() && reply.additional.is_empty(), "{}", reply.text);
        assert!(matches!(&reply.authority[..], [soa] if soa.contains(" IN SOA ns.svc.internal. ")), "{}", reply.text);
    }
    let reply = dig::ask(dig(), server.dns, &["example.org"]);
    assert_eq!(reply.status, "REFUSED", "{}", reply.text);
    server.stop();
}

#[test]
fn a_reply_that_does_not_fit_is_fetched_over_tcp() {
    if !has_programs("dig") {
        return;
    }
    let server = Server::start();
    for number in 0..100 {
        let body = json!({"address": format!("10.0.1.{number}"), "port": 80});
        server.register("web", &format!("i{number}"), &body);
    }
    let cut = dig::ask(dig(), server.dns, &["+ignore", "web.svc.internal"]);
    assert!(cut.has_flag("tc") && !cut.answer.is_empty() && cut.answer.len() < 100, "{}", cut.text);
    let whole = dig::ask(dig(), server.dns, &["web.svc.internal"]);
    assert!(whole.text.contains("retrying in TCP mode") && !whole.has_flag("tc"), "{}", whole.text);
    assert_eq!(whole.answer.len(), 100, "{}", whole.text);
    server.stop();
}

#[test]
fn kdig_is_content() {
    if !has_programs("kdig") {
        return;
    }
    let server = server_with_web();
    for options in [&[][..], &["+tcp"], &["+cookie"], &["+padding=64"]] {
        let words = [options, &["_web._tcp.svc.internal", "SRV"]].concat();
        assert_srv(&dig::ask(Command::new("kdig"), server.dns, &words));
    }
    server.stop();
}

#[test]
fn the_system_resolver_finds_who_is_registered() {
    if !has_programs(NETWORK) {
        return;
    }
    let namespace = Namespace::new("nameserver 127.0.0.1\n");
    let server = namespace.serve("127.0.0.1:53");
    let register = ["register", "web", "--id=i1", "--address=10.0.0.7", "--port=80"];
    namespace.rollcall(&server, &register);

    let (code, lines) = namespace.getent(&["ahosts", "web.svc.internal"]);
    assert_eq!((code, lines[0].as_str()), (Some(0), "10.0.0.7 STREAM web.svc.internal"));
    let found = (Some(0), vec!["10.0.0.7 web.svc.internal".to_owned()]);
    assert_eq!(namespace.getent(&["hosts", "web.svc.internal"]), found);

    namespace.rollcall(&server, &["deregister", "web", "i1"]);
    assert_eq!(namespace.getent(&["hosts", "web.svc.internal"]), (Some(2), vec![]));
    namespace.rollcall(&server, &register);
    assert_eq!(namespace.getent(&["hosts", "web.svc.internal"]), found);
    server.stop();
}

#[test]
fn a_search_domain_makes_the_short_name_enough() {
    if !has_programs(NETWORK) {
        return;
    }
    let namespace = Namespace::new("nameserver 127.0.0.1\nsearch svc.internal\n");
    let server = namespace.serve("127.0.0.1:53");
    namespace.rollcall(&server, &["register", "web", "--id=i1", "--address=10.0.0.7", "--port=80"]);
    let found = (Some(0), vec!["10.0.0.7 web.svc.internal".to_owned()]);
    assert_eq!(namespace.getent(&["hosts", "web"]), found);
    assert_eq!(namespace.getent(&["hosts", "nope"]), (Some(2), vec![]));
    server.stop();
}

/// Instances of the upstream's `big`: more than fit in 1,232 octets.
const BIG: usize = 80;

/// A name server of others: `www.example.org` and a name with too many addresses for a datagram.
fn upstream(namespace: &Namespace, dns: &str) -> Server {
    let words = ["serve", "--memory", "--http=127.0.0.1:0", "--zone=example.org", "--dns", dns];
    let upstream = Server::launch(namespace.command(ROLLCALL).args(words));
    namespace.rollcall(&upstream, &["register", "www", "--id=i1", "--address=192.0.2.7", "--port=80"]);
    for number in 0..BIG {
        let (id, address) = (format!("--id=i{number}"), format!("--address=192.0.2.{number}"));
        namespace.rollcall(&upstream, &["register", "big", &id, &address, "--port=80"]);
    }
    upstream
}

#[test]
fn a_host_that_asks_nobody_else_finds_every_name() {
    if !has_programs("root, iproute2 and dig") {
        return;
    }
    let namespace = Namespace::new("nameserver 127.0.0.1\n");
    let upstream = upstream(&namespace, "127.0.0.2:53");
    let words = ["serve", "--memory", "--http=127.0.0.1:0", "--dns=127.0.0.1:53", "--forward=127.0.0.2"];
    let server = Server::launch(namespace.command(ROLLCALL).args(words));
    namespace.rollcall(&server, &["register", "web", "--id=i1", "--address=10.0.0.7", "--port=80"]);

    let found = |address: &str, name: &str| (Some(0), vec![format!("{address} {name}")]);
    assert_eq!(namespace.getent(&["hosts", "web.svc.internal"]), found("10.0.0.7", "web.svc.internal"));
    assert_eq!(namespace.getent(&["hosts", "www.example.org"]), found("192.0.2.7", "www.example.org"));
    assert_eq!(namespace.getent(&["hosts", "nope.example.org"]), (Some(2), vec![]));
    assert_eq!(namespace.getent(&["hosts", "nope.svc.internal"]), (Some(2), vec![]));
    // Too much for a datagram, from the upstream to us and from us to the resolver.
    let (code, lines) = namespace.getent(&["ahosts", "big.example.org"]);
    let addresses: std::collections::BTreeSet<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!((code, addresses.len()), (Some(0), BIG));

    let ask = |words: &[&str]| {
        let mut dig = namespace.command("dig");
        dig.arg("-r");
        dig::ask(dig, address("127.0.0.1:53"), words)
    };
    for transport in ["+notcp", "+tcp"] {
        let reply = ask(&[transport, "www.example.org"]);
        reply.assert_data(&["192.0.2.7"]);
        assert!(reply.has_flag("ra") && !reply.has_flag("aa"), "{}", reply.text);
        let reply = ask(&[transport, "nope.example.org"]);
        assert_eq!((reply.status.as_str(), reply.authority.len()), ("NXDOMAIN", 1), "{}", reply.text);
        let own = ask(&[transport, "web.svc.internal"]);
        own.assert_data(&["10.0.0.7"]);
        assert!(own.has_flag("ra") && own.has_flag("aa"), "{}", own.text);
    }
    let cut = ask(&["+ignore", "big.example.org"]);
    assert!(cut.has_flag("tc") && (1..BIG).contains(&cut.answer.len()), "{}", cut.text);
    let whole = ask(&["big.example.org"]);
    assert!(whole.text.contains("retrying in TCP mode") && whole.answer.len() == BIG, "{}", whole.text);

    upstream.stop();
    let reply = ask(&["+timeout=10", "other.example.org"]);
    assert_eq!(reply.status, "SERVFAIL", "{}", reply.text);
    assert!(reply.text.contains("EDE: 23"), "{}", reply.text);
    server.stop();
}

#[test]
fn the_name_servers_of_the_system_are_asked_but_for_ourselves() {
    if !has_programs(NETWORK) {
        return;
    }
    let namespace = Namespace::new("nameserver 127.0.0.1\nnameserver 127.0.0.2\n");
    let upstream = upstream(&namespace, "127.0.0.2:53");
    let words = ["serve", "--memory", "--http=127.0.0.1:0", "--dns=127.0.0.1:53", "--forward=system"];
    let server = Server::launch(namespace.command(ROLLCALL).args(words));
    let found = (Some(0), vec!["192.0.2.7 www.example.org".to_owned()]);
    assert_eq!(namespace.getent(&["hosts", "www.example.org"]), found);
    upstream.stop();
    server.stop();

    let alone = Namespace::new("nameserver 127.0.0.1\n");
    let (code, output) = Program::start(alone.command(ROLLCALL).args(words)).ended();
    assert_eq!(code, Some(2), "{output}");
    assert!(
        output.lines().count() == 1 && output.contains("/etc/resolv.conf names no server but this one"),
        "{output}"
    );
}

/// Asks a cache that forwards the zone for what is there and what is not.
fn assert_forwards(namespace: &Namespace, server: &Server, cache: SocketAddr) {
    namespace.rollcall(server, &["register", "web", "--id=i1", "--address=10.0.0.7", "--port=8080"]);
    let ask = |words: &[&str]| {
        let mut dig = namespace.command("dig");
        dig.arg("-r");
        dig::ask(dig, cache, words)
    };
    for transport in ["+notcp", "+tcp"] {
        ask(&[transport, "web.svc.internal"]).assert_data(&["10.0.0.7"]);
        ask(&[transport, "i1.web.svc.internal"]).assert_data(&["10.0.0.7"]);
        ask(&[transport, "_web._tcp.svc.internal", "SRV"]).assert_data(&["0 1 8080 i1.web.svc.internal."]);
        let absent = ask(&[transport, "nope.svc.internal"]);
        assert_eq!((absent.status.as_str(), absent.answer.len()), ("NXDOMAIN", 0), "{}", absent.text);
        let nodata = ask(&[transport, "web.svc.internal", "AAAA"]);
        assert_eq!((nodata.status.as_str(), nodata.answer.len()), ("NOERROR", 0), "{}", nodata.text);
    }
}

#[test]
fn unbound_forwards_the_zone() {
    if !has_programs("root, iproute2, dig and unbound") {
        return;
    }
    let namespace = Namespace::new("nameserver 127.0.0.1\n");
    let server = namespace.serve("127.0.0.1:8600");
    // With the root's key, as a distribution sets it up: it proves that `internal` does not exist, so the zone has to
    // be excepted. Strict minimisation asks for every empty name on the way down.
    let settings = "server:
           trust-anchor: \". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\"
           qname-minimisation-strict: yes\n";
    let _unbound = unbound(&namespace, &format!("{settings}{}", readme("stub-zone:")));
    assert_forwards(&namespace, &server, address("127.0.0.1:53"));
    let found = (Some(0), vec!["10.0.0.7 web.svc.internal".to_owned()]);
    assert_eq!(namespace.getent(&["hosts", "web.svc.internal"]), found);
    server.stop();
}

/// The settings that README.md shows: the block that has a line beginning so.
fn readme(line: &str) -> &'static str {
    let blocks = include_str!("../../README.md").split("```").skip(1).step_by(2);
    blocks.into_iter().find(|block| block.lines().any(|shown| shown.starts_with(line))).expect("README.md shows it")
}

/// An unbound on 127.0.0.1:53, ready.
fn unbound(namespace: &Namespace, settings: &str) -> (Program, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unbound.conf");
    let common = "server:
           interface: 127.0.0.1@53
           username: \"\"
           chroot: \"\"
           directory: \"\"
           pidfile: \"\"
           logfile: \"\"
           use-syslog: no
         remote-control:
           control-enable: no\n";
    std::fs::write(&path, format!("{common}{settings}")).unwrap();
    let mut unbound = Program::start(namespace.command("unbound").arg("-d").arg("-c").arg(&path));
    unbound.line("unbound has started", |line| line.contains("start of service").then_some(()));
    (unbound, folder)
}

#[test]
fn dnsmasq_forwards_the_zone() {
    if !has_programs("root, iproute2, dig and dnsmasq") {
        return;
    }
    let namespace = Namespace::new("nameserver 127.0.0.1\n");
    let server = namespace.serve("127.0.0.1:8600");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dnsmasq.conf");
    let settings = "listen-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nuser=root\n";
    let pid_file = folder.path().join("pid");
    let readme = readme("server=/");
    std::fs::write(&path, format!("{settings}pid-file={}\n{readme}", pid_file.display())).unwrap();
    let mut dnsmasq = Program::start(
        namespace
            .command("dnsmasq")
            .args(["--keep-in-foreground", "--log-facility=-"])
            .arg(format!("--conf-file={}", path.display())),
    );
    dnsmasq.line("dnsmasq has started", |line| line.contains("started, version").then_some(()));
    assert_forwards(&namespace, &server, address("127.0.0.1:53"));
    server.stop();
}

#[test]
fn a_wildcard_answers_from_the_address_that_was_asked() {
    if !has_programs("root, iproute2 and dig") {
        return;
    }
    let namespace = Namespace::new("nameserver 10.99.0.1\n");
    let add = |address: &str| namespace.ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
    add("10.99.0.1");
    add("10.99.0.2");
    let server = namespace.serve("0.0.0.0:53");
    namespace.rollcall(&server, &["register", "web", "--id=i1", "--address=10.0.0.7", "--port=80"]);
    let ask = |from: &str, to: &str, words: &[&str]| {
        let mut dig = namespace.command("dig");
        dig.args(["-r", "-b", from]);
        dig::try_ask(dig, address(&format!("{to}:53")), &[words, &["web.svc.internal"]].concat())
    };
    // From one address to the other: a socket on all addresses would reply from the one that is nearest to the client.
    for (from, to) in [("10.99.0.1", "10.99.0.2"), ("10.99.0.2", "10.99.0.1"), ("10.99.0.1", "127.0.0.1")] {
        for transport in ["+notcp", "+tcp"] {
            ask(from, to, &[transport]).unwrap().assert_data(&["10.0.0.7"]);
        }
    }
    add("10.99.0.3");
    let reply = until("an address that came later is answered", || {
        ask("10.99.0.1", "10.99.0.3", &["+tries=1", "+timeout=1"])
            .map_err(|problem| format!("{problem}\nthe server said:\n{}", server.output()))
    });
    reply.assert_data(&["10.0.0.7"]);
    server.stop();
}

#[test]
fn dig_is_content_with_the_example_zone_file() {
    if !has_programs("dig") {
        return;
    }
    let zones = concat!("--zones=", env!("CARGO_MANIFEST_DIR"), "/zones");
    let server = Server::launch(Command::new(ROLLCALL).args([
        "serve",
        "--memory",
        "--dns=127.0.0.1:0",
        "--http=127.0.0.1:0",
        zones,
    ]));
    let ask = |words: &[&str]| dig::ask(dig(), server.dns, words);
    let soa = ask(&["svc.internal", "SOA"]);
    soa.assert_data(&["ns1.svc.internal. hostmaster.svc.internal. 1 3600 600 86400 5"]);
    for options in [&[][..], &["+tcp"], &["+noedns"]] {
        let router = ask(&[options, &["router.svc.internal", "AAAA"]].concat());
        router.assert_data(&["gateway.svc.internal.", "fd00::1"]);
        assert!(router.has_flag("aa"), "{}", router.text);
        let postgres = ask(&[options, &["_postgres._tcp.svc.internal", "SRV"]].concat());
        assert_eq!((postgres.answer.len(), postgres.additional.len()), (2, 2), "{}", postgres.text);
        let delegation = ask(&[options, &["+norec", "anything.lab.svc.internal", "A"]].concat());
        assert!(!delegation.has_flag("aa") && delegation.answer.is_empty(), "{}", delegation.text);
        assert_eq!((delegation.authority.len(), delegation.additional.len()), (2, 2), "{}", delegation.text);
    }
    server.stop();
}

#[test]
fn the_example_zone_file_reads_as_one() {
    if !has_programs("root, iproute2, dig and unbound") {
        return;
    }
    let namespace = Namespace::new("nameserver 127.0.0.1\n");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/zones/svc.internal.zone");
    let _unbound =
        unbound(&namespace, &format!("auth-zone:\n  name: svc.internal\n  zonefile: \"{file}\"\n  for-upstream: no\n"));
    let ask = |name: &str, kind: &str| {
        let mut dig = namespace.command("dig");
        dig.arg("-r");
        dig::ask(dig, address("127.0.0.1:53"), &["+norec", name, kind])
    };
    let soa = ask("svc.internal", "SOA");
    assert!(soa.has_flag("aa") && soa.answer.len() == 1, "{}", soa.text);
    assert_eq!(ask("svc.internal", "NS").answer.len(), 2);
    ask("gateway.svc.internal", "A").assert_data(&["10.0.0.1"]);
    assert_eq!(ask("_postgres._tcp.svc.internal", "SRV").answer.len(), 2);
    let delegation = ask("anything.lab.svc.internal", "A");
    assert!(!delegation.has_flag("aa") && delegation.authority.len() == 2, "{}", delegation.text);
}
