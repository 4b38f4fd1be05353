//! What is asked of instances: a kind of record, and which instances.

use hickory_proto::rr::RecordType;

use crate::model::{Instance, Transport};

/// A type of record that live names have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Aaaa,
    Srv,
    Txt,
    Ptr,
    Https,
}

impl Kind {
    pub(super) fn of(record_type: RecordType) -> Option<Self> {
        match record_type {
            RecordType::A => Some(Self::A),
            RecordType::AAAA => Some(Self::Aaaa),
            RecordType::SRV => Some(Self::Srv),
            RecordType::TXT => Some(Self::Txt),
            RecordType::PTR => Some(Self::Ptr),
            RecordType::HTTPS => Some(Self::Https),
            _ => None,
        }
    }

    /// Whether an instance has a record of this kind at a name that may have such records.
    pub(super) fn is_of(self, instance: &Instance) -> bool {
        let registration = &instance.registration;
        match self {
            Self::A => registration.addresses.v4().is_some(),
            Self::Aaaa => registration.addresses.v6().is_some(),
            Self::Srv | Self::Ptr => true,
            Self::Txt => !registration.meta.is_empty(),
            Self::Https => registration.https,
        }
    }
}

/// Which instances of a service a name selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pick {
    /// All: `web`.
    All,
    /// Those of a transport, by RFC 2782: `_web._tcp`.
    Transport(Transport),
    /// Those with a named port: `_metrics._tcp.web`.
    Port(Transport, Box<str>),
    /// Those with a tag: `primary.web`.
    Tag(Box<str>),
    /// Any one: `one.web`.
    One,
}

impl Pick {
    /// Whether an instance is selected, if it is answered.
    pub(super) fn takes(&self, instance: &Instance) -> bool {
        let registration = &instance.registration;
        match self {
            Self::All | Self::One => true,
            Self::Transport(transport) => registration.protocol == *transport,
            Self::Port(transport, port) => {
                registration.protocol == *transport && registration.named_port(port).is_some()
            }
            Self::Tag(tag) => registration.has_tag(tag),
        }
    }

    /// The port that its SRV record has.
    pub(super) fn port(&self, instance: &Instance) -> u16 {
        let registration = &instance.registration;
        match self {
            Self::Port(_, port) => registration.named_port(port).unwrap_or(registration.port),
            _ => registration.port,
        }
    }
}

/// The kinds of records at a name that selects instances.
pub(super) fn kinds_of(pick: &Pick) -> &'static [Kind] {
    match pick {
        Pick::All => &[Kind::Srv, Kind::A, Kind::Aaaa, Kind::Txt, Kind::Https],
        Pick::Transport(_) => &[Kind::Srv, Kind::Ptr],
        Pick::Port(..) => &[Kind::Srv],
        Pick::Tag(_) | Pick::One => &[Kind::Srv, Kind::A, Kind::Aaaa],
    }
}
