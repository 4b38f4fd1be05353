//! The one way from what was written to what it means.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::key::Key;
use super::spec::Spec;
use super::{Config, ConfigError, Engine, forward, listen};
use crate::model::{Duration, Ttl, ZoneName};

const DNS_PORT: u16 = 8600;
const HTTP_PORT: u16 = 8500;
/// Each is asked once a second.
const CANARIES_MAX: usize = 16;
/// A year.
const HISTORY_AGE_MAX: Duration = Duration::from_secs(8760 * 3600);
const HISTORY_EVENTS_MAX: usize = 10_000_000;

impl Config {
    /// What was written, understood.
    ///
    /// # Errors
    /// The first value that cannot be, or the first rule that the values break together.
    pub fn resolve(spec: &Spec) -> Result<Self, ConfigError> {
        let demo = spec.switch(Key::Demo)?;
        // Implied rather than contradicted: a file that says `memory = false` is no reason to refuse a demonstration.
        let memory = spec.switch(Key::Memory)? || demo;
        let config = Self {
            zone: spec.one(Key::Zone, str::parse::<ZoneName>)?,
            zones: spec.one(Key::Zones, folder)?,
            dns: listeners(spec, Key::Dns, DNS_PORT)?,
            http: listeners(spec, Key::Http, HTTP_PORT)?,
            engine: if memory { Engine::Memory } else { Engine::Embedded(directory(spec)?) },
            demo,
            ns_addresses: spec.list(Key::NsAddress, ns_address)?,
            reverse: spec.list(Key::Reverse, net)?,
            server_id: spec.one(Key::ServerId, server_text)?,
            server_version: spec.one(Key::ServerVersion, server_text)?,
            explain_allow: spec.list(Key::ExplainAllow, net)?,
            forward: spec.list(Key::Forward, forward::parse)?,
            forward_allow: spec.list(Key::ForwardAllow, net)?,
            check_allow: spec.list(Key::CheckAllow, net)?,
            check_ca: spec.list(Key::CheckCa, file)?,
            canaries: canaries(spec)?,
            ttl: spec.one(Key::Ttl, |text| Ttl::new(duration(text)?).map_err(str::to_owned))?,
            name_memory: spec.one(Key::NameMemory, |text| within(duration(text)?, Duration::from_secs(168 * 3600)))?,
            history_age: spec.one(Key::HistoryAge, history_age)?,
            history_events: spec.one(Key::HistoryEvents, |text| number(text, 0, HISTORY_EVENTS_MAX))?,
            udp_payload: spec.one(Key::UdpPayload, |text| number(text, 512, 4096))?,
            instances_per_service_max: spec.one(Key::MaxInstancesPerService, |text| number(text, 1, 2_000_000))?,
            insecure: spec.switch(Key::Insecure)?,
            log_format: spec.one(Key::LogFormat, str::parse)?,
            log_filter: spec.one(Key::Log, str::parse)?,
            grace: spec.one(Key::Grace, |text| within(duration(text)?, Duration::from_secs(600)))?.std(),
        };
        config.check_ports(spec)?;
        config.check_exposure(spec)?;
        config.check_forward(spec)?;
        Ok(config)
    }

    /// DNS answers on TCP too, so HTTP cannot have the same port.
    fn check_ports(&self, spec: &Spec) -> Result<(), ConfigError> {
        match self.http.iter().find(|address| address.port() != 0 && self.dns.contains(address)) {
            None => Ok(()),
            Some(address) => {
                let detail =
                    format_args!("{address} is also an address of DNS, which needs its TCP port: choose another");
                Err(spec.get(Key::Http).error(detail))
            }
        }
    }

