//! The loads for a Rollcall.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::figure::Figure;
use super::http::{Client, Events};
use super::machine::{Server, free_address};

/// Seconds that leases live which are not meant to end.
const TTL: &str = "1m";
/// Operations of one batch, as many as one may have.
const BATCH: usize = 1_000;
const PER_SERVICE: usize = 10;
const PER_LEASE: usize = 100;
/// Names another build to measure.
const PROGRAM: &str = "ROLLCALL_BENCH_PROGRAM";

/// A server with its data in a directory.
pub(crate) struct Rollcall {
    pub(crate) server: Server,
    pub(crate) http: SocketAddr,
    /// From the start of the program until it was ready.
    pub(crate) ready_in: Duration,
}

/// The body of a registration; `node` is what no two have in common.
fn body(node: &str, lease: &str) -> String {
    format!(
        r#"{{"address":"10.0.0.7","port":8080,"shared_address":true,"tags":["primary","v1"],"meta":{{"version":"1.4.2","node":"{node}"}}{lease}}}"#
    )
}

fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

impl Rollcall {
    pub(crate) async fn start(data: &Path) -> Self {
        let (http, dns) = (free_address(), free_address());
        let began = Instant::now();
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_rollcall").into());
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ROLLCALL_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--http", &http.to_string(), "--dns", &dns.to_string(), "--data"]).arg(data);
        let server = Server::start(&mut command);
        while tokio::net::TcpStream::connect(http).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        let mut client = Client::connect(http).await;
        while !client.status("/readyz").await.is_success() {
            sleep(Duration::from_millis(1)).await;
        }
        Self { server, http, ready_in: began.elapsed() }
    }

