//! What an instance says of itself, for the commands that register one.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use serde_json::{Map, Value, json};

use super::check::{self, CheckArg, Rhythm};
use super::fault::Fault;
use crate::model::Duration;

/// Where an instance is, and how it is found and tested.
#[derive(Debug, Args)]
pub(super) struct InstanceArgs {
    /// The port where it listens
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Where it listens, at most one of each family, repeatable or with a comma between; the address this request comes
    /// from when this is left out
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    address: Vec<IpAddr>,

    /// What it speaks: tcp or udp [default: tcp]
    #[arg(long, hide_possible_values = true, value_parser = ["tcp", "udp"])]
    protocol: Option<String>,

    /// A further port by name, repeatable
    #[arg(long, value_name = "NAME=PORT", value_delimiter = ',')]
    named_port: Vec<Pair<u16>>,

    /// SRV priority, 0 to 65535: lower is asked first [default: 0]
    #[arg(long, value_name = "N")]
    priority: Option<u16>,

    /// SRV weight among equal priorities, 0 to 65535 [default: 1]
    #[arg(long, value_name = "N")]
    weight: Option<u16>,

    /// A label that selects it, repeatable
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    tags: Vec<String>,

    /// Metadata, repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<Pair<String>>,

    /// How long its records may be cached, whole seconds, 0s to 1h [default: its service's, or the server's]
    #[arg(long, value_name = "TIME")]
    ttl: Option<Duration>,

    /// HTTPS records (RFC 9460) for it, with the protocols of --meta alpn=h2,h3
    #[arg(long)]
    https: bool,

    /// How it is tested: tcp, tcp:PORT, http, http:/PATH, http:PORT/PATH or http://IP:PORT/PATH, https in the same forms,
    /// grpc, grpc:PORT/SERVICE, or ttl when it reports itself; repeatable. Without a port it is the instance's, or that of
    /// the scheme in a URL
    #[arg(long = "check", value_name = "CHECK")]
    checks: Vec<CheckArg>,

    /// From the start of one probe to the next, 1s to 1h [default: 5s]
    #[arg(long, value_name = "TIME", requires = "checks")]
    interval: Option<Duration>,

    /// The same after a result that contradicts the opinion, 50ms to --interval [default: a tenth of that]
    #[arg(long, value_name = "TIME", requires = "checks")]
    fast_interval: Option<Duration>,

    /// How long a probe may take, 10ms to 1m and at most --interval [default: 1s]
    #[arg(long, value_name = "TIME", requires = "checks")]
    timeout: Option<Duration>,

    /// Successes in a row that turn critical into passing, 1 to 100 [default: 1]
    #[arg(long, value_name = "N", requires = "checks", value_parser = clap::value_parser!(u8).range(1..=100))]
    rise: Option<u8>,

    /// Failures in a row that turn passing into critical, 1 to 100 [default: 3]
    #[arg(long, value_name = "N", requires = "checks", value_parser = clap::value_parser!(u8).range(1..=100))]
    fall: Option<u8>,

    /// Hold a connection beside the probes of checks of type tcp: its end has the instance probed at once, and two refusals
    /// take it out
    #[arg(long, requires = "checks")]
    hold: bool,

    /// What to think of it until the first probe has ended: unknown or passing [default: unknown]
    #[arg(long, value_name = "HEALTH", hide_possible_values = true, value_parser = ["unknown", "passing"])]
    initial_health: Option<String>,

    /// Leave once it has been critical for this long
    #[arg(long, value_name = "TIME")]
    evict_after: Option<Duration>,

    /// A number that grows with each start; an older one cannot replace a newer
    #[arg(long, value_name = "N")]
    generation: Option<u64>,

    /// Let others register the same address and port
    #[arg(long)]
    shared_address: bool,
}

/// `NAME=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair<T> {
    name: String,
    value: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Pair<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Self { name: name.to_owned(), value })
    }
}

/// The pairs as an object; a name given twice is a mistake rather than a wish for the last.
pub(super) fn object<T: Clone + Into<Value>>(flag: &str, pairs: &[Pair<T>]) -> Result<Option<Value>, Fault> {
    let mut object = Map::new();
    for Pair { name, value } in pairs {
        if object.insert(name.clone(), value.clone().into()).is_some() {
            return Err(Fault::Usage(format!("{flag} names {name:?} twice")));
        }
    }
    Ok((!object.is_empty()).then_some(Value::Object(object)))
}

impl InstanceArgs {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where it says that it listens; nothing when the server is to find out.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.address
    }

    pub(super) fn is_udp(&self) -> bool {
        self.protocol.as_deref() == Some("udp")
    }

    /// The body of the registration; what was not said is left to the server.
    pub(super) fn body(&self) -> Result<Map<String, Value>, Fault> {
        let text = |duration: Option<Duration>| duration.map(|duration| duration.to_string());
        let (interval, fast_interval, timeout) = (text(self.interval), text(self.fast_interval), text(self.timeout));
        let rhythm = Rhythm {
            interval: interval.as_deref(),
            fast_interval: fast_interval.as_deref(),
            timeout: timeout.as_deref(),
            rise: self.rise,
            fall: self.fall,
            hold: self.hold,
        };
        let checks = check::checks(&self.checks, &rhythm).map_err(|error| Fault::Usage(error.to_owned()))?;
        let fields = [
            ("port", Some(json!(self.port))),
            ("addresses", (!self.address.is_empty()).then(|| json!(self.address))),
            ("protocol", self.protocol.as_deref().map(Value::from)),
            ("ports", object("--named-port", &self.named_port)?),
            ("priority", self.priority.map(Value::from)),
            ("weight", self.weight.map(Value::from)),
            ("tags", (!self.tags.is_empty()).then(|| json!(self.tags))),
            ("meta", object("--meta", &self.meta)?),
            ("ttl", text(self.ttl).map(Value::from)),
            ("checks", (!self.checks.is_empty()).then_some(checks)),
            ("https", self.https.then_some(Value::Bool(true))),
            ("initial_health", self.initial_health.as_deref().map(Value::from)),
            ("evict_after", text(self.evict_after).map(Value::from)),
            ("generation", self.generation.map(Value::from)),
            ("shared_address", self.shared_address.then_some(Value::Bool(true))),
        ];
        Ok(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}
