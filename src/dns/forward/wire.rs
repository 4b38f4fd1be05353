//! Questions to upstreams, and which datagrams answer them.

use hickory_proto::rr::{Name, RecordType};

use crate::dns::message::{HEADER_OCTETS, OPT_TYPE};

/// What upstreams may send in a datagram: passes every IPv6 path without fragments.
pub(super) const UDP_PAYLOAD: u16 = 1232;
/// Octets of type and class behind a question's name.
const TYPE_AND_CLASS: usize = 4;
const CLASS_IN: u16 = 1;
/// DO, the highest of the OPT record's flags (RFC 3225).
const DNSSEC_OK: u8 = 0x80;
/// Bits of the header's third and fourth octet.
pub(super) const QR: u8 = 0x80;
pub(super) const TC: u8 = 0x02;
pub(super) const RD: u8 = 0x01;
pub(super) const RA: u8 = 0x80;
pub(super) const AD: u8 = 0x20;
pub(super) const CD: u8 = 0x10;
const OPCODE: u8 = 0x78;

/// What is asked of an upstream, and what its answer is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The name in lower case, with the root label.
    name: Box<[u8]>,
    record_type: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Asked {
    pub(super) fn new(name: &Name, record_type: RecordType, dnssec_ok: bool, checking_disabled: bool) -> Self {
        let mut name = wire_name(name);
        name.make_ascii_lowercase();
        Self { name: name.into(), record_type: record_type.into(), dnssec_ok, checking_disabled }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) fn record_type(&self) -> u16 {
        self.record_type
    }
}

/// A name in its own case, with the root label. The octets of lengths are below those of letters, so that changing
/// the case of a name in this form changes its letters only.
pub(super) fn wire_name(name: &Name) -> Vec<u8> {
    let mut octets = Vec::with_capacity(64);
    for label in name.iter() {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label);
    }
    octets.push(0);
    octets
}

/// A question section of the class IN.
#[cfg(test)]
pub(super) fn question(name: &Name, record_type: RecordType) -> Vec<u8> {
    let mut question = wire_name(name);
    question.extend_from_slice(&u16::from(record_type).to_be_bytes());
    question.extend_from_slice(&CLASS_IN.to_be_bytes());
    question
}

/// Where the question ends in a message that asks it.
pub(super) fn question_end(asked: &Asked) -> usize {
    HEADER_OCTETS + asked.name.len() + TYPE_AND_CLASS
}

/// A message to an upstream: an id that nobody can foresee, letters of random case (0x20), our own OPT record.
#[derive(Debug)]
pub(super) struct Query {
    octets: Vec<u8>,
    question_end: usize,
}

/// How a message relates to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It answers it.
    Exact,
    /// It answers it but for the case of the letters: forged, or from a server that does not keep it.
    OtherCase,
    /// It answers something else, or nothing.
    None,
}

