//! Errors on the wire: RFC 9457 problem documents, every one made here.

use std::fmt;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::form;
use super::kind::Kind;
use crate::model::{Instance, Label, LeaseId, NameError, Timestamp, Unheard, ZoneName};
use crate::registry::Refusal;
use crate::store::snapshot::{Fault, SnapshotError};
use crate::store::{CommitError, ReadError};

/// A request that was not carried out, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    status: StatusCode,
    kind: Kind,
    detail: String,
    pointer: Option<String>,
    nearest: Option<String>,
    /// Which of the things that were asked for it is about.
    ids: Vec<String>,
    /// The line at fault, of a body of lines.
    line: Option<u64>,
    headers: Vec<(HeaderName, &'static str)>,
}

/// Why a request was not carried out (RFC 9457), and what to do about it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document<'a> {
    #[schemars(with = "form::ProblemType")]
    r#type: String,
    /// The same sentence for every problem of this type.
    title: &'a str,
    /// The status of the response.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: &'a str,
    /// The field at fault, as a JSON pointer (RFC 6901) into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pointer: Option<&'a str>,
    /// The nearest name that DNS can carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    nearest: Option<&'a str>,
    /// Leases that are not alive, as they were asked for.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ids: &'a [String],
    /// The line at fault, counted from 1, of a body of lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 1))]
    line: Option<u64>,
}

/// Octets of a detail or a pointer, which may repeat what was sent.
const REPEATED_OCTETS_MAX: usize = 1_000;

