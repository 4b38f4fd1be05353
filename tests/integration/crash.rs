//! The real binary, killed and stopped in the middle of its work.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::rr::{RData, RecordType};
use nix::sys::signal::Signal;
use rollcall::client::{Client, Page, Selection};
use serde_json::json;

use crate::support::program::Program;
use crate::support::server::{ROLLCALL, Server};

const CALLERS: usize = 8;
/// Acknowledged registrations after which a server is killed.
const ENOUGH: usize = 150;

fn start(dir: &Path) -> Server {
    let data = format!("--data={}", dir.display());
    Server::launch(Command::new(ROLLCALL).args(["serve", &data, "--dns=127.0.0.1:0", "--http=127.0.0.1:0"]))
}

/// The ids that a server has of a service.
fn listed(server: &Server, service: &str) -> BTreeSet<String> {
    let list =
        server.call(async |client| client.instances(service, Selection::default(), Page::default()).await).unwrap();
    let instances = list["instances"].as_array().unwrap();
    instances.iter().map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
}

/// Registers and deregisters from many callers until the server is killed under them. What was acknowledged is noted:
/// who came, and who left.
fn kill_under_load(server: &Server, round: usize) -> (BTreeSet<String>, BTreeSet<String>) {
    let noted: Arc<Mutex<(BTreeSet<String>, BTreeSet<String>)>> = Arc::default();
    let address = [server.http.to_string()];
    let caller = async |caller: usize| {
        let client = Client::new(&address, None).unwrap();
        for n in 0.. {
            let id = format!("r{round}c{caller}n{n}");
            let body = json!({"address": "10.0.0.7", "port": 80, "lease_ttl": "1h", "shared_address": true});
            if client.register("web", Some(&id), &body).await.is_err() {
                return;
            }
            noted.lock().unwrap().0.insert(id.clone());
            if n % 3 == 0 {
                if client.deregister("web", &id).await.is_err() {
                    // It may have left or not.
                    noted.lock().unwrap().0.remove(&id);
                    return;
                }
                let mut noted = noted.lock().unwrap();
                noted.0.remove(&id);
                noted.1.insert(id);
            }
            if noted.lock().unwrap().0.len() >= ENOUGH {
                server.signal(Signal::SIGKILL);
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(futures_util::future::join_all((0..CALLERS).map(caller)));
    let noted = noted.lock().unwrap();
    noted.clone()
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (mut came, mut left) = (BTreeSet::new(), BTreeSet::new());
    let mut serial = 0;
    for round in 0..3 {
        let server = start(dir.path());
        let now = listed(&server, "web");
        assert_eq!(came.difference(&now).collect::<Vec<_>>(), [""; 0], "acknowledged and lost");
        assert_eq!(left.intersection(&now).collect::<Vec<_>>(), [""; 0], "deregistered and back");
        let soa = server.ask("svc.internal.", RecordType::SOA);
        let RData::SOA(soa) = &soa.answers[0].data else { panic!("{soa}") };
        assert!(soa.serial > serial, "{} is not beyond {serial}", soa.serial);
        serial = soa.serial;
        let (more, gone) = kill_under_load(&server, round);
        assert!(more.len() >= ENOUGH - CALLERS && !gone.is_empty());
        came.extend(more);
        left.extend(gone);
    }
    let server = start(dir.path());
    assert!(listed(&server, "web").is_superset(&came));
    server.stop();
}

#[test]
fn a_second_server_on_the_directory_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let data = format!("--data={}", dir.path().display());
    let mut second = Command::new(ROLLCALL);
    let (code, output) =
        Program::start(second.args(["serve", &data, "--dns=127.0.0.1:0", "--http=127.0.0.1:0"])).ended();
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("in use by another rollcall"), "{output}");
    server.stop();
}

#[test]
fn a_file_that_is_no_store_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rollcall.redb"), "not a store").unwrap();
    let data = format!("--data={}", dir.path().display());
    let mut command = Command::new(ROLLCALL);
    let (code, output) =
        Program::start(command.args(["serve", &data, "--dns=127.0.0.1:0", "--http=127.0.0.1:0"])).ended();
    assert_eq!(code, Some(2), "{output}");
    assert!(output.lines().last().unwrap().contains("move it away"), "{output}");
}

#[test]
fn an_orderly_end_keeps_everything_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 80, "meta": {"version": "1"}}));
    let before = server.instance("web", "i1").unwrap();
    server.stop();
    let server = start(dir.path());
    assert_eq!(server.instance("web", "i1").unwrap(), before);
    server.stop();
}

#[test]
fn a_server_that_was_stopped_expires_nobody_who_could_not_renew() {
    let server = Server::start();
    server.register("web", "i1", &json!({"address": "10.0.0.7", "port": 80, "lease_ttl": "2s"}));
    server.signal(Signal::SIGSTOP);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Real time has to pass, longer than the lease: that the server slept through it is what is tried.
    runtime.block_on(async { tokio::time::sleep(Duration::from_secs(4)).await });
    server.signal(Signal::SIGCONT);
    let renewed = server.call(async |client| client.renew("web", "i1").await);
    assert!(renewed.is_ok(), "{renewed:?}; the server said:\n{}", server.output());
    server.stop();
}
