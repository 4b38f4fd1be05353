//! The one place where it is decided what a question gets.
//!
//! A [`Decision`] knows what the name means and what is said of it, but holds no records yet: the records (`fill`), the
//! extended error and the explanation (`explain`) are all made from it, so that they cannot disagree.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use ipnet::IpNet;

use super::Zone;
use super::fill::wire_octets;
use super::name::WireName;
use super::owner::{Owner, Pick};
use super::reverse::Reversed;
use super::service::ServiceAnswers;
use super::statics::{Alias, decide::say_static};
use crate::model::Instance;

/// How much a reply may tell its client about why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing: it has no EDNS.
    None,
    /// Counts.
    Counts,
    /// Which instance fails with what.
    Instances,
}

impl Detail {
    /// What a client that has EDNS may learn: which instance fails with what, if it is in one of the nets.
    pub fn of(client: IpAddr, nets: &[IpNet]) -> Self {
        let client = client.to_canonical();
        if nets.iter().any(|net| net.contains(&client)) { Self::Instances } else { Self::Counts }
    }
}

/// A question within the class IN.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name as it was asked, in its own case.
    pub name: &'a Name,
    /// The type.
    pub record_type: RecordType,
    /// Who asks: picks the subset when not everything fits.
    pub client: IpAddr,
    /// How much the client may learn.
    pub detail: Detail,
    /// Octets there are for records and options.
    pub room: usize,
    /// Whether the room is a whole TCP message, so that asking again brings no more.
    pub last_resort: bool,
    /// Where rotating answers start; any number that differs from one question to the next.
    pub turn: usize,
}

impl Question<'_> {
    /// The room in a message of so many octets beside header, question and OPT record.
    pub fn room_in(message_octets: u16, name: &Name) -> usize {
        const HEADER_OCTETS: usize = 12;
        const TYPE_AND_CLASS_OCTETS: usize = 4;
        const OPT_OCTETS: usize = 11;
        let taken = HEADER_OCTETS + wire_octets(name) + TYPE_AND_CLASS_OCTETS + OPT_OCTETS;
        usize::from(message_octets).saturating_sub(taken)
    }
}

/// Why an answer is what it is (RFC 8914).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT, at most 200 octets.
    pub text: String,
}

/// What a question gets, made to fit its room.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The response code.
    pub rcode: ResponseCode,
    /// Whether the zone speaks for the name.
    pub authoritative: bool,
    /// Whether the answer section would need more room.
    pub truncated: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// The additional section, without the OPT.
    pub additionals: Vec<Record>,
    /// Why, when the client may know and there is room for it.
    pub extended_error: Option<ExtendedError>,
}

impl Answer {
    /// An answer without records and without authority.
    pub fn empty(rcode: ResponseCode) -> Self {
        Self {
            rcode,
            authoritative: false,
            truncated: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            extended_error: None,
        }
    }
}

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

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Not ours.
    Refused,
    /// The state is not loaded.
    NotLoaded,
    /// Records of the zone itself.
    OfZone(RecordType),
    /// Records that a zone file has.
    OfFile(RecordType),
    /// Another name to look at.
    Alias,
    /// Aliases alone: they lead out of our zones, or nowhere, and then why.
    Unfollowed(Option<&'static str>),
    /// Who to ask instead.
    Referred,
    /// The service types of a group.
    ServiceTypes,
    /// The names of an address.
    Pointers,
    /// Records of instances; at least one.
    OfInstances(Kind),
    /// The name exists and has no record of the type.
    NoData,
    /// It would have records if an instance were well.
    Waiting,
    /// The name does not exist.
    Absent,
}

/// What a question gets, before it is made to fit.
#[derive(Debug, Clone)]
pub struct Decision {
    pub(super) owner: Owner,
    pub(super) said: Said,
    /// How the question's name led to the owner; often not at all.
    pub(super) aliases: Vec<Alias>,
}

impl Zone {
    /// Decides a question.
    pub fn decide(&self, name: &Name, record_type: RecordType) -> Decision {
        self.follow_aliases(name, record_type, self.decide_one(name, record_type))
    }

