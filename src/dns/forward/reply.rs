//! What upstreams reply, kept as it came, and made into replies of our own.

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use super::wire::{AD, CD, QR, RA, RD, TC};
use crate::dns::edns;
use crate::dns::message::{HEADER_OCTETS, OPT_TYPE};
use crate::dns::reply::Opt;
use crate::zone::ExtendedError;

/// What a reply has to be for one client.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) id: u16,
    /// The question section in the client's letters.
    pub(super) question: Vec<u8>,
    pub(super) limit: usize,
    pub(super) opt: Option<Opt>,
    pub(super) checking_disabled: bool,
    /// Whether the client may see AD.
    pub(super) authentic_data: bool,
}

/// Octets of an extended error's text that are passed on.
const TEXT_OCTETS_MAX: usize = 200;
/// The EDNS option of an extended error (RFC 8914 §2).
const EXTENDED_ERROR_OPTION: u16 = 15;
/// Octets of a record between its owner and its data: type, class, TTL, length.
const RECORD_FIXED: usize = 10;
/// Octets of the shortest SOA data, which ends with the MINIMUM field.
const SOA_OCTETS_MIN: usize = 22;
const TYPE_SOA: u16 = 6;
const TYPE_TSIG: u16 = 250;
const TYPE_ANY: u16 = 255;

pub(super) const NOERROR: u16 = 0;
pub(super) const FORMERR: u16 = 1;
pub(super) const SERVFAIL: u16 = 2;
pub(super) const NXDOMAIN: u16 = 3;

/// Where a record stands in the message it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    record_type: u16,
    ttl: u16,
    end: u16,
}

/// The sections of a message, without question and OPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sections {
    /// Where they began in the message.
    start: usize,
    /// Everything behind the question. Compressed names stay what they are, because the question keeps its length.
    tail: Box<[u8]>,
    /// Records of the answer, authority and additional section.
    counts: [usize; 3],
    places: Box<[Place]>,
    /// Owners that repeat the question's name in full, so that they can have the letters of the client.
    echoes: Box<[u16]>,
}

/// A reply of an upstream.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) rcode: u16,
    pub(super) truncated: bool,
    pub(super) edns: bool,
    pub(super) extended_error: Option<ExtendedError>,
    authentic: bool,
    sections: Sections,
}

/// Where the name at `at` ends. A pointer has to lead back, so following it ends.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let length = *message.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            3 => {
                let target = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                return (HEADER_OCTETS..start).contains(&target).then_some(at + 2);
            }
            _ => return None,
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..at + 2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]))
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

/// The first extended error among the options of an OPT record.
fn extended_error(mut options: &[u8]) -> Option<ExtendedError> {
    while let (Some(option), Some(length)) = (u16_at(options, 0), u16_at(options, 2)) {
        let (data, rest) = options[4..].split_at_checked(length.into())?;
        if option == EXTENDED_ERROR_OPTION {
            let (code, text) = (u16_at(data, 0)?, &data[2..]);
            let mut text = String::from_utf8_lossy(text).replace(char::is_control, " ");
            text.truncate(text.floor_char_boundary(TEXT_OCTETS_MAX));
            return Some(ExtendedError { code, text });
        }
        options = rest;
    }
    None
}

