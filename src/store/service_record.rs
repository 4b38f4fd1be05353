//! The form in which a service is kept: what is known of it besides its instances.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::{Foreign, RecordError, decode, encode, is_default, is_tcp, malformed, tcp};
use crate::model::{
    Addresses, CheckDefaults, Duration, GuardChoice, GuardRule, InstanceId, Place, ServiceName, ServiceSettings, Share,
    Timestamp, Transport, Ttl, WhenAllCritical,
};
use crate::registry::{End, Lingering, Remains, Superseded, Whose};

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
    lingering: Vec<LingeringV1>,
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

/// When the last cache lets go of answers of before: with all of a service when it says no more.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LingeringV1 {
    until: u64,
    span: Duration,
    /// With instances that ask for no lifetime of their own.
    #[serde(default, skip_serializing_if = "is_default")]
    unasking: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    instance: Option<SupersededV1>,
}

impl LingeringV1 {
    fn new((whose, end): &(Whose, End)) -> Self {
        let instance = match whose {
            Whose::Instance(id, place) => {
                let (id, place) = (id.clone(), *place);
                Some(SupersededV1::new(&Superseded { id, place, generation: None }))
            }
            Whose::All | Whose::Unasking => None,
        };
        let (until, span) = (end.until.as_millis(), end.span.duration());
        Self { until, span, unasking: *whose == Whose::Unasking, instance }
    }

    fn read(self) -> Result<(Whose, End), RecordError> {
        let Self { until, span, unasking, instance } = self;
        let whose = match instance.map(SupersededV1::read).transpose()? {
            Some(Superseded { id, place, .. }) => Whose::Instance(id, place),
            None if unasking => Whose::Unasking,
            None => Whose::All,
        };
        let span = Ttl::new(span).map_err(malformed)?;
        Ok((whose, End { until: Timestamp::from_millis(until), span }))
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
pub(super) fn write(remains: &Remains, foreign: Option<&Foreign>) -> Vec<u8> {
    let left = |transport: Transport| remains.left[transport as usize].map(Timestamp::as_millis);
    encode(&ServiceV1 {
        left_tcp: left(Transport::Tcp),
        left_udp: left(Transport::Udp),
        lapsed: remains.lapsed.clone(),
        superseded: remains.superseded.iter().map(SupersededV1::new).collect(),
        lingering: remains.lingering.iter().flat_map(|l| l.ends()).map(LingeringV1::new).collect(),
        settings: remains.settings.as_deref().map(SettingsV1::new),
        foreign: foreign.cloned().unwrap_or_default(),
    })
}

/// What a record says of a service, and what of it this version does not know.
pub(super) fn read(octets: &[u8]) -> Result<(Remains, Foreign), RecordError> {
    let form: ServiceV1 = decode(octets)?;
    let settings = form.settings.map(|settings| settings.read().map(Arc::new)).transpose()?;
    let left = [form.left_tcp, form.left_udp].map(|left| left.map(Timestamp::from_millis));
    let superseded = form.superseded.into_iter().map(SupersededV1::read).collect::<Result<_, _>>()?;
    let ends: Vec<_> = form.lingering.into_iter().map(LingeringV1::read).collect::<Result<_, _>>()?;
    let lingering = Some(ends).filter(|ends| !ends.is_empty()).map(Lingering::new).transpose().map_err(malformed)?;
    let lingering = lingering.map(Arc::new);
    Ok((Remains { left, lapsed: form.lapsed, superseded, lingering, settings }, form.foreign))
}
