//! Records of zone files, made to fit as those of instances are.

use std::collections::HashSet;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::tree::Rrset;
use super::{Found, StaticZone};
use crate::zone::fill::{Filling, RECORD_OCTETS};
use crate::zone::name::wire_octets;
use crate::zone::order::client_hash;
use crate::zone::owner::Owner;
use crate::zone::question::{Answer, Question};
use crate::zone::said::{Decision, Said};

/// Octets of the smallest record that holds an address.
const ADDRESS_OCTETS_MIN: usize = 1 + RECORD_OCTETS + 4;

impl Filling<'_> {
    /// Fills in what zone files say of a name; whether that is what the decision was about.
    pub(in crate::zone) fn fill_static(&mut self, decision: &Decision) -> bool {
        match (&decision.said, &decision.owner) {
            _ if !decision.aliases.is_empty() => self.fill_aliases(decision),
            (Said::Unfollowed(_), _) => {}
            (
                Said::OfFile(record_type),
                Owner::Static(_, Found::Here(node) | Found::Wildcard(node) | Found::Cut(node, _)),
            ) => {
                if let Some(set) = node.set(*record_type) {
                    self.fill_file(set);
                }
            }
            (Said::Referred, Owner::Static(zone, Found::Cut(cut, _))) => {
                self.answer.authoritative = false;
                if let Some(servers) = cut.set(RecordType::NS) {
                    self.refer(zone, &cut.name, servers);
                }
            }
            (Said::NoData | Said::Absent, Owner::Static(zone, _)) if !zone.overlay => {
                if decision.said == Said::Absent {
                    self.answer.rcode = ResponseCode::NXDomain;
                }
                self.deny_by_file(zone, u32::MAX);
            }
            _ => return false,
        }
        true
    }

    /// The aliases on the way, and then what is at their end.
    fn fill_aliases(&mut self, decision: &Decision) {
        let Some(last) = decision.aliases.last() else { return };
        if decision.said == Said::NotLoaded {
            self.answer = Answer::empty(ResponseCode::ServFail);
            return;
        }
        let mut owner_octets = self.owner_octets;
        for alias in &decision.aliases {
            let octets = wire_octets(&alias.target);
            let Some(room) = self.room.checked_sub(owner_octets + RECORD_OCTETS + octets) else {
                self.answer.truncated = true;
                return;
            };
            self.room = room;
            let data = RData::CNAME(CNAME(alias.target.clone()));
            self.answer.answers.push(Record::from_rdata(alias.owner.clone(), alias.ttl, data));
            owner_octets = octets;
        }
        let end = Decision {
            owner: decision.owner.clone(),
            said: decision.said.clone(),
            stand_in: decision.stand_in.clone(),
            aliases: Vec::new(),
        };
        let reached = self.fill_at(&last.target, self.question.record_type, &end);
        let authoritative = self.answer.authoritative;
        let aliases = std::mem::replace(&mut self.answer, reached);
        self.wanted += aliases.answers.len();
        self.answer.answers.splice(0..0, aliases.answers);
        // AA is about the name that was asked (RFC 1035 §4.1.1).
        self.answer.authoritative = authoritative;
    }

    /// The answer about another name in the room that is left, which it takes.
    fn fill_at(&mut self, name: &Name, record_type: RecordType, decision: &Decision) -> Answer {
        let question = Question { name, record_type, ..*self.question };
        let mut answer = Answer::empty(ResponseCode::NoError);
        answer.authoritative = true;
        let owner_octets = wire_octets(name);
        let (room, wanted) = (self.room, 0);
        let mut filling = Filling { zone: self.zone, question: &question, answer, room, wanted, owner_octets };
        filling.fill(decision);
        (self.room, self.wanted) = (filling.room, filling.wanted);
        filling.answer
    }

    /// An RRset at the question's name: all of it, or as many as fit from a start that the client's prefix picks.
    fn fill_file(&mut self, set: &Rrset) {
        let needed: usize = set.data.iter().map(|(_, octets)| self.owner_octets + RECORD_OCTETS + octets).sum();
        let turns = matches!(set.record_type, RecordType::A | RecordType::AAAA);
        let start = match needed <= self.room {
            true if turns => self.question.turn,
            true => 0,
            false => client_hash(self.question.client) as usize,
        };
        let (after, before) = set.data.split_at(start % set.data.len());
        let mut taken = Vec::new();
        for (data, octets) in before.iter().chain(after) {
            if !self.push(*octets, set.ttl, data.clone()) {
                break;
            }
            taken.push(data);
        }
        let hosts = taken.into_iter().filter_map(|data| match data {
            RData::NS(ns) => Some(&ns.0),
            RData::MX(mx) => Some(&mx.exchange),
            RData::SRV(srv) => Some(&srv.target),
            _ => None,
        });
        self.push_addresses(hosts);
    }

    /// A referral (RFC 1034 §4.3.2): the servers below the cut, and the addresses without which they cannot be reached.
    fn refer(&mut self, zone: &StaticZone, cut: &Name, servers: &Rrset) {
        let owner_octets = wire_octets(cut);
        let needed: usize = servers.data.iter().map(|(_, octets)| owner_octets + RECORD_OCTETS + octets).sum();
        let Some(room) = self.room.checked_sub(needed) else {
            self.answer.truncated = true;
            return;
        };
        self.room = room;
        let record = |data: &RData| Record::from_rdata(cut.clone(), servers.ttl, data.clone());
        self.answer.authorities.extend(servers.data.iter().map(|(data, _)| record(data)));
        let names = servers.data.iter().filter_map(|(data, _)| match data {
            RData::NS(ns) => Some(&ns.0),
            _ => None,
        });
        // Those that can be found nowhere else come first, and are missed (RFC 9471 §3).
        let (inside, outside): (Vec<&Name>, Vec<&Name>) = names.partition(|name| cut.zone_of(name));
        for name in inside {
            for set in glue(zone, name) {
                if !self.push_set(name, set) {
                    self.answer.truncated = true;
                }
            }
        }
        self.push_addresses(outside.into_iter());
    }

    /// Adds a whole RRset beside the answer, if there is room.
    fn push_set(&mut self, name: &Name, set: &Rrset) -> bool {
        let owner_octets = wire_octets(name);
        let needed: usize = set.data.iter().map(|(_, octets)| owner_octets + RECORD_OCTETS + octets).sum();
        let Some(room) = self.room.checked_sub(needed) else { return false };
        self.room = room;
        let record = |data: &RData| Record::from_rdata(name.clone(), set.ttl, data.clone());
        self.answer.additionals.extend(set.data.iter().map(|(data, _)| record(data)));
        true
    }

    /// Adds what we know of hosts' addresses, live or static, while there is room.
    fn push_addresses<'n>(&mut self, hosts: impl Iterator<Item = &'n Name>) {
        let mut seen = HashSet::new();
        for host in hosts.filter(|host| seen.insert(*host)) {
            if self.room < ADDRESS_OCTETS_MIN {
                return;
            }
            self.push_addresses_of(host);
        }
    }

    fn push_addresses_of(&mut self, host: &Name) {
        for record_type in [RecordType::A, RecordType::AAAA] {
            let decision = self.zone.decide_one(host, record_type);
            match (&decision.said, &decision.owner) {
                (Said::Referred, Owner::Static(zone, _)) => {
                    if let Some(set) = zone.glue(host).and_then(|node| node.set(record_type)) {
                        self.push_set(host, set);
                    }
                }
                (Said::OfFile(_) | Said::OfInstances(_) | Said::OfZone(_), _) => {
                    let room = self.room;
                    let addresses = self.fill_at(host, record_type, &decision);
                    if addresses.truncated {
                        self.room = room;
                    } else {
                        self.answer.additionals.extend(addresses.answers);
                    }
                }
                _ => {}
            }
        }
    }

    /// The SOA of a denial as a file has it; whether there is one.
    pub(in crate::zone) fn deny_by_file(&mut self, zone: &StaticZone, ttl_max: u32) -> bool {
        let Some((soa, ttl, octets)) = zone.soa() else { return false };
        match self.room.checked_sub(wire_octets(&zone.origin) + RECORD_OCTETS + octets) {
            Some(room) => {
                self.room = room;
                let data = RData::SOA(soa.clone());
                self.answer.authorities.push(Record::from_rdata(zone.origin.clone(), ttl.min(ttl_max), data));
            }
            None => self.answer.truncated = true,
        }
        true
    }
}

/// The addresses of a name, also where it lies below a cut.
fn glue<'a>(zone: &'a StaticZone, name: &Name) -> impl Iterator<Item = &'a Rrset> + use<'a> {
    let node = zone.glue(name).map(AsRef::as_ref);
    [RecordType::A, RecordType::AAAA].into_iter().filter_map(move |of| node.and_then(|node| node.set(of)))
}
