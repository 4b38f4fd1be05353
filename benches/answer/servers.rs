//! The servers, each with the same data.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::data::{Data, ZONE};
use super::machine::{Server, free_address};

/// Has this program be the reflector, at an address.
pub(crate) const REFLECT: &str = "ROLLCALL_BENCH_REFLECT";
/// Names another build to measure.
const PROGRAM: &str = "ROLLCALL_BENCH_PROGRAM";

/// A server that answers.
pub(crate) struct Running {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) process: Server,
    /// Whether what it says are the questions.
    pub(crate) reflects: bool,
}

impl Running {
    fn new(name: &'static str, address: SocketAddr, command: &mut Command) -> Self {
        Self { name, address, process: Server::start(command), reflects: false }
    }

    /// Asks until there is a reply to anything.
    fn until_heard(self) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut reply = [0; 512];
        for _ in 0..600 {
            let asked = socket.send_to(b"\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01", self.address);
            if asked.is_ok() && socket.recv(&mut reply).is_ok() {
                return self;
            }
        }
        panic!("{} does not answer", self.name);
    }
}

/// All that are installed; the reflector comes first.
pub(crate) fn start(dir: &Path, data: &Data) -> Vec<Running> {
    let file = dir.join("zone");
    fs::write(&file, data.zone_file()).unwrap();
    let others = [nsd(dir, &file), knot(dir, &file)];
    [Some(reflector()), Some(rollcall(data))].into_iter().chain(others).flatten().map(Running::until_heard).collect()
}

fn reflector() -> Running {
    let address = free_address();
    let mut command = Command::new(std::env::current_exe().unwrap());
    Running { reflects: true, ..Running::new("reflector", address, command.env(REFLECT, address.to_string())) }
}

fn rollcall(data: &Data) -> Running {
    let (dns, http) = (free_address(), free_address());
    let program = std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_rollcall").into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ROLLCALL_")) {
        command.env_remove(name);
    }
    command.args(["serve", "--memory", "--zone", ZONE, "--dns", &dns.to_string(), "--http", &http.to_string()]);
    let running = Running::new("Rollcall", dns, &mut command).until_heard();
    for body in data.batches() {
        register(http, &body);
    }
    running
}

/// One call of the API, on a connection of its own.
fn register(http: SocketAddr, body: &str) {
    let mut stream = TcpStream::connect(http).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/batch HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

fn is_installed(program: &str) -> bool {
    let is = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(program).exists());
    if !is {
        println!("{program} is left out: it is not installed");
    }
    is
}

fn nsd(dir: &Path, file: &Path) -> Option<Running> {
    is_installed("nsd").then(|| {
        let address = free_address();
        let at = |name: &str| dir.join(name).display().to_string();
        let (port, file, config) = (address.port(), file.display(), dir.join("nsd.conf"));
        let (pid, state, list, log, dir) = (at("nsd.pid"), at("nsd.xfrd"), at("nsd.list"), at("nsd.log"), at(""));
        let text = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n database: \"\"\n zonesdir: \"{dir}\"\n \
             pidfile: \"{pid}\"\n xfrdfile: \"{state}\"\n zonelistfile: \"{list}\"\n xfrdir: \"{dir}\"\n logfile: \"{log}\"\n \
             rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\nremote-control:\n control-enable: no\n\
             zone:\n name: {ZONE}\n zonefile: \"{file}\"\n"
        );
        fs::write(&config, text).unwrap();
        Running::new("NSD", address, Command::new("nsd").arg("-d").arg("-c").arg(config))
    })
}

fn knot(dir: &Path, file: &Path) -> Option<Running> {
    is_installed("knotd").then(|| {
        let address = free_address();
        let own = dir.join("knot");
        fs::create_dir(&own).unwrap();
        let (port, file, config, own) = (address.port(), file.display(), dir.join("knot.conf"), own.display());
        let text = format!(
            "server:\n    listen: 127.0.0.1@{port}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n    \
             rundir: {own}\ndatabase:\n    storage: {own}\ntemplate:\n  - id: default\n    storage: {own}\n    \
             zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\nzone:\n  - domain: {ZONE}\n    file: {file}\n"
        );
        fs::write(&config, text).unwrap();
        Running::new("Knot", address, Command::new("knotd").arg("-c").arg(config))
    })
}
