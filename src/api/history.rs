//! `GET /v1/history`: who was registered at a time, and in answers.
//!
//! From the registry as it is now, the events since that time are taken back one by one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::events::{PlaceShape, StandingForm, time};
use super::extract::{Params, service_name};
use super::form;
use super::problem::Problem;
use super::{Context, guard};
use crate::model::{Revision, ServiceName, StoreId, Timestamp};
use crate::registry::{Past, Standing};
use crate::store::EventQuery;

/// Events of one look.
const EVENTS_AT_ONCE: usize = 10_000;

/// An instance as it was.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PastInstance")]
struct StoodShape<'a> {
    #[schemars(with = "form::DnsLabel")]
    id: &'a str,
    #[serde(flatten)]
    place: Option<PlaceShape>,
    #[schemars(with = "StandingForm")]
    standing: &'a str,
    /// Whether it was in answers.
    answered: bool,
    /// Why not, as far as the journal tells.
    withheld_because: Option<&'a str>,
}

/// The instances of a service at a time.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Past")]
pub(super) struct HistoryShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    /// The revision from which the events were taken back.
    #[schemars(with = "form::Revision")]
    revision: Revision,
    #[schemars(with = "form::ServiceName")]
    service: &'a ServiceName,
    #[schemars(with = "form::Time")]
    at: Timestamp,
    instances: Vec<StoodShape<'a>>,
}

/// The instances of a service as they were at a time, going back from a view of it.
async fn go_back(
    context: &Context,
    service: &ServiceName,
    at: Timestamp,
    mut past: Past,
    revision: Revision,
) -> Result<Past, Problem> {
    let mut query = EventQuery { service: Some(service.clone()), ..EventQuery::up_to(revision, EVENTS_AT_ONCE) };
    loop {
        let found = context.store.events(query.clone()).await?;
        if found.begins > at {
            return Err(Problem::beyond_history(found.begins));
        }
        let mut events = found.events.iter().peekable();
        while let Some(event) = events.next_if(|event| event.time > at) {
            past.undo(event);
        }
        // The rest came before: it says why those who were withheld then were.
        let is_there = events.peek().is_some();
        events.for_each(|event| past.explain(event));
        let Some(next) = found.next.filter(|_| !is_there) else { return Ok(past) };
        query.below = next;
    }
}

/// `GET /v1/history`
pub(super) async fn history(State(context): State<Arc<Context>>, mut params: Params) -> Result<Response, Problem> {
    let service = params.take("service")?.ok_or_else(|| Problem::invalid_parameter("`service` says of which"))?;
    let service = service_name(&service)?;
    let at = params.take("at")?.ok_or_else(|| Problem::invalid_parameter("`at` says at which time"))?;
    let at = time("at", &at)?;
    params.finish()?;
    if at > Timestamp::now() {
        return Err(Problem::invalid_parameter("`at` is a time that has passed"));
    }
    let (past, revision) = {
        let view = context.view.load();
        (Past::present(view.service(&service).map(AsRef::as_ref)), view.revision())
    };
    let past = go_back(&context, &service, at, past, revision).await?;
    let instances = past.instances().map(|(id, stood)| {
        let answered = stood.standing == Standing::Passing;
        StoodShape {
            id: id.as_str(),
            place: stood.place.map(Into::into),
            standing: stood.standing.as_str(),
            answered,
            withheld_because: stood.because.as_deref().filter(|_| !answered),
        }
    });
    let instances = instances.collect();
    let shape = HistoryShape { store: context.store.id(), revision, service: &service, at, instances };
    let mut response = Json(shape).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    Ok(response)
}
