//! The examples do what they say.

use std::process::Command;

use hyper::Method;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::has_programs;
use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};
use crate::support::wait::until;

/// A path in the source tree.
macro_rules! source {
    ($path:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)
    };
}

/// Holds a registrar to its part: registered, renewed, registered again, gone at the end.
/// What it said is handed back.
fn assert_keeps_listed(server: Server, mut registrar: Command, service: &str, id: &str, end: Signal) -> String {
    let registrar = Program::start(registrar.env("ROLLCALL_HTTP_ADDR", server.http.to_string()));
    let instance = |what: &str, is_so: &dyn Fn(&Value) -> bool| {
        until(what, || match server.instance(service, id) {
            Some(instance) if is_so(&instance) => Ok(instance),
            other => Err(format!("{other:?}\nthe registrar said:\n{}", registrar.output())),
        })
    };
    let first = instance("it registers and is answered", &|instance| instance["answered"] == true);
    let lease = first["lease"].clone();
    instance("it renews its lease", &|instance| {
        instance["lease"]["id"] == lease["id"] && instance["lease"]["expires_at"] != lease["expires_at"]
    });
    server.deregister(service, id);
    instance("it registers again", &|_| true);

    registrar.signal(end);
    let (code, output) = registrar.ended();
    assert_eq!(code, Some(0), "it said:\n{output}");
    assert!(server.instance(service, id).is_none(), "still registered; it said:\n{output}");
    server.stop();
    output
}

#[test]
fn the_example_keeps_itself_listed_and_shows_the_rest() {
    // Cargo has built it for this run of the tests, or does now; then it becomes the example, so that signals reach it.
    let mut example = Command::new(env!("CARGO"));
    // What cargo says of this package to its tests is nothing to build scripts of others: those that look at it would run
    // anew, and much be built again.
    let of_cargo = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_cargo) {
            example.env_remove(name);
        }
    }
    example.args(["run", "--quiet", "--locked", "--manifest-path", source!("Cargo.toml"), "--example", "registration"]);
    let output = assert_keeps_listed(Server::start(), example, "greeter", "g1", Signal::SIGINT);
    // The port is any.
    let without_port = |line: &str| line.split(" port ").next().unwrap_or_default().to_owned();
    let tour = output.lines().take_while(|line| *line != "greeting until Ctrl-C").map(without_port);
    // Both leave at once with their lease, in the order of names.
    assert_eq!(
        tour.collect::<Vec<_>>(),
        [
            "registered as g1.greeter.svc.internal.",
            "watch: registered mail.tour/i1",
            "watch: registered chat.tour/i1",
            "chat.tour: 1 of 1 answered",
            "  i1.chat.tour.svc.internal. at [127.0.0.1]",
            "mail.tour: 1 of 1 answered",
            "  i1.mail.tour.svc.internal. at [127.0.0.1]",
            "watch: revoked chat.tour/i1",
            "watch: revoked mail.tour/i1",
            "watch: registered mail.tour/i2",
            "watch: registered chat.tour/i2",
            "watch: revoked chat.tour/i2",
            "watch: revoked mail.tour/i2",
            "watch: registered mail.tour/i3",
            "deregistered under tour: 1",
            "watch: deregistered mail.tour/i3",
        ],
        "{output}"
    );
    assert!(output.ends_with("registered again\nderegistered"), "{output}");
}

#[test]
fn the_python_example_keeps_itself_listed() {
    if !has_programs("python3") {
        return;
    }
    let example = || {
        let mut example = Command::new("python3");
        example.args([source!("examples/register.py"), "web", "p1", "0", "127.0.0.1"]).env("LEASE_TTL", "6");
        example
    };
    let output = assert_keeps_listed(Server::start(), example(), "web", "p1", Signal::SIGTERM);
    // It registers again whenever its short lease has lapsed, which a slow machine may let happen any number of times.
    let mut lines: Vec<&str> = output.lines().collect();
    lines.dedup();
    assert_eq!(lines, ["registered as p1.web.svc.internal.", "drained", "deregistered"]);

    let server = Server::start();
    let others = server.register("web", "p1", &json!({"port": 80, "generation": 1_u64 << 50}));
    let (code, output) = Program::start(example().env("ROLLCALL_HTTP_ADDR", server.http.to_string())).ended();
    assert_eq!(code, Some(1), "{output}");
    assert!(output.starts_with("web/p1 cannot be registered: A newer generation is registered (409)"), "{output}");
    assert_eq!(server.instance("web", "p1"), Some(others));
    server.stop();
}

