//! What the API answers, as a program wants it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{Client, ClientError};
use crate::model;

impl Client {
    /// Reads an answer; one that lacks what every server says is none of this API.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, ClientError> {
        serde_json::from_value(value)
            .map_err(|error| self.protocol_error(format!("an answer of another shape: {error}")))
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| humantime::parse_rfc3339(&text).map_err(D::Error::custom)).transpose()
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    model::Duration::deserialize(deserializer).map(model::Duration::std)
}

/// The right to stay listed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// What it is called.
    pub id: String,
    /// How long it lasts after a renewal.
    #[serde(deserialize_with = "span")]
    pub ttl: Duration,
    /// When it ends unless it is renewed, by the server's clock.
    #[serde(default, deserialize_with = "time")]
    pub expires_at: Option<SystemTime>,
}

/// A service and how many there are of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Service {
    /// What it is called: `web`, `api.payments`.
    pub name: String,
    /// Instances that are registered.
    pub instances: u64,
    /// Instances that DNS answers with.
    pub answered: u64,
}

/// One running copy of a service, as the server knows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// The service.
    pub service: String,
    /// Its name within the service.
    pub id: String,
    /// Its name in DNS, with the final dot.
    #[serde(default)]
    pub dns_name: String,
    /// Where it listens, at most one of each family.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    #[serde(default)]
    pub protocol: String,
    /// Further ports by name.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    /// SRV priority: the lowest is asked first.
    #[serde(default)]
    pub priority: u16,
    /// SRV weight among equal priorities.
    #[serde(default)]
    pub weight: u16,
    /// Labels that select it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Metadata.
    #[serde(default)]
    pub meta: BTreeMap<String, String>,
    /// The number of its start.
    #[serde(default)]
    pub generation: Option<u64>,
    /// What an operator wants: `up`, `draining` or `maintenance`.
    #[serde(default)]
    pub state: String,
    /// What its checks say: `passing`, `critical` or `unknown`.
    #[serde(default)]
    pub health: String,
    /// Whether DNS answers with it.
    #[serde(default)]
    pub answered: bool,
    /// Why DNS does not.
    #[serde(default)]
    pub withheld_because: Option<String>,
    /// Its lease, if it is on one.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// Its own last change.
    #[serde(default)]
    pub revision: u64,
    /// When a drain of it has reached every cache, by the server's clock; only where one was asked for.
    #[serde(default, deserialize_with = "time")]
    pub safe_to_stop_at: Option<SystemTime>,
    /// Everything else that the server says of it: `checks`, `registered_at`, …
    #[serde(flatten)]
    pub further: Map<String, Value>,
}

/// What happened to an instance. Servers of later versions may know more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Registered,
    /// It registered again, as something else.
    Replaced,
    /// State, weight, tags or metadata were changed.
    Amended,
    /// Its checks turned.
    Health,
    /// A drain or maintenance is over.
    Lifted,
    /// It left on purpose.
    Deregistered,
    /// Its lease lapsed.
    Expired,
    /// Its lease was revoked.
    Revoked,
    /// A newer one took its address and port.
    Superseded,
    /// It was critical for longer than it asked for.
    Evicted,
    /// Something else, as the server calls it.
    Other(String),
}

impl From<String> for ChangeKind {
    fn from(text: String) -> Self {
        match text.as_str() {
            "registered" => Self::Registered,
            "replaced" => Self::Replaced,
            "amended" => Self::Amended,
            "health" => Self::Health,
            "lifted" => Self::Lifted,
            "deregistered" => Self::Deregistered,
            "expired" => Self::Expired,
            "revoked" => Self::Revoked,
            "superseded" => Self::Superseded,
            "evicted" => Self::Evicted,
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registered => "registered",
            Self::Replaced => "replaced",
            Self::Amended => "amended",
            Self::Health => "health",
            Self::Lifted => "lifted",
            Self::Deregistered => "deregistered",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::Evicted => "evicted",
            Self::Other(text) => text,
        })
    }
}

/// A change of one instance.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To one of this service.
    pub service: String,
    /// To this instance.
    pub id: String,
    /// What it is now; none when it is gone.
    pub instance: Option<Instance>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_instance_is_read_with_what_later_servers_say() {
        let client = Client::new(["here:1"], None).unwrap();
        let instance: Instance = client.read(json!({
            "service": "web", "id": "w1", "addresses": ["10.0.0.7"], "port": 80, "generation": null, "answered": true,
            "lease": {"id": "ab", "ttl": "1m30s", "expires_at": "2026-01-01T00:00:00.250Z"}, "later": [1],
        }))
        .unwrap();
        let lease = instance.lease.unwrap();
        assert_eq!(lease.ttl, Duration::from_secs(90));
        assert_eq!(lease.expires_at, Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_250)));
        assert_eq!((instance.answered, &instance.further["later"]), (true, &json!([1])));
        let error = client.read::<Instance>(json!({"service": "web"})).unwrap_err().to_string();
        let expected =
            "what answered at here:1 does not speak Rollcall's API: an answer of another shape: missing field `id`";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn kinds_of_changes_are_read_and_written_alike() {
        for kind in
            "registered replaced amended health lifted deregistered expired revoked superseded evicted later".split(' ')
        {
            let read: ChangeKind = serde_json::from_value(json!(kind)).unwrap();
            assert_eq!(read.to_string(), kind);
            assert_eq!(matches!(read, ChangeKind::Other(_)), kind == "later");
        }
    }
}
