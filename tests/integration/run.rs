//! `rollcall run` does what it says to a program, and to its registration.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::support::has_programs;
use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};
use crate::support::wait::until;

/// Says `up` and goes on until it is told to end; then it says so, asks how its instance is, and ends with 5.
const SERVICE: &str = r#"
    trap 'kill $!; echo told; "$ROLLCALL" get "$ROLLCALL_SERVICE" "$ROLLCALL_ID"; exit 5' TERM
    trap 'kill $!; exit 3' USR1
    echo "up $ROLLCALL_SERVICE/$ROLLCALL_ID"
    sleep 600 & wait"#;

/// A port where something listens, for as long as this lives.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

/// A port that nobody else is given and where nobody listens yet.
fn reserved() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Runs a script as `web/w1`.
fn run(api: &str, flags: &[&str], script: &str) -> Program {
    let mut command = Command::new(ROLLCALL);
    command.args(["run", "--service=web", "--id=w1", "--address=127.0.0.1"]).args(flags);
    command.args(["--", "sh", "-c", script]);
    Program::start(command.env("ROLLCALL_HTTP_ADDR", api).env("ROLLCALL", ROLLCALL))
}

fn says(program: &mut Program, text: &str) {
    program.line(&format!("it says {text:?}"), |line| line.contains(text).then_some(()));
}

fn answered(server: &Server, program: &Program) -> Value {
    until("it is answered", || match server.instance("web", "w1") {
        Some(instance) if instance["answered"] == true => Ok(instance),
        other => Err(format!("{other:?}\nit said:\n{}", program.output())),
    })
}

#[test]
fn a_program_is_registered_while_it_runs_and_drained_before_it_stops() {
    let server = Server::start();
    let (_listener, port) = listener();
    let mut program = run(&server.http.to_string(), &["--port", &port, "--check=tcp", "--ttl=1s"], SERVICE);
    says(&mut program, "up web/w1");
    says(&mut program, "web/w1 is answered");
    let instance = answered(&server, &program);
    assert_eq!(instance["lease"]["ttl"], "15s");
    assert!(instance["generation"].as_u64().is_some_and(|generation| generation > 1_700_000_000), "{instance}");

    let began = Instant::now();
    program.signal(Signal::SIGTERM);
    says(&mut program, "told");
    assert!(began.elapsed() >= Duration::from_millis(900), "caches held it for a second");
    let (code, output) = program.ended();
    assert_eq!(code, Some(5), "{output}");
    let asked = output.lines().find(|line| line.starts_with("state ")).unwrap_or_else(|| panic!("{output}"));
    assert!(asked.contains("draining"), "in this state it was told: {output}");
    assert!(output.ends_with("rollcall: web/w1 has left"), "{output}");
    assert_eq!(server.instance("web", "w1"), None);
    server.stop();
}

#[test]
fn a_program_that_dies_is_deregistered_at_once_and_signals_reach_it() {
    let server = Server::start();
    let (_listener, port) = listener();
    let mut program = run(&server.http.to_string(), &["--port", &port], SERVICE);
    says(&mut program, "up");
    answered(&server, &program);
    program.signal(Signal::SIGUSR1);
    let (code, output) = program.ended();
    assert_eq!(code, Some(3), "{output}");
    assert_eq!(server.instance("web", "w1"), None, "{output}");
    server.stop();
}

#[test]
fn a_program_is_registered_once_it_listens() {
    let server = Server::start();
    let (socket, address) = reserved();
    let port = address.port().to_string();
    let mut program = run(&server.http.to_string(), &["--port", &port, "--wait=1h"], SERVICE);
    says(&mut program, "up");
    assert_eq!(server.instance("web", "w1"), None);
    socket.listen(8).unwrap();
    answered(&server, &program);
    program.signal(Signal::SIGUSR1);
    program.ended();
    server.stop();
}

#[test]
fn the_exit_code_is_the_programs() {
    let server = Server::start();
    let api = server.http.to_string();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let (ended, output) = run(&api, &["--port=80"], script).ended();
        assert_eq!(ended, Some(code), "{script}: {output}");
    }
    for (program, code) in [("/nowhere/at-all", 127), (env!("CARGO_MANIFEST_DIR"), 126)] {
        let mut command = Command::new(ROLLCALL);
        command.args(["run", "--service=web", "--port=80", "--wait=0s", "--", program]);
        let (ended, output) = Program::start(command.env("ROLLCALL_HTTP_ADDR", &api)).ended();
        assert_eq!(ended, Some(code), "{output}");
        assert!(output.contains(&format!("rollcall: {program} cannot be started: ")), "{output}");
    }
    let services = server.call(async |client| client.services_under("").await).unwrap();
    assert!(services.iter().all(|service| service.instances == 0), "{services:?}");
    server.stop();
}

#[test]
fn a_program_that_would_be_refused_is_not_started() {
    let server = Server::start();
    for (flags, reason) in [
        (&["--id=one", "--port=80"][..], "The name is taken (409): "),
        (&["--id=w_1", "--port=80"], "DNS cannot carry the name (422): "),
        (&["--port=80", "--priority=1", "--address=0.0.0.0"], "A value is not possible (422): "),
    ] {
        let mut command = Command::new(ROLLCALL);
        command.args(["run", "--service=web"]).args(flags).args(["--", "echo", "started"]);
        let (code, output) = Program::start(command.env("ROLLCALL_HTTP_ADDR", server.http.to_string())).ended();
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(reason) && !output.contains("started"), "{output}");
    }
    server.stop();
}

