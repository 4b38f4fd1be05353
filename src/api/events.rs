//! `GET /v1/events`: who changed from what to what, when and why. Newest first.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

use super::extract::{Params, instance_id, service_name};
use super::form::{self, forms};
use super::paging::{self, Page};
use super::problem::Problem;
use super::waiting::{Caller, LongPoll};
use super::{Context, guard};
use crate::model::{Place, Revision, ServiceName, StoreId, Timestamp, Transport};
use crate::registry::{Event, EventPosition};
use crate::store::EventQuery;
use crate::view::Interest;

forms! {
    /// A time in UTC or with an offset from it (RFC 3339), from 1970 on.
    Moment inline |_| json_schema!({
        "type": "string",
        "format": "moment",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}",
        "examples": ["2026-07-01T12:00:00Z"],
    });

    /// A page of events, as the one before it says.
    EventCursor inline |_| json_schema!({
        "type": "string", "format": "event-cursor", "pattern": "^[0-9]{1,19}[.][0-9]{1,9}$", "examples": ["17.0"],
    });

    /// Where an instance stood: in answers is who is `passing`, and nobody else. Of settings what they say.
    StandingForm inline |_| json_schema!({
        "type": "string", "examples": ["absent", "unknown", "passing", "critical", "draining", "maintenance", "ttl 10s"],
    });
}

/// Where an instance listens, in fields of what is said of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct PlaceShape {
    #[schemars(with = "form::Addresses")]
    addresses: Vec<IpAddr>,
    #[schemars(with = "form::Port")]
    port: u16,
    #[schemars(with = "form::Protocol")]
    protocol: Transport,
}

impl From<Place> for PlaceShape {
    fn from(place: Place) -> Self {
        Self { addresses: place.addresses.iter().collect(), port: place.port, protocol: place.protocol }
    }
}

/// What has happened.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Event")]
struct EventShape<'a> {
    #[schemars(with = "form::Revision")]
    revision: Revision,
    #[schemars(with = "form::Time")]
    time: Timestamp,
    #[schemars(with = "form::ServiceName")]
    service: &'a ServiceName,
    /// Null when it is about the service as a whole: its settings, its guard.
    id: Option<&'a str>,
    #[schemars(with = "StandingForm")]
    from: &'a str,
    #[schemars(with = "StandingForm")]
    to: &'a str,
    /// The cause alone, in one word, as watchers hear it; of a service as a whole `configured`, `guarded`, `unguarded`.
    kind: &'a str,
    /// The cause, with what is known of it after a colon.
    reason: &'a str,
    /// Who did it: the address of a client, `check:` and its name, `lease` when one lapsed, or `rollcall`.
    actor: &'a str,
    #[serde(flatten)]
    place: Option<PlaceShape>,
}

impl<'a> From<&'a Event> for EventShape<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            revision: event.at.revision,
            time: event.time,
            service: &event.service,
            id: event.id.as_ref().map(|id| id.as_str()),
            from: event.from.as_str(),
            to: event.to.as_str(),
            kind: event.kind(),
            reason: &event.reason,
            actor: event.actor.as_str(),
            place: event.place.map(Into::into),
        }
    }
}

/// A page of events, newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventList")]
pub(super) struct EventsShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    /// From this time on, no event is missing.
    #[schemars(with = "form::Time")]
    begins: Timestamp,
    events: Vec<EventShape<'a>>,
    /// The `cursor` of the next page; null when there is nothing further back.
    next: Option<String>,
}

/// A time as RFC 3339 writes it.
pub(super) fn time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).ok_or_else(|| {
        Problem::invalid_parameter(format!("`{name}` is a time as RFC 3339 has it, such as 2026-11-24T14:03:00Z"))
    })
}

/// What `next` of the page before said.
fn cursor(text: &str) -> Result<EventPosition, Problem> {
    let position = text.split_once('.').and_then(|(revision, change)| {
        Some(EventPosition { revision: Revision(revision.parse().ok()?), change: change.parse().ok()? })
    });
    position.ok_or_else(|| Problem::invalid_parameter("`cursor` is what `next` of the page before says"))
}

/// `GET /v1/events`
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let service = params.take("service")?.map(|text| service_name(&text)).transpose()?;
    let under = params.take("under")?.map(|text| service_name(&text)).transpose()?;
    let interest = match (&service, &under) {
        (None, None) => Interest::All,
        (Some(service), None) => Interest::Service(service.clone()),
        (None, Some(group)) => Interest::Under(group.clone()),
        (Some(_), Some(_)) => return Err(Problem::invalid_parameter("`service` and `under` exclude each other")),
    };
    let id = params.take("id")?.map(|text| instance_id(&text)).transpose()?;
    let since = params.take("since")?.map(|text| time("since", &text)).transpose()?;
    let until = params.take("until")?.map(|text| time("until", &text)).transpose()?;
    let poll = LongPoll::take(&mut params)?;
    let limit = paging::limit(&mut params)?;
    let next = params.take("cursor")?;
    params.finish()?;
    let below = next.as_deref().map(cursor).transpose()?;
    // Of another store nothing is known, so all of it is new to whoever asks.
    let after = poll.after_in(&context.store.id());
    let mut page = Page { view: context.view.load(), after: String::new(), limit };
    if below.is_none() {
        poll.wait(&mut page, interest, caller, &context).await?;
    }
    let revision = page.view.revision();
    let present = EventPosition::before(revision.next());
    let query = EventQuery {
        service,
        id,
        under,
        after: after.unwrap_or_default(),
        // What is on disk and not in DNS yet is not told either.
        below: below.map_or(present, |below| below.min(present)),
        since,
        until,
        limit,
    };
    let found = context.store.events(query).await?;
    let shape = EventsShape {
        store: context.store.id(),
        revision,
        begins: found.begins,
        events: found.events.iter().map(Into::into).collect(),
        next: found.next.map(|next| next.to_string()),
    };
    let mut response = Json(shape).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    Ok(response)
}
