//! The examples do what they say.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

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
fn assert_keeps_listed(server: Server, mut registrar: Command, service: &str, id: &str, end: Signal) {
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
}

#[test]
fn the_client_example_keeps_itself_listed() {
    // Cargo has built it for this run of the tests, or does now; then it becomes the example, so that signals reach it.
    let mut example = Command::new(env!("CARGO"));
    example.args(["run", "--quiet", "--locked", "--manifest-path", source!("Cargo.toml"), "--example", "client"]);
    assert_keeps_listed(Server::start(), example, "greeter", "g1", Signal::SIGINT);
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
