//! What services say of themselves, and clients of them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::extract::{Path, check_name, instance_id, json, optional_json, service_name};
use super::probing::as_probed;
use super::problem::Problem;
use super::shape::{CheckShape, check_defaults};
use super::{BODY_OCTETS_MAX, Context, guard};
use crate::model::{Heard, Hint, Instance, Label, Remark, SelfReport};

/// What a service says of itself besides.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CheckReport")]
pub(super) struct ReportBody {
    /// Why it fails: one line, of which 160 octets are kept and control characters escaped. With a report that it is well
    /// nothing is kept.
    reason: Option<String>,
}

/// What became of a report.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReportedCheck")]
pub(super) struct ReportedShape<'a> {
    check: CheckShape<'a>,
}

/// The position of a check of an instance.
fn position(instance: &Instance, name: &Label) -> Option<usize> {
    instance.registration.checks.iter().position(|check| check.name == *name)
}

async fn report(
    context: &Context,
    (service, id, name): (String, String, String),
    passed: bool,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, id, name) = (service_name(&service)?, instance_id(&id)?, check_name(&name)?);
    let body: ReportBody = optional_json(request, BODY_OCTETS_MAX).await?.unwrap_or_default();
    let report = {
        let view = context.view.load();
        let instance = view.instance(&service, id.as_str()).ok_or_else(Problem::no_instance)?;
        let check = position(instance, &name).ok_or_else(|| Problem::no_check(instance, &name))?;
        let kind = &instance.registration.checks[check].kind;
        if kind.is_probed() {
            return Err(Problem::probed_check(&name, kind.as_str()));
        }
        let remark = body.reason.as_deref().and_then(Remark::new);
        let (epoch, seen, check) = (instance.epoch, view.revision(), name.clone());
        SelfReport { service: service.clone(), id: id.clone(), epoch, check, passed, remark, seen }
    };
    let Heard { report, revision } = (context.take_report)(report).await.map_err(Problem::unheard)?;
    context.served(revision).await?;
    let view = context.view.load();
    let instance = view.instance(&service, id.as_str()).ok_or_else(Problem::left_meanwhile)?;
    let instance = as_probed(instance, std::slice::from_ref(&report));
    let check = position(&instance, &name).ok_or_else(Problem::left_meanwhile)?;
    let shape = CheckShape::new(
        &instance.registration.checks[check],
        &instance.checks[check],
        &check_defaults(&view, &service),
    );
    let mut response = Json(ReportedShape { check: shape.with_report(&report) }).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(view.revision()));
    Ok(response)
}

/// `POST /v1/services/{service}/instances/{id}/checks/{check}/pass`
pub(super) async fn pass(
    State(context): State<Arc<Context>>,
    Path(names): Path<(String, String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    report(&context, names, true, request).await
}

/// `POST /v1/services/{service}/instances/{id}/checks/{check}/fail`
pub(super) async fn fail(
    State(context): State<Arc<Context>>,
    Path(names): Path<(String, String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    report(&context, names, false, request).await
}

/// What a client says of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InstanceReport")]
pub(super) struct HintBody {
    /// What failed: one line, of which 160 octets are told to the log.
    #[schemars(length(min = 1))]
    failed: String,
}

/// What follows of what a client said.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReportedInstance")]
pub(super) struct HintedShape {
    /// Whether the instance is probed because of it. If not, that is so soon anyway, nothing of it is probed and passing, or
    /// too many have been reported.
    probed: bool,
}

/// `POST /v1/services/{service}/instances/{id}/report`
pub(super) async fn hint(
    State(context): State<Arc<Context>>,
    Path((service, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, id) = (service_name(&service)?, instance_id(&id)?);
    let body: HintBody = json(request, BODY_OCTETS_MAX).await?;
    if body.failed.is_empty() {
        return Err(Problem::invalid("/failed", "say in a line what failed"));
    }
    let failed = Remark::new(&body.failed);
    let (hint, is_probed) = {
        let view = context.view.load();
        let instance = view.instance(&service, id.as_str()).ok_or_else(Problem::no_instance)?;
        let is_probed = instance.registration.checks.iter().any(|check| check.kind.is_probed());
        (Hint { service, id, failed, seen: view.revision() }, is_probed)
    };
    let probed = is_probed && (context.take_hint)(hint).await.map_err(Problem::unheard)?;
    Ok((StatusCode::ACCEPTED, Json(HintedShape { probed })).into_response())
}
