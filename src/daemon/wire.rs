//! Wiring: every part gets what it needs to know, and no more.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::part::Part;
use super::settings::{name_server_addresses, store_settings};
use super::{Daemon, DaemonError};
use crate::check::{Guarding, Targets};
use crate::config::{Config, Engine};
use crate::dns::forward::{Forwarder, Rule};
use crate::dns::{Handler, HandlerSettings, Identity};
use crate::guard::Guard;
use crate::store::{Embedded, Memory, Store};
use crate::telemetry::Metrics;
use crate::view::ViewReader;
use crate::{api, check, dns, replica, sentry, store, view, zone};

/// The least time that the store has to write what it has accepted.
const CLOSING_MIN: Duration = Duration::from_secs(2);

/// What runs.
pub(super) struct Parts {
    pub(super) replica: Part,
    pub(super) checks: Part,
    pub(super) sentry: Part,
    pub(super) dns: Part,
    pub(super) http: Part,
    pub(super) zone_files: Option<Part>,
}

/// What is left to do until the first answer, and what says that the last is near.
pub(super) struct Opening {
    pub(super) dns: Vec<SocketAddr>,
    pub(super) http: Vec<SocketAddr>,
    pub(super) stopping: Arc<AtomicBool>,
    zone: String,
    forwarding: Vec<(String, SocketAddr)>,
    reader: ViewReader,
    store: Arc<dyn Store>,
    gate: api::Gate,
    router: Router,
}

/// A server whose parts run.
pub(super) struct Wired {
    pub(super) parts: Parts,
    pub(super) opening: Opening,
}

impl Opening {
    /// Waits for the first state, opens the API, and says where everything is.
    pub(super) async fn open(&self) {
        self.reader.loaded().await;
        self.gate.open(self.router.clone());
        self.store.serving();
        for address in &self.dns {
            tracing::info!(dns.address = %address, dns.zone = %self.zone, "answering DNS over UDP and TCP");
        }
        for (domain, upstream) in &self.forwarding {
            tracing::info!(dns.domain = domain, dns.upstream = %upstream, "forwarding names of others");
        }
        for address in &self.http {
            tracing::info!(http.address = %address, "serving the API");
        }
    }
}

impl Wired {
    /// Ends the parts in order, but for the one that ended by itself.
    pub(super) async fn close(self, ended: Option<&'static str>, deadline: Instant) {
        let Parts { replica, checks, sentry, dns, http, zone_files } = self.parts;
        for part in [http, checks, sentry, dns].into_iter().chain(zone_files) {
            if ended != Some(part.name) {
                part.close(deadline).await;
            }
        }
        // What was accepted is written, also when the grace period was used up before.
        let closing = tokio::time::timeout_at(deadline.max(Instant::now() + CLOSING_MIN), self.opening.store.close());
        if closing.await.is_err() {
            tracing::warn!("the store could not be closed in time; the next start checks all of it");
        }
        replica.task.abort();
    }
}

