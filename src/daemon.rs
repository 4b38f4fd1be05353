//! Putting it together: bind, open, publish the first state, serve; and the same backwards at the end.

mod descriptors;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use descriptors::Shares;

use crate::check::{Checker, Targets};
use crate::config::{Config, Engine, ForwardRule, Upstream};
use crate::dns::forward::{Forwarder, Rule, is_own, nameservers};
use crate::dns::{Handler, HandlerSettings, Identity};
use crate::net::{BindError, local_addresses};
use crate::registry::{Limits, Reserved};
use crate::store::{Embedded, Memory, OpenError, Store};
use crate::telemetry::{Metrics, log};
use crate::{api, check, demo, dns, replica, store, view, zone};

/// Instances in all, and leases in all.
const INSTANCES_MAX: usize = 2_000_000;
/// Names remembered after their last instance has left.
const REMEMBERED_NAMES_MAX: usize = 100_000;
/// Services with settings of their own.
const CONFIGURED_SERVICES_MAX: usize = 100_000;

/// Where the system says which name servers it has.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The least time that the store has to write what it has accepted.
const CLOSING_MIN: Duration = Duration::from_secs(2);

/// Why a server did not start, or stopped.
#[derive(Debug)]
pub enum DaemonError {
    /// A socket could not be opened.
    Bind(BindError),
    /// A zone file cannot be served.
    Zones(zone::ZoneFileError),
    /// Signals cannot be received, so nothing but SIGKILL would end the server.
    Signals(std::io::Error),
    /// The registry's directory cannot be used.
    Store(OpenError),
    /// The demonstration's services could not be started.
    Demo(std::io::Error),
    /// A part ended although nobody told it to. Serving on without it would be lying.
    Ended(&'static str),
    /// There is nobody to forward to, and why.
    Forward(String),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Ended(part) => {
                write!(f, "{part} ended by itself, which is a defect of Rollcall; see the lines before")
            }
            Self::Zones(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "the signals that end a server cannot be received: {error}"),
            Self::Demo(error) => write!(f, "the demonstration's services cannot run: {error}"),
            Self::Forward(reason) => write!(f, "--forward: {reason}"),
        }
    }
}

impl std::error::Error for DaemonError {}

impl From<BindError> for DaemonError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

/// A server whose sockets are open and which serves nothing yet.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    metrics: Arc<Metrics>,
    shares: Shares,
    dns: dns::Listeners,
    http: api::Listeners,
    /// Where names of others are asked; none means that they are refused.
    forward: Vec<Rule>,
}

/// A part that ends after its signal says so.
struct Part {
    name: &'static str,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Part {
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        start: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Self {
        let (closing, signal) = watch::channel(false);
        Self { name, closing, task: tokio::spawn(start(signal)) }
    }

    /// Tells the part to end and waits until it has, or until `deadline`.
    async fn close(mut self, deadline: Instant) {
        self.closing.send_replace(true);
        if tokio::time::timeout_at(deadline, &mut self.task).await.is_err() {
            tracing::warn!(part = self.name, "cut off at the end of the grace period");
            self.task.abort();
        }
    }
}

/// Waits for the first part that ends, and says which.
async fn first_to_end(parts: &mut [&mut Part]) -> &'static str {
    std::future::poll_fn(|context| {
        for part in parts.iter_mut() {
            if Pin::new(&mut part.task).poll(context).is_ready() {
                return Poll::Ready(part.name);
            }
        }
        Poll::Pending
    })
    .await
}

impl Daemon {
    /// Opens every socket.
    ///
    /// # Errors
    /// The first address that cannot be opened, or an upstream that is this server.
    pub fn bind(config: Config) -> Result<Self, DaemonError> {
        let shares = Shares::of(descriptors::raise_limit());
        let dns = dns::Listeners::bind(&config.dns)?;
        let http = api::Listeners::bind(&config.http)?;
        let forward = forward_rules(&config.forward, &dns.addresses())?;
        Ok(Self { config, forward, metrics: Arc::new(Metrics::new()), shares, dns, http })
    }