/// A text as far as it is short, with control characters escaped: a problem ends in terminals and logs.
fn presentable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(REPEATED_OCTETS_MAX));
    for c in text.chars() {
        if shown.len() >= REPEATED_OCTETS_MAX {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Where there is something, for those who look around.
const ROUTES: &str = "/openapi.json describes all calls: /v1/services, /v1/services/{service}, \
                      /v1/services/{service}/settings, /v1/services/{service}/instances/{id}, /v1/leases, /v1/explain, \
                      /v1/snapshot, /v1/status, /healthz, /readyz, /metrics and others";

impl Problem {
    fn new(status: StatusCode, kind: Kind, detail: impl Into<String>) -> Self {
        let detail = presentable(&detail.into());
        Self(Box::new(Parts {
            status,
            kind,
            detail,
            pointer: None,
            nearest: None,
            ids: Vec::new(),
            line: None,
            headers: Vec::new(),
        }))
    }

    /// Names the field at fault by a JSON pointer (RFC 6901), or what holds it when its key is too long to repeat.
    #[must_use]
    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        let mut pointer = pointer.into();
        while pointer.len() > REPEATED_OCTETS_MAX {
            pointer.truncate(pointer.rfind('/').unwrap_or(0));
        }
        self.0.pointer = Some(pointer);
        self
    }

    /// The same problem in a part of a larger document.
    #[must_use]
    pub(super) fn within(self, part: &str) -> Self {
        let pointer = format!("{part}{}", self.0.pointer.as_deref().unwrap_or_default());
        self.at(pointer)
    }

    fn closing(mut self) -> Self {
        self.0.headers.push((header::CONNECTION, "close"));
        self
    }

    /// The body is not JSON.
    pub(super) fn not_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::NotJson, detail)
    }

    /// The request breaks HTTP.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::BadRequest, detail)
    }

    /// The body came too slowly.
    pub(super) fn too_slow() -> Self {
        let detail = "the body did not arrive in time; send the request again";
        Self::new(StatusCode::REQUEST_TIMEOUT, Kind::TooSlow, detail).closing()
    }

    /// The body is too large.
    pub(super) fn too_large(octets_max: impl fmt::Display) -> Self {
        let detail = format!("a body has at most {octets_max} octets here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Kind::TooLarge, detail).closing()
    }

    /// The body is of another media type than JSON.
    pub(super) fn media_type() -> Self {
        Self::media_type_of("application/json")
    }

    /// The body is of another media type.
    pub(super) fn media_type_of(media_type: &str) -> Self {
        let detail = format!("send the header `content-type: {media_type}`");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::MediaType, detail)
    }

    /// A value is out of range or of the wrong type.
    pub(super) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidValue, detail).at(pointer)
    }

    /// A parameter of the query is not possible.
    pub(super) fn invalid_parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidParameter, detail)
    }

    /// A line of a snapshot says why the registry cannot be replaced by it.
    fn bad_snapshot(error: &SnapshotError) -> Self {
        let mut problem = match &error.fault {
            Fault::Malformed(_) => {
                let detail = format!("{error}; nothing has changed");
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::BadSnapshot, detail)
            }
            Fault::Refused(refusal) => {
                let mut problem = Self::refused(refusal);
                problem.0.detail = presentable(&format!("{error}; nothing has changed"));
                problem
            }
        };
        problem.0.line = Some(error.line);
        problem
    }

    /// A name that DNS cannot carry.
    pub(super) fn invalid_name(what: &str, error: &NameError) -> Self {
        let detail = format!("{what}: {error}");
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidName, detail);
        problem.0.nearest = error.nearest().map(str::to_owned);
        problem
    }

    /// A service is called what it is called in DNS.
    pub(super) fn zone_in_name(zone: &ZoneName, nearest: Option<String>) -> Self {
        let advice = nearest.as_ref().map_or_else(String::new, |nearest| format!(", so call it {nearest:?}"));
        let detail = format!("service: DNS adds the zone, {}, to the name of a service{advice}", zone.as_str());
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidName, detail);
        problem.0.nearest = nearest;
        problem
    }

    /// Another site's page asked a browser to write.
    pub(super) fn foreign_origin() -> Self {
        let detail = "a browser sent this for a page of another site; writes are taken from no other origin";
        Self::new(StatusCode::FORBIDDEN, Kind::ForeignOrigin, detail)
    }

    /// The name in the request may be anybody's.
    pub(super) fn misdirected() -> Self {
        let detail = "a request from this machine names it by an IP address, by localhost or by a name below localhost; \
                      any other name in Host could be a web page's that had it resolve to here";
        Self::new(StatusCode::MISDIRECTED_REQUEST, Kind::Misdirected, detail)
    }

    /// No route has this path.
    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, Kind::NoRoute, ROUTES)
    }

    /// The path does not have this method.
    pub(super) fn no_method() -> Self {
        let detail = "the Allow header names the methods of this path";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Kind::NoMethod, detail)
    }

    /// Nothing was set for the service.
    pub(super) fn no_settings() -> Self {
        let detail = "nothing is set for this service: the server's own settings hold; PUT some here";
        Self::new(StatusCode::NOT_FOUND, Kind::NoSettings, detail)
    }

    /// There is no such instance.
    pub(super) fn no_instance() -> Self {
        Self::refused(&Refusal::NoInstance)
    }

    /// The instance left, or its drain was ended, while its caller waited.
    pub(super) fn left_meanwhile() -> Self {
        let detail = "the instance left, or somebody else changed its state, while this call waited; look at it anew";
        Self::new(StatusCode::CONFLICT, Kind::ChangedMeanwhile, detail)
    }

    /// There is no such instance to renew the lease of.
    pub(super) fn nothing_to_renew() -> Self {
        let mut problem = Self::no_instance();
        problem.0.detail = "nobody is registered under this id: register again".to_owned();
        problem
    }

    /// There is no such lease to look at or revoke.
    pub(super) fn no_lease(id: &str) -> Self {
        let detail = format!("lease {} is unknown, revoked or lapsed", id.escape_default());
        Self::new(StatusCode::NOT_FOUND, Kind::NoLease, detail)
    }

    /// Leases that were to be renewed are not alive. All of them stand in the member `ids`, as they were asked for; the
    /// detail, which is for people, may be cut.
    pub(super) fn lapsed(ids: Vec<String>) -> Self {
        let listed = ids.iter().map(|id| id.escape_default().to_string()).collect::<Vec<_>>().join(", ");
        let mut problem = Self::lease_gone(format!("register again; lapsed, revoked or never granted: {listed}"));
        problem.0.ids = ids;
        problem
    }

    /// The lease of the instance itself ended, and the instance with it.
    pub(super) fn own_lapsed() -> Self {
        Self::lease_gone("the instance left when it lapsed: register again".to_owned())
    }

    fn lease_gone(detail: String) -> Self {
        Self::new(StatusCode::GONE, Kind::LeaseGone, detail)
    }

    /// The instance has no lease of its own to renew.
    pub(super) fn no_own_lease(shared: Option<LeaseId>) -> Self {
        let detail = match shared {
            Some(id) => {
                format!("the instance is on lease {id}, which others may share: renew it at /v1/leases/{id}/renew")
            }
            None => "the instance has no lease: it stays until it is deregistered".to_owned(),
        };
        Self::new(StatusCode::CONFLICT, Kind::NoOwnLease, detail)
    }

    /// The instance has no check of a name.
    pub(super) fn no_check(instance: &Instance, name: &Label) -> Self {
        let names: Vec<&str> = instance.registration.checks.iter().map(|check| check.name.as_str()).collect();
        let detail = match &names[..] {
            [] => format!("{} is registered without checks; register it with one of type `ttl`", instance.id),
            names => format!("{name} is none of its checks, which are: {}", names.join(", ")),
        };
        Self::new(StatusCode::NOT_FOUND, Kind::NoCheck, detail)
    }

    /// A check of another type than `ttl` was reported on.
    pub(super) fn probed_check(name: &Label, kind: &str) -> Self {
        let detail = format!("{name} is of type `{kind}` and probed; only a check of type `ttl` is reported on");
        Self::new(StatusCode::CONFLICT, Kind::ProbedCheck, detail)
    }

    /// What was said of an instance counts for nothing.
    pub(super) fn unheard(why: Unheard) -> Self {
        match why {
            Unheard::Unknown => Self::left_meanwhile(),
            Unheard::Busy => {
                let detail = "more is being said of checks than this node can take; try again";
                let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Busy, detail);
                problem.0.headers.push((header::RETRY_AFTER, "1"));
                problem
            }
            Unheard::NotKept(reason) => Self::unavailable(&reason),
        }
    }

    /// A page's cursor stands for a state that is no longer kept.
    pub(super) fn cursor_gone() -> Self {
        let detail = "the list has moved on since that page; begin again without a cursor";
        Self::new(StatusCode::GONE, Kind::CursorGone, detail)
    }

    /// The engine is not available.
    pub(super) fn unavailable(reason: &str) -> Self {
        let detail = format!("{reason}; try again");
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Unavailable, detail);
        problem.0.headers.push((header::RETRY_AFTER, "1"));
        problem
    }

    /// The server goes before a drained instance may.
    pub(super) fn closing_before(safe_to_stop_at: Timestamp) -> Self {
        Self::unavailable(&format!("the server is closing, and the instance is safe to stop at {safe_to_stop_at} only"))
    }

    /// As many requests wait for a change as may.
    pub(super) fn too_many_waiting() -> Self {
        let detail = "as many requests wait for a change as may; ask without waiting, or try again later";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::TooManyWaiting, detail);
        problem.0.headers.push((header::RETRY_AFTER, "5"));
        problem
    }

    /// Answers that others still read take all the memory there is for them.
    pub(super) fn busy() -> Self {
        let detail = "too many large answers are still being read; try again, or ask for smaller pages with `limit`";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Busy, detail);
        problem.0.headers.push((header::RETRY_AFTER, "1"));
        problem
    }

    /// As many read the journal as may.
    pub(super) fn journal_busy() -> Self {
        let detail = "as many requests read the journal as may at once; try again";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Busy, detail);
        problem.0.headers.push((header::RETRY_AFTER, "1"));
        problem
    }

    /// The journal does not reach back to a time.
    pub(super) fn beyond_history(begins: Timestamp) -> Self {
        let detail = format!(
            "the journal tells what has happened since {begins}; --history-age and --history-events say how much is kept"
        );
        Self::new(StatusCode::GONE, Kind::BeyondHistory, detail)
    }

    /// The engine answered a command with what belongs to another.
    pub(super) fn another_outcome() -> Self {
        Self::unavailable("the store answered something else")
    }

    /// This server cannot do what it should.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, detail)
    }

    /// What the registry's rules say.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let (status, kind, advice) = match refusal {
            Refusal::NameTaken { .. } => {
                (StatusCode::CONFLICT, Kind::NameTaken, "choose another service, id, tag or port name")
            }
            Refusal::NameTooLong(_) => (StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidName, "choose shorter names"),
            Refusal::NoInstance => (
                StatusCode::NOT_FOUND,
                Kind::NoInstance,
                "nobody is registered under this id: GET /v1/services/{service} lists who is",
            ),
            Refusal::LeaseGone(_) => (StatusCode::CONFLICT, Kind::LeaseGone, "grant another and register on that"),
            Refusal::LeaseNotShared(_) => {
                (StatusCode::CONFLICT, Kind::LeaseNotShared, "grant one at /v1/leases and register both on that")
            }
            Refusal::Precondition { .. } => {
                (StatusCode::PRECONDITION_FAILED, Kind::PreconditionFailed, "read the instance and decide anew")
            }
            Refusal::StaleGeneration { .. } => {
                (StatusCode::CONFLICT, Kind::StaleGeneration, "only a newer start of the instance may replace it")
            }
            Refusal::Superseded { .. } => (
                StatusCode::CONFLICT,
                Kind::Superseded,
                "register another address or port, a `generation` above the one before, or `shared_address` if both listen there",
            ),
            Refusal::NoOwnLease(shared) => return Self::no_own_lease(*shared),
            Refusal::InBatch { position, refusal } => {
                return Self::refused(refusal).within(&format!("/operations/{position}"));
            }
            Refusal::ServiceFull(_) => (
                StatusCode::INSUFFICIENT_STORAGE,
                Kind::ServiceFull,
                "deregister what is gone, or raise --max-instances-per-service",
            ),
            Refusal::RegistryFull(_) | Refusal::LeasesFull(_) => (
                StatusCode::INSUFFICIENT_STORAGE,
                Kind::RegistryFull,
                "deregister what is gone, or revoke leases that nobody is on",
            ),
            Refusal::SettingsFull(_) => {
                (StatusCode::INSUFFICIENT_STORAGE, Kind::RegistryFull, "delete the settings of services that are gone")
            }
        };
        // Titles say what these two are already.
        let detail = match refusal {
            Refusal::NoInstance => advice.to_owned(),
            Refusal::LeaseGone(id) => format!("{id} has lapsed, was revoked or never granted; {advice}"),
            _ => format!("{refusal}; {advice}"),
        };
        Self::new(status, kind, detail)
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(refusal) => Self::refused(&refusal),
            CommitError::Unavailable(reason) => Self::unavailable(&reason),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Busy => Self::journal_busy(),
            ReadError::Unavailable(reason) => Self::unavailable(&reason),
        }
    }
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Self {
        Self::bad_snapshot(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: self.0.kind.urn(),
            title: self.0.kind.title(),
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            pointer: self.0.pointer.as_deref(),
            nearest: self.0.nearest.as_deref(),
            ids: &self.0.ids,
            line: self.0.line,
        };
        let mut headers: HeaderMap =
            self.0.headers.iter().cloned().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.0.status, headers, Json(document)).into_response()
    }
}
