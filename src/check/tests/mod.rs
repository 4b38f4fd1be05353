//! The checker on a store and against real listeners.

mod holds;
mod probes;
mod reports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration as StdDuration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::support::{
    Manners, grpc_check, http_check, https_check, listen, read_request, refusing, registration, tcp_check, ttl_check,
};
use super::{Guarding, Reports, Settings, Targets};
use crate::guard::{Census, Guard, Moment};
use crate::model::{
    CheckDefaults, CheckSpec, Duration, GuardRule, Health, Heard, Hint, Lease, LeaseId, Registration, Remark, Revision,
    SelfReport, ServiceName, ServiceSettings, State, StoreId, Timestamp, Ttl, Unheard, Unsaid,
};
use crate::registry::{
    Actor, Amendment, Command, Expiry, IdChoice, LeaseWish, Limits, Outcome, Precondition, Register, Registry, Reserved,
};
use crate::store::snapshot::{Replaced, Restorable, Snapshot};
use crate::store::{
    self, CommitError, Committed, EventPage, EventQuery, Followed, Keep, Memory, ReadError, Store, Watch,
};

/// A memory store that can be away, and counts what checks want to tell it.
struct Flaky {
    memory: Memory,
    away: AtomicBool,
    observations: watch::Sender<usize>,
}

#[async_trait]
impl Store for Flaky {
    fn engine(&self) -> &'static str {
        self.memory.engine()
    }

    fn id(&self) -> StoreId {
        self.memory.id()
    }

    fn serial_base(&self) -> u32 {
        self.memory.serial_base()
    }

    async fn commit_by(&self, actor: Actor, command: Command) -> Result<Committed, CommitError> {
        if matches!(command, Command::Observe(_)) {
            self.observations.send_modify(|count| *count += 1);
            if self.away.load(SeqCst) {
                return Err(CommitError::Unavailable("a test says so".to_owned()));
            }
        }
        self.memory.commit_by(actor, command).await
    }

    async fn events(&self, query: EventQuery) -> Result<EventPage, ReadError> {
        self.memory.events(query).await
    }

    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, CommitError> {
        self.memory.renew(leases).await
    }

    fn leases(&self, ids: &[LeaseId]) -> Vec<Option<Lease>> {
        self.memory.leases(ids)
    }

    fn limits(&self) -> &Limits {
        self.memory.limits()
    }

    async fn snapshot(&self) -> Result<Snapshot, CommitError> {
        self.memory.snapshot().await
    }

    async fn restore(&self, content: Restorable) -> Result<Replaced, CommitError> {
        self.memory.restore(content).await
    }

    fn watch(&self, after: Option<Revision>) -> Box<dyn Watch> {
        self.memory.watch(after)
    }
}

/// A store, a checker on it, and the registry as a follower of the store sees it.
struct Rig {
    store: Arc<Flaky>,
    watch: Box<dyn Watch>,
    registry: Registry,
    metrics: prometheus_client::registry::Registry,
    shutdown: watch::Sender<bool>,
    checker: JoinHandle<()>,
    reports: Reports,
}

fn web() -> ServiceName {
    "web".parse().unwrap()
}

fn spawn(
    store: &Arc<Flaky>,
    settings: &Settings,
) -> ((JoinHandle<()>, Reports), watch::Sender<bool>, prometheus_client::registry::Registry) {
    let mut metrics = prometheus_client::registry::Registry::default();
    let (shutdown, stop) = watch::channel(false);
    let targets = Arc::new(Targets::new(settings));
    let checker = super::spawn(store.clone(), targets, settings, &mut metrics, stop).unwrap();
    (checker, shutdown, metrics)
}

impl Rig {
    fn with(settings: &Settings) -> Self {
        let limits = Limits {
            instances_per_service: 1000,
            instances: 1000,
            leases: 1000,
            remembered_names: 1000,
            configured: 100,
            zone_octets: 14,
            reserved: Reserved::default(),
        };
        let name_memory = StdDuration::from_secs(3600);
        let history = Keep { age: name_memory, events: 1000 };
        let memory =
            Memory::new(store::Settings { limits, ttl: Ttl::USUAL, name_memory, history, guard: Default::default() });
        let store = Arc::new(Flaky { memory, away: AtomicBool::new(false), observations: watch::Sender::new(0) });
        let ((checker, reports), shutdown, metrics) = spawn(&store, settings);
        Self { watch: store.watch(None), store, registry: Registry::default(), metrics, shutdown, checker, reports }
    }

    fn new() -> Self {
        Self::with(&Settings::default())
    }

    async fn stop_checker(&mut self) {
        self.shutdown.send_replace(true);
        (&mut self.checker).await.unwrap();
    }

    fn start_checker(&mut self) {
        ((self.checker, self.reports), self.shutdown, self.metrics) = spawn(&self.store, &Settings::default());
    }

