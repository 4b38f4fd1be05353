//! What an instance says of itself when it registers.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::model;
use crate::model::Timestamp;

/// A duration as the API writes it, in whole milliseconds.
pub(super) fn text(duration: Duration) -> String {
    model::Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).to_string()
}

/// An instance as it registers: where it is, and how it is to be found, tested and kept.
///
/// Whatever is not said is left to the server. The server checks it all; what it does not take it names in
/// [`Problem::pointer`](super::Problem::pointer).
///
/// ```
/// use std::time::Duration;
/// use rollcall::client::{Check, Registration};
///
/// let registration = Registration::new("api.payments", "p1", 8080)
///     .address("10.0.0.7".parse()?)
///     .tag("primary")
///     .meta("version", "1.4.2")
///     .named_port("metrics", 9090)
///     .check(Check::http("/healthz").interval(Duration::from_secs(2)))
///     .started_now();
/// assert_eq!(registration.body()["tags"][0], "primary");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    service: String,
    id: String,
    body: Map<String, Value>,
}

impl Registration {
    /// An instance of `service` that is called `id` within it and listens on `port`. The id should be the same after a
    /// restart, so that the instance then replaces itself.
    pub fn new(service: impl Into<String>, id: impl Into<String>, port: u16) -> Self {
        Self { service: service.into(), id: id.into(), body: Map::new() }.field("port", port)
    }

    /// The same of a body as the API takes it.
    pub fn from_body(service: impl Into<String>, id: impl Into<String>, body: Map<String, Value>) -> Self {
        Self { service: service.into(), id: id.into(), body }
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Its name within the service.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The body that the API takes.
    pub fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// Any field of the body.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    fn entry(mut self, field: &str, name: String, value: Value) -> Self {
        match self.body.entry(field).or_insert_with(|| json!({})) {
            Value::Object(entries) => {
                entries.insert(name, value);
            }
            other => *other = json!({ name: value }),
        }
        self
    }

    fn element(mut self, field: &str, value: Value) -> Self {
        match self.body.entry(field).or_insert_with(|| json!([])) {
            Value::Array(elements) => elements.push(value),
            other => *other = json!([value]),
        }
        self
    }

    /// Where it listens, at most one address of each family. Without any it is the address that the request comes from.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        self.element("addresses", json!(address))
    }

    /// It speaks UDP; without this it is TCP.
    #[must_use]
    pub fn udp(self) -> Self {
        self.field("protocol", "udp")
    }

    /// A further port: `metrics` is at `_metrics._tcp.web.<zone>`.
    #[must_use]
    pub fn named_port(self, name: impl Into<String>, port: u16) -> Self {
        self.entry("ports", name.into(), json!(port))
    }

    /// SRV priority (RFC 2782), 0 unless it is said: the lowest is asked first.
    #[must_use]
    pub fn priority(self, priority: u16) -> Self {
        self.field("priority", priority)
    }

    /// SRV weight (RFC 2782) among equal priorities, 1 unless it is said.
    #[must_use]
    pub fn weight(self, weight: u16) -> Self {
        self.field("weight", weight)
    }

    /// A label that selects it: `primary.web.<zone>`.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.element("tags", Value::String(tag.into()))
    }

    /// Metadata, as in TXT records (RFC 6763 §6).
    #[must_use]
    pub fn meta(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.entry("meta", key.into(), Value::String(value.into()))
    }

    /// How long its records may be cached: whole seconds, up to an hour.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.field("ttl", text(ttl))
    }

    /// How it is tested. Without a check it is passing while it is registered.
    #[must_use]
    pub fn check(self, check: Check) -> Self {
        self.element("checks", Value::Object(check.body))
    }

    /// It has been tested already, and is answered until a probe says otherwise.
    #[must_use]
    pub fn initially_passing(self) -> Self {
        self.field("initial_health", "passing")
    }

    /// Deregister it once it has been critical for so long.
    #[must_use]
    pub fn evict_after(self, critical: Duration) -> Self {
        self.field("evict_after", text(critical))
    }

    /// A number that grows with each start: an older one cannot replace a newer.
    #[must_use]
    pub fn generation(self, generation: u64) -> Self {
        self.field("generation", generation)
    }

    /// The time as the generation, in seconds since 1970: whoever started last has the id.
    #[must_use]
    pub fn started_now(self) -> Self {
        self.generation(Timestamp::now().as_millis() / 1000)
    }

    /// Others may listen at the same address and port.
    #[must_use]
    pub fn shared_address(self) -> Self {
        self.field("shared_address", true)
    }

    /// On a lease of its own, which lasts so long after each renewal: whole seconds, 2 s to 24 h.
    #[must_use]
    pub(super) fn own_lease(mut self, ttl: Duration) -> Self {
        self.body.remove("lease");
        self.field("lease_ttl", text(ttl))
    }

    /// On a lease that several share.
    #[must_use]
    pub fn on_lease(mut self, id: &str) -> Self {
        self.body.remove("lease_ttl");
        self.field("lease", id)
    }
}

