//! `GET /v1/watch`: changes as they happen, as Server-Sent Events.
//!
//! ```text
//! no start, or history does not reach back ─▶ reset ─▶ snapshot … snapshot (last) ─┐
//! resumed ─────────────────────────────────────────────────────────────────────────┴▶ change, change … [lagged]
//! ```
//!
//! A snapshot is of one revision, and the changes go on from there. A stream has no queue of its own: it reads from
//! what the view keeps for all, and one that falls behind that is told so and ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use hyper::body::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::json;

use super::Context;
use super::extract::{Params, service_name};
use super::form::{self, forms};
use super::problem::Problem;
use super::shape::{GuardShape, InstanceShape};
use super::waiting::{Caller, Place, Position};
use crate::model::{Instance, Label, Revision, ServiceName, StoreId};
use crate::registry::{Batch, Change, Registry, Service, guard_word};
use crate::view::{Following, Interest, News, Published};

/// Instances in one message of a snapshot.
const SNAPSHOT_INSTANCES: usize = 500;
/// The longest silence. A comment breaks it, so that either side notices when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

forms! {
    /// The id of an event.
    LastEventId inline |_| json_schema!({ "type": "string", "examples": ["m61c9ab1de0e04a3d-17"] });

    /// One event of the stream.
    WatchEvent named |generator| {
        let mut of_kind = |name: &str, has_id: bool, data: fn(&mut SchemaGenerator) -> Schema| {
            let mut event = json!({
                "title": format!("{}{}Message", name[..1].to_uppercase(), &name[1..]),
                "type": "object",
                "properties": {
                    "event": { "type": "string", "const": name },
                    "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": data(generator) },
                },
                "required": ["event", "data"],
            });
            if has_id {
                event["properties"]["id"] = json!({ "type": "string", "pattern": "^.+-[0-9]+$" });
            }
            event
        };
        json_schema!({ "oneOf": [
            of_kind("change", true, |generator| generator.subschema_for::<ChangesShape<'_>>()),
            of_kind("reset", false, |generator| generator.subschema_for::<ResetShape<'_>>()),
            of_kind("snapshot", true, |generator| generator.subschema_for::<SnapshotShape<'_>>()),
            of_kind("lagged", false, |generator| generator.subschema_for::<LaggedShape>()),
        ] })
    };
}

/// What became of an instance.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Change")]
struct ChangeShape<'a> {
    /// `registered`, `replaced`, `amended`, `health`, `lifted`, `deregistered`, `expired`, `revoked`, `superseded`,
    /// `evicted`; later versions may have others.
    kind: &'static str,
    #[schemars(with = "form::ServiceName")]
    service: &'a ServiceName,
    #[schemars(with = "form::DnsLabel")]
    id: &'a Label,
    /// As it is now; none when it is gone.
    instance: Option<InstanceShape<'a>>,
}

/// What became of a service as a whole.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServiceChange")]
struct ServiceChangeShape<'a> {
    /// `guarded`, `unguarded`; later versions may have others.
    kind: &'static str,
    #[schemars(with = "form::ServiceName")]
    service: &'a ServiceName,
    /// How its last good set is kept; none when it is no longer.
    guard: Option<GuardShape<'a>>,
}

/// The data of a `change`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChangeEvent")]
pub(super) struct ChangesShape<'a> {
    #[schemars(with = "form::Revision")]
    revision: Revision,
    changes: Vec<ChangeShape<'a>>,
    /// Changes of services as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<ServiceChangeShape<'a>>,
}

/// The data of a `reset`: forget everything, a snapshot follows.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResetEvent")]
pub(super) struct ResetShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: &'a StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
}

/// The data of a `snapshot`: instances of one revision.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SnapshotEvent")]
pub(super) struct SnapshotShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: &'a StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    #[schemars(length(max = SNAPSHOT_INSTANCES))]
    instances: Vec<InstanceShape<'a>>,
    /// Whether that was all.
    last: bool,
}

/// The data of a `lagged`: the reader is too slow, and the stream ends.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LaggedEvent")]
pub(super) struct LaggedShape {
    /// All up to here was sent.
    #[schemars(with = "form::Revision")]
    revision: Revision,
}

