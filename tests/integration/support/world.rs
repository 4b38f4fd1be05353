//! A whole Rollcall without sockets: store, replica, zone, API and DNS handler under simulated time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hickory_proto::op::Message;
use http_body_util::BodyExt;
use rollcall::guard::Guard;
use rollcall::model::{Guarded, Health, Heard, Hint, ProbeReport, SelfReport, ServiceName, Ttl, Unheard, ZoneName};
use rollcall::registry::{Actor, Command, Limits, Observation, Reserved};
use rollcall::store::{Followed, Memory, Store};
use rollcall::view::ViewReader;
use rollcall::{api, dns, replica, store, view, zone};
use serde_json::Value;
use tower::ServiceExt;

/// The address that requests and questions of a world come from.
pub(crate) const CLIENT: &str = "192.0.2.1:40000";

/// What a world sends over UDP at most.
pub(crate) const UDP_PAYLOAD: u16 = 1232;

pub(crate) fn limits(zone: &ZoneName, reserved: Reserved) -> Limits {
    Limits {
        instances_per_service: 1000,
        instances: 10_000,
        leases: 10_000,
        remembered_names: 100,
        configured: 100,
        zone_octets: zone.wire_octets(),
        reserved,
    }
}

/// Who learns which instance fails with what.
fn explain_allow() -> Vec<ipnet::IpNet> {
    ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).into()
}

/// How a handler answers when nothing else is said.
pub(crate) fn answering(udp_payload: u16) -> dns::HandlerSettings {
    let identity = dns::Identity { server_id: "n1.test".into(), server_version: String::new() };
    dns::HandlerSettings { udp_payload, idle: Duration::from_secs(10), identity, explain_allow: explain_allow() }
}

pub(crate) fn store_settings() -> store::Settings {
    let reserved = Reserved::by(|name| (name == zone::NAME_SERVER).then(|| "a host".to_owned()));
    store_settings_with(reserved, Guard::default())
}

fn store_settings_with(reserved: Reserved, guard: Guard) -> store::Settings {
    let zone: ZoneName = "svc.internal".parse().unwrap();
    let history = store::Keep { age: Duration::from_secs(7 * 24 * 3600), events: 10_000 };
    let name_memory = Duration::from_secs(3600);
    store::Settings { limits: limits(&zone, reserved), ttl: Ttl::USUAL, name_memory, history, guard }
}

/// Keeps what a service says of itself, as a checker does that needs one report to turn.
async fn take_report(store: Arc<dyn Store>, report: SelfReport) -> Result<Heard, Unheard> {
    let SelfReport { service, id, epoch, check, passed, remark, .. } = report;
    let (health, at) = (if passed { Health::Passing } else { Health::Critical }, rollcall::model::Timestamp::now());
    let error =
        Some(remark.map_or("reported as failing".into(), |remark| format!("reported as failing: {remark}").into()));
    let observation = Observation { service, id, epoch, check: check.clone(), health, error, at };
    let actor = Actor::check(&observation.check);
    let committed = store.commit_by(actor, Command::Observe(Box::new(observation))).await;
    let revision = committed.map_err(|error| Unheard::NotKept(error.to_string()))?.revision;
    let report = ProbeReport {
        check,
        flaps: 0,
        rise_needed: 1,
        transitions: 1,
        hints: 0,
        last_probe_at: Some(at),
        last_failure: None,
        latency_us: None,
        report_by: Some(at.after(Duration::from_secs(5))),
        hold: None,
    };
    Ok(Heard { report, revision })
}

pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) view: ViewReader,
    pub(crate) zone: Arc<zone::Zone>,
    pub(crate) zone_files: tempfile::TempDir,
    pub(crate) handler: dns::Handler,
    pub(crate) api: Router,
    /// Requests that wait for a change.
    pub(crate) waiting: prometheus_client::metrics::gauge::Gauge,
    /// What believes silence or does not; nobody looks after it unless a test does.
    pub(crate) guard: Guard,
    /// What probes are to have found out of every instance.
    pub(crate) reports: Arc<parking_lot::Mutex<Vec<ProbeReport>>>,
    /// What clients have said of instances.
    pub(crate) hints: Arc<parking_lot::Mutex<Vec<Hint>>>,
}

