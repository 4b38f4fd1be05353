//! Calls about this server.

use super::super::explain::{DomainName, ExplanationShape, RecordTypeName};
use super::super::form;
use super::super::kind::Kind;
use super::super::snapshot::{self, RestoredShape};
use super::super::status::{HealthShape, ReadyShape, StatusShape};
use super::{NODE, Operation};
use crate::telemetry::METRICS_CONTENT_TYPE;

pub(in super::super) fn explain() -> Operation {
    let text = "Explain what DNS answers
The answer is made by the same code from the same state as over DNS, with every instance that is kept or withheld.";
    Operation::new("explain", NODE, text)
        .required_query::<DomainName>("name", "The name to ask for, with or without its final dot.")
        .query::<RecordTypeName>("type", "A type of records by its name, or as `TYPE65`.")
        .default("A")
        .query::<form::Address>("client", "Who asks; the caller when left out.")
        .query::<form::Protocol>("protocol", "How it is asked, which bounds the size of the answer.")
        .default("udp")
        .answers::<ExplanationShape<'_>>(200, "The decision.")
}

pub(in super::super) fn status() -> Operation {
    Operation::new("getStatus", NODE, "Look at this server").answers::<StatusShape>(200, "How it is.")
}

pub(in super::super) fn save_snapshot() -> Operation {
    let text = "Save all that is kept
Lines of JSON of one revision: first what this is, then leases, services and instances, at last how many of each and a \
checksum. They are for `PUT` and for people; what records say may grow with versions.";
    Operation::new("saveSnapshot", NODE, text).answers_as::<form::Lines>(200, "All of it.", snapshot::MEDIA_TYPE)
}

pub(in super::super) fn restore_snapshot() -> Operation {
    let text = "Put a snapshot in place of all that is kept
All of it or nothing, in one step of this history. Watchers start over, and leases have a full term. One is restored at \
a time.";
    Operation::new("restoreSnapshot", NODE, text)
        .body_as::<form::Lines>(snapshot::MEDIA_TYPE)
        .answers::<RestoredShape>(200, "It is kept and served.")
        .refuses(409, &[Kind::NameTaken])
        .refuses(422, &[Kind::BadSnapshot, Kind::InvalidName])
        .refuses(507, &[Kind::ServiceFull, Kind::RegistryFull])
}

pub(in super::super) fn liveness() -> Operation {
    Operation::new("getLiveness", NODE, "Whether the process answers")
        .any_parameter()
        .early()
        .answers::<HealthShape>(200, "It does.")
}

pub(in super::super) fn readiness() -> Operation {
    Operation::new("getReadiness", NODE, "Whether the registry is loaded and every port open")
        .any_parameter()
        .early()
        .answers::<ReadyShape>(200, "They are.")
        .answers::<ReadyShape>(503, "They are not, for these reasons.")
}

pub(in super::super) fn metrics() -> Operation {
    Operation::new("getMetrics", NODE, "Metrics for Prometheus, in the OpenMetrics text format")
        .any_parameter()
        .answers_as::<String>(200, "All metrics of the process.", METRICS_CONTENT_TYPE)
        .refuses(500, &[Kind::Internal])
}

pub(in super::super) fn openapi() -> Operation {
    Operation::new("getOpenapi", NODE, "This document")
        .any_parameter()
        .early()
        .header::<String>("If-None-Match", "Only when it is no longer one with such a tag.")
        .answers::<form::Document>(200, "OpenAPI 3.1.")
        .with_header("ETag", "DocumentTag")
        .answers_nothing(304, "It is still the same.")
        .with_header("ETag", "DocumentTag")
}
