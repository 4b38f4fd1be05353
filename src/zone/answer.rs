//! What a question gets: the one place that decides it.
//!
//! An answer is made to fit: it knows how much room there is and holds as many records as go into it, so nothing has
//! to be cut from an encoded message.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::name::WireName;
use super::owner::Owner;
use super::service::{ServiceAnswers, smallest_ttl};
use super::{NAME_SERVER, Zone};
use crate::model::{Instance, Transport};

/// Octets of a record beside owner name and data: type, class, TTL, length (RFC 1035 §3.2.1).
const RECORD_OCTETS: usize = 10;
/// Octets of a name that points at the same name before it, as owners point at the question.
const POINTER_OCTETS: usize = 2;
/// Octets of records before which everything is in reach of pointers (RFC 1035 §4.1.4), whatever the question.
const POINTER_REACH: usize = 0x3fff - 12 - 259;
/// TTL at the apex, SOA MINIMUM, and TTL of a denial, in seconds.
const APEX_TTL: u32 = 5;
/// TTL of the denial for a known service that has nothing to answer: it may be back in a moment.
const WAITING_TTL: u32 = 1;

/// A question within the class IN.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name as it was asked, in its own case.
    pub name: &'a Name,
    /// The type.
    pub record_type: RecordType,
    /// Octets there are for records.
    pub room: usize,
    /// Where rotating answers start, as a part of the whole range: 0 is the first record, the largest number the last.
    pub turn: u64,
}

/// Why an answer is what it is (RFC 8914).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT.
    pub text: String,
}

/// The decision on a question.
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
    /// Why.
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

/// What is asked of a name, once the type is known to be one that live names may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    A,
    Aaaa,
    Srv,
}

/// Fills an answer with what there is room for.
struct Filling<'a> {
    zone: &'a Zone,
    question: &'a Question<'a>,
    answer: Answer,
    room: usize,
}

impl Zone {
    /// Decides a question. Work grows with the records in the answer, not with the zone.
    pub fn answer(&self, question: &Question<'_>) -> Answer {
        let name = WireName::lower(question.name);
        if name.labels_below(&self.wire_origin).is_none() {
            return Answer::empty(ResponseCode::Refused);
        }
        if !self.is_loaded() {
            let extended_error = Some(ExtendedError { code: 14, text: "the registry is still loading".into() });
            return Answer { extended_error, ..Answer::empty(ResponseCode::ServFail) };
        }
        let mut answer = Answer::empty(ResponseCode::NoError);
        answer.authoritative = true;
        let mut filling = Filling { zone: self, question, answer, room: question.room };
        // One RRset is enough for a question after all of them (RFC 8482 §4.1).
        const ANY: [RecordType; 4] = [RecordType::SOA, RecordType::SRV, RecordType::A, RecordType::AAAA];
        let wanted = match &question.record_type {
            RecordType::ANY => &ANY[..],
            record_type => std::slice::from_ref(record_type),
        };
        let owner = self.owner(&name);
        let mut denial = Denial::NoData;
        for record_type in wanted {
            denial = filling.fill(&owner, *record_type);
            if filling.is_begun() {
                return filling.answer;
            }
        }
        filling.deny(denial);
        filling.answer
    }
}

/// What to say when no record was filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    /// The name does not exist.
    Absent,
    /// It exists and has no record of the type.
    NoData,
    /// It would have records if an instance were well.
    Waiting,
}