    async fn clients(&self, count: usize) -> Vec<Client> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Client::connect(self.http).await);
        }
        clients
    }

    /// Has each client do something over and over, for so long.
    async fn load(
        &self,
        clients: Vec<Client>,
        seconds: f64,
        operation: impl AsyncFn(&mut Client, usize, usize) + Clone + 'static,
    ) -> Figure {
        let (cpu, began) = (self.server.cpu(), Instant::now());
        let tasks = tokio::task::LocalSet::new();
        let mut loads = Vec::new();
        for (number, mut client) in clients.into_iter().enumerate() {
            let operation = operation.clone();
            loads.push(tasks.spawn_local(async move {
                let mut latencies = Vec::new();
                while began.elapsed().as_secs_f64() < seconds {
                    let asked = Instant::now();
                    operation(&mut client, number, latencies.len()).await;
                    latencies.push(asked.elapsed().as_secs_f64() * 1e6);
                }
                latencies
            }));
        }
        tasks
            .run_until(async {
                let mut latencies = Vec::new();
                for load in loads {
                    latencies.extend(load.await.unwrap());
                }
                Figure::of(latencies, began.elapsed(), self.server.cpu() - cpu)
            })
            .await
    }

    /// Registrations, each with a lease of its own, acknowledged when they are on disk and in DNS.
    pub(crate) async fn register(&self, seconds: f64, clients: usize, round: usize) -> Figure {
        self.load(self.clients(clients).await, seconds, async move |client, number, n| {
            let path = format!("/v1/services/r{round}-{number}-{}/instances/i{n}", n / PER_SERVICE);
            client.put(&path, body(&format!("n{n}"), &format!(r#","lease_ttl":"{TTL}""#))).await;
        })
        .await
    }

    /// Grants leases, all clients at once.
    pub(crate) async fn grant(&self, count: usize, ttl: &str) -> Vec<String> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut granting = JoinSet::new();
        for mut client in self.clients(64.min(count)).await {
            let (next, body) = (next.clone(), format!(r#"{{"ttl":"{ttl}"}}"#));
            granting.spawn(async move {
                let mut leases = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let lease = client.post("/v1/leases", body.clone()).await;
                    let lease: serde_json::Value = serde_json::from_slice(&lease).unwrap();
                    leases.push(lease["id"].as_str().unwrap().to_owned());
                }
                leases
            });
        }
        granting.join_all().await.concat()
    }

    /// Renewals, one lease a call or many.
    pub(crate) async fn renew(&self, seconds: f64, clients: usize, leases_per_call: usize) -> Figure {
        let leases = self.grant(clients * leases_per_call, TTL).await;
        let figure = self
            .load(self.clients(clients).await, seconds, async move |client, number, _| {
                let own = &leases[number * leases_per_call..][..leases_per_call];
                match own {
                    [lease] => client.post(&format!("/v1/leases/{lease}/renew"), String::new()).await,
                    _ => client.post("/v1/leases/renew", format!(r#"{{"ids":["{}"]}}"#, own.join(r#"",""#))).await,
                };
            })
            .await;
        let per_call = leases_per_call as f64;
        Figure { rate: figure.rate * per_call, cpu: figure.cpu / per_call, ..figure }
    }

    /// From a change's request to its event at each watcher.
    pub(crate) async fn watch(&self, changes: usize, rate: f64, watchers: usize) -> Figure {
        let mut watching = JoinSet::new();
        for client in self.clients(watchers).await {
            let mut events = client.events("/v1/watch?service=watched").await;
            events.next("snapshot").await;
            watching.spawn(async move {
                let mut latencies = Vec::with_capacity(changes);
                for _ in 0..changes {
                    let asked = changed_at(&mut events).await;
                    latencies.push((nanos() - asked) as f64 / 1e3);
                }
                latencies
            });
        }
        let mut client = Client::connect(self.http).await;
        let (cpu, began) = (self.server.cpu(), Instant::now());
        for change in 0..changes {
            sleep_until(began + Duration::from_secs_f64(change as f64 / rate)).await;
            let path = format!("/v1/services/watched/instances/i{}", change % 100);
            client.put(&path, body(&nanos().to_string(), "")).await;
        }
        let took = began.elapsed();
        let latencies = watching.join_all().await.concat();
        let cpu = self.server.cpu() - cpu;
        Figure::of(latencies, took, cpu)
    }

    /// Registers so many instances, ten a service, leases shared by a hundred.
    pub(crate) async fn fill(&self, instances: usize) {
        let leases = self.grant(instances.div_ceil(PER_LEASE), "24h").await;
        let mut client = Client::connect(self.http).await;
        for first in (0..instances).step_by(BATCH) {
            let operations: Vec<String> = (first..instances.min(first + BATCH))
                .map(|n| {
                    let lease = &leases[n / PER_LEASE];
                    let registration = body(&format!("node-{n:07}"), &format!(r#","lease":"{lease}""#));
                    let name = format!(r#""op":"register","service":"s{}","id":"i{n}""#, n / PER_SERVICE);
                    format!("{{{name},{}", &registration[1..])
                })
                .collect();
            client.post("/v1/batch", format!(r#"{{"operations":[{}]}}"#, operations.join(","))).await;
        }
    }

    /// Pages of the list of services, and the list of one service.
    pub(crate) async fn list(&self, seconds: f64, path: &'static str) -> Figure {
        self.load(self.clients(1).await, seconds, async move |client, _, _| drop(client.get(path).await)).await
    }

    /// From the end of a lease to the event of its instance's departure, at so many ends a second for a while.
    pub(crate) async fn expire(&self, per_second: usize, seconds: usize) -> Figure {
        let mut events = Client::connect(self.http).await.events("/v1/watch?under=expiring").await;
        events.next("snapshot").await;
        let count = per_second * seconds;
        let (cpu, began) = (self.server.cpu(), Instant::now());
        let watching = tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(count);
            while latencies.len() < count {
                let event = events.next("change").await;
                if let Some(departures) = event.contains(r#""kind":"expired""#).then(|| departures(&event)) {
                    let now = nanos();
                    latencies.extend(departures.map(|end| (now as f64 - end as f64) / 1e3));
                }
            }
            latencies
        });
        let mut client = Client::connect(self.http).await;
        let each = (per_second / 100).clamp(1, BATCH);
        for first in (0..count).step_by(each) {
            sleep_until(began + Duration::from_secs_f64(first as f64 / per_second as f64)).await;
            // The lease begins after this moment, so what is measured is never less than the truth.
            let end = nanos() + 2_000_000_000;
            let operations: Vec<String> = (first..count.min(first + each))
                .map(|n| {
                    let registration = body("n", r#","lease_ttl":"2s""#);
                    let name = format!(r#""op":"register","service":"e{n}.expiring","id":"i{end}""#);
                    format!("{{{name},{}", &registration[1..])
                })
                .collect();
            client.post("/v1/batch", format!(r#"{{"operations":[{}]}}"#, operations.join(","))).await;
        }
        let latencies = watching.await.unwrap();
        Figure::of(latencies, began.elapsed() - Duration::from_secs(2), self.server.cpu() - cpu)
    }
}

/// When the change of the next event was asked for, which its metadata says.
async fn changed_at(events: &mut Events) -> u64 {
    let event = events.next("change").await;
    let at = event.find(r#""node":""#).expect("the metadata of the change") + 8;
    event[at..].split('"').next().unwrap().parse().unwrap()
}

/// When the leases of those who leave in an event end, which their ids say.
fn departures(event: &str) -> impl Iterator<Item = u64> {
    event.split(r#""kind":"expired""#).skip(1).map(|departure| {
        let at = departure.find(r#""id":"i"#).unwrap() + 7;
        departure[at..].split('"').next().unwrap().parse().unwrap()
    })
}
