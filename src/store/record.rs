//! The form in which things are kept: one octet with the version of the form, then JSON.
//!
//! JSON because a record is read once a start and written once a change: about a microsecond of each is not what a
//! registry waits for, and what a newer version has added can be kept without being understood. What is as most have it
//! is left out, so a plain instance is some 130 octets. A newer version may add fields at the top of a record, which this
//! one keeps, or write another form, which this one refuses. Each form that has ever been written has a type of its own
//! here, whose fields never change their meaning; a newer form is another type and another octet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check_record::CheckV1;
use crate::model::{
    Addresses, CheckDefaults, Duration, GuardChoice, GuardRule, Health, Instance, InstanceId, InstanceLease, Label,
    LeaseId, Meta, Place, Registration, Revision, ServiceName, ServiceSettings, Share, State, Timestamp, Transport,
    Ttl, WhenAllCritical,
};
use crate::registry::{Remains, Superseded};

/// The key of an instance's record. No name contains a slash.
pub(super) fn instance_key(service: &str, id: &str) -> String {
    [service, id].join("/")
}

/// Fields of a record that this version does not know, and writes back as they came.
pub(super) type Foreign = Map<String, Value>;

/// The octet before the first version of each form.
pub(super) const V1: u8 = b'1';

/// Why a record cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordError {
    /// Its form is newer than this version.
    Future(char),
    /// It says what cannot be.
    Malformed(String),
}

pub(super) fn malformed(reason: impl ToString) -> RecordError {
    RecordError::Malformed(reason.to_string())
}

fn encode<T: Serialize>(form: &T) -> Vec<u8> {
    let mut octets = vec![V1];
    serde_json::to_writer(&mut octets, form).expect("a record has text keys and is written to memory");
    octets
}

