//! Single values of bodies, from text and numbers; every error points at its field.

use std::sync::Arc;

use super::extract::{UniqueMap, escape_key};
use super::problem::Problem;
use crate::model::{Duration, INSTANCE_LIMITS, Label, Lease, Meta, State, Ttl};
use crate::registry::Expiry;

/// A number from 1 to 65,535.
pub(super) fn port(number: i64, pointer: &str) -> Result<u16, Problem> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Problem::invalid(pointer, "a port is 1 to 65535")),
    }
}

/// A number from 0 to 65,535.
pub(super) fn rank(number: Option<i64>, default: u16, pointer: &str) -> Result<u16, Problem> {
    let number = number.map_or(Ok(default), u16::try_from);
    number.map_err(|_| Problem::invalid(pointer, "priority and weight are 0 to 65535"))
}

/// A duration from text.
pub(super) fn duration(text: &str, pointer: &str) -> Result<Duration, Problem> {
    text.parse().map_err(|error: crate::model::DurationError| Problem::invalid(pointer, error.to_string()))
}

/// A time to live from text.
pub(super) fn ttl(text: &str, pointer: &str) -> Result<Ttl, Problem> {
    Ttl::new(duration(text, pointer)?).map_err(|range| Problem::invalid(pointer, range))
}

/// The length of a lease from text.
pub(super) fn lease_ttl(text: &str, pointer: &str) -> Result<Duration, Problem> {
    Lease::check_ttl(duration(text, pointer)?).map_err(|range| Problem::invalid(pointer, range))
}

/// Tags, sorted and distinct.
pub(super) fn tags(texts: Vec<String>) -> Result<Arc<[Label]>, Problem> {
    if texts.len() > INSTANCE_LIMITS.tags {
        return Err(Problem::invalid("/tags", format!("at most {} tags", INSTANCE_LIMITS.tags)));
    }
    let parse = |(n, text): (usize, &String)| {
        text.parse::<Label>().map_err(|error| Problem::invalid_name("tag", &error).at(format!("/tags/{n}")))
    };
    let mut tags = texts.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    tags.sort();
    tags.dedup();
    // Nothing is in memory once for all who have it.
    Ok(if tags.is_empty() { Arc::default() } else { tags.into() })
}

/// Metadata that TXT records can carry.
pub(super) fn meta(pairs: UniqueMap<String>) -> Result<Meta, Problem> {
    Meta::new(pairs.0).map_err(|error| {
        let pointer = error.key.map_or("/meta".to_owned(), |key| format!("/meta/{}", escape_key(&key)));
        Problem::invalid(pointer, error.detail)
    })
}

/// What an operator may want of an instance, from text.
pub(super) fn state(text: &str) -> Result<State, Problem> {
    match text {
        "up" => Ok(State::Up),
        "draining" => Ok(State::Draining),
        "maintenance" => Ok(State::Maintenance),
        _ => Err(Problem::invalid("/state", "a state is `up`, `draining` or `maintenance`")),
    }
}

/// At least a second, or `never`, which is none.
pub(super) fn span_or_never(text: &str, pointer: &str) -> Result<Option<Duration>, Problem> {
    if text == "never" {
        return Ok(None);
    }
    match duration(text, pointer)? {
        span if span >= Duration::from_secs(1) => Ok(Some(span)),
        _ => Err(Problem::invalid(pointer, "at least 1s, or `never`")),
    }
}

/// For how long a state holds, from text.
pub(super) fn expiry(text: &str) -> Result<Expiry, Problem> {
    Ok(span_or_never(text, "/expires")?.map_or(Expiry::Never, Expiry::After))
}

/// A weight from a number.
pub(super) fn weight(number: i64) -> Result<u16, Problem> {
    rank(Some(number), 1, "/weight")
}
