//! Configuration: what was written (`Spec`), and what it means ([`Config`]).
//!
//! ```text
//! flags ─┐
//! environment ─┼─► Spec (texts and where they stand) ─► Config (values that cannot be invalid)
//! file ─┘
//! ```
//!
//! There is one conversion between the two, and everything it refuses names the flag, the variable or the line of the
//! file that has to change.

mod args;
mod file;
mod forward;
mod key;
mod listen;
mod resolve;
mod spec;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::model::{Duration, Ttl, ZoneName};
use crate::telemetry::log::{LogFilter, LogFormat};

pub use args::ServeArgs;
pub use forward::{ForwardRule, Upstream};
pub use key::Key;
pub use spec::{Origin, Spec};

/// What a server is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The zone whose names are live.
    pub zone: ZoneName,
    /// The folder of zone files.
    pub zones: Option<PathBuf>,
    /// Where DNS listens; not empty, without duplicates.
    pub dns: Vec<SocketAddr>,
    /// Where HTTP listens; not empty, without duplicates, and on loopback unless `insecure`.
    pub http: Vec<SocketAddr>,
    /// What keeps the registrations.
    pub engine: Engine,
    /// Whether the demonstration's services run.
    pub demo: bool,
    /// Addresses of the NS target; none means those of `dns`.
    pub ns_addresses: Vec<IpAddr>,
    /// Nets whose addresses have names, in reverse zones of their own.
    pub reverse: Vec<IpNet>,
    /// What NSID and `id.server` say; empty to keep it to itself. At most 64 octets.
    pub server_id: String,
    /// What `version.bind` says; empty to keep it to itself. At most 64 octets.
    pub server_version: String,
    /// Nets whose DNS clients learn which instance fails with what.
    pub explain_allow: Vec<IpNet>,
    /// Where names of others are asked; none means that they are refused.
    pub forward: Vec<ForwardRule>,
    /// Nets whose questions are forwarded.
    pub forward_allow: Vec<IpNet>,
    /// Nets that checks may aim at besides their instance's address.
    pub check_allow: Vec<IpNet>,
    /// Files of certificates that https checks trust besides those of the system.
    pub check_ca: Vec<PathBuf>,
    /// Addresses whose silence speaks against this server: at most 16.
    pub canaries: Vec<SocketAddr>,
    /// Lifetime of answers in caches.
    pub ttl: Ttl,
    /// How long the name of a service that has gone is known: 0 s to 168 h.
    pub name_memory: Duration,
    /// How long events are kept: 1 m to 8,760 h.
    pub history_age: Duration,
    /// How many events are kept: 0 to 10,000,000.
    pub history_events: usize,
    /// The largest UDP message in octets: 512 to 4096.
    pub udp_payload: u16,
    /// How many instances a service may have: 1 to 2,000,000.
    pub instances_per_service_max: usize,
    /// Whether HTTP may listen beyond loopback.
    pub insecure: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_filter: LogFilter,
    /// How long a shutdown waits for what is under way: 0 s to 10 m.
    pub grace: std::time::Duration,
}

/// What keeps the registrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Nothing on disk.
    Memory,
    /// A file in this directory.
    Embedded(PathBuf),
}

/// Why a server cannot start with what was written: one sentence that says where and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    place: Option<String>,
    detail: String,
}

impl ConfigError {
    fn at(place: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { place: Some(place.into()), detail: detail.to_string() }
    }

    fn whole(detail: impl fmt::Display) -> Self {
        Self { place: None, detail: detail.to_string() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads flags, environment and file, in this order of precedence.
    ///
    /// # Errors
    /// The first thing that has to change before a server can start.
    pub fn load(args: &ServeArgs, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::resolve(&Spec::load(args, environment)?)
    }

    /// The value of a setting that is in force.
    pub fn value(&self, key: Key) -> Value {
        fn texts<T: fmt::Display>(list: &[T]) -> Value {
            list.iter().map(ToString::to_string).collect()
        }
        match key {
            Key::Zone => json!(self.zone.as_str()),
            Key::Zones => json!(self.zones.as_deref().unwrap_or(Path::new("")).display().to_string()),
            Key::Dns => texts(&self.dns),
            Key::Http => texts(&self.http),
            Key::Data => match &self.engine {
                Engine::Memory => json!(""),
                Engine::Embedded(dir) => json!(dir.display().to_string()),
            },
            Key::Memory => json!(self.engine == Engine::Memory),
            Key::Demo => json!(self.demo),
            Key::NsAddress => texts(&self.ns_addresses),
            Key::Reverse => texts(&self.reverse),
            Key::ServerId => json!(self.server_id),
            Key::ServerVersion => json!(self.server_version),
            Key::ExplainAllow => texts(&self.explain_allow),
            Key::Forward => texts(&self.forward),
            Key::ForwardAllow => texts(&self.forward_allow),
            Key::CheckAllow => texts(&self.check_allow),
            Key::CheckCa => json!(self.check_ca),
            Key::Canary => texts(&self.canaries),
            Key::Ttl => json!(self.ttl.duration()),
            Key::NameMemory => json!(self.name_memory),
            Key::HistoryAge => json!(self.history_age),
            Key::HistoryEvents => json!(self.history_events),
            Key::UdpPayload => json!(self.udp_payload),
            Key::MaxInstancesPerService => json!(self.instances_per_service_max),
            Key::Insecure => json!(self.insecure),
            Key::LogFormat => json!(self.log_format.as_str()),
            Key::Log => json!(self.log_filter.as_str()),
            Key::Grace => json!(Duration::from_millis(u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX))),
        }
    }
}

impl Spec {
    /// Everything that was written, for [`Config::resolve`].
    ///
    /// # Errors
    /// When the file cannot be read or holds what no file may.
    pub fn load(args: &ServeArgs, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut spec = args.spec().over(Self::from_environment(environment));
        spec.state_directory = spec::state_directory(environment, nix::unistd::geteuid().is_root());
        let Some((path, from)) = spec::file_path(args.config.as_ref(), environment) else {
            return Ok(spec);
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::at(from, format_args!("{} cannot be read: {error}", path.display())))?;
        Ok(spec.over(file::parse(&path, &text)?))
    }
}

#[cfg(test)]
mod tests;