fn decode<'a, T: Deserialize<'a>>(octets: &'a [u8]) -> Result<T, RecordError> {
    match octets.split_first() {
        Some((&V1, json)) => serde_json::from_slice(json).map_err(malformed),
        Some((version @ b'2'..=b'9', _)) => Err(RecordError::Future(char::from(*version))),
        _ => Err(malformed("it does not begin with a version")),
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u16 {
    1
}

fn is_one(number: &u16) -> bool {
    *number == 1
}

fn tcp() -> Transport {
    Transport::Tcp
}

fn is_tcp(transport: &Transport) -> bool {
    *transport == Transport::Tcp
}

fn unknown() -> Health {
    Health::Unknown
}

fn is_unknown(health: &Health) -> bool {
    *health == Health::Unknown
}

fn up() -> State {
    State::Up
}

fn is_up(state: &State) -> bool {
    *state == State::Up
}

/// What an instance said of itself where an operator has changed it since.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct AmendedV1 {
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    tags: Vec<Label>,
    #[serde(default, skip_serializing_if = "is_default")]
    meta: BTreeMap<String, String>,
}

/// Metadata as a record has it.
fn pairs(meta: &Meta) -> BTreeMap<String, String> {
    meta.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A list of a registration. Nothing is in memory once for all who have it.
fn list<T>(list: Vec<T>) -> Arc<[T]> {
    if list.is_empty() { Arc::default() } else { list.into() }
}

/// Tags as the registry has them.
fn sorted(mut tags: Vec<Label>) -> Arc<[Label]> {
    tags.sort();
    tags.dedup();
    list(tags)
}

/// An instance; its service and id are the key. Times are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct InstanceV1 {
    addresses: Vec<IpAddr>,
    port: u16,
    #[serde(default = "tcp", skip_serializing_if = "is_tcp")]
    protocol: Transport,
    #[serde(default, skip_serializing_if = "is_default")]
    ports: BTreeMap<Label, u16>,
    #[serde(default, skip_serializing_if = "is_default")]
    priority: u16,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    tags: Vec<Label>,
    #[serde(default, skip_serializing_if = "is_default")]
    meta: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    https: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    checks: Vec<CheckV1>,
    #[serde(default = "unknown", skip_serializing_if = "is_unknown")]
    initial_health: Health,
    #[serde(default, skip_serializing_if = "is_default")]
    evict_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    amended_from: Option<AmendedV1>,
    #[serde(default, skip_serializing_if = "is_default")]
    generation: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    shared_address: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    lease: Option<InstanceLeaseV1>,
    #[serde(default = "up", skip_serializing_if = "is_up")]
    state: State,
    #[serde(default, skip_serializing_if = "is_default")]
    state_until: Option<u64>,
    health_since: u64,
    registered_at: u64,
    revision: u64,
    epoch: u64,
    #[serde(flatten)]
    foreign: Foreign,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct InstanceLeaseV1 {
    id: LeaseId,
    ttl: Duration,
    #[serde(default, skip_serializing_if = "is_default")]
    own: bool,
}

/// The record of an instance.
pub(super) fn write_instance(instance: &Instance, foreign: Option<&Foreign>) -> Vec<u8> {
    let said = &instance.registration;
    encode(&InstanceV1 {
        addresses: said.addresses.iter().collect(),
        port: said.port,
        protocol: said.protocol,
        ports: said.ports.iter().cloned().collect(),
        priority: said.priority,
        weight: said.weight,
        tags: said.tags.to_vec(),
        meta: pairs(&said.meta),
        ttl: said.ttl.map(Ttl::duration),
        https: said.https,
        checks: said.checks.iter().zip(&instance.checks).map(CheckV1::new).collect(),
        initial_health: said.initial_health,
        evict_after: said.evict_after,
        amended_from: instance.amended_from.as_ref().map(|said| AmendedV1 {
            weight: said.weight,
            tags: said.tags.to_vec(),
            meta: pairs(&said.meta),
        }),
        generation: said.generation,
        shared_address: said.shared_address,
        lease: instance.lease.map(|lease| InstanceLeaseV1 { id: lease.id, ttl: lease.ttl, own: lease.own }),
        state: instance.state,
        state_until: instance.state_until.map(Timestamp::as_millis),
        health_since: instance.health_since.as_millis(),
        registered_at: instance.registered_at.as_millis(),
        revision: instance.revision.0,
        epoch: instance.epoch.0,
        foreign: foreign.cloned().unwrap_or_default(),
    })
}

/// The instance of a record, and what of it this version does not know.
pub(super) fn read_instance(
    service: &ServiceName,
    id: InstanceId,
    octets: &[u8],
) -> Result<(Instance, Foreign), RecordError> {
    let form: InstanceV1 = decode(octets)?;
    let (specs, states): (Vec<_>, Vec<_>) = form
        .checks
        .into_iter()
        .map(CheckV1::read)
        .collect::<Result<Vec<_>, _>>()
        .map_err(malformed)?
        .into_iter()
        .unzip();
    if form.port == 0 {
        return Err(malformed("its port is 0"));
    }
    let registration = Registration {
        addresses: Addresses::new(form.addresses).map_err(malformed)?,
        port: form.port,
        protocol: form.protocol,
        ports: list(form.ports.into_iter().collect()),
        priority: form.priority,
        weight: form.weight,
        tags: sorted(form.tags),
        meta: Meta::new(form.meta).map_err(|error| malformed(error.detail))?,
        ttl: form.ttl.map(Ttl::new).transpose().map_err(malformed)?,
        https: form.https,
        checks: list(specs),
        initial_health: form.initial_health,
        evict_after: form.evict_after,
        generation: form.generation,
        shared_address: form.shared_address,
    };
    let amended_from = form
        .amended_from
        .map(|said| {
            let meta = Meta::new(said.meta).map_err(|error| malformed(error.detail))?;
            let tags = sorted(said.tags);
            Ok(Arc::new(Registration { weight: said.weight, tags, meta, ..registration.clone() }))
        })
        .transpose()?;
    let instance = Instance {
        service: service.clone(),
        id,
        registration,
        amended_from,
        lease: form.lease.map(|lease| InstanceLease { id: lease.id, ttl: lease.ttl, own: lease.own }),
        state: form.state,
        state_until: form.state_until.map(Timestamp::from_millis),
        checks: states.into(),
        health_since: Timestamp::from_millis(form.health_since),
        registered_at: Timestamp::from_millis(form.registered_at),
        revision: Revision(form.revision),
        epoch: Revision(form.epoch),
    };
    Ok((instance, form.foreign))
}

/// A lease; its id is the key. Its deadline is not kept: after a start it has a full term.
#[derive(Debug, Serialize, Deserialize)]
struct LeaseV1 {
    ttl: Duration,
    #[serde(flatten)]
    foreign: Foreign,
}

/// The record of a lease.
pub(super) fn write_lease(ttl: Duration, foreign: Option<&Foreign>) -> Vec<u8> {
    encode(&LeaseV1 { ttl, foreign: foreign.cloned().unwrap_or_default() })
}

/// The length of a lease of a record, and what of it this version does not know.
pub(super) fn read_lease(octets: &[u8]) -> Result<(Duration, Foreign), RecordError> {
    let form: LeaseV1 = decode(octets)?;
    Ok((form.ttl, form.foreign))
}

/// What is known of a service besides its instances; its name is the key.
#[derive(Debug, Serialize, Deserialize)]
struct ServiceV1 {
    #[serde(default, skip_serializing_if = "is_default")]
    left_tcp: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    left_udp: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    lapsed: Vec<InstanceId>,
    #[serde(default, skip_serializing_if = "is_default")]
    superseded: Vec<SupersededV1>,
    #[serde(default, skip_serializing_if = "is_default")]
    settings: Option<SettingsV1>,
    #[serde(flatten)]
    foreign: Foreign,
}

/// An instance whose place another has taken.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SupersededV1 {
    id: InstanceId,
    addresses: Vec<IpAddr>,
    port: u16,
    #[serde(default = "tcp", skip_serializing_if = "is_tcp")]
    protocol: Transport,
    #[serde(default, skip_serializing_if = "is_default")]
    generation: Option<u64>,
}

impl SupersededV1 {
    fn new(Superseded { id, place, generation }: &Superseded) -> Self {
        let Place { addresses, port, protocol } = place;
        let addresses = addresses.iter().collect();
        Self { id: id.clone(), addresses, port: *port, protocol: *protocol, generation: *generation }
    }

    fn read(self) -> Result<Superseded, RecordError> {
        let Self { id, addresses, port, protocol, generation } = self;
        let addresses = Addresses::new(addresses).map_err(malformed)?;
        Ok(Superseded { id, place: Place { addresses, port, protocol }, generation })
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SettingsV1 {
    #[serde(default, skip_serializing_if = "is_default")]
    ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    guard: Option<GuardV1>,
    #[serde(default, skip_serializing_if = "is_default")]
    all_when_critical: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    fallback: Option<ServiceName>,
    #[serde(default, skip_serializing_if = "is_default")]
    check_defaults: CheckDefaultsV1,
}

/// How checks of a service are made that do not say so themselves.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct CheckDefaultsV1 {
    #[serde(default, skip_serializing_if = "is_default")]
    interval: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    fast_interval: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    rise: Option<u8>,
    #[serde(default, skip_serializing_if = "is_default")]
    fall: Option<u8>,
}

/// Whether a service is guarded, and by which rule.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GuardV1 {
    Off,
    On { ratio: f64, min: u16, window: Duration, max: Duration },
}

impl SettingsV1 {
    fn new(settings: &ServiceSettings) -> Self {
        let ServiceSettings { ttl, check_defaults, guard, when_all_critical, fallback } = settings;
        let CheckDefaults { interval, fast_interval, timeout, rise, fall } = *check_defaults;
        let check_defaults = CheckDefaultsV1 { interval, fast_interval, timeout, rise, fall };
        let guard = guard.map(|choice| match choice {
            GuardChoice::Off => GuardV1::Off,
            GuardChoice::On(GuardRule { ratio, min, window, max }) => {
                GuardV1::On { ratio: ratio.fraction(), min, window, max }
            }
        });
        let all_when_critical = *when_all_critical == WhenAllCritical::All;
        Self { ttl: ttl.map(Ttl::duration), guard, all_when_critical, fallback: fallback.clone(), check_defaults }
    }

    fn read(self) -> Result<ServiceSettings, RecordError> {
        let Self { ttl, guard, all_when_critical, fallback, check_defaults } = self;
        let CheckDefaultsV1 { interval, fast_interval, timeout, rise, fall } = check_defaults;
        let check_defaults = CheckDefaults { interval, fast_interval, timeout, rise, fall };
        if !check_defaults.is_possible() {
            return Err(malformed("its check defaults have a value that none may have"));
        }
        let guard = match guard {
            None => None,
            Some(GuardV1::Off) => Some(GuardChoice::Off),
            Some(GuardV1::On { ratio, min, window, max }) => {
                let ratio = Share::new(ratio).map_err(malformed)?;
                Some(GuardChoice::On(GuardRule { ratio, min, window, max }))
            }
        };
        let when_all_critical = if all_when_critical { WhenAllCritical::All } else { WhenAllCritical::None };
        let ttl = ttl.map(Ttl::new).transpose().map_err(malformed)?;
        Ok(ServiceSettings { ttl, check_defaults, guard, when_all_critical, fallback })
    }
}

/// The record of a service.
pub(super) fn write_service(remains: &Remains, foreign: Option<&Foreign>) -> Vec<u8> {
    let left = |transport: Transport| remains.left[transport as usize].map(Timestamp::as_millis);
    encode(&ServiceV1 {
        left_tcp: left(Transport::Tcp),
        left_udp: left(Transport::Udp),
        lapsed: remains.lapsed.clone(),
        superseded: remains.superseded.iter().map(SupersededV1::new).collect(),
        settings: remains.settings.as_deref().map(SettingsV1::new),
        foreign: foreign.cloned().unwrap_or_default(),
    })
}

/// What a record says of a service, and what of it this version does not know.
pub(super) fn read_service(octets: &[u8]) -> Result<(Remains, Foreign), RecordError> {
    let form: ServiceV1 = decode(octets)?;
    let settings = form.settings.map(|settings| settings.read().map(Arc::new));
    let left = [form.left_tcp, form.left_udp].map(|left| left.map(Timestamp::from_millis));
    let superseded = form.superseded.into_iter().map(SupersededV1::read).collect::<Result<_, _>>()?;
    Ok((Remains { left, lapsed: form.lapsed, superseded, settings: settings.transpose()? }, form.foreign))
}
