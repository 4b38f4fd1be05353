//! Replies as octets.
//!
//! Names are compressed here and not by hickory-proto, whose encoder repeats the question's name, stops compressing
//! after 120 names, and leaves remains of what did not fit: the zone has counted on sizes before it chose the records.
//!
//! ```text
//! header · question as it came · answers ──▶ owner: pointer to the question
//!                                authority ─▶ what it has in common with the question: pointer
//!                                additional ▶ owner: pointer to the SRV target within the answers · OPT last
//! ```

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::edns;
use super::message::{HEADER_OCTETS, OPT_TYPE};
use crate::zone::Answer;

/// The last place in a message that a pointer reaches (RFC 1035 §4.1.4).
const POINTER_MAX: usize = 0x3fff;

/// The OPT record of a reply: version 0, our own payload size (RFC 6891 §6.1).
#[derive(Debug, Clone)]
pub(super) struct Opt {
    pub(super) udp_payload: u16,
    /// DO, as asked (RFC 3225 §3).
    pub(super) dnssec_ok: bool,
    /// Options, as they are written.
    pub(super) options: Vec<u8>,
}

impl Opt {
    /// Octets of the record.
    pub(super) fn octets(&self) -> usize {
        11 + self.options.len()
    }

    pub(super) fn write(&self, rcode: ResponseCode, reply: &mut Vec<u8>) {
        reply.push(0);
        reply.extend(OPT_TYPE.to_be_bytes());
        reply.extend(self.udp_payload.to_be_bytes());
        reply.extend([rcode.high(), 0, u8::from(self.dnssec_ok) << 7, 0]);
        reply.extend((self.options.len() as u16).to_be_bytes());
        reply.extend_from_slice(&self.options);
    }
}

/// What a reply says beside its records.
#[derive(Debug, Clone)]
pub(super) struct Frame<'a> {
    /// The request, of which the id, the opcode, RD and CD are kept (RFC 1035 §4.1.1, RFC 4035 §3.1.6).
    pub(super) request: &'a [u8],
    /// The question section as it came, without compression; empty when it is not repeated.
    pub(super) question: &'a [u8],
    /// Exactly when the request had one (RFC 6891 §7).
    pub(super) opt: Option<Opt>,
    /// The most octets that the client takes.
    pub(super) limit: usize,
}

impl Frame<'_> {
    fn head(&self, rcode: ResponseCode) -> Vec<u8> {
        let mut reply = Vec::with_capacity(512);
        reply.extend_from_slice(&self.request[..2]);
        reply.extend([0x80 | (self.request[2] & 0x79), (self.request[3] & 0x10) | rcode.low()]);
        reply.extend([0, u8::from(!self.question.is_empty()), 0, 0, 0, 0, 0, u8::from(self.opt.is_some())]);
        reply.extend_from_slice(self.question);
        reply
    }

    /// A reply without records.
    pub(super) fn refuse(&self, rcode: ResponseCode) -> Vec<u8> {
        let mut reply = self.head(rcode);
        if let Some(opt) = &self.opt {
            opt.write(rcode, &mut reply);
        }
        reply
    }

    /// The reply that an answer makes.
    ///
    /// The answer was made to fit. If it does not after all, the reply says so with TC and holds no record but the OPT:
    /// never more than the client takes, and never a part of a record.
    ///
    /// # Errors
    /// When a record cannot be encoded.
    pub(super) fn answer(&self, answer: &Answer) -> Result<Vec<u8>, ProtoError> {
        let mut body = Body { octets: self.head(answer.rcode), question: labels(self.question), targets: Vec::new() };
        for record in answer.answers.iter().chain(&answer.authorities) {
            body.record(record, None)?;
        }
        let mut next_target = 0;
        for record in &answer.additionals {
            // Addresses follow in the order of their targets, so that each target is passed once.
            while body.targets.get(next_target).is_some_and(|(target, _)| **target != record.name) {
                next_target += 1;
            }
            body.record(record, body.targets.get(next_target).map(|(_, at)| *at))?;
        }
        let mut reply = body.octets;
        if let Some(opt) = &self.opt {
            let mut opt = opt.clone();
            if let Some(error) = &answer.extended_error {
                edns::add_error(&mut opt.options, error);
            }
            opt.write(answer.rcode, &mut reply);
        }
        reply[2] |= u8::from(answer.authoritative) << 2 | u8::from(answer.truncated) << 1;
        if reply.len() > self.limit {
            tracing::error!(
                dns.octets = reply.len(),
                dns.limit = self.limit,
                "an answer was larger than it was made to be"
            );
            reply = self.refuse(answer.rcode);
            reply[2] |= u8::from(answer.authoritative) << 2 | 2;
            return Ok(reply);
        }
        let counts = [answer.answers.len(), answer.authorities.len(), answer.additionals.len() + self.opt.iter().len()];
        for (at, count) in (6..HEADER_OCTETS).step_by(2).zip(counts) {
            // A record has 11 octets at least, so that as many as fit can be counted.
            reply[at..at + 2].copy_from_slice(&(count as u16).to_be_bytes());
        }
        Ok(reply)
    }
}

/// The labels of the name that a question section begins with, and where in the message each begins.
fn labels(question: &[u8]) -> Vec<(usize, &[u8])> {
    let (mut labels, mut at) = (Vec::new(), 0);
    while let Some(label) = question.get(at).and_then(|length| question.get(at + 1..=at + usize::from(*length))) {
        if label.is_empty() {
            break;
        }
        labels.push((HEADER_OCTETS + at, label));
        at += 1 + label.len();
    }
    labels
}

