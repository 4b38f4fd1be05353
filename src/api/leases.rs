//! Routes of leases.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::extract::{Path, json, no_body};
use super::problem::Problem;
use super::shape::LeaseShape;
use super::values::lease_ttl;
use super::{BODY_OCTETS_MAX, Context, form};
use crate::model::{Lease, LeaseId};
use crate::registry::{Actor, Command, Outcome, Refusal};
use crate::store::CommitError;

/// Leases that one call may renew.
const RENEWALS_MAX: usize = 1_000;

/// The lease that is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LeaseGrant")]
pub(super) struct GrantBody {
    #[schemars(with = "form::LeaseTtl")]
    ttl: String,
}

/// Which leases to renew. A text that is the id of none is taken for one that is not alive.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LeaseRenewal")]
pub(super) struct RenewBody {
    #[schemars(length(max = RENEWALS_MAX))]
    ids: Vec<String>,
}

/// The lease of an instance, renewed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RenewedLease")]
pub(super) struct RenewedShape {
    pub(super) lease: LeaseShape,
}

/// The leases that were renewed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RenewedLeases")]
pub(super) struct RenewedManyShape {
    leases: Vec<LeaseShape>,
}

impl Context {
    /// Renews one lease; `None` when it is not alive.
    pub(super) async fn renew(&self, id: LeaseId) -> Result<Option<Lease>, Problem> {
        Ok(self.renew_all(&[id]).await?.into_iter().next().flatten())
    }

    async fn renew_all(&self, ids: &[LeaseId]) -> Result<Vec<Option<Lease>>, Problem> {
        Ok(self.store.renew(ids).await?)
    }
}

/// `POST /v1/leases`
pub(super) async fn grant(
    State(context): State<Arc<Context>>,
    actor: Actor,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let body: GrantBody = json(request, BODY_OCTETS_MAX).await?;
    let ttl = lease_ttl(&body.ttl, "/ttl")?;
    let committed = context.commit(actor, Command::Grant { ttl }).await?;
    let Outcome::Granted(lease) = committed.outcome else {
        return Err(Problem::another_outcome());
    };
    let mut response = (StatusCode::CREATED, Json(LeaseShape::from(lease))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/leases/{}", lease.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `POST /v1/leases/{id}/renew`
pub(super) async fn renew(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    no_body(request).await?;
    let lease = match id.parse() {
        Ok(lease) => context.renew(lease).await?,
        Err(_) => None,
    };
    let lease = lease.ok_or_else(|| Problem::lapsed(vec![id]))?;
    Ok(Json(LeaseShape::from(lease)).into_response())
}

/// `POST /v1/leases/renew`
pub(super) async fn renew_many(
    State(context): State<Arc<Context>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let body: RenewBody = json(request, BODY_OCTETS_MAX).await?;
    if body.ids.len() > RENEWALS_MAX {
        return Err(Problem::invalid("/ids", format!("at most {RENEWALS_MAX} leases in one call")));
    }
    // A text that names no lease is not alive either.
    let (named, mut lapsed): (Vec<String>, Vec<String>) =
        body.ids.into_iter().partition(|id| id.parse::<LeaseId>().is_ok());
    let ids: Vec<LeaseId> = named.iter().filter_map(|id| id.parse().ok()).collect();
    let mut renewed = Vec::with_capacity(ids.len());
    for (id, lease) in named.into_iter().zip(context.renew_all(&ids).await?) {
        match lease {
            Some(lease) => renewed.push(lease),
            None => lapsed.push(id),
        }
    }
    if !lapsed.is_empty() {
        return Err(Problem::lapsed(lapsed));
    }
    let leases = renewed.into_iter().map(LeaseShape::from).collect();
    Ok(Json(RenewedManyShape { leases }).into_response())
}

/// `GET /v1/leases/{id}`
pub(super) async fn show(State(context): State<Arc<Context>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let lease = id.parse().ok().and_then(|lease| context.store.lease(lease));
    Ok(Json(LeaseShape::from(lease.ok_or_else(|| Problem::no_lease(&id))?)).into_response())
}

/// `DELETE /v1/leases/{id}`
pub(super) async fn revoke(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    no_body(request).await?;
    let lease: LeaseId = id.parse().map_err(|_| Problem::no_lease(&id))?;
    match context.store.commit_by(actor, Command::Revoke(lease)).await {
        Ok(committed) => {
            context.served(committed.revision).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(CommitError::Refused(Refusal::LeaseGone(_))) => Err(Problem::no_lease(&id)),
        Err(error) => Err(error.into()),
    }
}