    /// What `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where DNS is answered.
    pub fn dns_addresses(&self) -> Vec<SocketAddr> {
        self.dns.addresses()
    }

    /// Where the API is served.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.addresses()
    }

    /// Serves until `shutdown` completes, then ends in order: no new requests, the last answers, the checks.
    ///
    /// # Errors
    /// When a part cannot start, or ends by itself.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let Self { config, metrics, shares, dns, http, forward } = self;
        let (dns_addresses, http_addresses) = (dns.addresses(), http.addresses());
        let started = Instant::now();

        let mut publisher = zone::Publisher::new(zone::Settings {
            name: config.zone.clone(),
            ttl: config.ttl,
            name_server: name_server_addresses(&config, &dns_addresses),
            reverse: config.reverse.clone(),
            serial: 0,
        });
        let live = publisher.zone();
        let mut zone_files = match &config.zones {
            Some(folder) => Some(follow_zone_files(&metrics, live.clone(), folder.clone())?),
            None => None,
        };
        // Both before the registry, which may take seconds to load: until then every answer is SERVFAIL or 503, and soon.
        let listening = dns::Settings { connections: shares.dns, ..dns::Settings::default() };
        let answering = HandlerSettings {
            udp_payload: config.udp_payload,
            idle: listening.idle,
            explain_allow: config.explain_allow.clone(),
            identity: Identity { server_id: config.server_id.clone(), server_version: config.server_version.clone() },
        };
        let in_domain = |rule: &Rule| rule.domain.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
        let forwarding: Vec<(String, SocketAddr)> = forward
            .iter()
            .flat_map(|rule| rule.upstreams.iter().map(|upstream| (in_domain(rule), *upstream)))
            .collect();
        let handler = metrics.register(|registry| {
            let handler = Handler::new(live.clone(), answering, registry);
            if forward.is_empty() {
                return handler;
            }
            let settings = dns::forward::Settings::new(forward, config.forward_allow.clone());
            handler.with_forwarder(Forwarder::new(settings, registry))
        });
        let mut dns = Part::spawn("DNS", |signal| dns.serve(Arc::new(handler), listening, signal));

        let gate = api::Gate::default();
        let serving = api::Settings { connections: shares.http, ..api::Settings::default() };
        let mut http = Part::spawn("HTTP", |signal| http.serve(gate.router(), serving, signal));

        let store = open_store(&config, live.clone()).await?;
        publisher.start_serial(store.serial_base());
        let (writer, reader) = view::channel();
        let replica = metrics.register(|registry| replica::spawn(store.watch(None), publisher, writer, registry));
        let mut replica = Part { name: "the replica", closing: watch::Sender::new(false), task: replica };

        let check_settings = check::Settings {
            allow: config.check_allow.clone(),
            listeners: dns_addresses.iter().chain(&http_addresses).copied().collect(),
            concurrency_max: shares.probes,
            ..check::Settings::default()
        };
        let targets = Arc::new(Targets::new(&check_settings));
        let (stop_checks, checks_stop) = watch::channel(false);
        let checks = metrics.register(|registry| {
            Checker::spawn(store.clone(), targets.clone(), &check_settings, registry, checks_stop)
        });
        let mut checks = Part { name: "the checks", closing: stop_checks, task: checks };

        let stopping = Arc::new(AtomicBool::new(false));
        let context = api::Context {
            store: store.clone(),
            view: reader.clone(),
            zone: config.zone.clone(),
            live,
            udp_payload: config.udp_payload,
            explain_allow: config.explain_allow.clone(),
            permit_checks: Box::new(move |registration| {
                targets.permit(registration).map_err(|(position, refused)| (position, refused.to_string()))
            }),
            not_ready: Box::new({
                let (reader, stopping) = (reader.clone(), stopping.clone());
                move || {
                    let reasons = [
                        (!reader.is_loaded(), "the registry is still loading"),
                        (stopping.load(Ordering::Relaxed), "the server is stopping"),
                    ];
                    reasons.iter().filter(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned()).collect()
                }
            }),
            render_metrics: Box::new({
                let metrics = metrics.clone();
                move || metrics.render()
            }),
            started,
            pins: api::Pins::default(),
            load: api::Load::default(),
        };
        let router = metrics.register(|registry| api::counted(api::router(Arc::new(context)), registry));
        let (leave_demo, demo_leaves) = watch::channel(false);
        let begin = async {
            reader.loaded().await;
            gate.open(router);
            store.serving();
            for address in &dns_addresses {
                tracing::info!(dns.address = %address, dns.zone = %config.zone, "answering DNS over UDP and TCP");
            }
            for (domain, upstream) in forwarding {
                tracing::info!(dns.domain = domain, dns.upstream = %upstream, "forwarding names of others");
            }
            for address in &http_addresses {
                tracing::info!(http.address = %address, "serving the API");
            }
            match (config.demo, http_addresses.first(), dns_addresses.first()) {
                (true, Some(http), Some(dns)) => demo::start(*http, *dns, &config.zone, demo_leaves).await.map(Some),
                _ => Ok(None),
            }
        };
        let (demo, ended) = {
            let mut parts = vec![&mut replica, &mut checks, &mut dns, &mut http];
            parts.extend(zone_files.as_mut());
            let mut end = pin!(async {
                tokio::select! {
                    () = shutdown => None,
                    part = first_to_end(&mut parts) => Some(part),
                }
            });
            // Told to end while it still begins, it ends without having begun.
            tokio::select! {
                biased;
                ended = &mut end => (None, ended),
                demo = begin => (demo.map_err(DaemonError::Demo)?, end.await),
            }
        };
        tracing::info!("stopping");
        let deadline = Instant::now() + config.grace;
        stopping.store(true, Ordering::Relaxed);
        leave_demo.send_replace(true);
        if let Some(demo) = demo {
            let _ = tokio::time::timeout_at(deadline, demo.left()).await;
        }
        for part in [http, checks, dns].into_iter().chain(zone_files) {
            if ended != Some(part.name) {
                part.close(deadline).await;
            }
        }
        // What was accepted is written, also when the grace period was used up before.
        let closing = tokio::time::timeout_at(deadline.max(Instant::now() + CLOSING_MIN), store.close());
        if closing.await.is_err() {
            tracing::warn!("the store could not be closed in time; the next start checks all of it");
        }
        replica.task.abort();
        tracing::info!("stopped");
        ended.map_or(Ok(()), |part| Err(DaemonError::Ended(part)))
    }
}