/// A message that is being written.
struct Body<'a> {
    octets: Vec<u8>,
    question: Vec<(usize, &'a [u8])>,
    /// SRV targets that pointers reach, and where they are.
    targets: Vec<(&'a Name, usize)>,
}

impl<'a> Body<'a> {
    fn u16(&mut self, value: u16) {
        self.octets.extend(value.to_be_bytes());
    }

    fn pointer(&mut self, at: usize) {
        self.u16(0xc000 | at as u16);
    }

    fn labels<'l>(&mut self, labels: impl Iterator<Item = &'l [u8]>) {
        for label in labels {
            self.octets.push(label.len() as u8);
            self.octets.extend_from_slice(label);
        }
    }

    /// A name, of which what the question ends with too is a pointer, whatever its case.
    fn name(&mut self, name: &Name) {
        let pairs = name.iter().rev().zip(self.question.iter().rev());
        let common = pairs.take_while(|(own, (_, asked))| own.eq_ignore_ascii_case(asked)).count();
        self.labels(name.iter().take(name.iter().len() - common));
        match self.question.len().checked_sub(common).and_then(|first| self.question.get(first)) {
            Some((at, _)) => self.pointer(*at),
            None => self.octets.push(0),
        }
    }

    /// A record whose owner stands at `owner_at` already, or not yet.
    fn record(&mut self, record: &'a Record, owner_at: Option<usize>) -> Result<(), ProtoError> {
        match owner_at {
            Some(at) => self.pointer(at),
            None => self.name(&record.name),
        }
        self.u16(record.record_type().into());
        self.u16(record.dns_class.into());
        self.octets.extend(record.ttl.to_be_bytes());
        let length_at = self.octets.len();
        self.u16(0);
        self.data(&record.data)?;
        let length = (self.octets.len() - length_at - 2) as u16;
        self.octets[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn data(&mut self, data: &'a RData) -> Result<(), ProtoError> {
        match data {
            RData::A(address) => self.octets.extend(address.0.octets()),
            RData::AAAA(address) => self.octets.extend(address.0.octets()),
            RData::SRV(service) => {
                self.u16(service.priority);
                self.u16(service.weight);
                self.u16(service.port);
                if self.octets.len() <= POINTER_MAX {
                    self.targets.push((&service.target, self.octets.len()));
                }
                // Without compression (RFC 2782).
                self.labels(service.target.iter());
                self.octets.push(0);
            }
            RData::NS(server) => self.name(&server.0),
            RData::PTR(target) => self.name(&target.0),
            RData::SOA(soa) => {
                self.name(&soa.mname);
                self.name(&soa.rname);
                self.octets.extend(soa.serial.to_be_bytes());
                for interval in [soa.refresh, soa.retry, soa.expire] {
                    self.octets.extend(interval.to_be_bytes());
                }
                self.octets.extend(soa.minimum.to_be_bytes());
            }
            other => {
                let mut octets = Vec::new();
                let mut encoder = BinEncoder::new(&mut octets);
                encoder.set_name_encoding(NameEncoding::Uncompressed);
                other.emit(&mut encoder)?;
                self.octets.append(&mut octets);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::{A, SRV, TXT};

    const REQUEST: [u8; 12] = [0xab, 0xcd, 0x79 | 0x06, 0xff, 0, 1, 0, 2, 0, 3, 0, 4];
    const QUESTION: &[u8] = b"\x03wEb\x03svc\x00\x00\x21\x00\x01";
    const OPT: Opt = Opt { udp_payload: 1232, dnssec_ok: true, options: Vec::new() };

    fn frame(limit: usize) -> Frame<'static> {
        Frame { request: &REQUEST, question: QUESTION, opt: Some(OPT), limit }
    }

    fn answer() -> Answer {
        let owner = Name::from_ascii("wEb.svc.").unwrap();
        let target = Name::from_ascii("i1.web.svc.").unwrap();
        let address = RData::A(A([10, 0, 0, 1].into()));
        let mut answer = Answer::empty(ResponseCode::NoError);
        answer.answers.push(Record::from_rdata(owner.clone(), 5, RData::SRV(SRV::new(0, 1, 80, target.clone()))));
        answer.authorities.push(Record::from_rdata(owner, 5, RData::TXT(TXT::new(vec!["k=v".to_owned()]))));
        answer.additionals.push(Record::from_rdata(target, 5, address));
        answer
    }

    #[test]
    fn refusals_keep_id_opcode_rd_and_cd_only() {
        let reply = Frame { question: &[], ..frame(512) }.refuse(ResponseCode::BADVERS);
        assert_eq!(reply[..12], [0xab, 0xcd, 0xf9, 0x10, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(reply[12..], [0, 0, 41, 4, 208, 1, 0, 0x80, 0, 0, 0]);
    }

    #[test]
    fn owners_are_pointers_and_all_records_read_back() {
        let octets = frame(512).answer(&answer()).unwrap();
        let reply = Message::from_vec(&octets).unwrap();
        assert_eq!((reply.answers, reply.authorities), (answer().answers, answer().authorities));
        assert_eq!(reply.additionals, answer().additionals);
        let sizes = [12, QUESTION.len(), 2 + 10 + 6 + 12, 2 + 10 + 4, 2 + 10 + 4, OPT.octets()];
        assert_eq!(octets.len(), sizes.iter().sum::<usize>());
    }

    #[test]
    fn an_answer_larger_than_it_should_be_is_cut_to_the_question() {
        let length = frame(512).answer(&answer()).unwrap().len();
        assert_eq!(frame(length).answer(&answer()).unwrap().len(), length);
        let octets = frame(length - 1).answer(&answer()).unwrap();
        assert_eq!(octets.len(), 12 + QUESTION.len() + OPT.octets());
        let reply = Message::from_vec(&octets).unwrap();
        assert!(reply.metadata.truncation && reply.answers.is_empty());
        assert!(reply.edns.unwrap().flags().dnssec_ok);
    }
}