impl Reply {
    /// Reads a message that has its question up to `question_end`. What stands behind the OPT record, which is nearly
    /// always the last, is left out, because taking a record from the middle would move what pointers lead to.
    pub(super) fn parse(message: &[u8], question_end: usize, ttl_max: u32) -> Option<Self> {
        let header = message.first_chunk::<HEADER_OCTETS>()?;
        let mut reply = Self {
            rcode: u16::from(header[3] & 0x0f),
            truncated: header[2] & TC != 0,
            edns: false,
            extended_error: None,
            authentic: header[3] & AD != 0,
            sections: Sections::default(),
        };
        let asked = message.get(HEADER_OCTETS..question_end.checked_sub(4)?)?;
        let (mut places, mut echoes) = (Vec::new(), Vec::new());
        let mut octets = message.to_vec();
        let mut at = question_end;
        let mut end = at;
        'sections: for section in 0..3 {
            for _ in 0..u16_at(message, 6 + 2 * section)? {
                let owner = at;
                at = name_end(message, owner)?;
                let record_type = u16_at(message, at)?;
                let data = at + RECORD_FIXED;
                let data_end = data + usize::from(u16_at(message, at + 8)?);
                let data_octets = message.get(data..data_end)?;
                if section == 2 && record_type == OPT_TYPE {
                    reply.edns = true;
                    reply.rcode |= u16::from(message[at + 4]) << 4;
                    reply.extended_error = extended_error(data_octets);
                    break 'sections;
                }
                if section == 2 && record_type == TYPE_TSIG {
                    break 'sections;
                }
                if message[owner..at].eq_ignore_ascii_case(asked) {
                    echoes.push(u16::try_from(owner).ok()?);
                }
                // A TTL with the highest bit is none (RFC 2181 §8).
                let ttl = u32_at(message, at + 4).filter(|ttl| ttl >> 31 == 0).unwrap_or(0).min(ttl_max);
                octets[at + 4..at + 8].copy_from_slice(&ttl.to_be_bytes());
                places.push(Place { record_type, ttl: u16::try_from(at + 4).ok()?, end: data_end.try_into().ok()? });
                reply.sections.counts[section] += 1;
                (at, end) = (data_end, data_end);
            }
        }
        octets.truncate(end);
        reply.sections.start = question_end;
        reply.sections.tail = octets.split_off(question_end).into();
        reply.sections.places = places.into();
        reply.sections.echoes = echoes.into();
        Some(reply)
    }

    /// Whether this is what was wanted to know: that there are records, or that there are none.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.rcode, NOERROR | NXDOMAIN)
    }

    /// How long it may be kept, in seconds: as its shortest-lived answer, or as the SOA says of what is not there
    /// (RFC 2308 §5). A negative answer without SOA is not kept.
    pub(super) fn lifetime(&self, record_type: u16, negative_max: u32) -> u32 {
        let Sections { start, tail, counts, places, .. } = &self.sections;
        let ttl = |place: &Place| u32_at(tail, usize::from(place.ttl) - start).unwrap_or(0);
        let (answers, rest) = places.split_at(counts[0]);
        let positive = self.rcode == NOERROR
            && answers.iter().any(|place| place.record_type == record_type || record_type == TYPE_ANY);
        let shortest = answers.iter().map(ttl).min();
        if positive {
            return shortest.unwrap_or(0);
        }
        let soa = rest[..counts[1]].iter().find(|place| place.record_type == TYPE_SOA).and_then(|place| {
            let data = usize::from(place.ttl) + 6;
            let end = usize::from(place.end);
            let minimum = u32_at(tail, end.checked_sub(4)? - start)?;
            (end - data >= SOA_OCTETS_MIN).then(|| minimum.min(ttl(place)).min(negative_max))
        });
        soa.map_or(0, |soa| shortest.map_or(soa, |shortest| shortest.min(soa)))
    }
}

/// What a question gets, for every client that asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) rcode: u16,
    pub(super) extended_error: Option<ExtendedError>,
    authentic: bool,
    sections: Sections,
    received: Instant,
}

impl Answer {
    pub(super) fn of(reply: Reply, received: Instant) -> Self {
        let Reply { rcode, authentic, extended_error, sections, .. } = reply;
        Self { rcode, extended_error, authentic, sections, received }
    }

    /// An answer without records.
    pub(super) fn empty(rcode: u16, extended_error: Option<ExtendedError>, now: Instant) -> Self {
        Self { rcode, extended_error, authentic: false, sections: Sections::default(), received: now }
    }

    /// What it takes to keep it.
    pub(super) fn octets(&self) -> usize {
        let Sections { tail, places, echoes, .. } = &self.sections;
        let text = self.extended_error.as_ref().map_or(0, |error| error.text.len());
        size_of::<Self>() + tail.len() + size_of_val(&**places) + size_of_val(&**echoes) + text
    }

    /// How many records there is room for, by section, and whether answers are missing: additional records go first,
    /// then with the authority section as many answers as it takes.
    fn fit(&self, start: usize, room: usize) -> ([usize; 3], bool) {
        let Sections { counts: [answers, authorities, additionals], ref places, .. } = self.sections;
        let fits = |records: usize| {
            records == 0 && start <= room || records > 0 && usize::from(places[records - 1].end) <= room
        };
        if fits(answers + authorities + additionals) {
            ([answers, authorities, additionals], false)
        } else if fits(answers + authorities) {
            ([answers, authorities, 0], false)
        } else {
            let kept = (0..=answers).rev().find(|kept| fits(*kept)).unwrap_or(0);
            ([kept, 0, 0], true)
        }
    }

