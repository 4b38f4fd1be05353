//! Reading requests: bodies within their limits, parameters, preconditions, names in paths. What axum would refuse in
//! words of its own is refused here by a problem document.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};

use super::form::forms;
use super::problem::Problem;
use super::{Peer, wording};
use crate::model::{InstanceId, Label, Revision, ServiceName, ZoneName};
use crate::registry::{Actor, Precondition};

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

forms! {
    /// `*`, or a revision in quotes.
    IfMatch inline |_| json_schema!({
        "type": "string", "pattern": "^([*]|\"[0-9]{1,19}\")$", "examples": ["\"17\"", "*"],
    });

    /// `*`
    Asterisk inline |_| json_schema!({ "type": "string", "pattern": "^[*]$", "examples": ["*"] });
}

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
    parse(&octets(request.into_body(), octets_max).await?)
}

/// The JSON body of a request that may as well have none, whatever media type it then names.
pub(super) async fn optional_json<T: DeserializeOwned>(
    request: Request<Body>,
    octets_max: usize,
) -> Result<Option<T>, Problem> {
    let is_json = is_json(request.headers());
    let octets = octets(request.into_body(), octets_max).await?;
    match octets.iter().all(u8::is_ascii_whitespace) {
        true => Ok(None),
        false if !is_json => Err(Problem::media_type()),
        false => parse(&octets).map(Some),
    }
}

fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        // The first value at fault may stand in front of something that is no JSON at all.
        match serde_json::from_slice::<Json>(octets) {
            Ok(Json) => wording::impossible(pointer, error.inner()),
            Err(error) => wording::not_json(octets, &error),
        }
    })?;
    deserializer.end().map_err(|error| wording::not_json(octets, &error))?;
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

/// Any JSON that nests no deeper than bodies may; what it says is dropped.
struct Json;

impl<'de> serde::Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
                Ok(Json)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
                Ok(Json)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
                Ok(Json)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
                Ok(Json)
            }
            fn visit_str<E>(self, _: &str) -> Result<Json, E> {
                Ok(Json)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                while seq.next_element::<Json>()?.is_some() {}
                Ok(Json)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                while map.next_entry::<Json, Json>()?.is_some() {}
                Ok(Json)
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

/// A value that stands as an object. Derived readers take an array of the fields in their order as well, which nobody
/// means and everybody would have to keep working.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Object<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
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
                        return Err(serde::de::Error::custom(format_args!("the key {key:?} stands twice")));
                    }
                    pairs.insert(key, value);
                }
                Ok(UniqueMap(pairs.into_iter().collect()))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// Who sent the request, as the journal names them.
impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>();
        Ok(Self::client(peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip())))
    }
}

/// The names in a path, decoded once.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|names| Self(names.0)).map_err(|_| Problem::bad_request("the path is not UTF-8, percent-encoded"))
    }
}

/// Refuses every parameter, for routes that have none.
pub(super) async fn no_params(params: Params, request: Request<Body>, next: Next) -> Result<Response, Problem> {
    params.finish()?;
    Ok(next.run(request).await)
}

/// Refuses changes under a condition, for routes that cannot hold it: ignored, it would be taken for one that held.
pub(super) async fn no_precondition(request: Request<Body>, next: Next) -> Result<Response, Problem> {
    if precondition(request.headers())? != Precondition::None {
        return Err(Problem::bad_request(
            "this call takes no If-Match and no If-None-Match: what it changes has no revision",
        ));
    }
    Ok(next.run(request).await)
}

/// The parameters of a query. What no route takes is refused, so that a slip of the pen is noticed.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|pairs| Self(pairs.0)).map_err(|_| Problem::bad_request("the query is not a list of parameters"))
    }
}

impl Params {
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

/// The name of a service that something is to be registered or set for; one with the zone's name at its end is its name
/// in DNS, taken for that of the service.
pub(super) fn new_service_name(text: &str, zone: &ZoneName) -> Result<ServiceName, Problem> {
    let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    match lower.strip_suffix(zone.as_str()) {
        Some("") => Err(Problem::zone_in_name(zone, None)),
        Some(rest) if rest.ends_with('.') => {
            let meant = rest.trim_end_matches('.').parse::<ServiceName>().ok();
            Err(Problem::zone_in_name(zone, meant.map(|meant| meant.to_string())))
        }
        _ => service_name(text),
    }
}

/// The id of an instance in a path.
pub(super) fn instance_id(text: &str) -> Result<InstanceId, Problem> {
    text.parse().map_err(|error| Problem::invalid_name("id", &error))
}

/// The name of a check in a path.
pub(super) fn check_name(text: &str) -> Result<Label, Problem> {
    text.parse().map_err(|error| Problem::invalid_name("name of a check", &error))
}

/// What `If-Match` and `If-None-Match` ask for.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    // Lists of tags, in one header or in several, are more than anybody needs here.
    let value = |name| match headers.get_all(name).iter().collect::<Vec<_>>()[..] {
        [] => None,
        [value] => Some(value.to_str().unwrap_or_default().trim()),
        _ => Some("several"),
    };
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