/// Serves the zone files of a folder, and reads them anew when they change or SIGHUP asks for it.
fn follow_zone_files(metrics: &Metrics, live: Arc<zone::Zone>, folder: PathBuf) -> Result<Part, DaemonError> {
    use tokio::signal::unix::{SignalKind, signal};
    let reloader = metrics.register(|registry| zone::Reloader::new(live, folder, registry));
    let reloader = reloader.map_err(DaemonError::Zones)?;
    let asked = Arc::new(Notify::new());
    match signal(SignalKind::hangup()) {
        Ok(mut hangup) => {
            let asked = asked.clone();
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    asked.notify_one();
                }
            });
        }
        Err(error) => tracing::warn!(error = %error, "SIGHUP cannot be received; zone files are read when they change"),
    }
    Ok(Part::spawn("the zone files", |closing| reloader.run(asked, closing)))
}

/// Opens the engine that was asked for. Loading blocks, so it has a thread of its own.
async fn open_store(config: &Config, live: Arc<zone::Zone>) -> Result<Arc<dyn Store>, DaemonError> {
    let settings = store_settings(config, live);
    let dir = match &config.engine {
        Engine::Memory => return Ok(Arc::new(Memory::new(settings))),
        Engine::Embedded(dir) => dir.clone(),
    };
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, settings)).await;
    match opened {
        Ok(opened) => Ok(Arc::new(opened.map_err(DaemonError::Store)?)),
        Err(_) => Err(DaemonError::Ended("loading the registry")),
    }
}

