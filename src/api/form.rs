//! The forms of single values, as the API's document tells them. A field of a body or a shape says by
//! `#[schemars(with = "…")]` which one it has; who reads it checks the same, from the same bounds.
//!
//! What a pattern cannot say, such as the longest duration, a description does; `format` then is a name of our own that
//! tools may know or ignore.

use std::fmt::Display;

use schemars::{Schema, json_schema};
use serde_json::{Value, json};

use super::kind::Kind;
use crate::model::{
    Duration, HealthService as HealthServiceModel, INSTANCE_LIMITS, Lease, Ttl as ModelTtl, probe_bounds,
};

/// Makes forms: a name each, whether it stands among the document's components (`named`) or wherever it is used
/// (`inline`), and its schema; the comment is the description, unless the schema has one.
macro_rules! forms {
    ($($(#[doc = $doc:literal])* $form:ident $placing:ident $schema:expr;)*) => {$(
        $(#[doc = $doc])*
        pub(super) enum $form {}

        impl ::schemars::JsonSchema for $form {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($form).into()
            }
            fn inline_schema() -> bool {
                stringify!($placing) == "inline"
            }
            fn json_schema(generator: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                let make: fn(&mut ::schemars::SchemaGenerator) -> ::schemars::Schema = $schema;
                let mut schema = make(generator);
                let description = [$($doc),*].map(str::trim).join(" ");
                schema.ensure_object().entry("description").or_insert(description.into());
                schema
            }
        }
    )*};
}
pub(super) use forms;

/// The pattern of a label that is no longer than so many octets.
fn label(octets_max: usize) -> String {
    format!("[A-Za-z0-9]([A-Za-z0-9-]{{0,{}}}[A-Za-z0-9])?", octets_max - 2)
}

/// A duration, whose range words say.
pub(super) fn duration(format: &str, example: &str, range: impl Display) -> Schema {
    json_schema!({
        "type": "string",
        "format": format,
        "pattern": "^([0-9]+(ms|s|m|h))+$",
        "description": format!("Whole numbers with a unit of `ms`, `s`, `m` or `h`: {range}."),
        "examples": [example],
    })
}

pub(super) fn between((min, max): (Duration, Duration)) -> String {
    format!("{min} to {max}")
}

/// The url of a probe.
pub(super) fn probe_url(scheme: &str) -> Schema {
    json_schema!({
        "type": "string",
        "format": format!("{scheme}-probe-url"),
        "pattern": format!("^{scheme}://[0-9A-Fa-f:.\\[\\]]+(/[!$-;=?-_a-~]*)?$"),
        "description": format!("`{scheme}://` with an IP address, perhaps a port, and a path."),
        "examples": [format!("{scheme}://10.0.0.7:8080/healthz")],
    })
}

/// One of some words.
pub(super) fn words(words: &[&str]) -> Schema {
    json_schema!({ "type": "string", "enum": words })
}

/// The schema of objects that have two fields, neither of them null.
pub(super) fn both(one: &str, other: &str) -> Value {
    let given = json!({ "not": { "type": "null" } });
    json!({ "required": [one, other], "properties": { one: given, other: given } })
}

/// Says of an object that of each two of its fields it has at most one.
pub(super) fn exclusive(pairs: &[[&str; 2]]) -> impl FnMut(&mut Schema) {
    let faults: Vec<Value> = pairs.iter().map(|[one, other]| both(one, other)).collect();
    move |schema| {
        schema.insert("not".into(), json!({ "anyOf": faults }));
    }
}

forms! {
    /// The name of a service within the zone: labels of letters, digits and hyphens, the group to the right, as in
    /// `api.payments`. Upper case is folded to lower. Together with the zone and an id it has to fit into a name of DNS,
    /// 255 octets.
    ServiceName named |_| json_schema!({
        "type": "string",
        "pattern": format!("^{}(\\.{})*$", label(62), label(63)),
        "maxLength": 253,
        "examples": ["web", "api.payments"],
    });

    /// One label of DNS: letters, digits and hyphens, which are not at its ends. Upper case is folded to lower.
    DnsLabel named |_| json_schema!({
        "type": "string",
        "pattern": format!("^{}$", label(63)),
        "maxLength": 63,
        "examples": ["i1"],
    });

    /// An IP address: a literal, not a name.
    Address named |_| json_schema!({
        "type": "string",
        "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }],
        "examples": ["10.0.0.7", "fd00::7"],
    });

    /// An IP address that something can listen on: neither unspecified, broadcast nor multicast, and IPv4 as IPv4.
    ListenAddress named |_| json_schema!({
        "type": "string",
        "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }],
        "not": { "anyOf": [
            { "pattern": "^[0:.]+$" },
            { "const": "255.255.255.255" },
            { "pattern": "^2(2[4-9]|3[0-9])\\." },
            { "pattern": "^[Ff][Ff][0-9A-Fa-f]{2}:" },
            { "pattern": "^[0:]*:[Ff]{4}:([0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}|[0-9.]+)$" },
        ] },
        "examples": ["10.0.0.7", "fd00::7"],
    });

    /// One address of either family, or one of each.
    Addresses inline |generator| json_schema!({
        "type": "array",
        "items": generator.subschema_for::<ListenAddress>(),
        "minItems": 1,
        "maxItems": 2,
        "allOf": [
            { "contains": { "format": "ipv4" }, "minContains": 0, "maxContains": 1 },
            { "contains": { "format": "ipv6" }, "minContains": 0, "maxContains": 1 },
        ],
    });

    /// A port.
    Port inline |_| json_schema!({ "type": "integer", "minimum": 1, "maximum": u16::MAX });

    /// A number of SRV records (RFC 2782).
    Rank inline |_| json_schema!({ "type": "integer", "minimum": 0, "maximum": u16::MAX });

    /// How many probes in a row.
    Threshold inline |_| json_schema!({
        "type": "integer", "minimum": 1, "maximum": probe_bounds::THRESHOLD_MAX,
    });

    /// `tcp` or `udp`.
    Protocol inline |_| words(&["tcp", "udp"]);

    /// Ports by name. A name is a label of at most 62 octets, and is looked up as `_name._tcp.service.zone`.
    NamedPorts named |generator| json_schema!({
        "type": "object",
        "propertyNames": { "pattern": format!("^{}$", label(62)), "maxLength": 62 },
        "additionalProperties": generator.subschema_for::<Port>(),
        "maxProperties": INSTANCE_LIMITS.ports,
        "examples": [{ "metrics": 9090 }],
    });

    /// Labels that select the instance, as in `primary.web.svc.internal`.
    Tags inline |generator| json_schema!({
        "type": "array",
        "items": generator.subschema_for::<DnsLabel>(),
        "maxItems": INSTANCE_LIMITS.tags,
        "examples": [["primary"]],
    });

    /// Keys and values that TXT records carry (RFC 6763 §6): key, `=` and value are at most 255 octets of UTF-8 together,
    /// all of them at most 4,096; keys differ by more than case.
    Meta named |_| json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[ -<>-~]+$", "maxLength": 254 },
        "additionalProperties": { "type": "string", "maxLength": 253 },
        "examples": [{ "version": "1.4.2" }],
    });

    /// How long something is.
    Span named |_| duration("span", "1m30s", "in its shortest form");

    /// How long records may be cached.
    Ttl named |_| duration(
        "ttl", "5s", format_args!("whole seconds from 0s, which is not at all, to {}", ModelTtl::MAX.duration()),
    );

    /// How long a lease lives after it is granted or renewed.
    LeaseTtl named |_| duration(
        "lease-ttl", "15s", format_args!("whole seconds, {}", between(Lease::TTL_RANGE)),
    );

    /// From one probe to the next, or from one report to the next at most.
    Interval inline |_| duration("interval", "5s", between(probe_bounds::INTERVAL));

    /// From one probe to the next while results contradict the opinion; a tenth of the interval when left out.
    FastInterval inline |_| duration(
        "fast-interval", "500ms", format_args!("{} to the interval", probe_bounds::FAST_INTERVAL_MIN),
    );

    /// How long a probe may take.
    Timeout inline |_| duration(
        "timeout", "1s", format_args!("{}, and at most the interval", between(probe_bounds::TIMEOUT)),
    );

    /// At least a second, or `never`.
    SpanOrNever named |_| json_schema!({
        "type": "string",
        "format": "span-or-never",
        "pattern": "^(([0-9]+(ms|s|m|h))+|never)$",
        "examples": ["10m", "never"],
    });

    /// A lease: a number other than 0 in 16 hexadecimal digits, the first at most 7.
    LeaseId named |_| json_schema!({
        "type": "string",
        "format": "lease-id",
        "pattern": "^[0-7][0-9A-Fa-f]{15}$",
        "not": { "const": "0000000000000000" },
        "examples": ["61c9ab1de0e04a3d"],
    });

    /// A position in the registry's history, which grows with every change. Those of different stores do not compare.
    Revision named |_| json_schema!({
        "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX, "examples": [17],
    });

    /// The identity of a history. Another one means that all that was known is void.
    StoreId named |_| json_schema!({ "type": "string", "minLength": 1, "examples": ["m61c9ab1de0e04a3d"] });

    /// A time in UTC (RFC 3339), with milliseconds.
    Time named |_| json_schema!({
        "type": "string", "format": "date-time", "examples": ["2026-07-01T12:00:00.000Z"],
    });

    /// The opinion of checks: `unknown` until a probe has ended.
    Health named |_| words(&["unknown", "passing", "critical"]);

    /// What to think of an instance until a probe has ended.
    InitialHealth inline |_| words(&["unknown", "passing"]);

    /// What an operator wants of an instance: answers with it, that it is about to stop, that somebody works on it.
    InstanceState named |_| words(&["up", "draining", "maintenance"]);

    /// Path and query of a request: printable ASCII without space, `#`, `<`, `>`, quotation marks and backticks.
    RequestPath inline |_| json_schema!({
        "type": "string",
        "pattern": "^/[!$-;=?-_a-~]*$",
        "maxLength": 1024,
        "examples": ["/healthz"],
    });

    /// The address, port and path of a probe.
    ProbeUrl inline |_| probe_url("http");

    /// The name that the server is asked for, its certificate has to have, and `Host` says: letters, digits, hyphens and
    /// underscores, no address. Without one the certificate has to have the address.
    ServerName named |_| json_schema!({
        "type": "string",
        "format": "server-name",
        "pattern": "^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$",
        "not": { "pattern": "(^|\\.)[0-9]+$" },
        "maxLength": 253,
        "examples": ["web.example.com"],
    });

    /// The service whose health gRPC is asked for, as in `grpc.health.v1.HealthCheckRequest`; the server as a whole when it
    /// is empty.
    HealthService inline |_| json_schema!({
        "type": "string",
        "pattern": "^[!-~]*$",
        "maxLength": HealthServiceModel::OCTETS_MAX,
        "examples": ["payments.v1.Api"],
    });

    /// What a probe sends.
    ProbeMethod inline |_| words(&["GET", "HEAD"]);

    /// Request headers. Those that say where a request goes and where it ends are the probe's own.
    ProbeHeaders named |_| json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "maxLength": 1024 },
        "additionalProperties": { "type": "string", "pattern": "^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f]*$", "maxLength": 1024 },
        "maxProperties": 16,
        "examples": [{ "authorization": "Bearer abc" }],
    });

    /// Statuses that mean success: up to 16 from 100 to 599, or ranges of them.
    Statuses inline |_| json_schema!({
        "type": "string",
        "format": "statuses",
        "pattern": "^ *[1-5][0-9]{2}(-[1-5][0-9]{2})? *(, *[1-5][0-9]{2}(-[1-5][0-9]{2})? *){0,15}$",
        "examples": ["200-299", "200,204"],
    });

    /// Text that the first 64 KiB of the body are to contain, 1 to 1,024 octets of UTF-8.
    ExpectedText inline |_| json_schema!({ "type": "string", "minLength": 1, "maxLength": 1024 });

    /// Lines of JSON.
    Lines inline |_| json_schema!({ "type": "string", "contentMediaType": "application/jsonl" });

    /// An OpenAPI document.
    Document inline |_| json_schema!({
        "type": "object",
        "required": ["openapi", "info", "paths", "components"],
        "properties": { "openapi": { "type": "string", "pattern": "^3\\.1\\." } },
    });

    /// What kind of problem it is. Further kinds may come.
    ProblemType named |_| json_schema!({
        "type": "string",
        "enum": Kind::ALL.iter().map(|kind| kind.urn()).collect::<Vec<_>>(),
        "x-enum-descriptions": Kind::ALL.iter().map(|kind| kind.meaning()).collect::<Vec<_>>(),
        "description": Kind::ALL.iter().fold(
            "What kind of problem it is; later versions may have further ones.\n\n| type | means |\n|---|---|".to_owned(),
            |table, kind| format!("{table}\n| `{}` | {} |", kind.urn(), kind.meaning()),
        ),
    });
}
