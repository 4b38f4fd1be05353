//! Routes of what holds for a whole service, whether it has instances or not.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cadence::{DefaultsBody, DefaultsShape};
use super::extract::{Object, json, new_service_name, no_body, service_name};
use super::guarding::{GuardBody, GuardChoiceShape, WhenAll};
use super::problem::Problem;
use super::values::ttl;
use super::{BODY_OCTETS_MAX, Context, form, guard};
use crate::model::{Duration, Revision, ServiceName, ServiceSettings, Ttl, WhenAllCritical};
use crate::registry::{Actor, Command, Outcome};

/// What is to hold for a service. What is left out or null is as the server has it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewServiceSettings")]
pub(super) struct SettingsBody {
    #[schemars(with = "Option<form::Ttl>")]
    ttl: Option<String>,
    /// How checks of its instances are made that do not say so themselves.
    check_defaults: Option<Object<DefaultsBody>>,
    /// When the last good set is kept against a failure that may be the server's own.
    guard: Option<GuardBody>,
    /// What is answered when none of its instances is well.
    #[schemars(with = "Option<WhenAll>")]
    when_all_critical: Option<String>,
    /// Whose instances are answered when it has nobody to answer with; another service, which need not exist yet.
    #[schemars(with = "Option<form::ServiceName>")]
    fallback: Option<String>,
}

impl SettingsBody {
    fn understand(self, service: &ServiceName, context: &Context) -> Result<ServiceSettings, Problem> {
        let when_all_critical = match self.when_all_critical.as_deref() {
            None | Some("none") => WhenAllCritical::None,
            Some("all") => WhenAllCritical::All,
            Some(_) => return Err(Problem::invalid("/when_all_critical", "either `none` or `all`")),
        };
        let fallback = |text: String| {
            let other = new_service_name(&text, &context.zone).map_err(|problem| problem.at("/fallback"))?;
            if other == *service {
                return Err(Problem::invalid("/fallback", "a service cannot stand in for itself: name another one"));
            }
            Ok(other)
        };
        Ok(ServiceSettings {
            ttl: self.ttl.map(|text| ttl(&text, "/ttl")).transpose()?,
            check_defaults: self.check_defaults.map(|Object(body)| body.understand()).transpose()?.unwrap_or_default(),
            guard: self.guard.map(GuardBody::understand).transpose()?,
            when_all_critical,
            fallback: self.fallback.map(fallback).transpose()?,
        })
    }
}

/// What holds for a service. What is null is as the server has it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServiceSettings")]
pub(super) struct SettingsShape<'a> {
    #[schemars(with = "form::ServiceName")]
    service: &'a ServiceName,
    #[schemars(with = "Option<form::Ttl>")]
    ttl: Option<Duration>,
    check_defaults: Option<DefaultsShape>,
    guard: Option<GuardChoiceShape>,
    #[schemars(with = "WhenAll")]
    when_all_critical: &'static str,
    #[schemars(with = "Option<form::ServiceName>")]
    fallback: Option<&'a ServiceName>,
}

fn respond(status: StatusCode, service: &ServiceName, settings: &ServiceSettings, revision: Revision) -> Response {
    let shape = SettingsShape {
        service,
        ttl: settings.ttl.map(Ttl::duration),
        check_defaults: DefaultsShape::new(&settings.check_defaults),
        guard: settings.guard.map(Into::into),
        when_all_critical: settings.when_all_critical.as_str(),
        fallback: settings.fallback.as_ref(),
    };
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
    let settings = body.understand(&service, &context)?;
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
