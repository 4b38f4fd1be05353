//! Routes of what holds for a whole service, whether it has instances or not.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::extract::{json, new_service_name, no_body, service_name};
use super::problem::Problem;
use super::values::ttl;
use super::{BODY_OCTETS_MAX, Context, form, guard};
use crate::model::{Duration, Revision, ServiceName, ServiceSettings, Ttl};
use crate::registry::{Actor, Command, Outcome};

/// What is to hold for a service. What is left out or null is as the server has it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewServiceSettings")]
pub(super) struct SettingsBody {
    #[schemars(with = "Option<form::Ttl>")]
    ttl: Option<String>,
}

/// What holds for a service. What is null is as the server has it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServiceSettings")]
pub(super) struct SettingsShape<'a> {
    #[schemars(with = "form::ServiceName")]
    service: &'a ServiceName,
    #[schemars(with = "Option<form::Ttl>")]
    ttl: Option<Duration>,
}

fn respond(status: StatusCode, service: &ServiceName, settings: &ServiceSettings, revision: Revision) -> Response {
    let shape = SettingsShape { service, ttl: settings.ttl.map(Ttl::duration) };
    let mut response = (status, Json(shape)).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    response
}

/// Makes settings hold, or none; says whether there were any before.
async fn set(
    context: &Context,
    actor: Actor,
    service: ServiceName,
    settings: Option<ServiceSettings>,
) -> Result<(bool, Revision), Problem> {
    let committed = context.commit(actor, Command::Configure { service, settings }).await?;
    match committed.outcome {
        Outcome::Configured { existed } => Ok((existed, committed.revision)),
        _ => Err(Problem::another_outcome()),
    }
}

/// `GET /v1/services/{service}/settings`
pub(super) async fn show(
    State(context): State<Arc<Context>>,
    Path(service): Path<String>,
) -> Result<Response, Problem> {
    let service = service_name(&service)?;
    let view = context.view.load();
    let settings = view.service(&service).and_then(|service| service.settings()).ok_or_else(Problem::no_settings)?;
    Ok(respond(StatusCode::OK, &service, settings, view.revision()))
}

/// `PUT /v1/services/{service}/settings`
pub(super) async fn configure(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path(service): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let service = new_service_name(&service, &context.zone)?;
    let body: SettingsBody = json(request, BODY_OCTETS_MAX).await?;
    let settings = ServiceSettings { ttl: body.ttl.map(|text| ttl(&text, "/ttl")).transpose()? };
    let (existed, revision) = set(&context, actor, service.clone(), Some(settings.clone())).await?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(respond(status, &service, &settings, revision))
}

/// `DELETE /v1/services/{service}/settings`
pub(super) async fn remove(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path(service): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let service = service_name(&service)?;
    no_body(request).await?;
    let (existed, revision) = set(&context, actor, service, None).await?;
    if !existed {
        return Err(Problem::no_settings());
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    Ok(response)
}