    /// Decides a question whose name may turn out to be an alias.
    pub(super) fn decide_one(&self, name: &Name, record_type: RecordType) -> Decision {
        let wire = WireName::lower(name);
        let owner = self.static_owner(&wire, record_type).unwrap_or_else(|| self.owner(&wire));
        let said = match owner {
            Owner::Outside => Said::Refused,
            Owner::Static(..) => self.say(&owner, record_type),
            _ if !self.is_loaded() => Said::NotLoaded,
            _ => self.say(&owner, record_type),
        };
        Decision { owner, said, aliases: Vec::new() }
    }

    fn say(&self, owner: &Owner, record_type: RecordType) -> Said {
        let any = record_type == RecordType::ANY;
        match owner {
            Owner::Outside => Said::Refused,
            Owner::Absent => Said::Absent,
            Owner::Empty => Said::NoData,
            Owner::Reverse(_, found) => match (found, record_type) {
                (Reversed::Apex, RecordType::SOA | RecordType::ANY) => Said::OfZone(RecordType::SOA),
                (Reversed::Apex, RecordType::NS) => Said::OfZone(RecordType::NS),
                (Reversed::Address(_), RecordType::PTR | RecordType::ANY) => Said::Pointers,
                (Reversed::Absent, _) => Said::Absent,
                _ => Said::NoData,
            },
            Owner::Static(_, found) => say_static(found, record_type),
            Owner::Apex => match record_type {
                RecordType::SOA | RecordType::NS => Said::OfZone(record_type),
                RecordType::ANY => Said::OfZone(RecordType::SOA),
                _ => Said::NoData,
            },
            Owner::NameServer => {
                let addresses = &self.settings.name_server;
                let of = |record_type| {
                    (record_type, addresses.iter().any(|a| a.is_ipv4() == (record_type == RecordType::A)))
                };
                let wanted = [of(RecordType::A), of(RecordType::AAAA)];
                match wanted.iter().find(|(of, some)| *some && (any || *of == record_type)) {
                    Some((of, _)) => Said::OfZone(*of),
                    None => Said::NoData,
                }
            }
            Owner::ServiceTypes(group) => {
                let ptr = any || record_type == RecordType::PTR;
                if ptr && self.browse.has_types(group) { Said::ServiceTypes } else { Said::NoData }
            }
            Owner::Selection(service, pick) => {
                if !service.answered().any(|instance| pick.takes(instance)) {
                    return Said::Waiting;
                }
                say_kind(kinds_of(pick), record_type, |kind| match service.totals(pick, kind) {
                    Some(totals) => totals.count > 0,
                    None => selected(service, pick, kind).any(|i| kind.is_of(i)),
                })
            }
            Owner::Instance(service, id) => {
                let kinds = [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Txt];
                say_kind(&kinds, record_type, |kind| service.instance(id).is_some_and(|i| kind.is_of(i)))
            }
            // A TXT record is always there, empty if need be (RFC 6763 §6.1).
            Owner::Browsed(..) => say_kind(&[Kind::Srv, Kind::Txt], record_type, |_| true),
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

/// Says the kind that is asked for, if the name has records of it. After all of them is answered with one (RFC 8482).
fn say_kind(kinds: &[Kind], record_type: RecordType, exists: impl Fn(Kind) -> bool) -> Said {
    let wanted = match record_type {
        RecordType::ANY => kinds.iter().copied().find(|kind| exists(*kind)),
        record_type => Kind::of(record_type).filter(|kind| kinds.contains(kind) && exists(*kind)),
    };
    wanted.map_or(Said::NoData, Said::OfInstances)
}

/// The answered instances that records of a kind come from: for addresses only those with the lowest priority value
/// that has any, because a client that knows addresses alone cannot tell first choices from last ones.
pub(super) fn selected<'a>(
    service: &'a ServiceAnswers,
    pick: &'a Pick,
    kind: Kind,
) -> impl Iterator<Item = &'a Arc<Instance>> + Clone {
    let lowest = match kind {
        Kind::A | Kind::Aaaa => {
            service.answered().find(|instance| pick.takes(instance)).map(|i| i.registration.priority)
        }
        _ => None,
    };
    service.answered().filter(move |instance| {
        pick.takes(instance) && lowest.is_none_or(|lowest| instance.registration.priority == lowest)
    })
}