    /// The reply to one client, within its limit.
    pub(super) fn encode(&self, envelope: &Envelope, now: Instant) -> Vec<u8> {
        let Envelope { id, question, limit, opt, checking_disabled, authentic_data } = envelope;
        let start = HEADER_OCTETS + question.len();
        let opt_octets = opt.as_ref().map_or(0, Opt::octets);
        let (counts, truncated) = self.fit(start, limit.saturating_sub(opt_octets));
        let kept: usize = counts.iter().sum();
        let places = &self.sections.places[..kept];
        let end = places.last().map_or(start, |place| usize::from(place.end));

        let mut reply = Vec::with_capacity(end + opt_octets + 64);
        reply.extend_from_slice(&id.to_be_bytes());
        let authentic = self.authentic && *authentic_data;
        reply.push(QR | RD | if truncated { TC } else { 0 });
        reply.push(
            RA | if authentic { AD } else { 0 } | if *checking_disabled { CD } else { 0 } | (self.rcode & 0x0f) as u8,
        );
        let additionals = counts[2] + usize::from(opt.is_some());
        for count in [1, counts[0], counts[1], additionals] {
            reply.extend_from_slice(&(count as u16).to_be_bytes());
        }
        reply.extend_from_slice(question);
        reply.extend_from_slice(&self.sections.tail[..end - start]);
        let age = u32::try_from(now.saturating_duration_since(self.received).as_secs()).unwrap_or(u32::MAX);
        for place in places {
            let at = usize::from(place.ttl);
            let ttl = u32_at(&reply, at).unwrap_or(0).saturating_sub(age);
            reply[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
        let name = &question[..question.len() - 4];
        for echo in self.sections.echoes.iter().map(|echo| usize::from(*echo)).filter(|echo| *echo < end) {
            reply[echo..echo + name.len()].copy_from_slice(name);
        }
        if let Some(opt) = opt {
            let mut opt = opt.clone();
            if let Some(error) = &self.extended_error
                && end + opt.octets() + edns::error_octets(error) <= *limit
            {
                edns::add_error(&mut opt.options, error);
            }
            opt.write(ResponseCode::NoError, &mut reply);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::opt::EdnsOption;
    use hickory_proto::rr::rdata::{A, CNAME, SOA, TXT};
    use hickory_proto::rr::{Name, RData, Record, RecordType};

    use super::super::wire;
    use super::*;

    const NAME: &str = "www.example.org.";

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn message() -> Message {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(name(NAME), RecordType::A));
        message
    }

    fn a(owner: &str, ttl: u32, last: u8) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A::new(10, 0, 0, last)))
    }

    fn soa(ttl: u32, minimum: u32) -> Record {
        let soa = SOA::new(name("ns.example.org."), name("mail.example.org."), 1, 2, 3, 4, minimum);
        Record::from_rdata(name("example.org."), ttl, RData::SOA(soa))
    }

    fn question_end() -> usize {
        HEADER_OCTETS + wire::question(&name(NAME), RecordType::A).len()
    }

    fn parse(message: &Message) -> Reply {
        Reply::parse(&message.to_vec().unwrap(), question_end(), 3600).unwrap()
    }

    fn envelope(asked: &str, limit: usize) -> Envelope {
        Envelope {
            id: 99,
            question: wire::question(&name(asked), RecordType::A),
            limit,
            opt: Some(Opt { udp_payload: 1232, dnssec_ok: false, options: vec![] }),
            checking_disabled: false,
            authentic_data: true,
        }
    }

    fn answer(message: &Message, now: Instant) -> Answer {
        Answer::of(parse(message), now)
    }

    fn sent(answer: &Answer, envelope: &Envelope, now: Instant) -> Message {
        let octets = answer.encode(envelope, now);
        assert!(octets.len() <= envelope.limit, "{} octets", octets.len());
        Message::from_vec(&octets).unwrap()
    }

    #[test]
    fn a_reply_is_passed_on_whole_in_the_letters_of_the_client() {
        let mut original = message();
        original.metadata.authoritative = true;
        original.metadata.authentic_data = true;
        let alias = RData::CNAME(CNAME(name("host.example.org.")));
        original.add_answer(Record::from_rdata(name(NAME), 300, alias)).add_answer(a("host.example.org.", 60, 7));
        original.add_authority(soa(900, 900)).add_additional(a("ns.example.org.", 90_000, 8));
        original.set_edns(Edns::new());
        let now = Instant::now();
        let passed = sent(&answer(&original, now), &envelope("WWW.example.ORG.", 1232), now + Duration::from_secs(10));
        assert_eq!((passed.metadata.id, passed.metadata.response_code), (99, ResponseCode::NoError));
        assert!(passed.metadata.recursion_available && passed.metadata.recursion_desired);
        assert!(!passed.metadata.authoritative && passed.metadata.authentic_data && !passed.metadata.truncation);
        assert_eq!(passed.queries[0].name().to_string(), "WWW.example.ORG.");
        assert_eq!(passed.answers[0].name.to_string(), "WWW.example.ORG.");
        let ttls: Vec<u32> = passed.all_sections().map(|record| record.ttl).collect();
        assert_eq!(ttls, [290, 50, 890, 3590], "aged by ten seconds; the last was capped");
        let data = |message: &Message| message.all_sections().map(|record| record.data.clone()).collect::<Vec<_>>();
        assert_eq!(data(&passed), data(&original));
        assert!(passed.edns.is_some());
    }

