//! Answers that are not a success, and what is made of any answer.

use std::fmt;
use std::time::Duration;

use hyper::header::RETRY_AFTER;
use hyper::http::response::Parts as Head;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Reply;

/// A problem document (RFC 9457), or what is known of an error without one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Problem {
    /// A stable name of the kind of problem, such as `urn:rollcall:name-taken`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do about it.
    pub detail: String,
    /// The field at fault as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The nearest name that would be accepted, when a name is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Box<str>>,
    /// What of several things that were asked for it is about: leases that are not alive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// When to try again at the earliest (`Retry-After`), for a server in trouble that says so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.title, self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match self.pointer.as_deref() {
            None | Some("") => Ok(()),
            Some(pointer) => write!(f, " [{pointer}]"),
        }
    }
}

/// Why a request has no successful answer, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// No address answered. The request may have been carried out, unless no connection stood at all; try again later.
    Unreachable {
        /// The addresses that were tried, in order.
        tried: Vec<String>,
        /// What the last one failed with.
        last: String,
    },
    /// The server said no: [`Problem::detail`] says what to do, [`Problem::kind`] is for programs.
    Refused(Box<Problem>),
    /// Something answered that does not speak this API: look at the address.
    Protocol {
        /// Where.
        address: String,
        /// What was wrong.
        detail: String,
    },
    /// The request itself cannot be sent: mend it.
    Request {
        /// What is wrong with it.
        detail: String,
    },
}

impl ClientError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anybody changing it: no server answered, the one that did is
    /// in trouble (5xx), or it asks for patience (408, 425, 429).
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Protocol { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 408 | 425 | 429 | 500..),
            Self::Request { .. } => false,
        }
    }

    /// When to try again at the earliest, if the server said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { tried, last } => write!(f, "no server answered at {}: {last}", tried.join(", ")),
            Self::Refused(problem) => problem.fmt(f),
            Self::Protocol { address, detail } => {
                write!(f, "what answered at {address} does not speak Rollcall's API: {detail}")
            }
            Self::Request { detail } => write!(f, "the request cannot be sent: {detail}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// Tells success from refusal and reads the body of either.
pub(super) fn judge(head: Head, body: &[u8], address: &str) -> Result<Reply, ClientError> {
    let protocol = |detail: String| ClientError::Protocol { address: address.to_owned(), detail };
    if head.status.is_success() {
        let body = match body {
            [] => Value::Null,
            body => serde_json::from_slice(body)
                .map_err(|error| protocol(format!("status {} with a body that is not JSON: {error}", head.status)))?,
        };
        return Ok(Reply { status: head.status, headers: head.headers, body });
    }
    if !head.status.is_client_error() && !head.status.is_server_error() {
        return Err(protocol(format!("unexpected status {}", head.status)));
    }
    // A proxy in between answers with pages of its own; the status still says what happened.
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    problem.status = head.status.as_u16();
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    // In seconds only: a date would need two clocks that agree.
    problem.retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    if problem.kind.is_empty() {
        problem.kind = "about:blank".to_owned();
    }
    if problem.title.is_empty() {
        problem.title = head.status.canonical_reason().unwrap_or("error").to_owned();
    }
    Err(ClientError::Refused(Box::new(problem)))
}
