//! The process: how it starts, refuses to start, and ends; and a service that is killed.

use std::net::TcpListener;
use std::process::Command;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};
use crate::support::wait::until;

/// What `rollcall` says when it cannot start.
fn refusal(words: &[&str]) -> String {
    let (code, output) = Program::start(Command::new(ROLLCALL).args(words)).ended();
    assert_eq!(code, Some(2), "{words:?} said:\n{output}");
    output
}

#[test]
fn a_busy_port_is_named() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    for (dns, http) in [(address.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", address.as_str())] {
        let output = refusal(&["serve", "--memory", "--dns", dns, "--http", http]);
        assert!(output.contains(&format!("{address} is in use")), "{output}");
    }
}

#[test]
fn http_beyond_loopback_needs_to_be_meant() {
    let output = refusal(&["serve", "--memory", "--dns=127.0.0.1:0", "--http=0.0.0.0:0"]);
    assert!(output.contains("--insecure"), "{output}");
}

#[test]
fn a_server_that_would_ask_itself_does_not_start() {
    // A port that was free a moment ago; listening on it is what makes its address our own.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = refusal(&["serve", "--memory", "--http=127.0.0.1:0", "--dns", &address, "--forward", &address]);
    assert!(output.lines().count() == 1 && output.contains(&format!("{address} is this server")), "{output}");
}

#[test]
fn zone_files_are_served_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("svc.internal.zone");
    // As an editor does: never half a file.
    let write = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    write("$TTL 1h\nhost A 10.0.0.1\n");
    let zones = format!("--zones={}", folder.path().display());
    let words = ["serve", "--memory", "--dns=127.0.0.1:0", "--http=127.0.0.1:0", &zones];
    let server = Server::launch(Command::new(ROLLCALL).args(words));
    let address = || server.ask("host.svc.internal.", RecordType::A).answers.first().map(|a| a.data.to_string());
    let becomes = |expected: Option<&str>| {
        until(&format!("the host's address becomes {expected:?}"), || match address() {
            found if found.as_deref() == expected => Ok(()),
            found => Err(format!("{found:?}; the server said:\n{}", server.output())),
        });
    };
    becomes(Some("10.0.0.1"));
    write("$TTL 1h\nhost A 10.0.0.2\n");
    becomes(Some("10.0.0.2"));

    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 80}));
    write("$TTL 1h\nhost A 10.0.0.3\nweb A 10.0.0.3\ni1.web A 10.0.0.3\n");
    becomes(Some("10.0.0.3"));
    for name in ["web", "i1.web"] {
        let told = format!("the service's name {name} does not answer: it is a static name (");
        // What is served is served before it is told.
        until("the log tells of the static name", || match server.output() {
            output if output.contains(&told) => Ok(()),
            output => Err(output),
        });
        assert_eq!(server.output().matches(&told).count(), 1, "{}", server.output());
    }

    write("$TTL 1h\n\nhost A 10.0.0\n");
    server.signal(Signal::SIGHUP);
    until("the log tells of the bad file", || {
        let output = server.output();
        if output.contains("svc.internal.zone, line 3: 10.0.0 is no IPv4 address") { Ok(()) } else { Err(output) }
    });
    becomes(Some("10.0.0.3"));
    for command in [&words[..], &["check-config", "--memory", &zones]] {
        let output = refusal(command);
        assert!(output.lines().count() == 1 && output.contains("zone, line 3: 10.0.0 is no IPv4"), "{output}");
    }
    std::fs::remove_file(&path).unwrap();
    server.signal(Signal::SIGHUP);
    becomes(None);
    server.stop();
}

#[test]
fn a_watch_prints_what_happens_and_harms_no_shutdown() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Server::start();
    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 80}));
    let watch = |words: &[&str]| {
        let addresses = format!("{nobody},{}", server.http);
        Program::start(Command::new(ROLLCALL).arg("watch").args(words).env("ROLLCALL_HTTP_ADDR", addresses))
    };
    let mut web = watch(&["web"]);
    let mut group = watch(&["--under=payments", "--output=json"]);
    web.line("what is there", |line| (line.contains("is") && line.contains("i1.web")).then_some(()));
    group.line("that nobody is there", |line| line.contains(r#""event":"snapshot""#).then_some(()));
    server.register("api.payments", "i1", &json!({"address": "10.0.0.8", "port": 80}));
    server.deregister("web", "i1");
    web.line("who left", |line| (line.contains("deregistered") && line.contains("i1.web")).then_some(()));
    let change = group.line("who came", |line| {
        serde_json::from_str::<serde_json::Value>(line).ok().filter(|line| line["event"] == "change")
    });
    assert_eq!((&change["changes"][0]["kind"], &change["revision"]), (&json!("registered"), &json!(2)));
    assert!(!web.output().contains("payments"), "{}", web.output());
    let output = server.output();
    server.stop();
    assert!(!output.contains("cut off"), "{output}");
    // It waits for the server to come back.
    web.signal(Signal::SIGTERM);
    assert_eq!(web.ended().0, None, "ended by the signal, not before");
}

#[test]
fn a_service_manager_ends_it_in_order() {
    let server = Server::start();
    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 80}));
    server.stop();
}