    #[test]
    fn owners_written_in_full_get_the_letters_of_the_client_too() {
        let end = question_end();
        let mut octets = message().to_vec().unwrap();
        octets[7] = 1;
        octets.extend(wire::wire_name(&name("wWw.ExAmPlE.org.")));
        octets.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7]);
        let now = Instant::now();
        let answer = Answer::of(Reply::parse(&octets, end, 3600).unwrap(), now);
        assert_eq!(sent(&answer, &envelope(NAME, 512), now).answers[0].name.to_string(), NAME);
    }

    #[test]
    fn what_does_not_fit_is_left_out_in_order() {
        let mut original = message();
        original.add_answers((0..40).map(|last| a(NAME, 60, last)));
        original.add_additional(Record::from_rdata(
            name("x.example.org."),
            60,
            RData::TXT(TXT::new(vec!["x".repeat(200)])),
        ));
        let now = Instant::now();
        let answer = answer(&original, now);
        let counts = |limit| {
            let reply = sent(&answer, &envelope(NAME, limit), now);
            assert!(reply.edns.is_some());
            (reply.answers.len(), reply.additionals.len(), reply.metadata.truncation)
        };
        assert_eq!(counts(1232), (40, 1, false));
        assert_eq!(counts(700), (40, 0, false));
        assert_eq!(counts(512), (29, 0, true));
        assert_eq!(counts(60), (1, 0, true));
        assert_eq!(counts(44), (0, 0, true));
    }

    #[test]
    fn lives_as_long_as_its_shortest_answer_or_as_the_soa_allows() {
        let lifetime = |change: &dyn Fn(&mut Message) -> &mut Message| {
            let mut reply = message();
            change(&mut reply);
            parse(&reply).lifetime(RecordType::A.into(), 300)
        };
        let alias = || Record::from_rdata(name(NAME), 20, RData::CNAME(CNAME(name("host.example.org."))));
        assert_eq!(lifetime(&|m| m.add_answer(a(NAME, 60, 1)).add_answer(a(NAME, 30, 2))), 30);
        assert_eq!(lifetime(&|m| m.add_answer(a(NAME, 90_000, 1))), 3600, "capped");
        assert_eq!(lifetime(&|m| m.add_answer(a(NAME, 0, 1))), 0);
        assert_eq!(lifetime(&|m| m.add_answer(a(NAME, 1 << 31, 1))), 0, "no TTL at all");
        assert_eq!(lifetime(&|m| m.add_authority(soa(60, 30))), 30);
        assert_eq!(lifetime(&|m| m.add_authority(soa(30, 60))), 30);
        assert_eq!(lifetime(&|m| m.add_authority(soa(9000, 9000))), 300, "capped");
        assert_eq!(lifetime(&|m| m), 0, "nothing says how long there is nothing");
        assert_eq!(lifetime(&|m| m.add_answer(alias()).add_authority(soa(60, 60))), 20);
        assert_eq!(lifetime(&|m| m.add_answer(alias())), 0, "an alias of nothing");
        let nxdomain = lifetime(&|m| {
            m.metadata.response_code = ResponseCode::NXDomain;
            m.add_authority(soa(60, 60))
        });
        assert_eq!(nxdomain, 60);
    }

    #[test]
    fn messages_that_are_cut_or_lie_are_not_read() {
        let mut whole = message();
        whole.add_answer(a(NAME, 60, 1)).add_authority(soa(60, 60)).set_edns(Edns::new());
        let octets = whole.to_vec().unwrap();
        assert!(Reply::parse(&octets, question_end(), 3600).is_some());
        for length in 0..octets.len() {
            assert!(Reply::parse(&octets[..length], question_end(), 3600).is_none(), "{length}");
        }
        let owner = question_end();
        for target in [0, 11, owner as u8, owner as u8 + 1, 0xff] {
            let mut looping = octets.clone();
            looping[owner..owner + 2].copy_from_slice(&[0xc0, target]);
            assert!(Reply::parse(&looping, question_end(), 3600).is_none(), "a pointer to {target}");
        }
    }

    #[test]
    fn an_explanation_is_passed_on_when_there_is_room() {
        let mut original = message();
        let mut edns = Edns::new();
        let text = [&[0, 6][..], b"bogus\x1b: \xff", &[b'x'; 300]].concat();
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR_OPTION, text));
        original.set_edns(edns);
        let reply = parse(&original);
        let error = reply.extended_error.clone().unwrap();
        assert_eq!(error.code, 6);
        assert!(error.text.starts_with("bogus : \u{fffd}xxx") && error.text.len() <= TEXT_OCTETS_MAX, "{}", error.text);
        let now = Instant::now();
        let answer = Answer::of(reply, now);
        let has_option = |limit| {
            let reply = sent(&answer, &envelope(NAME, limit), now);
            reply.edns.unwrap().option(EXTENDED_ERROR_OPTION.into()).is_some()
        };
        assert!(has_option(512));
        assert!(!has_option(100));
    }
}
