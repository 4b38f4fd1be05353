//! Routes about this node.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use super::shape::GuardShape;
use super::{Context, form};
use crate::model::{Duration, Revision, ServiceName, StoreId, Timestamp};
use crate::telemetry::METRICS_CONTENT_TYPE;

/// This node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub(super) struct StatusShape<'a> {
    /// The version of Rollcall.
    version: &'static str,
    /// The zone whose names are live, with the final dot.
    zone: String,
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    /// What keeps the registry: `memory`, `embedded`; later versions may have others.
    engine: &'static str,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    /// Services that have instances.
    services: usize,
    /// Instances that are registered.
    instances: usize,
    /// Instances that are in answers.
    answered: usize,
    /// Instances that have been critical for a day.
    critical_for_a_day: usize,
    /// Services whose last good set is kept.
    guarded: Vec<GuardedShape<'a>>,
    /// What speaks against what this node hears of others.
    doubts: Vec<String>,
    /// How long this process has served.
    #[schemars(with = "form::Span")]
    uptime: Duration,
    /// The other nodes; none where one node keeps the registry.
    peers: Vec<String>,
}

/// A service whose last good set is kept.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GuardedService")]
struct GuardedShape<'a> {
    #[schemars(with = "form::ServiceName")]
    service: &'a ServiceName,
    guard: GuardShape<'a>,
}

/// That the process answers.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Liveness")]
pub(super) struct HealthShape {
    /// `live`
    status: &'static str,
}

/// Whether this node can be sent work.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Readiness")]
pub(super) struct ReadyShape {
    #[schemars(extend("enum" = ["ready", "not ready"]))]
    status: &'static str,
    /// What keeps it from being ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// The answer of `/readyz`; without reasons against it a node is ready.
pub(super) fn ready(reasons: Vec<String>) -> Response {
    let (code, status) =
        if reasons.is_empty() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    (code, Json(ReadyShape { status, reasons })).into_response()
}

/// `GET /v1/status`
pub(super) async fn status(State(context): State<Arc<Context>>) -> Response {
    let view = context.view.load();
    let uptime = Duration::from_secs(context.started.elapsed().as_secs());
    let guarded = view.guarded().filter_map(|service| {
        let guard = GuardShape::from(&**service.guarded()?);
        Some(GuardedShape { service: service.name(), guard })
    });
    let shape = StatusShape {
        version: env!("CARGO_PKG_VERSION"),
        zone: context.zone.to_string(),
        store: context.store.id(),
        engine: context.store.engine(),
        revision: view.revision(),
        services: view.services_after(None).filter(|service| !service.instances().is_empty()).count(),
        instances: view.instances(),
        answered: view.answered(),
        critical_for_a_day: view.critical_for_a_day(Timestamp::now()),
        guarded: guarded.collect(),
        doubts: (context.doubts)(),
        uptime,
        peers: Vec::new(),
    };
    Json(shape).into_response()
}

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Response {
    Json(HealthShape { status: "live" }).into_response()
}

/// `GET /readyz`: the state is loaded and every port is open.
pub(super) async fn readyz(State(context): State<Arc<Context>>) -> Response {
    ready((context.not_ready)())
}

/// `GET /metrics`
pub(super) async fn metrics(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    let metrics = (context.render_metrics)().map_err(|error| {
        tracing::error!(error = %error, "the metrics cannot be rendered");
        Problem::internal("the metrics cannot be rendered, which is a defect of Rollcall")
    })?;
    let content_type = HeaderValue::from_static(METRICS_CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, content_type)], metrics).into_response())
}
