//! Reading requests: bodies within their limits, parameters, preconditions, names in paths.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, MapAccess, Visitor};

use super::problem::Problem;
use crate::model::{InstanceId, Revision, ServiceName};
use crate::registry::Precondition;

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Whether a request says that its body is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The octets of a body of at most `octets_max`; a larger one is refused before it is read, if it says so.
async fn octets(body: Body, octets_max: usize) -> Result<Vec<u8>, Problem> {
    if body.size_hint().lower() > octets_max as u64 {
        return Err(Problem::too_large(octets_max));
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, octets_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large(octets_max)),
        Ok(Err(_)) => Err(Problem::bad_request("the body ended before it was complete")),
        Err(_) => Err(Problem::too_slow()),
    }
}

/// The JSON body of a request.
pub(super) async fn json<T: DeserializeOwned>(request: Request<Body>, octets_max: usize) -> Result<T, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::media_type());
    }
    let octets = octets(request.into_body(), octets_max).await?;
    let mut deserializer = serde_json::Deserializer::from_slice(&octets);
    let value: T = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            Problem::invalid(pointer, error.to_string())
        } else {
            Problem::not_json(error.to_string())
        }
    })?;
    deserializer.end().map_err(|error| Problem::not_json(error.to_string()))?;
    Ok(value)
}

/// Reads the body of a call that has none: it is empty, or an empty one of JSON.
pub(super) async fn no_body(request: Request<Body>) -> Result<(), Problem> {
    let octets = octets(request.into_body(), super::BODY_OCTETS_MAX).await?;
    if octets.iter().all(u8::is_ascii_whitespace) {
        Ok(())
    } else {
        Err(Problem::invalid("", "this call takes no body"))
    }
}

/// A path within a document as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } | Segment::Enum { variant: key } => format!("/{}", escape_key(key)),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// A key as a segment of a JSON pointer.
pub(super) fn escape_key(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// An object whose keys are all different: a second value for a key is refused rather than lost.
#[derive(Debug)]
pub(super) struct UniqueMap<T>(pub(super) Vec<(String, T)>);

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for UniqueMap<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = UniqueMap<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = std::collections::BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if pairs.contains_key(&key) {
                        return Err(serde::de::Error::custom("a key stands twice"));
                    }
                    pairs.insert(key, value);
                }
                Ok(UniqueMap(pairs.into_iter().collect()))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// The parameters of a query. What no route takes is refused, so that a slip of the pen is noticed.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// All values of a parameter.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition(|(key, _)| key == name);
        self.0 = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a parameter that stands at most once.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.take_all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Problem::invalid_parameter(format!("`{name}` stands more than once"))),
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Problem::invalid_parameter(format!("this call has no parameter `{}`", name.escape_default())))
            }
        }
    }
}

/// The name of a service in a path or parameter.
pub(super) fn service_name(text: &str) -> Result<ServiceName, Problem> {
    text.parse().map_err(|error| Problem::invalid_name("service", &error))
}

/// The id of an instance in a path.
pub(super) fn instance_id(text: &str) -> Result<InstanceId, Problem> {
    text.parse().map_err(|error| Problem::invalid_name("id", &error))
}

/// What `If-Match` and `If-None-Match` ask for.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    match (value(header::IF_MATCH), value(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::None),
        (None, Some("*")) => Ok(Precondition::Absent),
        (Some("*"), None) => Ok(Precondition::Present),
        (Some(tag), None) => tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
            .and_then(|revision| revision.parse().ok())
            .map(|revision| Precondition::Unchanged(Revision(revision)))
            .ok_or_else(|| Problem::bad_request("If-Match is `*` or a revision in quotes, such as \"17\"")),
        (None, Some(_)) => Err(Problem::bad_request("If-None-Match is `*` here")),
        (Some(_), Some(_)) => Err(Problem::bad_request("If-Match and If-None-Match exclude each other")),
    }
}