    /// Names of our own zone are never forwarded, so a rule for some of them would never be followed.
    fn check_forward(&self, spec: &Spec) -> Result<(), ConfigError> {
        let own = |domain: &&ZoneName| {
            let rest = domain.as_str().strip_suffix(self.zone.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        match self.forward.iter().filter_map(|rule| rule.domain.as_ref()).find(own) {
            None => Ok(()),
            Some(domain) => Err(spec.get(Key::Forward).error(format_args!(
                "names of {} are answered here and never forwarded: take the rule for {} away",
                self.zone.as_str(),
                domain.as_str()
            ))),
        }
    }

    fn check_exposure(&self, spec: &Spec) -> Result<(), ConfigError> {
        let exposed = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        match self.http.iter().find(exposed) {
            Some(address) if !self.insecure => Err(spec.get(Key::Http).error(format_args!(
                "anyone who reaches {address} could change what DNS answers: listen on 127.0.0.1, or add --insecure if \
                 that is meant"
            ))),
            _ => Ok(()),
        }
    }
}

/// The directory that keeps the registry.
fn directory(spec: &Spec) -> Result<PathBuf, ConfigError> {
    let written = spec.one(Key::Data, |text| Ok::<_, ConfigError>(PathBuf::from(text)))?;
    let state = || spec.state_directory.clone();
    let named = Some(written).filter(|path| !path.as_os_str().is_empty()).or_else(state);
    named.ok_or_else(|| {
        ConfigError::whole(
            "there is no home directory to keep the registry in: name a directory with --data, or add --memory to keep \
             nothing on disk",
        )
    })
}

fn listeners(spec: &Spec, key: Key, default_port: u16) -> Result<Vec<SocketAddr>, ConfigError> {
    let addresses = spec.list(key, |text| listen::parse(text, default_port))?;
    if addresses.is_empty() { Err(spec.get(key).error("at least one address is needed")) } else { Ok(addresses) }
}

fn canaries(spec: &Spec) -> Result<Vec<SocketAddr>, ConfigError> {
    let canary = |text: &str| match text.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_unspecified() && address.port() != 0 => Ok(vec![address]),
        _ => Err("a canary is an IP address and a TCP port, like 10.0.0.1:22"),
    };
    let canaries = spec.list(Key::Canary, canary)?;
    match canaries.len() {
        0..=CANARIES_MAX => Ok(canaries),
        _ => Err(spec.get(Key::Canary).error("at most 16 canaries")),
    }
}

fn folder(text: &str) -> Result<Option<PathBuf>, &'static str> {
    match text {
        "" => Ok(None),
        path if Path::new(path).is_dir() => Ok(Some(path.into())),
        _ => Err("there is no such folder"),
    }
}

fn file(text: &str) -> Result<Vec<PathBuf>, &'static str> {
    if Path::new(text).is_file() { Ok(vec![text.into()]) } else { Err("there is no such file") }
}

fn ns_address(text: &str) -> Result<Vec<IpAddr>, &'static str> {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(vec![address]),
        _ => Err("an address of the name server is an IP address that others can reach"),
    }
}

fn net(text: &str) -> Result<Vec<IpNet>, &'static str> {
    let net = text.parse::<IpNet>().map(|net| net.trunc()).or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| vec![net]).map_err(|_| "a net is an IP address with or without a prefix length, like 10.0.0.0/8")
}

/// What the server says of itself, in one character-string of a TXT record.
fn server_text(text: &str) -> Result<String, &'static str> {
    let fits = text.len() <= 64 && text.bytes().all(|b| (0x20..=0x7e).contains(&b));
    if fits { Ok(text.to_owned()) } else { Err("at most 64 printable ASCII characters") }
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<Duration>().map_err(|error| error.to_string())
}

fn within(duration: Duration, max: Duration) -> Result<Duration, String> {
    if duration <= max { Ok(duration) } else { Err(format!("at most {max}")) }
}

fn history_age(text: &str) -> Result<Duration, String> {
    let range = Duration::from_secs(60)..=HISTORY_AGE_MAX;
    Some(duration(text)?)
        .filter(|age| range.contains(age))
        .ok_or_else(|| format!("{} to {}", range.start(), range.end()))
}

fn number<T>(text: &str, min: T, max: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    match text.parse::<T>() {
        Ok(number) if (&min..=&max).contains(&&number) => Ok(number),
        _ => Err(format!("a whole number from {min} to {max}")),
    }
}