    async fn register(&self, id: &str, registration: Registration) {
        let register = Register {
            service: web(),
            id: IdChoice::Given(id.parse().unwrap()),
            registration,
            lease: LeaseWish::None,
            precondition: Precondition::None,
        };
        let committed = self.store.commit(Command::Register(Box::new(register))).await.unwrap();
        assert!(matches!(committed.outcome, Outcome::Registered { .. }));
    }

    /// Follows the store until the registry is as described.
    async fn until(&mut self, what: &str, holds: impl Fn(&Registry) -> bool) {
        let following = async {
            while !holds(&self.registry) {
                match self.watch.next().await.unwrap() {
                    Followed::Reset(registry) => self.registry = registry,
                    Followed::Batches(batches, _) => batches.iter().for_each(|batch| self.registry.apply(batch)),
                    Followed::Lapsed(_) => {}
                }
            }
        };
        let ended = timeout(StdDuration::from_secs(20), following).await;
        assert!(ended.is_ok(), "{what} never came to be in {:?}", self.registry);
    }

    async fn until_health(&mut self, id: &str, health: Health) {
        let has = |registry: &Registry| registry.instance(&web(), id).is_some_and(|i| i.health() == health);
        self.until(&format!("{health} {id}"), has).await;
    }

    /// What an instance says of itself, as the registry of this rig knows it, seen at the position that the store is at.
    async fn said(&self, id: &str, passed: bool, remark: Option<&str>) -> SelfReport {
        SelfReport {
            service: web(),
            id: id.parse().unwrap(),
            epoch: self.registry.instance(&web(), id).unwrap().epoch,
            check: "ttl".parse().unwrap(),
            passed,
            remark: remark.and_then(Remark::new),
            seen: self.head().await,
        }
    }

    async fn say(&self, id: &str, passed: bool, remark: Option<&str>) -> Result<Heard, Unheard> {
        self.reports.report(self.said(id, passed, remark).await).await
    }

    /// Registers an instance that reports itself.
    async fn register_reporting(&mut self, id: &str, check: CheckSpec) {
        self.register(id, registration("10.0.0.7:80".parse().unwrap(), [check])).await;
        self.until("it is registered", |registry| registry.instance(&web(), id).is_some()).await;
    }

    /// Has defaults hold for the checks of `web`.
    async fn configure(&self, check_defaults: CheckDefaults) {
        let settings = Some(ServiceSettings { check_defaults, ..ServiceSettings::default() });
        self.store.commit(Command::Configure { service: web(), settings }).await.unwrap();
    }

    fn last_error(&self, id: &str) -> Option<Arc<str>> {
        self.registry.instance(&web(), id).unwrap().checks[0].last_error.clone()
    }

    /// The position that the store itself is at.
    async fn head(&self) -> Revision {
        match self.store.watch(None).next().await {
            Some(Followed::Reset(registry)) => registry.revision(),
            other => panic!("{other:?}"),
        }
    }

    /// The value of a metric, 0 when there is none.
    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        values.sum()
    }
}

/// An HTTP server that answers as it is told, and counts.
struct Peer {
    address: SocketAddr,
    fit: Arc<AtomicBool>,
    asked: watch::Receiver<usize>,
}

impl Peer {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fit, (count, asked)) = (Arc::new(AtomicBool::new(true)), watch::channel(0));
        let is_fit = fit.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                read_request(&mut stream).await;
                count.send_modify(|count| *count += 1);
                let status = if is_fit.load(SeqCst) { "200 OK" } else { "503 Unavailable" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        Self { address, fit, asked }
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it was asked this many times more.
    async fn asked_again(&self, times: usize) {
        reached(self.asked.clone(), self.asked() + times).await;
    }
}

async fn reached(mut count: watch::Receiver<usize>, least: usize) {
    let ended = timeout(StdDuration::from_secs(20), count.wait_for(|count| *count >= least)).await;
    assert!(ended.is_ok(), "{least} was never reached");
}

fn hourly(check: CheckSpec) -> CheckSpec {
    CheckSpec { interval: Duration::from_secs(3600), ..check }
}

/// A check that leaves its numbers to others.
fn unsaid(check: CheckSpec) -> CheckSpec {
    let unsaid = Unsaid { interval: true, fast_interval: true, timeout: true, rise: true, fall: true };
    CheckSpec { unsaid, ..check }
}

fn often(check: CheckSpec) -> CheckSpec {
    CheckSpec { interval: Duration::from_millis(10), fast_interval: Duration::from_millis(10), ..check }
}

fn http() -> CheckSpec {
    http_check(|_| ())
}

/// A guard over `web`, which has a link that is down, and as many answered instances as are asked for.
fn cut_off(answered: usize) -> (Guard, Settings) {
    let guard = Guard::default();
    guard.link(true, Moment::now());
    guard.link(false, Moment::now());
    let rule = GuardRule { min: 1, ..GuardRule::default() };
    let guarding = Guarding::new(guard.clone(), move |_| Census { answered, rule: Some(rule), hosts: Vec::new() });
    (guard, Settings { guarding, ..Settings::default() })
}