impl Filling<'_> {
    /// Whether there are records for the question, even if none of them fits.
    fn is_begun(&self) -> bool {
        self.answer.truncated || !self.answer.answers.is_empty()
    }

    /// Fills in the records of a name and says what to deny if there are none.
    fn fill(&mut self, owner: &Owner, record_type: RecordType) -> Denial {
        let kind = match record_type {
            RecordType::A => Some(Kind::A),
            RecordType::AAAA => Some(Kind::Aaaa),
            RecordType::SRV => Some(Kind::Srv),
            _ => None,
        };
        match owner {
            Owner::Outside | Owner::Absent => Denial::Absent,
            Owner::Empty => Denial::NoData,
            Owner::Apex => {
                self.fill_apex(record_type);
                Denial::NoData
            }
            Owner::NameServer => {
                if let Some(kind) = kind {
                    let addresses = self.zone.settings.name_server.clone();
                    self.push_addresses(addresses.into_iter(), kind, APEX_TTL);
                }
                Denial::NoData
            }
            Owner::Service(service) => {
                match kind {
                    Some(Kind::A) => self.push_set(service.v4().iter().copied().map(IpAddr::V4), Kind::A, service),
                    Some(Kind::Aaaa) => {
                        self.push_set(service.v6().iter().copied().map(IpAddr::V6), Kind::Aaaa, service);
                    }
                    Some(Kind::Srv) => self.push_services(service, service.answered(), main_port),
                    None => {}
                }
                waiting_unless(service.answered().len() > 0)
            }
            Owner::Transport(service, transport) => {
                let answered = service.answered().filter(|i| i.registration.protocol == *transport);
                if kind == Some(Kind::Srv) {
                    self.push_services(service, answered.clone(), main_port);
                }
                waiting_unless(answered.count() > 0)
            }
            Owner::Port(service, transport, port) => {
                let answered = service.answered().filter(|i| port_named(i, *transport, port).is_some());
                if kind == Some(Kind::Srv) {
                    let named = |instance: &Instance| port_named(instance, *transport, port).unwrap_or_default();
                    self.push_services(service, answered.clone(), named);
                }
                waiting_unless(answered.count() > 0)
            }
            Owner::Instance(service, id) => {
                let Some(instance) = service.instance(id) else { return Denial::Absent };
                let one = std::iter::once(&**instance);
                match kind {
                    Some(Kind::Srv) => self.push_services(service, one, main_port),
                    Some(kind) => {
                        let ttl = smallest_ttl(one, self.zone.settings.ttl);
                        self.push_addresses(instance.registration.addresses.iter(), kind, ttl);
                    }
                    None => {}
                }
                Denial::NoData
            }
            Owner::Tag(service, tag) => {
                let answered = service.answered().filter(|i| i.registration.has_tag(tag));
                match kind {
                    Some(Kind::Srv) => self.push_services(service, answered.clone(), main_port),
                    Some(kind) => self.push_preferred(answered.clone(), kind),
                    None => {}
                }
                waiting_unless(answered.count() > 0)
            }
        }
    }

    fn fill_apex(&mut self, record_type: RecordType) {
        let origin = self.question.name.clone();
        match record_type {
            RecordType::SOA => {
                let soa = RData::SOA(self.soa());
                self.answer.answers.push(Record::from_rdata(origin, APEX_TTL, soa));
            }
            RecordType::NS => {
                // The first label, and a pointer to the zone in the question.
                let target_octets = 1 + NAME_SERVER.len() + POINTER_OCTETS;
                if !self.take_room(target_octets) {
                    return;
                }
                let target = self.name_server();
                self.answer.answers.push(Record::from_rdata(origin, APEX_TTL, RData::NS(NS(target.clone()))));
                for address in &self.zone.settings.name_server {
                    self.push_additional(&target, target_octets, APEX_TTL, *address);
                }
            }
            _ => {}
        }
    }

    fn name_server(&self) -> Name {
        self.zone.origin.prepend_label(NAME_SERVER).expect("a zone name leaves room for two octets")
    }

    fn soa(&self) -> SOA {
        let origin = &self.zone.origin;
        let hostmaster = origin.prepend_label("hostmaster").expect("a zone name leaves room for a label");
        SOA::new(self.name_server(), hostmaster, self.zone.serial(), 3600, 600, 86_400, APEX_TTL)
    }

    /// The SOA of a denial; its TTL is how long the denial may be believed (RFC 2308 §5).
    ///
    /// It always fits: its names end in the zone and are pointers to the question but for their first labels.
    fn deny(&mut self, denial: Denial) {
        let ttl = if denial == Denial::Waiting { WAITING_TTL } else { APEX_TTL };
        if denial == Denial::Absent {
            self.answer.rcode = ResponseCode::NXDomain;
        }
        let soa = Record::from_rdata(self.zone.origin.clone(), ttl, RData::SOA(self.soa()));
        self.answer.authorities.push(soa);
    }

    /// Takes room for a record at the question's own name.
    fn take_room(&mut self, data_octets: usize) -> bool {
        let octets = POINTER_OCTETS + RECORD_OCTETS + data_octets;
        match self.room.checked_sub(octets) {
            Some(room) => {
                self.room = room;
                true
            }
            None => {
                self.answer.truncated = true;
                false
            }
        }
    }

    fn push_addresses(&mut self, addresses: impl Iterator<Item = IpAddr>, kind: Kind, ttl: u32) {
        for address in addresses.filter(|address| kind == if address.is_ipv4() { Kind::A } else { Kind::Aaaa }) {
            if !self.take_room(if address.is_ipv4() { 4 } else { 16 }) {
                break;
            }
            let record = Record::from_rdata(self.question.name.clone(), ttl, address_data(address));
            self.answer.answers.push(record);
        }
    }

    /// The addresses of a whole service, beginning with another at each turn.
    fn push_set(&mut self, set: impl ExactSizeIterator<Item = IpAddr> + Clone, kind: Kind, service: &ServiceAnswers) {
        let ttl = smallest_ttl(service.preferred(), self.zone.settings.ttl);
        self.push_addresses(turned(set, self.question.turn), kind, ttl);
    }

    /// The distinct addresses of those with the lowest priority value, as for a whole service.
    fn push_preferred<'i>(&mut self, instances: impl Iterator<Item = &'i Instance> + Clone, kind: Kind) {
        let lowest = instances.clone().map(|i| i.registration.priority).min();
        let preferred = instances.filter(|i| Some(i.registration.priority) == lowest);
        let ttl = smallest_ttl(preferred.clone(), self.zone.settings.ttl);
        let mut addresses: Vec<IpAddr> = preferred.flat_map(|i| i.registration.addresses.iter()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.retain(|address| kind == if address.is_ipv4() { Kind::A } else { Kind::Aaaa });
        self.push_addresses(turned(addresses.into_iter(), self.question.turn), kind, ttl);
    }

    /// SRV records, beginning with another instance at each turn, and the addresses of their targets.
    fn push_services<'i>(
        &mut self,
        service: &ServiceAnswers,
        instances: impl Iterator<Item = &'i Instance> + Clone,
        port: impl Fn(&Instance) -> u16,
    ) {
        let ttl = smallest_ttl(instances.clone(), self.zone.settings.ttl);
        let service_name = service.name().labels().rev().fold(self.zone.origin.clone(), |name, label| {
            name.prepend_label(label).expect("the registry refuses names that do not fit")
        });
        let instances: Vec<&Instance> = instances.collect();
        let mut targets = Vec::new();
        for instance in turned(instances.into_iter(), self.question.turn) {
            let target = self.zone.instance_name(&service_name, &instance.id);
            if !self.take_room(6 + wire_octets(&target)) {
                break;
            }
            let (priority, weight) = (instance.registration.priority, instance.registration.weight);
            let data = RData::SRV(SRV::new(priority, weight, port(instance), target.clone()));
            self.answer.answers.push(Record::from_rdata(self.question.name.clone(), ttl, data));
            let in_reach = self.question.room - self.room <= POINTER_REACH;
            let octets = if in_reach { POINTER_OCTETS } else { wire_octets(&target) };
            targets.push((target, octets, instance));
        }
        for (target, octets, instance) in targets {
            let ttl = smallest_ttl(std::iter::once(instance), self.zone.settings.ttl);
            for address in instance.registration.addresses.iter() {
                self.push_additional(&target, octets, ttl, address);
            }
        }
    }

    /// An address that saves a question; it is left out when there is no room (RFC 2181 §9).
    fn push_additional(&mut self, name: &Name, name_octets: usize, ttl: u32, address: IpAddr) {
        let octets = name_octets + RECORD_OCTETS + if address.is_ipv4() { 4 } else { 16 };
        if let Some(room) = self.room.checked_sub(octets) {
            self.room = room;
            self.answer.additionals.push(Record::from_rdata(name.clone(), ttl, address_data(address)));
        }
    }
}

fn waiting_unless(answered: bool) -> Denial {
    if answered { Denial::NoData } else { Denial::Waiting }
}

/// A set beginning at that of its members where the turn falls.
fn turned<T>(set: impl ExactSizeIterator<Item = T> + Clone, turn: u64) -> impl Iterator<Item = T> {
    let length = set.len();
    let first = (u128::from(turn) * length as u128) >> u64::BITS;
    set.cycle().skip(first as usize).take(length)
}

/// Octets of a name without compression, with the root label.
fn wire_octets(name: &Name) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn main_port(instance: &Instance) -> u16 {
    instance.registration.port
}

fn port_named(instance: &Instance, transport: Transport, port: &str) -> Option<u16> {
    (instance.registration.protocol == transport).then(|| instance.registration.named_port(port)).flatten()
}