impl Daemon {
    /// Starts every part. DNS and HTTP come before the registry, which may take seconds to load: until then every answer
    /// is SERVFAIL or 503, and soon.
    pub(super) async fn wire(self) -> Result<Wired, DaemonError> {
        let started = Instant::now();
        let Self { config, metrics, shares, dns, http, forward, trust } = self;
        let (dns_addresses, http_addresses) = (dns.addresses(), http.addresses());
        let mut publisher = zone::Publisher::new(zone::Settings {
            name: config.zone.clone(),
            ttl: config.ttl,
            name_server: name_server_addresses(&config, &dns_addresses),
            reverse: config.reverse.clone(),
            serial: 0,
        });
        let live = publisher.zone();
        let zone_files = match &config.zones {
            Some(folder) => Some(follow_zone_files(&metrics, live.clone(), folder.clone())?),
            None => None,
        };
        let in_domain = |rule: &Rule| rule.domain.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
        let forwarding = forward
            .iter()
            .flat_map(|rule| rule.upstreams.iter().map(|upstream| (in_domain(rule), *upstream)))
            .collect();
        let listening = dns::Settings { connections: shares.dns, ..dns::Settings::default() };
        let handler = Arc::new(handler(&config, &metrics, live.clone(), forward, listening.idle));
        let dns = Part::spawn("DNS", |signal| dns.serve(handler, listening, signal));
        let gate = api::Gate::default();
        let serving = api::Settings { connections: shares.http, ..api::Settings::default() };
        let http = Part::spawn("HTTP", |signal| http.serve(gate.router(), serving, signal));

        let guard = Guard::default();
        let store = open_store(&config, live.clone(), guard.clone()).await?;
        publisher.start_serial(store.serial_base());
        let (writer, reader) = view::channel();
        let replica = metrics.register(|registry| replica::spawn(store.watch(None), publisher, writer, registry));
        let replica = Part { name: "the replica", closing: watch::Sender::new(false), task: replica };

        let check_settings = check::Settings {
            allow: config.check_allow.clone(),
            listeners: dns_addresses.iter().chain(&http_addresses).copied().collect(),
            concurrency_max: shares.probes,
            held_max: shares.held,
            guarding: guarding(guard.clone(), reader.clone()),
            trust,
            ..check::Settings::default()
        };
        let targets = Arc::new(Targets::new(&check_settings));
        let (closing, signal) = watch::channel(false);
        let checks = metrics
            .register(|registry| check::spawn(store.clone(), targets.clone(), &check_settings, registry, signal));
        let (task, reports) = checks.map_err(DaemonError::Checks)?;
        let checks = Part { name: "the checks", closing, task };

        let watching = sentry::Settings { canaries: config.canaries.clone(), ..sentry::Settings::default() };
        let (closing, signal) = watch::channel(false);
        let sentry = metrics.register(|registry| {
            sentry::spawn(guard.clone(), store.clone(), reader.clone(), watching, registry, signal)
        });
        let sentry = Part { name: "the sentry", closing, task: sentry };

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
            doubts: Box::new(move || guard.evidence(Instant::now()).into_iter().map(|said| said.text).collect()),
            report_checks: Box::new({
                let reports = reports.clone();
                move |names| {
                    let reports = reports.clone();
                    Box::pin(async move { reports.of(names).await })
                }
            }),
            take_report: Box::new({
                let reports = reports.clone();
                move |report| {
                    let reports = reports.clone();
                    Box::pin(async move { reports.report(report).await })
                }
            }),
            take_hint: Box::new(move |hint| {
                let reports = reports.clone();
                Box::pin(async move { reports.hint(hint).await })
            }),
            not_ready: Box::new(readiness(reader.clone(), stopping.clone())),
            render_metrics: Box::new({
                let metrics = metrics.clone();
                move || metrics.render()
            }),
            started,
            pins: api::Pins::default(),
            waiting: metrics.register(|registry| api::Waiting::among(shares.http, registry)),
            load: api::Load::default(),
        };
        let router = metrics.register(|registry| api::counted(api::router(Arc::new(context)), registry));
        let (dns_at, http_at, zone) = (dns_addresses, http_addresses, config.zone.to_string());
        let opening = Opening { dns: dns_at, http: http_at, stopping, zone, forwarding, reader, store, gate, router };
        Ok(Wired { parts: Parts { replica, checks, sentry, dns, http, zone_files }, opening })
    }
}

/// What answers questions.
fn handler(config: &Config, metrics: &Metrics, live: Arc<zone::Zone>, forward: Vec<Rule>, idle: Duration) -> Handler {
    let settings = HandlerSettings {
        udp_payload: config.udp_payload,
        idle,
        explain_allow: config.explain_allow.clone(),
        identity: Identity { server_id: config.server_id.clone(), server_version: config.server_version.clone() },
    };
    metrics.register(|registry| {
        let handler = Handler::new(live, settings, registry);
        if forward.is_empty() {
            return handler;
        }
        let settings = dns::forward::Settings::new(forward, config.forward_allow.clone());
        handler.with_forwarder(Forwarder::new(settings, registry))
    })
}

/// The guard as checks know it.
fn guarding(guard: Guard, reader: ViewReader) -> Guarding {
    Guarding::new(guard, move |service| store::census(&reader.load(), service))
}

/// What keeps this node from being ready.
fn readiness(reader: ViewReader, stopping: Arc<AtomicBool>) -> impl Fn() -> Vec<String> {
    move || {
        let reasons = [
            (!reader.is_loaded(), "the registry is still loading"),
            (stopping.load(Ordering::Relaxed), "the server is stopping"),
        ];
        reasons.iter().filter(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned()).collect()
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
async fn open_store(config: &Config, live: Arc<zone::Zone>, guard: Guard) -> Result<Arc<dyn Store>, DaemonError> {
    let settings = store_settings(config, live, guard);
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
