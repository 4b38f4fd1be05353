//! Routes about this node.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Context;
use super::problem::Problem;
use super::shape::GuardShape;
use crate::model::{Duration, Timestamp};
use crate::telemetry::METRICS_CONTENT_TYPE;

/// `GET /v1/status`
pub(super) async fn status(State(context): State<Arc<Context>>) -> Response {
    let view = context.view.load();
    let uptime = Duration::from_secs(context.started.elapsed().as_secs());
    let guarded: Vec<Value> = view
        .guarded()
        .filter_map(|service| Some((service, GuardShape::from(&**service.guarded()?))))
        .map(|(service, guard)| json!({ "service": service.name(), "guard": guard }))
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "zone": context.zone.to_string(),
        "store": context.store.id(),
        "engine": context.store.engine(),
        "revision": view.revision(),
        "services": view.services_after(None).filter(|service| !service.instances().is_empty()).count(),
        "instances": view.instances(),
        "answered": view.answered(),
        "critical_for_a_day": view.critical_for_a_day(Timestamp::now()),
        "guarded": guarded,
        "doubts": (context.doubts)(),
        "uptime": uptime,
        "peers": [],
    }))
    .into_response()
}

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

/// `GET /readyz`: the state is loaded and every port is open.
pub(super) async fn readyz(State(context): State<Arc<Context>>) -> Response {
    let reasons = (context.not_ready)();
    if reasons.is_empty() {
        Json(json!({ "status": "ready" })).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not ready", "reasons": reasons }))).into_response()
    }
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