/// One event; its data is one line, because JSON escapes the ends of lines.
fn event(name: &str, id: Option<(&StoreId, Revision)>, data: &impl Serialize) -> Vec<u8> {
    let mut event = format!("event: {name}\n").into_bytes();
    if let Some((store, revision)) = id {
        event.extend_from_slice(format!("id: {store}-{revision}\n").as_bytes());
    }
    event.extend_from_slice(b"data: ");
    // Maps with keys that are not text are the only thing that JSON cannot say, and there are none.
    let _ = serde_json::to_writer(&mut event, data);
    event.extend_from_slice(b"\n\n");
    event
}

/// The instances of a view that are of interest, some at a time.
struct Snapshot {
    view: Arc<Registry>,
    /// The service that the next one may be of, and how many of it have been taken.
    service: Option<ServiceName>,
    taken: usize,
}

impl Snapshot {
    /// The next instances, and whether they are the last.
    fn take(&mut self, interest: &Interest) -> (Vec<Arc<Instance>>, bool) {
        let current = self.service.as_ref();
        let begun = current.and_then(|name| self.view.service(name));
        let others: Box<dyn Iterator<Item = &Arc<Service>>> = match interest {
            Interest::All => Box::new(self.view.services_after(current)),
            Interest::Under(group) => Box::new(self.view.services_under(group, current)),
            Interest::Service(name) => Box::new(self.view.service(name).filter(|_| current.is_none()).into_iter()),
        };
        let mut found: Vec<Arc<Instance>> = begun
            .into_iter()
            .chain(others)
            .flat_map(|service| service.instances())
            .skip(self.taken)
            .take(SNAPSHOT_INSTANCES + 1)
            .cloned()
            .collect();
        let is_last = found.len() <= SNAPSHOT_INSTANCES;
        found.truncate(SNAPSHOT_INSTANCES);
        if let Some(last) = found.last() {
            let of_last = found.iter().rev().take_while(|instance| instance.service == last.service).count();
            let before = if current == Some(&last.service) { self.taken } else { 0 };
            (self.service, self.taken) = (Some(last.service.clone()), before + of_last);
        }
        (found, is_last)
    }
}

enum Phase {
    /// Until there is a registry to speak of.
    Loading(Interest, Option<Revision>),
    Snapshot(Following, Snapshot),
    Following(Following),
    Ended,
}

struct Stream {
    context: Arc<Context>,
    store: StoreId,
    caller: Caller,
    phase: Phase,
    /// The position that the client knows of.
    told: Option<Revision>,
    _place: Place,
}

