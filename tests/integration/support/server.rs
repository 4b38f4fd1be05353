//! The binary, serving.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use nix::sys::signal::Signal;
use rollcall::client::{Client, ClientError};
use serde_json::Value;

use super::program::Program;
use super::wait::until;

/// The binary that cargo has built for these tests.
pub(crate) const ROLLCALL: &str = env!("CARGO_BIN_EXE_rollcall");

/// A server in a process of its own. It ends with this value.
pub(crate) struct Server {
    program: Program,
    pub(crate) dns: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Server {
    /// On any ports of loopback, which it tells us.
    pub(crate) fn start() -> Self {
        Self::launch(Command::new(ROLLCALL).args(["serve", "--memory", "--dns=127.0.0.1:0", "--http=127.0.0.1:0"]))
    }

    /// A `rollcall serve` with whatever flags, on the addresses that its log tells.
    pub(crate) fn launch(command: &mut Command) -> Self {
        let mut program = Program::start(command.arg("--log-format=json"));
        let mut address = |field: &str| {
            program.line(&format!("the log tells {field}"), |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                line[field].as_str()?.parse::<SocketAddr>().ok()
            })
        };
        let (dns, http) = (address("dns.address"), address("http.address"));
        Self { program, dns, http }
    }

    /// What it has said so far.
    pub(crate) fn output(&self) -> String {
        self.program.output()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Ends it as a service manager does.
    pub(crate) fn stop(self) {
        self.stop_with(Signal::SIGTERM);
    }

    /// Ends it by a signal, after which everything is closed in order.
    pub(crate) fn stop_with(self, signal: Signal) {
        self.signal(signal);
        let (code, output) = self.program.ended();
        assert_eq!(code, Some(0), "exit code after {signal}; it said:\n{output}");
    }

    /// One or more calls of the API.
    pub(crate) fn call<T>(&self, calls: impl AsyncFnOnce(Client) -> T) -> T {
        let client = Client::new(&[self.http.to_string()], None).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(calls(client))
    }

    pub(crate) fn register(&self, service: &str, id: &str, body: &Value) -> Value {
        self.call(async |client| client.register(service, Some(id), body).await)
            .unwrap_or_else(|error| panic!("{error}; the server said:\n{}", self.output()))
    }

    pub(crate) fn deregister(&self, service: &str, id: &str) {
        self.call(async |client| client.deregister(service, id).await)
            .unwrap_or_else(|error| panic!("{error}; the server said:\n{}", self.output()));
    }

    /// An instance, while it is registered.
    pub(crate) fn instance(&self, service: &str, id: &str) -> Option<Value> {
        match self.call(async |client| client.instance(service, id).await) {
            Ok(instance) => Some(instance),
            Err(ClientError::Refused(problem)) if problem.status == 404 => None,
            Err(error) => panic!("{error}; the server said:\n{}", self.output()),
        }
    }

    /// Asks its DNS over UDP.
    pub(crate) fn ask(&self, name: &str, kind: RecordType) -> Message {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let question = question.to_vec().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.dns).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut reply = [0; 4096];
        let length = until("DNS answers", || {
            // UDP may lose either, so each try asks again.
            let exchanged = socket.send(&question).and_then(|_| socket.recv(&mut reply));
            exchanged.map_err(|error| format!("{error}; the server said:\n{}", self.output()))
        });
        Message::from_vec(&reply[..length]).expect("a reply that parses")
    }
}
