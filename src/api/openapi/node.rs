//! Calls about this server.

use super::super::explain::{DomainName, ExplanationShape, RecordTypeName};
use super::super::form;
use super::super::kind::Kind;
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