fn store_settings(config: &Config, live: Arc<zone::Zone>) -> store::Settings {
    let limits = Limits {
        instances_per_service: config.instances_per_service_max,
        instances: INSTANCES_MAX,
        leases: INSTANCES_MAX,
        remembered_names: REMEMBERED_NAMES_MAX,
        configured: CONFIGURED_SERVICES_MAX,
        zone_octets: config.zone.wire_octets(),
        reserved: Reserved::by(move |name| live.reserved(name)),
    };
    store::Settings { limits, name_memory: config.name_memory.std() }
}

/// The addresses of the NS target: as configured, or where DNS listens; for a listener on all addresses those of the
/// machine, without loopback when there are others.
fn name_server_addresses(config: &Config, listeners: &[SocketAddr]) -> Vec<IpAddr> {
    if !config.ns_addresses.is_empty() {
        return config.ns_addresses.clone();
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for listener in listeners {
        if !listener.ip().is_unspecified() {
            addresses.push(listener.ip());
            continue;
        }
        let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let local: Vec<IpAddr> = local_addresses()
            .unwrap_or_default()
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| ip.is_ipv4() == listener.is_ipv4() && !is_link_local(ip))
            .collect();
        let reachable: Vec<IpAddr> = local.iter().filter(|ip| !ip.is_loopback()).copied().collect();
        addresses.extend(if reachable.is_empty() { local } else { reachable });
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Where names of others are asked, with the system's name servers in place of its name. An upstream that is this
/// server would only ask itself.
fn forward_rules(rules: &[ForwardRule], listeners: &[SocketAddr]) -> Result<Vec<Rule>, DaemonError> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let local: Vec<IpAddr> = local_addresses().unwrap_or_default().iter().map(|address| address.ip()).collect();
    let of_system = || {
        let text = std::fs::read_to_string(RESOLV_CONF)
            .map_err(|error| DaemonError::Forward(format!("{RESOLV_CONF} cannot be read: {error}")))?;
        let mut others = nameservers(&text);
        others.retain(|address| !is_own(*address, listeners, &local));
        if others.is_empty() {
            return Err(DaemonError::Forward(format!(
                "{RESOLV_CONF} names no server but this one: add the upstream there below it, or write its address in \
                 place of system"
            )));
        }
        Ok(others)
    };
    let addresses = |upstream: &Upstream| match upstream {
        Upstream::System => of_system(),
        Upstream::Address(address) if is_own(*address, listeners, &local) => {
            Err(DaemonError::Forward(format!("{address} is this server, which would ask itself: name another one")))
        }
        Upstream::Address(address) => Ok(vec![*address]),
    };
    let rule = |rule: &ForwardRule| {
        let upstreams = rule.upstreams.iter().map(addresses).collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Rule { domain: rule.domain.clone(), upstreams })
    };
    rules.iter().map(rule).collect()
}

/// Asks for the signals that end the process, which from then on do nothing else. The future completes when one has
/// come; a second one ends the process without grace.
fn told_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    })
}

/// Runs a server until the process is told to end. Exit code 0 then, 2 when it cannot start, 1 when a part of it fails.
pub fn serve(config: Config) -> ExitCode {
    let refuse = |error: &dyn fmt::Display| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr().lock(), "rollcall: {error}");
        ExitCode::from(2)
    };
    let logging = match log::init(config.log_format, &config.log_filter) {
        Ok(logging) => logging,
        Err(error) => return refuse(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error),
    };
    let outcome = runtime.block_on(async {
        // Before the first port is open, because whoever sees one may already end the server.
        let shutdown = told_to_end().map_err(DaemonError::Signals)?;
        let daemon = Daemon::bind(config)?;
        daemon.metrics().register(|registry| logging.register(registry));
        daemon.run(shutdown).await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(logging);
            let code = refuse(&error);
            if matches!(error, DaemonError::Ended(_)) { ExitCode::FAILURE } else { code }
        }
    }
}
