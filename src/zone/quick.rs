//! The commonest answers as octets at once: addresses and SRV of a service that answers with everything it has, and that
//! there are none, to clients that cannot be told why.
//!
//! Whatever is out of the ordinary is left to [`Zone::answer`]: files beside the live names, names that select some of the
//! instances, anything that has to be explained, anything that does not fit. What is said here is to the octet what is
//! said there, and a property test holds the two together.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::fill::{APEX_TTL, HOSTMASTER, RECORD_OCTETS, SOA_INTERVALS};
use super::kind::{Kind, Pick};
use super::name::WireName;
use super::order::Start;
use super::owner::Owner;
use super::question::Detail;
use super::service::ServiceAnswers;
use super::{NAME_SERVER, Zone};
use crate::model::{Instance, Ttl};

/// Octets of a pointer (RFC 1035 §4.1.4).
const POINTER_OCTETS: usize = 2;
/// The question's name stands behind the header.
const QUESTION_AT: usize = 12;
/// The last place in a message that a pointer reaches.
const POINTER_MAX: usize = 0x3fff;
/// The class IN.
const CLASS_IN: u16 = 1;

/// A question for the commonest answers.
#[derive(Debug, Clone, Copy)]
pub struct QuickQuestion<'a> {
    /// The name in wire form, in its own case, with the root label.
    pub name: &'a [u8],
    /// The type.
    pub record_type: RecordType,
    /// How much the client may learn.
    pub detail: Detail,
    /// Octets there are for records and options.
    pub room: usize,
    /// Where rotating answers start; any number that differs from one question to the next.
    pub turn: usize,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuickAnswer {
    /// NOERROR, or NXDOMAIN.
    pub rcode: ResponseCode,
    /// Records of answers.
    pub answers: u16,
    /// Of authorities.
    pub authorities: u16,
    /// Of additionals.
    pub additionals: u16,
}

impl Zone {
    /// Writes the records of an answer behind a message that holds header and question, and nothing where the answer is
    /// not one of the commonest.
    pub fn answer_quickly(&self, question: &QuickQuestion<'_>, message: &mut Vec<u8>) -> Option<QuickAnswer> {
        let kind = match Kind::of(question.record_type)? {
            kind @ (Kind::A | Kind::Aaaa | Kind::Srv) => kind,
            Kind::Txt | Kind::Ptr | Kind::Https => return None,
        };
        if !self.is_loaded() || !self.statics.load().is_empty() {
            return None;
        }
        let name = WireName::lower_octets(question.name)?;
        let (service, pick) = match self.owner(&name) {
            Owner::Selection(service, pick) => (service, pick),
            Owner::Absent => return self.deny_quickly(ResponseCode::NXDomain, &name, question, message),
            _ => return None,
        };
        match pick {
            Pick::All => {}
            Pick::Transport(_) if kind == Kind::Srv => {}
            _ => return None,
        }
        let totals = *service.totals(&pick, kind)?;
        if totals.count == 0 {
            // Who has nobody at all may be back in a moment, or has a fallback.
            let has_others = service.answered().len() > 0;
            return has_others.then(|| self.deny_quickly(ResponseCode::NoError, &name, question, message)).flatten();
        }
        if service.notice().is_some() && question.detail != Detail::None {
            return None;
        }
        let ttl = service.lifetime(totals.ttl(self.settings.ttl)).secs();
        let before = message.len();
        let mut writer = Writer { zone: self, service: &service, message, room: question.room, ttl };
        let counts = match kind {
            Kind::Srv => writer.services(totals.count, totals.id_octets),
            _ => writer.addresses(kind, totals.count, question.turn),
        };
        if counts.is_none() {
            message.truncate(before);
        }
        counts
    }
}

impl Zone {
    /// Writes the SOA of a denial (RFC 2308 §3), unless the client can be told more.
    fn deny_quickly(
        &self,
        rcode: ResponseCode,
        name: &WireName,
        question: &QuickQuestion<'_>,
        message: &mut Vec<u8>,
    ) -> Option<QuickAnswer> {
        if question.detail != Detail::None {
            return None;
        }
        let left = name.labels_below(&self.wire_origin)?;
        let origin_at = QUESTION_AT + name.span(0, left).len();
        let data_octets = 1 + NAME_SERVER.len() + 1 + HOSTMASTER.len() + 2 * POINTER_OCTETS + 20;
        if POINTER_OCTETS + RECORD_OCTETS + data_octets > question.room {
            return None;
        }
        write_head(message, origin_at, RecordType::SOA, APEX_TTL, data_octets);
        for label in [NAME_SERVER, HOSTMASTER] {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
            message.extend(pointer(origin_at));
        }
        message.extend(self.serial().to_be_bytes());
        for seconds in SOA_INTERVALS {
            message.extend(seconds.to_be_bytes());
        }
        message.extend(APEX_TTL.to_be_bytes());
        Some(QuickAnswer { rcode, answers: 0, authorities: 1, additionals: 0 })
    }
}

