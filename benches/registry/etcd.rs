//! The same loads for an etcd, by a program of its own that speaks gRPC.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::figure::Figure;
use super::machine::{Server, free_address};

pub(crate) struct Etcd {
    pub(crate) server: Server,
    client: SocketAddr,
    load: PathBuf,
}

impl Etcd {
    /// An etcd with its data in a directory; or what is missing for one.
    pub(crate) async fn start(data: &Path) -> Result<Self, String> {
        let load = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/target/release/etcd-load");
        if !load.exists() {
            return Err("`cargo build --release --manifest-path benches/peers/Cargo.toml` builds its load".to_owned());
        }
        if Command::new("etcd").arg("--version").output().is_err() {
            return Err("there is no program `etcd` (Debian: etcd-server)".to_owned());
        }
        let (client, peer) = (free_address(), free_address());
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(data).args([
            "--listen-client-urls",
            &client_url,
            "--advertise-client-urls",
            &client_url,
            "--listen-peer-urls",
            &peer_url,
            "--initial-advertise-peer-urls",
            &peer_url,
            "--initial-cluster",
            &format!("default={peer_url}"),
            "--log-level",
            "error",
        ]);
        let server = Server::start(&mut command);
        let began = Instant::now();
        while tokio::net::TcpStream::connect(client).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "etcd does not listen");
            sleep(Duration::from_millis(50)).await;
        }
        // It elects itself first.
        sleep(Duration::from_secs(2)).await;
        Ok(Self { server, client, load })
    }

    fn load(&self, arguments: &[String]) -> Figure {
        let cpu = self.server.cpu();
        let output = Command::new(&self.load).arg(self.client.port().to_string()).args(arguments).output().unwrap();
        let cpu = self.server.cpu() - cpu;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<f64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [operations, seconds, p50, p99] = numbers[..] else { panic!("{line}") };
        Figure { rate: operations / seconds, p50, p99, cpu: cpu.as_secs_f64() * 1e6 / operations }
    }

    pub(crate) fn register(&self, seconds: f64, clients: usize) -> Figure {
        self.load(&["register".to_owned(), seconds.to_string(), clients.to_string()])
    }

    pub(crate) fn renew(&self, seconds: f64, clients: usize) -> Figure {
        self.load(&["renew".to_owned(), seconds.to_string(), clients.to_string()])
    }

    pub(crate) fn watch(&self, changes: usize, rate: f64, watchers: usize) -> Figure {
        self.load(&["watch".to_owned(), changes.to_string(), rate.to_string(), watchers.to_string()])
    }

    pub(crate) fn expire(&self, leases: usize, ttl: usize) -> Figure {
        self.load(&["expire".to_owned(), leases.to_string(), ttl.to_string()])
    }
}
