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
fn a_service_manager_ends_it_in_order() {
    let server = Server::start();
    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 80}));
    server.stop();
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
