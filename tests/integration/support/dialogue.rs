//! Questions as one line of text, and what is compared of their replies.

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use rollcall::dns::Protocol;
use rollcall::zone::record_text;

use super::world::CLIENT;

/// The EDNS option of an extended error (RFC 8914 §2).
const EXTENDED_ERROR_OPTION: u16 = 15;

/// A question and the way it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    query: Query,
    pub(crate) protocol: Protocol,
    pub(crate) payload: Option<u16>,
    pub(crate) client: SocketAddr,
}

impl Asking {
    pub(crate) fn new(name: &str, record_type: RecordType) -> Self {
        let query = Query::query(Name::from_ascii(name).unwrap(), record_type);
        Self { query, protocol: Protocol::Udp, payload: Some(1232), client: CLIENT.parse().unwrap() }
    }

    /// `web.svc.internal. A [tcp] [noedns] [edns=512] [CH] [from IP]`
    pub(crate) fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        let mut asking = Self::new(name, words.next().expect("a type").parse().expect("a known type"));
        while let Some(word) = words.next() {
            match word {
                "tcp" => asking.protocol = Protocol::Tcp,
                "noedns" => asking.payload = None,
                "CH" => drop(asking.query.set_query_class(DNSClass::CH)),
                "from" => asking.client = SocketAddr::new(words.next().unwrap().parse().expect("an address"), 40_000),
                word => asking.payload = Some(word.strip_prefix("edns=").expect("a known word").parse().unwrap()),
            }
        }
        asking
    }

    pub(crate) fn message(&self) -> Message {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
        message.add_query(self.query.clone());
        message.metadata.recursion_desired = true;
        message.edns = self.payload.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            edns
        });
        message
    }
}

/// The rcode and the flags `aa`, `tc`, `ra` of a reply: `NOERROR aa`.
pub(crate) fn head(reply: &Message) -> String {
    let flags = [
        ("aa", reply.metadata.authoritative),
        ("tc", reply.metadata.truncation),
        ("ra", reply.metadata.recursion_available),
    ];
    let flags = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name);
    let rcode = format!("{:?}", reply.metadata.response_code).to_uppercase();
    std::iter::once(&*rcode).chain(flags).collect::<Vec<_>>().join(" ")
}

/// Code and text of a reply's extended error.
pub(crate) fn extended_error(reply: &Message) -> Option<(u16, String)> {
    match reply.edns.as_ref()?.option(EdnsCode::Unknown(EXTENDED_ERROR_OPTION))? {
        EdnsOption::Unknown(_, data) => {
            let (code, text) = data.split_first_chunk::<2>().expect("a code");
            Some((u16::from_be_bytes(*code), String::from_utf8(text.to_vec()).expect("UTF-8")))
        }
        other => panic!("{other:?}"),
    }
}

/// Records in zone-file notation, sorted.
pub(crate) fn shown(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(record_text).collect();
    lines.sort();
    lines
}

/// Whether a text follows a pattern in which `*` is anything.
pub(crate) fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| is_like(rest, &text[at..]))
        }),
    }
}

#[test]
fn a_star_is_anything() {
    for (pattern, text) in [("a", "a"), ("a*", "abc"), ("a*c", "abbc"), ("*b*", "b"), ("*", "")] {
        assert!(is_like(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "ab"), ("a*c", "abb"), ("b*", "ab")] {
        assert!(!is_like(pattern, text), "{pattern} {text}");
    }
}
