//! Routes of one instance.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::extract::{Params, Path, instance_id, json, new_service_name, no_body, precondition, service_name};
use super::leases::RenewedShape;
use super::probing::as_probed;
use super::problem::Problem;
use super::registration::{AmendmentBody, RegistrationBody};
use super::shape::{InstanceShape, LeaseShape, respond};
use super::values::{expiry, meta, state, tags, weight};
use super::wait::Patience;
use super::waiting::Caller;
use super::{BODY_OCTETS_MAX, Context, Peer, guard};
use crate::model::{Instance, InstanceId, Label, Revision, ServiceName};
use crate::registry::{
    Actor, Amendment, Command, Expiry, IdChoice, Outcome, Precondition, Refusal, Register, Registry,
};
use crate::store::CommitError;

/// Tries to find an id that no instance has, when the server chooses.
const CHOICE_TRIES: usize = 8;

/// The response to a write that led to an instance.
fn written(status: StatusCode, instance: &Instance, revision: Revision, context: &Context) -> Response {
    let mut response = respond(status, &InstanceShape::new(instance, context), instance);
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    response
}

/// The response to a registration: at once, or when the instance is answered or the wait for that is over.
async fn registered(
    created: bool,
    instance: &Arc<Instance>,
    revision: Revision,
    patience: Option<Patience>,
    context: &Context,
) -> Result<Response, Problem> {
    let done = if created { StatusCode::CREATED } else { StatusCode::OK };
    let Some(patience) = patience else { return Ok(written(done, instance, revision, context)) };
    let instance = patience.answered(&instance.service, &instance.id, context).await?;
    if instance.answered() {
        return Ok(written(done, &instance, context.view.load().revision(), context));
    }
    let reports = context.reports(&instance).await;
    let instance = as_probed(&instance, &reports);
    Ok(written(StatusCode::ACCEPTED, &instance, context.view.load().revision(), context))
}

/// The address of who sent the request.
pub(super) fn peer(extensions: &Extensions) -> Result<std::net::IpAddr, Problem> {
    let peer = extensions.get::<Peer>().ok_or_else(|| Problem::invalid("/address", "an address is needed"))?;
    Ok(peer.0.ip())
}

/// Reads a registration; its checks aim where they may.
async fn read(
    context: &Context,
    service: ServiceName,
    id: IdChoice,
    request: Request<Body>,
) -> Result<Register, Problem> {
    let precondition = precondition(request.headers())?;
    let peer = peer(request.extensions())?;
    let body: RegistrationBody = json(request, BODY_OCTETS_MAX).await?;
    let (registration, lease) = body.into_registration(peer)?;
    context.permit(&registration)?;
    Ok(Register { service, id, registration, lease, precondition })
}

/// `PUT /v1/services/{service}/instances/{id}`
pub(super) async fn register(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path((service, id)): Path<(String, String)>,
    caller: Caller,
    params: Params,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, id) = (new_service_name(&service, &context.zone)?, instance_id(&id)?);
    let patience = Patience::take(params, caller, &context)?;
    let register = read(&context, service, IdChoice::Given(id), request).await?;
    let committed = context.commit(actor, Command::Register(Box::new(register))).await?;
    let Outcome::Registered { created, instance } = &committed.outcome else {
        return Err(Problem::another_outcome());
    };
    registered(*created, instance, committed.revision, patience, &context).await
}

/// An id of letters and digits that begins with a letter.
pub(super) fn random_id() -> InstanceId {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut number: u64 = rand::random();
    let mut text = String::from("i");
    for _ in 0..10 {
        text.push(char::from(LETTERS[(number % 32) as usize]));
        number /= 32;
    }
    text.parse::<Label>().expect("letters and digits are a label")
}