/// What a request got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::under(api::Load::default()).await
    }

    /// A world whose answers hold no more than a load.
    pub(crate) async fn under(load: api::Load) -> Self {
        let zone: ZoneName = "svc.internal".parse().unwrap();
        let mut metrics = prometheus_client::registry::Registry::default();
        let publisher = zone::Publisher::new(zone::Settings {
            name: zone.clone(),
            ttl: Ttl::new("5s".parse().unwrap()).unwrap(),
            name_server: vec!["127.0.0.1".parse().unwrap()],
            reverse: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            serial: 1,
        });
        let live = publisher.zone();
        let reserved = Reserved::by({
            let live = live.clone();
            move |name| live.reserved(name)
        });
        let guard = Guard::default();
        let store: Arc<dyn Store> = Arc::new(Memory::new(store_settings_with(reserved, guard.clone())));
        let (writer, reader) = view::channel();
        replica::spawn(store.watch(None), publisher, writer, &mut metrics);
        let waiting = api::Waiting::default();
        let count = waiting.count();
        let reports = Arc::<parking_lot::Mutex<Vec<ProbeReport>>>::default();
        let hints = Arc::<parking_lot::Mutex<Vec<Hint>>>::default();
        let context = api::Context {
            store: store.clone(),
            view: reader.clone(),
            zone,
            live: live.clone(),
            udp_payload: UDP_PAYLOAD,
            explain_allow: explain_allow(),
            permit_checks: Box::new(|_| Ok(())),
            doubts: Box::new({
                let guard = guard.clone();
                move || guard.evidence(tokio::time::Instant::now()).into_iter().map(|said| said.text).collect()
            }),
            report_checks: Box::new({
                let reports = reports.clone();
                move |names| {
                    let reports = vec![reports.lock().clone(); names.len()];
                    Box::pin(std::future::ready(reports))
                }
            }),
            take_report: Box::new({
                let store = store.clone();
                move |report| Box::pin(take_report(store.clone(), report))
            }),
            take_hint: Box::new({
                let hints = hints.clone();
                move |hint| {
                    hints.lock().push(hint);
                    Box::pin(std::future::ready(Ok(true)))
                }
            }),
            not_ready: Box::new(Vec::new),
            render_metrics: Box::new(|| Ok(String::new())),
            started: tokio::time::Instant::now(),
            pins: api::Pins::default(),
            waiting,
            load,
        };
        let world = Self {
            store,
            view: reader,
            zone: live.clone(),
            zone_files: tempfile::tempdir().unwrap(),
            handler: dns::Handler::new(live, answering(UDP_PAYLOAD), &mut metrics),
            api: api::router(Arc::new(context)),
            waiting: count,
            guard,
            reports,
            hints,
        };
        world.view.loaded().await;
        world
    }

    /// Writes a zone file, or takes it away, and has all of them read anew. What cannot be served is returned.
    pub(crate) fn zone_file(&self, name: &str, text: Option<&str>) -> Vec<String> {
        let path = self.zone_files.path().join(name);
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let live: ZoneName = "svc.internal".parse().unwrap();
        let (statics, errors) = self.zone.statics().reload(self.zone_files.path(), &live);
        self.zone.replace_statics(statics);
        let folder = format!("{}/", self.zone_files.path().display());
        errors.iter().map(|error| error.to_string().replace(&folder, "")).collect()
    }

    /// Lets time pass, and all come about that is due then: what has lapsed is out of the store, the zone and the view.
    ///
    /// Simulated time goes on by itself only when every task waits for something, so that the millisecond slept here
    /// ends when nothing is left to do. It passes on top of the duration.
    pub(crate) async fn advance(&self, duration: Duration) {
        // Passing, not jumping: a jump is a server that was stopped, and extends leases.
        tokio::time::sleep(duration).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let Some(Followed::Reset(registry)) = self.store.watch(None).next().await else {
            panic!("a watch from the beginning begins with a snapshot");
        };
        assert_eq!(self.view.load().revision(), registry.revision(), "all that the store holds is shown");
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "rollcall.test");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(body.map_or(Body::empty(), |body| Body::from(body.to_owned()))).unwrap()).await
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Reply {
        request.extensions_mut().insert(api::Peer(CLIENT.parse::<SocketAddr>().unwrap()));
        let response = self.api.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let octets = response.into_body().collect().await.unwrap().to_bytes();
        let body = if octets.is_empty() { Value::Null } else { serde_json::from_slice(&octets).unwrap() };
        Reply { status, headers, body }
    }

    /// A check's opinion, as a checker would commit it.
    pub(crate) async fn observe(&self, service: &str, id: &str, check: &str, health: Health, error: Option<&str>) {
        let service: ServiceName = service.parse().unwrap();
        let instance = self.view.load().instance(&service, id).expect("the instance is registered").clone();
        let check: rollcall::model::Label = check.parse().unwrap();
        let actor = Actor::check(&check);
        let observation = Observation {
            service,
            id: instance.id.clone(),
            epoch: instance.epoch,
            check,
            health,
            error: error.map(Into::into),
            at: rollcall::model::Timestamp::now(),
        };
        let committed = self.store.commit_by(actor, Command::Observe(Box::new(observation))).await.unwrap();
        self.view.reached(committed.revision).await;
    }

    /// Has the last good set of a service kept, as a guard would, or no longer.
    pub(crate) async fn keep(&self, service: &str, held: Option<(&str, &str)>) {
        let since = rollcall::model::Timestamp::now();
        let guarded = held.map(|(ids, evidence)| Guarded {
            since,
            until: since.after(Duration::from_secs(300)),
            evidence: evidence.into(),
            held: ids.split(',').map(|id| id.parse().unwrap()).collect(),
        });
        let command = Command::Guard { service: service.parse().unwrap(), guarded };
        let committed = self.store.commit(command).await.unwrap();
        self.view.reached(committed.revision).await;
    }

    pub(crate) async fn exchange(&self, message: &[u8], protocol: dns::Protocol) -> Option<Vec<u8>> {
        self.handler.respond(message, CLIENT.parse().unwrap(), protocol).await
    }

    pub(crate) async fn ask(&self, message: &Message, protocol: dns::Protocol) -> Message {
        let reply = self.exchange(&message.to_vec().unwrap(), protocol).await.expect("a reply");
        read(message, &reply, protocol)
    }

    /// The reply to a client of another address.
    pub(crate) async fn ask_from(&self, client: SocketAddr, message: &Message, protocol: dns::Protocol) -> Message {
        let reply = self.handler.respond(&message.to_vec().unwrap(), client, protocol).await.expect("a reply");
        read(message, &reply, protocol)
    }
}

/// A reply, which is never longer than its client takes.
fn read(message: &Message, reply: &[u8], protocol: dns::Protocol) -> Message {
    let taken = message.edns.as_ref().map_or(512, |edns| edns.max_payload().clamp(512, UDP_PAYLOAD));
    let taken = if protocol == dns::Protocol::Tcp { u16::MAX } else { taken };
    assert!(reply.len() <= usize::from(taken), "{} octets", reply.len());
    let parsed = Message::from_vec(reply).expect("a reply that parses");
    assert_eq!(parsed.metadata.id, message.metadata.id);
    parsed
}