#[test]
fn the_script_keeps_a_service_listed() {
    if !has_programs("curl") {
        return;
    }
    let mut script = Command::new("sh");
    script.args([source!("examples/register.sh"), "web", "i1", "8080"]).env("RENEW_EVERY", "1");
    assert_keeps_listed(Server::start(), script, "web", "i1", Signal::SIGTERM);
}

/// The script as it is run for `web/i1`, renewing every second.
fn script(server: &Server, port: &str, generation: &str) -> Program {
    let mut script = Command::new("sh");
    script.args([source!("examples/register.sh"), "web", "i1", port]);
    script.env("ROLLCALL_HTTP_ADDR", server.http.to_string());
    Program::start(script.env("RENEW_EVERY", "1").env("GENERATION", generation))
}

#[test]
fn the_script_leaves_alone_what_it_did_not_register() {
    if !has_programs("curl") {
        return;
    }
    let server = Server::start();
    let others = server.register("web", "i1", &json!({"port": 80, "generation": 7}));
    for (port, generation, code) in
        [("http", "8", 2), ("", "8", 2), ("0", "8", 2), ("080", "8", 2), ("99999", "8", 1), ("80", "6", 1)]
    {
        let (ended, output) = script(&server, port, generation).ended();
        assert_eq!(ended, Some(code), "port {port:?}, generation {generation}: {output}");
        assert_eq!(server.instance("web", "i1").as_ref(), Some(&others), "{output}");
    }
    server.stop();
}

#[test]
fn the_script_gives_way_to_its_successor() {
    if !has_programs("curl") {
        return;
    }
    let server = Server::start();
    let registered = |generation: u64| {
        until("the script has registered", || match server.instance("web", "i1") {
            Some(instance) if instance["generation"] == generation => Ok(instance),
            other => Err(format!("{other:?}")),
        })
    };
    let old = script(&server, "8080", "1");
    registered(1);
    let new = script(&server, "8081", "2");
    registered(2);
    old.signal(Signal::SIGTERM);
    let (code, output) = old.ended();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.ends_with("web/i1 stays: another start of it has registered it anew"), "{output}");
    assert_eq!(registered(2)["port"], 8081);

    // What only changed since is still its own.
    let path = "/v1/services/web/instances/i1";
    let draining = json!({"state": "draining"});
    server.call(async |client| client.request(Method::PATCH, path, Some(&draining), &[]).await).unwrap();
    new.signal(Signal::SIGTERM);
    let (code, output) = new.ended();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.ends_with("web/i1 has left"), "{output}");
    assert_eq!(server.instance("web", "i1"), None);
    server.stop();
}

#[test]
fn the_example_configuration_is_the_default_one() {
    let settings = |words: &[&str]| -> Value {
        let command = &mut Command::new(ROLLCALL);
        let (code, output) = Program::start(command.args(["check-config", "--output=json"]).args(words)).ended();
        assert_eq!(code, Some(0), "{output}");
        serde_json::from_str(&output).unwrap()
    };
    let (ours, default) = (settings(&["--config", source!("examples/rollcall.toml")]), settings(&[]));
    let default = default.as_object().unwrap();
    assert!(!default.is_empty());
    for (key, setting) in default {
        assert_eq!(ours[key]["value"], setting["value"], "{key}");
        let from = ours[key]["from"].as_str().unwrap();
        assert!(from.contains("rollcall.toml"), "{key} comes from {from}");
    }
}