/// `POST /v1/services/{service}/instances`
pub(super) async fn register_chosen(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path(service): Path<String>,
    caller: Caller,
    params: Params,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let service = new_service_name(&service, &context.zone)?;
    let patience = Patience::take(params, caller, &context)?;
    let mut register = read(&context, service, IdChoice::Chosen(random_id()), request).await?;
    for _ in 0..CHOICE_TRIES {
        let committed =
            match context.store.commit_by(actor.clone(), Command::Register(Box::new(register.clone()))).await {
                Ok(committed) => committed,
                // Somebody has the id: take another.
                Err(CommitError::Refused(Refusal::Precondition { .. }))
                    if register.precondition == Precondition::None =>
                {
                    register.id = IdChoice::Chosen(random_id());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
        context.served(committed.revision).await?;
        let Outcome::Registered { instance, .. } = &committed.outcome else { break };
        let location = format!("/v1/services/{}/instances/{}", instance.service, instance.id);
        let mut response = registered(true, instance, committed.revision, patience, &context).await?;
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    Err(Problem::unavailable("no free id was found"))
}

/// `GET /v1/services/{service}/instances/{id}`
pub(super) async fn show(
    State(context): State<Arc<Context>>,
    Path((service, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (service, id) = (service_name(&service)?, instance_id(&id)?);
    let view = context.view.load();
    let instance = view.instance(&service, id.as_str()).ok_or_else(Problem::no_instance)?;
    let reports = context.reports(instance).await;
    let instance = as_probed(instance, &reports);
    let shape = InstanceShape::new(&instance, &context).with_reports(&instance, &reports);
    let mut response = respond(StatusCode::OK, &shape, &instance);
    response.headers_mut().insert(guard::REVISION, guard::revision(view.revision()));
    Ok(response)
}

/// `PATCH /v1/services/{service}/instances/{id}`
pub(super) async fn amend(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path((service, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, id) = (service_name(&service)?, instance_id(&id)?);
    let precondition = precondition(request.headers())?;
    let body: AmendmentBody = json(request, BODY_OCTETS_MAX).await?;
    let expiry = match (body.expires.as_deref(), body.state.as_deref()) {
        (None, _) => Expiry::Kept,
        (Some(text), Some("draining" | "maintenance")) => expiry(text)?,
        (Some(_), _) => {
            return Err(Problem::invalid("/expires", "goes with a `state` of `draining` or `maintenance`"));
        }
    };
    let amendment = Amendment {
        service,
        id,
        precondition,
        state: body.state.as_deref().map(state).transpose()?,
        expiry,
        weight: body.weight.map(weight).transpose()?,
        tags: body.tags.map(tags).transpose()?,
        meta: body.meta.map(meta).transpose()?,
    };
    let committed = context.commit(actor, Command::Amend(Box::new(amendment))).await?;
    let Outcome::Amended(instance) = &committed.outcome else {
        return Err(Problem::another_outcome());
    };
    Ok(written(StatusCode::OK, instance, committed.revision, &context))
}

/// `DELETE /v1/services/{service}/instances/{id}`
pub(super) async fn deregister(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path((service, id)): Path<(String, String)>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, id) = (service_name(&service)?, instance_id(&id)?);
    let precondition = precondition(&headers)?;
    no_body(request).await?;
    let committed = context.commit(actor, Command::Deregister { service, id, precondition }).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(committed.revision));
    Ok(response)
}

/// Why an instance that is not there cannot be renewed: it lapsed, or was never there or left otherwise.
pub(super) fn nothing_to_renew(view: &Registry, service: &ServiceName, id: &InstanceId) -> Problem {
    let has_lapsed = view.service(service).is_some_and(|service| service.has_lapsed(id));
    if has_lapsed { Problem::own_lapsed() } else { Problem::nothing_to_renew() }
}

/// `POST /v1/services/{service}/instances/{id}/renew`
pub(super) async fn renew(
    State(context): State<Arc<Context>>,
    Path((service, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, id) = (service_name(&service)?, instance_id(&id)?);
    no_body(request).await?;
    let view = context.view.load();
    let instance = view.instance(&service, id.as_str()).ok_or_else(|| nothing_to_renew(&view, &service, &id))?;
    let own = instance.lease.filter(|lease| lease.own);
    let own = own.ok_or_else(|| Problem::no_own_lease(instance.lease.map(|lease| lease.id)))?;
    match context.renew(own.id).await? {
        Some(lease) => Ok(Json(RenewedShape { lease: LeaseShape::from(lease) }).into_response()),
        None => Err(Problem::lapsed(vec![own.id.to_string()])),
    }
}
