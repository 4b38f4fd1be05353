//! From a decision to records: as many as fit, in an order that is fair.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::kind::{Kind, Pick};
use super::name::{wire_key, wire_octets};
use super::order::{Start, client_hash};
use super::owner::Owner;
use super::question::{Answer, Detail, Question, TEXT_OCTETS_MAX};
use super::reverse::Reversed;
use super::said::{Decision, Said};
use super::service::{ServiceAnswers, Totals};
use super::{NAME_SERVER, Zone};
use crate::model::{Instance, InstanceId, Meta, ServiceName, Ttl};

/// Octets of a record beside owner name and data: type, class, TTL, length (RFC 1035 §3.2.1).
pub(super) const RECORD_OCTETS: usize = 10;
/// Octets of an owner name that points at the record before, which is the question's own.
const POINTER_OCTETS: usize = 2;
/// The mailbox of who answers for the zone, as a label.
pub(super) const HOSTMASTER: &str = "hostmaster";
/// REFRESH, RETRY and EXPIRE of the SOA, in seconds.
pub(super) const SOA_INTERVALS: [i32; 3] = [3600, 600, 86_400];
/// Octets of records up to which a pointer surely reaches what stands there (RFC 1035 §4.1.4): 14 bits, less header and
/// question.
const POINTED_OCTETS: usize = 0x3fff - 300;
/// TTL at the apex, SOA MINIMUM, and TTL of a denial, in seconds.
pub(super) const APEX_TTL: u32 = 5;
/// TTL of the denial for a known service that has nothing to answer: it may be back in a moment.
const WAITING_TTL: u32 = 1;

/// Fills an answer with what there is room for.
pub(super) struct Filling<'a> {
    pub(super) zone: &'a Zone,
    pub(super) question: &'a Question<'a>,
    pub(super) answer: Answer,
    pub(super) room: usize,
    /// Records that the answer section would have if there were room for all.
    pub(super) wanted: usize,
    /// Octets of the owner name of an answer: of a pointer, unless it is not the name that was asked.
    pub(super) owner_octets: usize,
}

impl Zone {
    /// Answers a question. Work grows with the records in the answer and of the service, not with the zone.
    pub fn answer(&self, question: &Question<'_>) -> Answer {
        let decision = self.decide(question.name, question.record_type);
        self.answer_decided(&decision, question)
    }

    /// Makes the answer that a decision comes to.
    pub fn answer_decided(&self, decision: &Decision, question: &Question<'_>) -> Answer {
        let mut answer = Answer::empty(ResponseCode::NoError);
        answer.authoritative = true;
        let owner_octets = POINTER_OCTETS;
        let mut filling = Filling { zone: self, question, answer, room: question.room, wanted: 0, owner_octets };
        filling.fill(decision);
        let Filling { mut answer, room, wanted, .. } = filling;
        // The first thing that is left out when there is no room.
        answer.extended_error = self
            .explain_briefly(decision, question, &answer, wanted)
            .filter(|error| error_octets(error.text.len()) <= room);
        answer
    }

    /// The SOA record's data.
    pub(super) fn soa(&self) -> SOA {
        let hostmaster = self.origin.prepend_label(HOSTMASTER).expect("a zone name leaves room for a label");
        let [refresh, retry, expire] = SOA_INTERVALS;
        SOA::new(self.name_server(), hostmaster, self.serial(), refresh, retry, expire, APEX_TTL)
    }

    pub(super) fn name_server(&self) -> Name {
        self.origin.prepend_label(NAME_SERVER).expect("a zone name leaves room for two octets")
    }

    /// The fully qualified name of a service.
    pub(super) fn service_name(&self, service: &ServiceAnswers) -> Name {
        self.name_of(service.name())
    }

    /// The lifetime of an instance's records.
    fn ttl_of(&self, service: &ServiceName, id: &InstanceId) -> Ttl {
        let node = self.index.get(&wire_key(service.as_str()));
        let service = node.and_then(|node| node.service.clone());
        let ttl = service.and_then(|s| s.instance(id.as_str()).map(|i| s.ttl_of(i, self.settings.ttl)));
        ttl.unwrap_or(self.settings.ttl)
    }

    /// The fully qualified form of a service's name.
    fn name_of(&self, service: &ServiceName) -> Name {
        service.labels().rev().fold(self.origin.clone(), |name, label| prepended(&name, label))
    }
}

/// Octets of an extended error with a text: an option's head, the INFO-CODE, the text (RFC 8914 §2).
fn error_octets(text_octets: usize) -> usize {
    4 + 2 + text_octets
}

