//! `GET` and `PUT /v1/snapshot`: all that the store keeps, as lines, out and in while everything goes on.
//!
//! Neither direction holds more than some lines. Saving pins one state of the registry, which costs what changes
//! meanwhile, so there are few at a time; restoring is one at a time, and changes nothing unless all of it is good.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::problem::Problem;
use super::{Context, form, guard};
use crate::model::{Revision, StoreId, Timestamp};
use crate::net::Pace;
use crate::registry::Registry;
use crate::store::snapshot::{Counts, Reader, Restorable};

/// Lines of JSON.
pub(super) const MEDIA_TYPE: &str = "application/jsonl";
/// Other names for them.
const MEDIA_TYPES: [&str; 3] = [MEDIA_TYPE, "application/x-ndjson", "application/ndjson"];
/// Octets of what is restored: ten times what the registry's limits make of plain instances.
const BODY_OCTETS_MAX: u64 = 4 << 30;
/// How fast it has to come.
const PACE: Pace = Pace { patience: Duration::from_secs(10), octets_per_second: 64 << 10 };
/// How long the rest of what is refused may take to arrive. Who still sends does not hear why it was.
const REST_WITHIN: Duration = Duration::from_secs(10);
/// How long a restored registry may take to be served.
const SERVED_WITHIN: Duration = Duration::from_secs(60);
/// Octets of lines that a reader has yet to take.
const UNREAD_OCTETS: usize = 256 << 10;

/// `GET /v1/snapshot`
pub(super) async fn save(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    let place = context.load.to_save()?;
    let snapshot = context.store.snapshot().await?;
    let held = context.load.hold(snapshot.octets() + UNREAD_OCTETS)?;
    let revision = snapshot.revision();
    let lines = snapshot.into_lines(context.zone.clone(), context.store.id(), Timestamp::now());
    let octets = futures_util::stream::unfold((lines, place), async |(mut lines, place)| {
        let chunk = lines.next_chunk()?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), (lines, place)))
    });
    let mut response = Response::new(Body::from_stream(octets));
    response.extensions_mut().insert(held);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    Ok(response)
}

/// How much there is of everything.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Counts")]
struct CountsShape {
    /// Services that have instances.
    services: usize,
    /// Instances.
    instances: usize,
    /// Leases.
    leases: usize,
}

impl From<Counts> for CountsShape {
    fn from(Counts { services, instances, leases }: Counts) -> Self {
        Self { services, instances, leases }
    }
}

/// A snapshot that was restored.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Restored")]
pub(super) struct RestoredShape {
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    /// What there was.
    replaced: CountsShape,
    /// What there is.
    restored: CountsShape,
}

/// `PUT /v1/snapshot`
pub(super) async fn restore(State(context): State<Arc<Context>>, request: Request<Body>) -> Result<Response, Problem> {
    if !is_lines(request.headers()) {
        return Err(Problem::media_type_of(MEDIA_TYPE));
    }
    let mut body = request.into_body();
    if body.size_hint().lower() > BODY_OCTETS_MAX {
        return Err(Problem::too_large(BODY_OCTETS_MAX));
    }
    let _place = context.load.to_restore()?;
    let reader = Reader::new(context.store.limits().clone(), Registry::clone(&context.view.load()));
    let content = match receive(&mut body, reader).await {
        Ok(content) => content,
        Err(problem) => {
            let _ = timeout(REST_WITHIN, async { while let Some(Ok(_)) = body.frame().await {} }).await;
            return Err(problem);
        }
    };
    let replaced = context.store.restore(content).await?;
    context.served_within(SERVED_WITHIN, replaced.revision).await?;
    let shape = RestoredShape {
        store: context.store.id(),
        revision: replaced.revision,
        replaced: replaced.before.into(),
        restored: replaced.after.into(),
    };
    let mut response = Json(shape).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(replaced.revision));
    Ok(response)
}

fn is_lines(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = said.split(';').next().unwrap_or_default().trim();
    MEDIA_TYPES.iter().any(|media_type| said.eq_ignore_ascii_case(media_type))
}

/// Reads a body to its end. It may take as long as it likes as long as it keeps coming.
async fn receive(body: &mut Body, mut reader: Reader) -> Result<Restorable, Problem> {
    let (mut octets, mut due) = (0, Instant::now() + PACE.patience);
    loop {
        let frame = match timeout_at(due, body.frame()).await {
            Err(_) => return Err(Problem::too_slow()),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Problem::bad_request("the body ended before it was complete")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        octets += data.len() as u64;
        if octets > BODY_OCTETS_MAX {
            return Err(Problem::too_large(BODY_OCTETS_MAX));
        }
        let earned = Duration::from_secs_f64(data.len() as f64 / f64::from(PACE.octets_per_second));
        due = (due + earned).min(Instant::now() + PACE.patience);
        reader.take(&data)?;
    }
    Ok(reader.finish()?)
}