#[test]
fn it_ends_in_order_as_soon_as_a_port_is_open() {
    for _ in 0..8 {
        // The log tells the port too late; this one was free a moment ago.
        let dns = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let flags = ["serve", "--demo", "--http=127.0.0.1:0", "--dns", &dns.to_string()];
        let program = Program::start(Command::new(ROLLCALL).args(flags));
        let began = std::time::SystemTime::now();
        while std::net::TcpStream::connect(dns).is_err() {
            assert!(began.elapsed().unwrap().as_secs() < 60, "no port is open; it said:\n{}", program.output());
        }
        program.signal(Signal::SIGTERM);
        let (code, output) = program.ended();
        assert_eq!(code, Some(0), "it said:\n{output}");
    }
}

#[test]
fn ctrl_c_ends_a_demonstration_in_order() {
    let server =
        Server::launch(Command::new(ROLLCALL).args(["serve", "--demo", "--dns=127.0.0.1:0", "--http=127.0.0.1:0"]));
    until("the demonstration's web is answered", || {
        let reply = server.ask("web.svc.internal.", RecordType::A);
        if reply.answers.is_empty() { Err(server.output()) } else { Ok(()) }
    });
    server.stop_with(Signal::SIGINT);
}

#[test]
fn a_killed_service_leaves_dns() {
    let server = Server::start();
    // A process that answers HTTP and can be killed is at hand: another server.
    let service = Server::start();
    let check = json!({"type": "http", "path": "/healthz", "interval": "1s", "timeout": "500ms", "fall": 2});
    let body = json!({"address": "127.0.0.1", "port": service.http.port(), "checks": [check]});
    server.register("web", "i1", &body);
    until("the first probe has passed", || {
        let reply = server.ask("web.svc.internal.", RecordType::A);
        if reply.answers.len() == 1 { Ok(()) } else { Err(server.output()) }
    });

    service.signal(Signal::SIGKILL);

    let reply = until("the killed service has left the answers", || {
        let reply = server.ask("web.svc.internal.", RecordType::A);
        if reply.answers.is_empty() { Ok(reply) } else { Err(server.output()) }
    });
    // Registered and withheld: the name exists, with nothing to answer.
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    let instance = server.instance("web", "i1").unwrap();
    assert_eq!((&instance["health"], &instance["answered"]), (&json!("critical"), &json!(false)), "{instance}");
    server.stop();
}

/// Leaves a process as many descriptors as it has and no more.
#[cfg(target_os = "linux")]
fn limit_descriptors(id: u32, descriptors: &str) {
    let set = Command::new("prlimit").args([format!("--pid={id}"), format!("--nofile={descriptors}:")]).status();
    assert!(set.expect("prlimit of util-linux").success());
}

// Elsewhere nobody else can take a process's descriptors away.
#[cfg(target_os = "linux")]
#[test]
fn out_of_descriptors_it_says_so_once_and_goes_on_answering() {
    let mut server =
        Server::launch(Command::new(ROLLCALL).args(["serve", "--memory", "--dns=0.0.0.0:0", "--http=127.0.0.1:0"]));
    server.dns.set_ip([127, 0, 0, 1].into());
    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 80}));
    limit_descriptors(server.id(), "5");
    let waiting = std::net::TcpStream::connect(server.http).unwrap();
    until("a look at the machine's addresses has failed", || {
        let output = server.output();
        if output.contains("the addresses of this machine are not known") { Ok(()) } else { Err(output) }
    });
    let output = server.output();
    assert_eq!(output.matches("connections for HTTP cannot be accepted").count(), 1, "{output}");
    assert_eq!(server.ask("web.svc.internal.", RecordType::A).answers.len(), 1, "UDP is answered all the same");

    limit_descriptors(server.id(), "1024");
    drop(waiting);
    assert!(server.instance("web", "i1").is_some(), "connections are accepted again");
    server.stop();
}