impl Stream {
    /// The next octets; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Ended => return None,
                Phase::Loading(interest, after) => {
                    let context = self.context.clone();
                    tokio::select! {
                        () = context.view.loaded() => {
                            self.phase = Phase::Following(context.view.follow(interest, after));
                        }
                        () = self.caller.closing() => return None,
                        () = tokio::time::sleep(HEARTBEAT) => {
                            self.phase = Phase::Loading(interest, after);
                            return Some(Bytes::from_static(b":\n\n"));
                        }
                    }
                }
                Phase::Snapshot(following, snapshot) => return Some(self.snapshot(following, snapshot)),
                Phase::Following(mut following) => {
                    tokio::select! {
                        biased;
                        () = self.caller.closing() => return None,
                        news = following.next() => return Some(self.hear(following, news)),
                        () = tokio::time::sleep(HEARTBEAT) => return Some(self.heartbeat(following)),
                    }
                }
            }
        }
    }

    fn hear(&mut self, mut following: Following, news: News) -> Bytes {
        match news {
            News::Batch(published) => {
                let message = self.changes(following.interest(), &published);
                self.told = Some(published.batch.revision);
                self.phase = Phase::Following(following);
                message
            }
            News::Lagged => {
                // Ended: with the id it has got, the client comes back to a reset.
                let revision = following.position();
                event("lagged", None, &LaggedShape { revision }).into()
            }
            News::Reset => {
                let view = following.restart();
                let reset = ResetShape { store: &self.store, revision: view.revision() };
                let message = event("reset", None, &reset).into();
                self.phase = Phase::Snapshot(following, Snapshot { view, service: None, taken: 0 });
                message
            }
        }
    }

    fn snapshot(&mut self, following: Following, mut snapshot: Snapshot) -> Bytes {
        let (instances, last) = snapshot.take(following.interest());
        let revision = snapshot.view.revision();
        let instances: Vec<&Instance> = instances.iter().map(AsRef::as_ref).collect();
        let instances = InstanceShape::many(&instances, &self.context);
        let shape = SnapshotShape { store: &self.store, revision, instances, last };
        // Whoever has heard a part only has to begin again, so the position is told with the last.
        let message = event("snapshot", last.then_some((&self.store, revision)), &shape).into();
        self.phase = if last {
            self.told = Some(revision);
            Phase::Following(following)
        } else {
            Phase::Snapshot(following, snapshot)
        };
        message
    }

    /// A batch as one message. Most are the same for all who watch, and made once.
    fn changes(&self, interest: &Interest, published: &Published) -> Bytes {
        let make = |batch: &Batch, of_interest: &dyn Fn(&Change) -> bool| {
            let changes = || batch.changes.iter().filter(|change| of_interest(change));
            let shape = ChangesShape {
                revision: batch.revision,
                changes: changes().filter_map(|change| ChangeShape::new(change, &self.context)).collect(),
                services: changes().filter_map(ServiceChangeShape::new).collect(),
            };
            event("change", Some((&self.store, batch.revision)), &shape)
        };
        let of_interest = |change: &Change| interest.includes(change);
        let is_whole =
            published.batch.changes.iter().all(|change| of_interest(change) || !Interest::All.includes(change));
        if is_whole {
            Bytes::from_owner(published.message(|batch| make(batch, &of_interest).into()))
        } else {
            make(&published.batch, &of_interest).into()
        }
    }

    /// A comment, with the position when that has moved without anything of interest: a client that comes back goes on
    /// from there.
    fn heartbeat(&mut self, mut following: Following) -> Bytes {
        let position = following.position();
        self.phase = Phase::Following(following);
        if self.told.replace(position) == Some(position) {
            return Bytes::from_static(b":\n\n");
        }
        format!(":\nid: {}-{position}\n\n", self.store).into()
    }
}

impl<'a> ChangeShape<'a> {
    fn new(change: &'a Change, context: &Context) -> Option<Self> {
        let (instance, kind, is_here) = match change {
            Change::Put { instance, cause } => (instance, cause.as_str(), true),
            Change::Gone { instance, cause } => (instance, cause.as_str(), false),
            Change::Configured { .. } | Change::Guarded { .. } | Change::Forgotten { .. } => return None,
        };
        let shape = is_here.then(|| InstanceShape::new(instance, context));
        Some(Self { kind, service: &instance.service, id: &instance.id, instance: shape })
    }
}

impl<'a> ServiceChangeShape<'a> {
    fn new(change: &'a Change) -> Option<Self> {
        let Change::Guarded { service, guarded } = change else { return None };
        let (kind, guard) = (guard_word(guarded.as_ref()), guarded.as_deref().map(GuardShape::from));
        Some(Self { kind, service, guard })
    }
}

/// `GET /v1/watch`
pub(super) async fn watch(
    State(context): State<Arc<Context>>,
    caller: Caller,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let service = params.take("service")?.map(|text| service_name(&text)).transpose()?;
    let group = params.take("under")?.map(|text| service_name(&text)).transpose()?;
    let interest = match (service, group) {
        (None, None) => Interest::All,
        (Some(service), None) => Interest::Service(service),
        (None, Some(group)) => Interest::Under(group),
        (Some(_), Some(_)) => return Err(Problem::invalid_parameter("`service` and `under` exclude each other")),
    };
    let mut after = Position::take(&mut params)?;
    params.finish()?;
    if let Some(id) = headers.get("last-event-id") {
        // Said by a client that comes back with the address it began with. What we never said is no start.
        after = id.to_str().ok().and_then(Position::parse);
    }
    let store = context.store.id();
    let place = context.waiting.admit(caller.client)?;
    let phase = Phase::Loading(interest, after.and_then(|after| after.of(&store)));
    let stream = Stream { context, store, caller, phase, told: None, _place: place };
    let octets = futures_util::stream::unfold(stream, async |mut stream| {
        let octets = stream.next().await?;
        Some((Ok::<_, Infallible>(octets), stream))
    });
    let mut response = Response::new(Body::from_stream(octets));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would collect the events until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