impl Query {
    pub(super) fn new(asked: &Asked, mixed_case: bool, edns: bool) -> Self {
        let mut octets = Vec::with_capacity(HEADER_OCTETS + asked.name.len() + TYPE_AND_CLASS + 11);
        octets.extend_from_slice(&rand::random::<[u8; 2]>());
        // AD asks whether the upstream found the answer authentic (RFC 6840 §5.7).
        octets.extend_from_slice(&[RD, AD | if asked.checking_disabled { CD } else { 0 }]);
        octets.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        octets.extend_from_slice(&asked.name);
        if mixed_case {
            let bits: [u8; 32] = rand::random();
            for (at, octet) in octets[HEADER_OCTETS..].iter_mut().enumerate() {
                if octet.is_ascii_lowercase() && bits[at / 8] & (1 << (at % 8)) != 0 {
                    octet.make_ascii_uppercase();
                }
            }
        }
        octets.extend_from_slice(&asked.record_type.to_be_bytes());
        octets.extend_from_slice(&CLASS_IN.to_be_bytes());
        let question_end = octets.len();
        if edns {
            let [high, low] = UDP_PAYLOAD.to_be_bytes();
            let flags = if asked.dnssec_ok { DNSSEC_OK } else { 0 };
            octets.extend_from_slice(&[0, 0, OPT_TYPE as u8, high, low, 0, 0, flags, 0, 0, 0]);
        }
        Self { octets, question_end }
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether a message answers this: a response with the same id and the same single question.
    pub(super) fn matches(&self, message: &[u8]) -> Match {
        let Some(header) = message.first_chunk::<HEADER_OCTETS>() else { return Match::None };
        if header[..2] != self.octets[..2] || header[2] & (QR | OPCODE) != QR {
            return Match::None;
        }
        let ours = &self.octets[HEADER_OCTETS..self.question_end];
        // Servers that cannot read a query send its header back alone.
        let unread = matches!(header[3] & 0x0f, 1 | 4);
        match (u16::from_be_bytes([header[4], header[5]]), message.get(HEADER_OCTETS..self.question_end)) {
            (0, _) if unread && message.len() >= HEADER_OCTETS => Match::Exact,
            (1, Some(theirs)) if theirs == ours => Match::Exact,
            (1, Some(theirs)) if theirs.eq_ignore_ascii_case(ours) && same_type(theirs, ours) => Match::OtherCase,
            _ => Match::None,
        }
    }
}

/// Type and class are numbers, not letters.
fn same_type(theirs: &[u8], ours: &[u8]) -> bool {
    let last = |question: &[u8]| question.last_chunk::<TYPE_AND_CLASS>().copied();
    last(theirs) == last(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> Asked {
        Asked::new(&Name::from_ascii(name).unwrap(), RecordType::A, true, false)
    }

    fn reply_to(query: &Query) -> Vec<u8> {
        let mut reply = query.octets[..query.question_end].to_vec();
        reply[2] |= QR;
        reply[11] = 0;
        reply
    }

    #[test]
    fn ids_and_letters_cannot_be_foreseen() {
        let name = asked("a-long-enough-name-to-be-different.example.org.");
        let queries: Vec<Query> = (0..32).map(|_| Query::new(&name, true, true)).collect();
        let distinct =
            |part: fn(&Query) -> &[u8]| queries.iter().map(part).collect::<std::collections::HashSet<_>>().len();
        assert!(distinct(|query| &query.octets[..2]) > 24);
        assert!(distinct(|query| &query.octets[HEADER_OCTETS..query.question_end]) == 32);
        let plain = Query::new(&name, false, true);
        assert_eq!(plain.octets[HEADER_OCTETS..plain.question_end - 4], *name.name);
    }

    #[test]
    fn only_a_response_with_id_and_question_answers() {
        let query = Query::new(&asked("www.example.org."), true, true);
        let reply = reply_to(&query);
        assert_eq!(query.matches(&reply), Match::Exact);
        let changed = |at: usize, bits: u8| {
            let mut reply = reply.clone();
            reply[at] ^= bits;
            query.matches(&reply)
        };
        assert_eq!(changed(0, 1), Match::None, "another id");
        assert_eq!(changed(2, QR), Match::None, "a query");
        assert_eq!(changed(2, 0x08), Match::None, "another opcode");
        assert_eq!(changed(5, 1), Match::None, "no question");
        assert_eq!(changed(14, 1), Match::None, "another name");
        assert_eq!(changed(13, 0x20), Match::OtherCase);
        assert_eq!(changed(reply.len() - 3, 0x20), Match::None, "another type");
        assert_eq!(changed(reply.len() - 1, 0x20), Match::None, "another class");
        for length in 0..reply.len() {
            assert_eq!(query.matches(&reply[..length]), Match::None);
        }
    }

    #[test]
    fn a_server_that_cannot_read_the_query_may_say_so_without_it() {
        let query = Query::new(&asked("www.example.org."), true, true);
        let mut reply = reply_to(&query)[..HEADER_OCTETS].to_vec();
        reply[5] = 0;
        for (rcode, expected) in [(0, Match::None), (1, Match::Exact), (2, Match::None), (3, Match::None)] {
            reply[3] = rcode;
            assert_eq!(query.matches(&reply), expected, "rcode {rcode}");
        }
    }
}