/// Records and no denial.
fn answered(count: usize, additionals: u16) -> QuickAnswer {
    QuickAnswer { rcode: ResponseCode::NoError, answers: count as u16, authorities: 0, additionals }
}

/// A pointer to a place in the message.
fn pointer(at: usize) -> [u8; POINTER_OCTETS] {
    (0xc000 | at as u16).to_be_bytes()
}

/// Writes a record up to its data, whose owner name stands at a place in the message.
fn write_head(message: &mut Vec<u8>, owner_at: usize, record_type: RecordType, ttl: u32, data_octets: usize) {
    let mut head = [0; POINTER_OCTETS + RECORD_OCTETS];
    head[..2].copy_from_slice(&pointer(owner_at));
    head[2..4].copy_from_slice(&u16::from(record_type).to_be_bytes());
    head[4..6].copy_from_slice(&CLASS_IN.to_be_bytes());
    head[6..10].copy_from_slice(&ttl.to_be_bytes());
    head[10..].copy_from_slice(&(data_octets as u16).to_be_bytes());
    message.extend(head);
}

/// Writes records of a service.
struct Writer<'a> {
    zone: &'a Zone,
    service: &'a ServiceAnswers,
    message: &'a mut Vec<u8>,
    room: usize,
    /// Of the answers.
    ttl: u32,
}

impl Writer<'_> {
    /// The addresses of the preferred instances, each of which has one of its own.
    fn addresses(&mut self, kind: Kind, count: usize, turn: usize) -> Option<QuickAnswer> {
        let octets = if kind == Kind::A { 4 } else { 16 };
        let (members, order) = self.service.groups().next()?;
        // Instances that share an address, or have none of the family, are for those who compare.
        if members.len() != count || (POINTER_OCTETS + RECORD_OCTETS + octets) * count > self.room {
            return None;
        }
        for member in order.walk(Start::Turn(turn)) {
            let addresses = &self.service.at(members.start + member).registration.addresses;
            let address = match kind {
                Kind::A => addresses.v4().map(IpAddr::V4),
                _ => addresses.v6().map(IpAddr::V6),
            };
            self.address(QUESTION_AT, self.ttl, address?);
        }
        Some(answered(count, 0))
    }

    /// SRV of all instances, with their addresses as far as there is room.
    fn services(&mut self, count: usize, id_octets: usize) -> Option<QuickAnswer> {
        let suffix_octets = self.suffix_octets();
        let data = (6 + 1 + suffix_octets) * count + id_octets;
        self.room = self.room.checked_sub((POINTER_OCTETS + RECORD_OCTETS) * count + data)?;
        let first = self.message.len();
        if first + (POINTER_OCTETS + RECORD_OCTETS) * count + data > POINTER_MAX {
            return None;
        }
        let instances = self.service.answered();
        for instance in instances.clone() {
            self.service_record(instance, suffix_octets);
        }
        let mut additionals = 0;
        let mut target_at = first;
        for instance in instances {
            target_at += POINTER_OCTETS + RECORD_OCTETS + 6;
            let ttl = self.service.ttl_of(instance, self.zone.settings.ttl);
            additionals += self.glue(instance, target_at, ttl);
            target_at += 1 + instance.id.as_str().len() + suffix_octets;
        }
        Some(answered(count, additionals))
    }

    fn service_record(&mut self, instance: &Instance, suffix_octets: usize) {
        let registration = &instance.registration;
        let id = instance.id.as_str().as_bytes();
        write_head(self.message, QUESTION_AT, RecordType::SRV, self.ttl, 6 + 1 + id.len() + suffix_octets);
        for number in [registration.priority, registration.weight, registration.port] {
            self.message.extend(number.to_be_bytes());
        }
        self.message.push(id.len() as u8);
        self.message.extend_from_slice(id);
        for label in self.service.name().labels() {
            self.message.push(label.len() as u8);
            self.message.extend_from_slice(label.as_bytes());
        }
        self.message.extend_from_slice(self.zone.wire_origin.whole());
        self.message.push(0);
    }

    /// Octets of the service's name in full.
    fn suffix_octets(&self) -> usize {
        self.service.name().as_str().len() + 1 + self.zone.wire_origin.whole().len() + 1
    }

    /// The addresses of a target, as far as there is room. How many.
    fn glue(&mut self, instance: &Instance, target_at: usize, ttl: Ttl) -> u16 {
        let mut written = 0;
        for address in instance.registration.addresses.iter() {
            let octets = if address.is_ipv4() { 4 } else { 16 };
            if let Some(room) = self.room.checked_sub(POINTER_OCTETS + RECORD_OCTETS + octets) {
                self.room = room;
                self.address(target_at, ttl.secs(), address);
                written += 1;
            }
        }
        written
    }

    fn address(&mut self, owner_at: usize, ttl: u32, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                write_head(self.message, owner_at, RecordType::A, ttl, 4);
                self.message.extend(v4.octets());
            }
            IpAddr::V6(v6) => {
                write_head(self.message, owner_at, RecordType::AAAA, ttl, 16);
                self.message.extend(v6.octets());
            }
        }
    }
}