#[test]
fn a_restart_ends_the_drain_of_the_start_before_it() {
    let server = Server::start();
    let body = json!({"address": "127.0.0.1", "port": 80, "generation": 1});
    server.register("web", "w1", &body);
    server.call(async |client| client.drain("web", "w1", None, false).await).unwrap();
    let mut program = run(&server.http.to_string(), &["--port=80", "--wait=0s"], SERVICE);
    says(&mut program, "up");
    answered(&server, &program);
    program.signal(Signal::SIGUSR1);
    program.ended();
    server.stop();
}

#[test]
fn whoever_asks_twice_does_not_wait_for_caches() {
    let server = Server::start();
    let (_listener, port) = listener();
    let mut program = run(&server.http.to_string(), &["--port", &port, "--ttl=1h", "--drain-max=1h"], SERVICE);
    says(&mut program, "up");
    answered(&server, &program);
    program.signal(Signal::SIGINT);
    says(&mut program, "is drained before it is stopped");
    program.signal(Signal::SIGTERM);
    let (code, output) = program.ended();
    assert_eq!(code, Some(5), "{output}");
    server.stop();
}

#[test]
fn a_program_that_does_not_end_is_killed() {
    let server = Server::start();
    let flags = ["--port=80", "--wait=0s", "--drain-max=0s", "--grace=10ms"];
    let mut program = run(&server.http.to_string(), &flags, "trap '' TERM; echo up; exec sleep 600");
    says(&mut program, "up");
    answered(&server, &program);
    program.signal(Signal::SIGTERM);
    let (code, output) = program.ended();
    assert_eq!(code, Some(137), "{output}");
    assert_eq!(server.instance("web", "w1"), None, "{output}");
    server.stop();
}

#[test]
fn a_server_that_forgot_everything_is_told_again() {
    let (_reserved, api) = reserved();
    let serve = || {
        Server::launch(Command::new(ROLLCALL).args([
            "serve",
            "--memory",
            "--dns=127.0.0.1:0",
            &format!("--http={api}"),
        ]))
    };
    let server = serve();
    let mut program = run(&api.to_string(), &["--port=80", "--wait=0s", "--lease-ttl=2s"], SERVICE);
    says(&mut program, "up");
    answered(&server, &program);
    server.stop();
    says(&mut program, "cannot be renewed at the moment, and the program goes on");
    let server = serve();
    answered(&server, &program);
    says(&mut program, "the server answers again");
    says(&mut program, "web/w1 is registered again");
    program.signal(Signal::SIGUSR1);
    let (code, output) = program.ended();
    assert_eq!(code, Some(3), "{output}");
    assert_eq!(server.instance("web", "w1"), None, "{output}");
    server.stop();
}

#[test]
fn a_program_does_not_wait_for_a_server() {
    let (_reserved, api) = reserved();
    let mut program = run(&api.to_string(), &["--port=80", "--wait=0s"], SERVICE);
    says(&mut program, "started without being registered");
    says(&mut program, "up");
    says(&mut program, "cannot be registered at the moment");
    // Nor does its end.
    program.signal(Signal::SIGTERM);
    let (code, output) = program.ended();
    assert_eq!(code, Some(5), "{output}");
    assert!(!output.contains("drained") && !output.contains("has left"), "{output}");
    assert!(output.contains("if it was registered, it leaves when its lease ends"), "{output}");

    let mut program = run(&api.to_string(), &["--port=80", "--wait=0s"], SERVICE);
    says(&mut program, "cannot be registered at the moment");
    let server = Server::launch(Command::new(ROLLCALL).args([
        "serve",
        "--memory",
        "--dns=127.0.0.1:0",
        &format!("--http={api}"),
    ]));
    answered(&server, &program);
    program.signal(Signal::SIGUSR1);
    program.ended();
    server.stop();
}

#[test]
fn a_program_that_is_superseded_goes_on_and_leaves_the_other_alone() {
    let server = Server::start();
    let flags = ["--port=80", "--wait=0s", "--lease-ttl=2s"];
    let mut program = run(&server.http.to_string(), &flags, SERVICE);
    says(&mut program, "up");
    let generation = answered(&server, &program)["generation"].as_u64().unwrap();
    let rival = json!({"address": "127.0.0.1", "port": 80, "generation": generation + 1});
    server.register("web", "w2", &rival);
    says(&mut program, "is not registered any more, and the program goes on: ");
    program.signal(Signal::SIGUSR1);
    let (code, output) = program.ended();
    assert_eq!(code, Some(3), "{output}");
    assert!(server.instance("web", "w2").is_some(), "{output}");
    server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_whose_guard_is_killed_is_told_to_end() {
    let server = Server::start();
    let mut program = run(&server.http.to_string(), &["--port=80", "--wait=0s"], SERVICE);
    says(&mut program, "up");
    program.signal(Signal::SIGKILL);
    says(&mut program, "told");
    server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_process_of_a_container_takes_in_orphans() {
    if !has_programs("unshare") {
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", ROLLCALL, "run", "--service=web", "--port=80", "--", "sh", "-c"]);
    // One whose parent ended before it did, and who would be there as a zombie for ever.
    command.arg("orphan=$(sh -c 'sleep 0.1 >/dev/null & echo $!'); while [ -e /proc/$orphan ]; do :; done; exit 9");
    let (_reserved, api) = reserved();
    let (code, output) = Program::start(command.env("ROLLCALL_HTTP_ADDR", api.to_string())).ended();
    assert_eq!(code, Some(9), "{output}");
}