/// How an instance is tested.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    body: Map<String, Value>,
}

impl Check {
    fn of(kind: &str) -> Self {
        Self { body: Map::new() }.field("type", kind)
    }

    /// Whether its port takes connections.
    pub fn tcp() -> Self {
        Self::of("tcp")
    }

    /// Whether a GET of this path has a status from 200 to 299.
    pub fn http(path: impl Into<String>) -> Self {
        Self::of("http").field("path", path.into())
    }

    /// The same over TLS. The certificate has to be one that the server trusts, and for the address, or for the name that
    /// [`Self::server_name`] says.
    pub fn https(path: impl Into<String>) -> Self {
        Self::of("https").field("path", path.into())
    }

    /// Whether the standard health service of gRPC says SERVING for this service; the empty name is the server as a
    /// whole.
    pub fn grpc(service: impl Into<String>) -> Self {
        Self::of("grpc").field("service", service.into())
    }

    /// What the service itself says at least once an `interval`, with [`Client::pass`](super::Client::pass) and
    /// [`Client::fail`](super::Client::fail).
    pub fn ttl(interval: Duration) -> Self {
        Self::of("ttl").interval(interval)
    }

    /// Any field of a check.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    /// What it is called, where there are two of a type.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.field("name", name.into())
    }

    /// Another port than the instance's.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.field("port", port)
    }

    /// Holds a connection open beside the probes, of a check by [`Self::tcp`]: when it ends, two refusals a fast interval
    /// apart take the instance out.
    #[must_use]
    pub fn hold(self) -> Self {
        self.field("hold", true)
    }

    /// From the start of one probe to the next: 1 s to 1 h, 5 s unless it is said.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        self.field("interval", text(interval))
    }

    /// How long a probe may take: 10 ms to 1 m, 1 s unless it is said.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.field("timeout", text(timeout))
    }

    /// Successes in a row that turn critical into passing: 1 to 100, 1 unless it is said.
    #[must_use]
    pub fn rise(self, rise: u8) -> Self {
        self.field("rise", rise)
    }

    /// Failures in a row that turn passing into critical: 1 to 100, 3 unless it is said.
    #[must_use]
    pub fn fall(self, fall: u8) -> Self {
        self.field("fall", fall)
    }

    /// The name that a server is asked for by TLS, and its certificate has to have.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        self.field("server_name", name.into())
    }

    /// Any certificate will do.
    #[must_use]
    pub fn any_certificate(self) -> Self {
        self.field("tls_verify", false)
    }

    /// Statuses that pass: `"200-299,404"`.
    #[must_use]
    pub fn expect_status(self, ranges: impl Into<String>) -> Self {
        self.field("expect_status", ranges.into())
    }

    /// What the body has to hold.
    #[must_use]
    pub fn expect_body(self, part: impl Into<String>) -> Self {
        self.field("expect_body", part.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_says_what_it_was_told_and_no_more() {
        assert_eq!(Value::Object(Registration::new("web", "w1", 80).body), json!({"port": 80}));
        let full = Registration::new("web", "w1", 80)
            .address("10.0.0.7".parse().unwrap())
            .address("fd00::7".parse().unwrap())
            .udp()
            .named_port("metrics", 9090)
            .named_port("admin", 9091)
            .priority(1)
            .weight(5)
            .tag("a")
            .tag("b")
            .meta("version", "1")
            .ttl(Duration::from_secs(90))
            .check(Check::tcp().port(81).fall(1).hold())
            .check(Check::https("/").server_name("web.example").any_certificate())
            .check(Check::grpc("a.v1.B"))
            .check(Check::http("/healthz").name("web").interval(Duration::from_millis(1500)).expect_status("200"))
            .initially_passing()
            .evict_after(Duration::from_secs(600))
            .generation(7)
            .shared_address()
            .own_lease(Duration::from_secs(15));
        assert_eq!(
            Value::Object(full.body),
            json!({
                "port": 80, "addresses": ["10.0.0.7", "fd00::7"], "protocol": "udp",
                "ports": {"metrics": 9090, "admin": 9091}, "priority": 1, "weight": 5, "tags": ["a", "b"],
                "meta": {"version": "1"}, "ttl": "1m30s", "initial_health": "passing", "evict_after": "10m",
                "generation": 7, "shared_address": true, "lease_ttl": "15s",
                "checks": [
                    {"type": "tcp", "port": 81, "fall": 1, "hold": true},
                    {"type": "https", "path": "/", "server_name": "web.example", "tls_verify": false},
                    {"type": "grpc", "service": "a.v1.B"},
                    {"type": "http", "path": "/healthz", "name": "web", "interval": "1s500ms", "expect_status": "200"},
                ],
            })
        );
    }
}