/// A name with one more label on the left.
fn prepended(name: &Name, label: &str) -> Name {
    name.prepend_label(label).expect("the registry refuses names that do not fit")
}

impl Filling<'_> {
    pub(super) fn fill(&mut self, decision: &Decision) {
        if self.fill_static(decision) {
            return;
        }
        match (&decision.said, &decision.owner) {
            (Said::Refused, _) => self.answer = Answer::empty(ResponseCode::Refused),
            (Said::NotLoaded, _) => self.answer = Answer::empty(ResponseCode::ServFail),
            (Said::NoData, owner) => self.deny(owner, APEX_TTL),
            (Said::Waiting, owner) => self.deny(owner, WAITING_TTL),
            (Said::Absent, owner) => {
                self.answer.rcode = ResponseCode::NXDomain;
                self.deny(owner, APEX_TTL);
            }
            (Said::OfZone(record_type), owner) => self.fill_zone(owner, *record_type),
            (Said::ServiceTypes, Owner::ServiceTypes(group)) => self.fill_types(group),
            (Said::OfInstances(kind), Owner::Selection(service, pick)) => match &decision.stand_in {
                // Believed for no longer than the service's own would be: it may be back in a moment.
                Some(other) => self.fill_selection(other, pick, *kind, service.ttl(self.zone.settings.ttl)),
                None => self.fill_selection(service, pick, *kind, Ttl::MAX),
            },
            (Said::OfInstances(kind), Owner::Instance(service, id) | Owner::Browsed(service, id)) => {
                if let Some(instance) = service.instance(id) {
                    self.fill_instance(service, instance, *kind);
                }
            }
            (Said::Pointers, Owner::Reverse(_, Reversed::Address(names))) => {
                let ttl = names.iter().map(|(service, id)| self.zone.ttl_of(service, id)).min();
                for (service, id) in names {
                    let name = prepended(&self.zone.name_of(service), id.as_str());
                    let ttl = ttl.unwrap_or(self.zone.settings.ttl).secs();
                    if !self.push(wire_octets(&name), ttl, RData::PTR(PTR(name))) {
                        break;
                    }
                }
            }
            (Said::ServiceTypes | Said::Pointers | Said::OfInstances(_), _) => {}
            (Said::OfFile(_) | Said::Alias | Said::Unfollowed(_) | Said::Referred, _) => {}
        }
    }

    /// The SOA of a denial; its TTL is how long the denial may be believed (RFC 2308 §5).
    fn deny(&mut self, owner: &Owner, ttl: u32) {
        let origin = match owner {
            Owner::Reverse(origin, _) => origin,
            _ => {
                let statics = self.zone.statics.load();
                // A file says itself how long; only what may be back in a moment is not believed for longer.
                let ttl_max = if ttl == WAITING_TTL { ttl } else { u32::MAX };
                if statics.overlay().is_some_and(|zone| self.deny_by_file(zone, ttl_max)) {
                    return;
                }
                &self.zone.origin
            }
        };
        // The question ends with the owner, unless aliases have led there.
        let origin_octets = if self.owner_octets == POINTER_OCTETS { POINTER_OCTETS } else { wire_octets(origin) };
        match self.room.checked_sub(origin_octets + RECORD_OCTETS + self.soa_octets(owner)) {
            Some(room) => {
                self.room = room;
                let soa = Record::from_rdata(origin.clone(), ttl, RData::SOA(self.zone.soa()));
                self.answer.authorities.push(soa);
            }
            // Only for the longest of names below a reverse zone: without it the denial could not be believed.
            None => self.answer.truncated = true,
        }
    }

    /// Octets of the zone's name as the end of another: a pointer, unless the question is in a reverse zone.
    fn zone_name_octets(&self, owner: &Owner) -> usize {
        match owner {
            Owner::Reverse(..) => wire_octets(&self.zone.origin),
            _ if self.owner_octets != POINTER_OCTETS => wire_octets(&self.zone.origin),
            _ => POINTER_OCTETS,
        }
    }

    fn name_server_octets(&self, owner: &Owner) -> usize {
        1 + NAME_SERVER.len() + self.zone_name_octets(owner)
    }

    fn soa_octets(&self, owner: &Owner) -> usize {
        self.name_server_octets(owner) + 1 + HOSTMASTER.len() + self.zone_name_octets(owner) + 20
    }

    fn fill_zone(&mut self, owner: &Owner, record_type: RecordType) {
        let addresses = self.zone.settings.name_server.clone();
        match record_type {
            RecordType::SOA => {
                self.push(self.soa_octets(owner), APEX_TTL, RData::SOA(self.zone.soa()));
            }
            RecordType::NS => {
                let target = self.zone.name_server();
                self.push(self.name_server_octets(owner), APEX_TTL, RData::NS(NS(target.clone())));
                for address in addresses {
                    self.push_additional(&target, APEX_TTL, address_octets(address), address_data(address));
                }
            }
            record_type => {
                for address in addresses.into_iter().filter(|a| a.is_ipv4() == (record_type == RecordType::A)) {
                    self.push(address_octets(address), APEX_TTL, address_data(address));
                }
            }
        }
    }

    fn fill_types(&mut self, group: &[u8]) {
        // `_services._dns-sd._udp` stands in the same group as the types it lists.
        let group_name = self.question.name.trim_to(usize::from(self.question.name.num_labels()) - 3);
        for (transport, service) in self.zone.browse.types(group) {
            let name = prepended(&group_name, &format!("_{}", transport.as_str()));
            let name = prepended(&name, &format!("_{service}"));
            if !self.push(wire_octets(&name), APEX_TTL, RData::PTR(PTR(name))) {
                break;
            }
        }
    }

    fn fill_selection(&mut self, service: &Arc<ServiceAnswers>, pick: &Pick, kind: Kind, ttl_max: Ttl) {
        let of_kind = || service.selected(pick, kind).filter(move |instance| kind.is_of(instance));
        let question_octets = self.owner_octets;
        let maker = Maker { question_octets, ..Maker::new(self.zone, self.question, service, pick.clone()) };
        if *pick == Pick::One {
            let start = Start::Turn(self.question.turn);
            let one = service.groups().find_map(|(members, order)| {
                order.walk(start).map(|n| service.at(members.start + n)).find(|i| kind.is_of(i))
            });
            let ttl = service.smallest_ttl(one.into_iter(), self.zone.settings.ttl).min(ttl_max.secs());
            self.push_all(&maker, one.into_iter(), kind, ttl);
            return;
        }
        let (count, data, ttl) = match service.totals(pick, kind) {
            Some(totals) => {
                let ttl = service.lifetime(totals.ttl(self.zone.settings.ttl)).secs();
                (totals.count, maker.octets_of_all(kind, totals), ttl)
            }
            None => {
                let mut seen = HashSet::new();
                let (count, data) = of_kind()
                    .filter(|instance| maker.distinct(kind, instance).is_none_or(|key| seen.insert(key)))
                    .fold((0, 0), |(n, octets), i| (n + 1, octets + maker.octets(kind, i)));
                (count, data, service.smallest_ttl(of_kind(), self.zone.settings.ttl))
            }
        };
        let ttl = ttl.min(ttl_max.secs());
        let needed = (self.owner_octets + RECORD_OCTETS) * count + data;
        self.wanted = count;
        let fits = needed <= self.room;
        // Not even a whole TCP message is enough: that is said, in room kept for it.
        let last_word = if !fits && self.question.last_resort && self.question.detail != Detail::None {
            error_octets((service.name().as_str().len() + ": 2000000 of 2000000 fit".len()).min(TEXT_OCTETS_MAX))
        } else {
            0
        };
        self.room = self.room.saturating_sub(last_word);
        match kind {
            // Whoever takes addresses takes the first: it changes with each question.
            Kind::A | Kind::Aaaa if fits => {
                let start = Start::Turn(self.question.turn);
                self.push_walk(&maker, service, kind, ttl, start);
            }
            // Whoever reads SRV chooses by weight: what it reads stays as it is until something changes.
            _ if fits => self.push_all(&maker, of_kind(), kind, ttl),
            _ => {
                let start = Start::Client(client_hash(self.question.client));
                self.push_walk(&maker, service, kind, ttl, start);
            }
        }
        self.room += last_word;
        debug_assert!(!fits || self.answer.answers.len() == count, "what fits is filled in");
    }

    /// Fills in instances from a start on, by priority.
    fn push_walk(&mut self, maker: &Maker<'_>, service: &ServiceAnswers, kind: Kind, ttl: u32, start: Start) {
        let wanted = |i: &&Arc<Instance>| maker.pick.takes(i) && kind.is_of(i);
        let lowest = service.selected(&maker.pick, kind).map(|i| i.registration.priority).next();
        let only_lowest = matches!(kind, Kind::A | Kind::Aaaa);
        let instances = service
            .groups()
            .flat_map(|(members, order)| order.walk(start).map(move |n| service.at(members.start + n)))
            .filter(|i| !only_lowest || Some(i.registration.priority) == lowest)
            .filter(wanted);
        self.push_all(maker, instances, kind, ttl);
    }

    /// Fills in instances in the order given until there is no room.
    fn push_all<'i>(
        &mut self,
        maker: &Maker<'_>,
        instances: impl Iterator<Item = &'i Arc<Instance>>,
        kind: Kind,
        ttl: u32,
    ) {
        let mut seen = HashSet::new();
        let mut taken: Vec<&Arc<Instance>> = Vec::new();
        for instance in instances {
            if maker.distinct(kind, instance).is_some_and(|key| !seen.insert(key)) {
                continue;
            }
            if !self.push(maker.octets(kind, instance), ttl, maker.data(kind, instance)) {
                break;
            }
            taken.push(instance);
        }
        for instance in taken {
            self.push_helpful(maker, instance, kind);
        }
    }

    fn fill_instance(&mut self, service: &Arc<ServiceAnswers>, instance: &Arc<Instance>, kind: Kind) {
        let ttl = service.ttl_of(instance, self.zone.settings.ttl).secs();
        let maker = Maker::new(self.zone, self.question, service, Pick::All);
        self.push_all(&maker, std::iter::once(instance), kind, ttl);
    }

    /// Records that save the client a question (RFC 2782, RFC 6763 §12, RFC 9460 §4.1).
    fn push_helpful(&mut self, maker: &Maker<'_>, instance: &Arc<Instance>, kind: Kind) {
        let ttl = maker.service.ttl_of(instance, self.zone.settings.ttl).secs();
        if kind == Kind::Ptr {
            let browsed = prepended(self.question.name, instance.id.as_str());
            let srv = (maker.octets(Kind::Srv, instance), maker.data(Kind::Srv, instance));
            self.push_additional(&browsed, ttl, srv.0, srv.1);
            let txt = (maker.octets(Kind::Txt, instance), maker.data(Kind::Txt, instance));
            self.push_additional(&browsed, ttl, txt.0, txt.1);
        }
        if matches!(kind, Kind::Srv | Kind::Ptr | Kind::Https) {
            let target = maker.target(instance);
            for address in instance.registration.addresses.iter() {
                if kind == Kind::Srv && self.question.room - self.room < POINTED_OCTETS {
                    self.push_glue(&target, ttl, address);
                } else {
                    self.push_additional(&target, ttl, address_octets(address), address_data(address));
                }
            }
        }
    }

    /// Adds an address of an SRV target, whose name is a pointer at that target.
    fn push_glue(&mut self, target: &Name, ttl: u32, address: IpAddr) {
        if let Some(room) = self.room.checked_sub(POINTER_OCTETS + RECORD_OCTETS + address_octets(address)) {
            self.room = room;
            self.answer.additionals.push(Record::from_rdata(target.clone(), ttl, address_data(address)));
        }
    }

    /// Fills in a record at the question's own name, or notes that there was no room.
    pub(super) fn push(&mut self, data_octets: usize, ttl: u32, data: RData) -> bool {
        match self.room.checked_sub(self.owner_octets + RECORD_OCTETS + data_octets) {
            Some(room) => {
                self.room = room;
                self.answer.answers.push(Record::from_rdata(self.question.name.clone(), ttl, data));
                true
            }
            None => {
                self.answer.truncated = true;
                false
            }
        }
    }

    /// Adds a record that may as well be missing (RFC 2181 §9).
    fn push_additional(&mut self, name: &Name, ttl: u32, data_octets: usize, data: RData) {
        if let Some(room) = self.room.checked_sub(wire_octets(name) + RECORD_OCTETS + data_octets) {
            self.room = room;
            self.answer.additionals.push(Record::from_rdata(name.clone(), ttl, data));
        }
    }
}

