//! Waiting for what a write leads to: until an instance is answered, until a drained one can be stopped.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::extract::{Params, Path, instance_id, optional_json, precondition, service_name};
use super::form::{self, forms};
use super::problem::Problem;
use super::shape::{DrainedShape, respond};
use super::values::expiry;
use super::waiting::{Caller, Place};
use super::{BODY_OCTETS_MAX, Context, guard};
use crate::model::{Duration, Instance, InstanceId, ServiceName, State as InstanceState};
use crate::registry::{Actor, Amendment, Command, Expiry, Outcome, Registry};
use crate::view::Interest;
use crate::zone::Until;

/// The longest that a registration may wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

forms! {
    /// How long to wait.
    AnsweredWait inline |_| form::duration("answered-wait", "10s", format_args!("at most {WAIT_MAX}"));
}

/// How a registration waits until it is answered.
#[derive(Debug)]
pub(super) struct Patience {
    wait: Duration,
    caller: Caller,
    #[expect(dead_code, reason = "held for as long as it waits")]
    place: Place,
}

impl Patience {
    /// Takes `wait` from the parameters, and a place to wait in, before anything is registered.
    pub(super) fn take(mut params: Params, caller: Caller, context: &Context) -> Result<Option<Self>, Problem> {
        let wait = params.take("wait")?.map(|text| match text.parse::<Duration>() {
            Ok(wait) if wait <= WAIT_MAX => Ok(wait),
            Ok(_) => Err(Problem::invalid_parameter(format!("`wait` is at most {WAIT_MAX}"))),
            Err(error) => Err(Problem::invalid_parameter(format!("`wait`: {error}"))),
        });
        params.finish()?;
        let Some(wait) = wait.transpose()? else { return Ok(None) };
        let place = context.waiting.admit(caller.client)?;
        Ok(Some(Self { wait, caller, place }))
    }

    /// Waits until an instance is answered, but no longer than was asked for and than the server serves; the instance as
    /// it then is.
    ///
    /// What is answered in the view is answered in DNS, because the zone serves a change before the view shows it.
    pub(super) async fn answered(
        mut self,
        service: &ServiceName,
        id: &InstanceId,
        context: &Context,
    ) -> Result<Arc<Instance>, Problem> {
        let end = Instant::now() + self.wait.std();
        loop {
            let view = context.view.load();
            let instance = view.instance(service, id.as_str()).ok_or_else(Problem::left_meanwhile)?;
            if instance.answered() {
                return Ok(instance.clone());
            }
            tokio::select! {
                () = context.touched(service, &view) => {}
                () = sleep_until(end) => return Ok(instance.clone()),
                () = self.caller.closing() => return Ok(instance.clone()),
            }
        }
    }
}

impl Context {
    /// Waits until an instance of a service is no longer as a view shows it.
    async fn touched(&self, service: &ServiceName, view: &Registry) {
        self.view.follow(Interest::Service(service.clone()), Some(view.revision())).changed().await;
    }
}

/// How to drain.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DrainRequest")]
pub(super) struct DrainBody {
    /// After how long the drain ends by itself, and the instance is up again; `never` when left out.
    #[schemars(with = "Option<form::SpanOrNever>")]
    expires: Option<String>,
}

/// Whether a drain is answered only when it is safe to stop.
fn until_safe(mut params: Params) -> Result<bool, Problem> {
    let wait = match params.take("wait")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::invalid_parameter("`wait` is `true` or `false` here")),
    };
    params.finish()?;
    Ok(wait)
}

/// `POST /v1/services/{service}/instances/{id}/drain`
pub(super) async fn drain(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path((service, id)): Path<(String, String)>,
    caller: Caller,
    params: Params,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, id) = (service_name(&service)?, instance_id(&id)?);
    let wait = until_safe(params)?;
    let place = wait.then(|| context.waiting.admit(caller.client)).transpose()?;
    let precondition = precondition(request.headers())?;
    let body: DrainBody = optional_json(request, BODY_OCTETS_MAX).await?.unwrap_or_default();
    let amendment = Amendment {
        service: service.clone(),
        id: id.clone(),
        precondition,
        state: Some(InstanceState::Draining),
        expiry: body.expires.as_deref().map_or(Ok(Expiry::Kept), expiry)?,
        weight: None,
        tags: None,
        meta: None,
    };
    let committed = context.commit(actor, Command::Amend(Box::new(amendment))).await?;
    let Outcome::Amended(mut instance) = committed.outcome else {
        return Err(Problem::another_outcome());
    };
    // Somebody may have brought it back up, or taken it out, in this moment; then it is not safe to know when.
    let safe = context.live.safe_to_stop_at(&service, &id).ok_or_else(Problem::left_meanwhile)?;
    let mut revision = committed.revision;
    if let Some(_place) = place {
        wait_until_safe(&context, &service, &id, safe, caller).await?;
        let view = context.view.load();
        instance = view.instance(&service, id.as_str()).ok_or_else(Problem::left_meanwhile)?.clone();
        revision = view.revision();
    }
    let shape = DrainedShape::new(&instance, safe.wall, &context);
    let mut response = respond(StatusCode::OK, &shape, &instance).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    Ok(response)
}

/// Waits until no cache holds an instance; a problem when it does not stay in the drain meanwhile.
async fn wait_until_safe(
    context: &Context,
    service: &ServiceName,
    id: &InstanceId,
    safe: Until,
    mut caller: Caller,
) -> Result<(), Problem> {
    loop {
        let view = context.view.load();
        if context.live.safe_to_stop_at(service, id) != Some(safe) {
            return Err(Problem::left_meanwhile());
        }
        tokio::select! {
            () = sleep_until(safe.instant) => return Ok(()),
            () = context.touched(service, &view) => {}
            () = caller.closing() => return Err(Problem::closing_before(safe.wall)),
        }
    }
}
