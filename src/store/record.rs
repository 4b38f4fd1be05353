//! The form in which things are kept: one octet with the version of the form, then JSON.
//!
//! JSON because a record is read once a start and written once a change: about a microsecond of each is not what a
//! registry waits for, and what a newer version has added can be kept without being understood. What is as most have it
//! is left out, so a plain instance is some 130 octets. A newer version may add fields at the top of a record, which this
//! one keeps, or write another form, which this one refuses. Each form that has ever been written has a type of its own
//! here, whose fields never change their meaning; a newer form is another type and another octet.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{
    Addresses, CheckKind, CheckSpec, CheckState, Duration, Health, HttpCheck, HttpMethod, Instance, InstanceId,
    InstanceLease, Label, LeaseId, Meta, Registration, RequestHeaders, Revision, ServiceName, State, Timestamp,
    Transport, Ttl, Unsaid,
};

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

pub(super) fn encode<T: Serialize>(form: &T) -> Vec<u8> {
    let mut octets = vec![V1];
    serde_json::to_writer(&mut octets, form).expect("a record has text keys and is written to memory");
    octets
}

pub(super) fn decode<'a, T: Deserialize<'a>>(octets: &'a [u8]) -> Result<T, RecordError> {
    match octets.split_first() {
        Some((&V1, json)) => serde_json::from_slice(json).map_err(malformed),
        Some((version @ b'2'..=b'9', _)) => Err(RecordError::Future(char::from(*version))),
        _ => Err(malformed("it does not begin with a version")),
    }
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u16 {
    1
}

fn is_one(number: &u16) -> bool {
    *number == 1
}

pub(super) fn tcp() -> Transport {
    Transport::Tcp
}

pub(super) fn is_tcp(transport: &Transport) -> bool {
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

/// A check and the standing opinion of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct CheckV1 {
    name: Label,
    kind: CheckKindV1,
    interval: Duration,
    /// Left out where it is what goes with the interval.
    #[serde(default, skip_serializing_if = "is_default")]
    fast_interval: Option<Duration>,
    timeout: Duration,
    rise: u8,
    fall: u8,
    /// Those of these numbers that the registration says though they are the usual ones. What it does not say is usual.
    #[serde(default, skip_serializing_if = "is_default")]
    said: Vec<NumberV1>,
    #[serde(default, skip_serializing_if = "is_default")]
    port: Option<u16>,
    health: Health,
    since: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    last_error: Option<Arc<str>>,
}

/// A number of a check.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NumberV1 {
    Interval,
    FastInterval,
    Timeout,
    Rise,
    Fall,
}

/// Which numbers of a check are what they usually are, where it is probed or not: 5 s, a tenth of the interval, 1 s, 1, and
/// 3 or 1.
fn usual_numbers(check: &CheckV1) -> [(NumberV1, bool); 5] {
    let usual_fall = if check.kind == CheckKindV1::Ttl { 1 } else { 3 };
    [
        (NumberV1::Interval, check.interval == Duration::from_secs(5)),
        (NumberV1::FastInterval, check.fast_interval.is_none()),
        (NumberV1::Timeout, check.timeout == Duration::from_secs(1)),
        (NumberV1::Rise, check.rise == 1),
        (NumberV1::Fall, check.fall == usual_fall),
    ]
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CheckKindV1 {
    Tcp,
    Http {
        path: String,
        #[serde(default, skip_serializing_if = "is_default")]
        target: Option<SocketAddr>,
        #[serde(default, skip_serializing_if = "is_default")]
        head: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        headers: Vec<(String, String)>,
        expect_status: String,
        #[serde(default, skip_serializing_if = "is_default")]
        expect_body: Option<String>,
    },
    Ttl,
}

impl CheckV1 {
    fn new((spec, state): (&CheckSpec, &CheckState)) -> Self {
        let CheckSpec { name, kind, interval, fast_interval, timeout, rise, fall, unsaid, port } = spec.clone();
        let fast_interval = Some(fast_interval).filter(|fast| *fast != CheckSpec::usual_fast_interval(interval));
        let kind = match kind {
            CheckKind::Tcp => CheckKindV1::Tcp,
            CheckKind::Http(http) => CheckKindV1::Http {
                path: http.path.to_string(),
                target: http.target,
                head: http.method == HttpMethod::Head,
                headers: http.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                expect_status: http.expect_status.to_string(),
                expect_body: http.expect_body,
            },
            CheckKind::Ttl => CheckKindV1::Ttl,
        };
        let CheckState { health, since, last_error } = state.clone();
        let since = since.as_millis();
        let said = Vec::new();
        let mut check =
            Self { name, kind, interval, fast_interval, timeout, rise, fall, said, port, health, since, last_error };
        let unsaid = [unsaid.interval, unsaid.fast_interval, unsaid.timeout, unsaid.rise, unsaid.fall];
        let said = usual_numbers(&check).into_iter().zip(unsaid);
        check.said = said.filter(|((_, usual), unsaid)| *usual && !unsaid).map(|((number, _), _)| number).collect();
        check
    }

    fn read(self) -> Result<(CheckSpec, CheckState), RecordError> {
        let unsaid = usual_numbers(&self).map(|(number, is_usual)| is_usual && !self.said.contains(&number));
        let [of_interval, of_fast_interval, of_timeout, of_rise, of_fall] = unsaid;
        let unsaid = Unsaid {
            interval: of_interval,
            fast_interval: of_fast_interval,
            timeout: of_timeout,
            rise: of_rise,
            fall: of_fall,
        };
        let Self { name, kind, interval, fast_interval, timeout, rise, fall, port, health, since, last_error, .. } =
            self;
        let fast_interval = fast_interval.unwrap_or_else(|| CheckSpec::usual_fast_interval(interval));
        let kind = match kind {
            CheckKindV1::Tcp => CheckKind::Tcp,
            CheckKindV1::Http { path, target, head, headers, expect_status, expect_body } => {
                CheckKind::Http(Box::new(HttpCheck {
                    path: path.parse().map_err(malformed)?,
                    target,
                    method: if head { HttpMethod::Head } else { HttpMethod::Get },
                    headers: RequestHeaders::new(headers).map_err(|error| malformed(error.detail))?,
                    expect_status: expect_status.parse().map_err(malformed)?,
                    expect_body,
                }))
            }
            CheckKindV1::Ttl => CheckKind::Ttl,
        };
        let state = CheckState { health, since: Timestamp::from_millis(since), last_error };
        Ok((CheckSpec { name, kind, interval, fast_interval, timeout, rise, fall, unsaid, port }, state))
    }
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
    let (specs, states): (Vec<_>, Vec<_>) =
        form.checks.into_iter().map(CheckV1::read).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
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