/// Makes the records of a service's instances.
pub(super) struct Maker<'a> {
    question: &'a Question<'a>,
    service: &'a ServiceAnswers,
    service_name: Name,
    pick: Pick,
    /// Octets of the question's name where it ends another.
    question_octets: usize,
}

impl<'a> Maker<'a> {
    pub(super) fn new(zone: &Zone, question: &'a Question<'a>, service: &'a ServiceAnswers, pick: Pick) -> Self {
        let service_name = zone.service_name(service);
        Self { question, service, service_name, pick, question_octets: POINTER_OCTETS }
    }

    fn target(&self, instance: &Instance) -> Name {
        prepended(&self.service_name, instance.id.as_str())
    }

    fn target_octets(&self, instance: &Instance) -> usize {
        instance.id.as_str().len() + 1 + wire_octets(&self.service_name)
    }

    /// What makes two instances give the same record: an address, a set of metadata.
    fn distinct<'i>(&self, kind: Kind, instance: &'i Instance) -> Option<Distinct<'i>> {
        let registration = &instance.registration;
        match kind {
            Kind::A => registration.addresses.v4().map(|v4| Distinct::Address(v4.into())),
            Kind::Aaaa => registration.addresses.v6().map(|v6| Distinct::Address(v6.into())),
            Kind::Txt => Some(Distinct::Meta(registration.meta.iter().collect())),
            Kind::Srv | Kind::Ptr | Kind::Https => None,
        }
    }

    /// Octets of the data of an instance's record; never fewer than it takes.
    fn octets(&self, kind: Kind, instance: &Instance) -> usize {
        let registration = &instance.registration;
        match kind {
            Kind::A => 4,
            Kind::Aaaa => 16,
            // SRV and HTTPS targets are never compressed (RFC 2782, RFC 9460 §2.2).
            Kind::Srv => 6 + self.target_octets(instance),
            // Without metadata it is one empty string (RFC 6763 §6.1).
            Kind::Txt if registration.meta.is_empty() => 1,
            Kind::Txt => registration.meta.iter().map(|(key, value)| 1 + key.len() + 1 + value.len()).sum(),
            Kind::Ptr => 1 + instance.id.as_str().len() + self.question_octets,
            Kind::Https => {
                let alpn: usize = alpn_of(&registration.meta).iter().map(|id| 1 + id.len()).sum();
                let hints = registration.addresses.iter().map(|address| 4 + address_octets(address)).sum::<usize>();
                2 + self.target_octets(instance) + (4 + alpn) + (4 + 2) + hints
            }
        }
    }

    /// Octets of the data of all records of a kind.
    fn octets_of_all(&self, kind: Kind, totals: &Totals) -> usize {
        let each = match kind {
            Kind::A => return 4 * totals.count,
            Kind::Aaaa => return 16 * totals.count,
            Kind::Ptr => 1 + self.question_octets,
            Kind::Srv | Kind::Txt | Kind::Https => 6 + 1 + wire_octets(&self.service_name),
        };
        each * totals.count + totals.id_octets
    }

    /// The data of an instance's record; the instance is one that has a record of the kind.
    pub(super) fn data(&self, kind: Kind, instance: &Instance) -> RData {
        let registration = &instance.registration;
        let addresses = &registration.addresses;
        match kind {
            Kind::A => RData::A(A(addresses.v4().expect("an instance of this kind"))),
            Kind::Aaaa => RData::AAAA(AAAA(addresses.v6().expect("an instance of this kind"))),
            Kind::Srv => {
                let (priority, weight) = (registration.priority, registration.weight);
                RData::SRV(SRV::new(priority, weight, self.pick.port(instance), self.target(instance)))
            }
            Kind::Txt if registration.meta.is_empty() => RData::TXT(TXT::from_bytes(vec![b""])),
            Kind::Txt => {
                let pairs: Vec<String> =
                    registration.meta.iter().map(|(key, value)| format!("{key}={value}")).collect();
                RData::TXT(TXT::from_bytes(pairs.iter().map(String::as_bytes).collect()))
            }
            // In the question's own case, so that it is compressed.
            Kind::Ptr => RData::PTR(PTR(prepended(self.question.name, instance.id.as_str()))),
            Kind::Https => {
                let mut params = Vec::new();
                let alpn = alpn_of(&registration.meta);
                if !alpn.is_empty() {
                    params.push((SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(alpn))));
                }
                params.push((SvcParamKey::Port, SvcParamValue::Port(registration.port)));
                if let Some(v4) = addresses.v4() {
                    params.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A(v4)]))));
                }
                if let Some(v6) = addresses.v6() {
                    params.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA(v6)]))));
                }
                // Priority 0 would make it an alias (RFC 9460 §2.4.1).
                let priority = registration.priority.saturating_add(1);
                RData::HTTPS(HTTPS(SVCB::new(priority, self.target(instance), params)))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Distinct<'i> {
    Address(IpAddr),
    Meta(Vec<(&'i str, &'i str)>),
}

/// The protocol ids in `meta.alpn`, separated by commas; each is 1 to 255 octets (RFC 7301 §3.1).
fn alpn_of(meta: &Meta) -> Vec<String> {
    let alpn = meta.iter().find(|(key, _)| key.eq_ignore_ascii_case("alpn")).map_or("", |(_, value)| value);
    alpn.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

fn address_octets(address: IpAddr) -> usize {
    if address.is_ipv4() { 4 } else { 16 }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}
