//! Octets in, octets out: what clients, broken clients and attackers send, and what they get.
//!
//! Replies are read by a parser of this module's own, which forgives nothing: a pointer that does not point back, a
//! length that does not add up or an octet after the last record fails the test.

mod manners;
mod messages;
mod properties;
mod sizes;
mod tcp;
mod udp;

use hickory_proto::op::Message;
use rollcall::dns::Protocol;

use super::support::world::World;

const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const OPT: u16 = 41;
const ANY: u16 = 255;

const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const NXDOMAIN: u16 = 3;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

/// A name in wire form.
fn wire(dotted: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in dotted.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

fn header(flags: [u8; 2], counts: [u16; 4]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, flags[0], flags[1]];
    message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    message
}

/// A question of class IN with RD set, without EDNS.
fn question(name: &[u8], record_type: u16) -> Vec<u8> {
    let mut message = header([1, 0], [1, 0, 0, 0]);
    message.extend_from_slice(name);
    message.extend([record_type.to_be_bytes(), [0, 1]].concat());
    message
}

/// Adds a record to the additional section: an OPT with these options.
fn with_opt(mut message: Vec<u8>, payload: u16, ttl: u32, options: &[u8]) -> Vec<u8> {
    message[11] += 1;
    message.push(0);
    message.extend([OPT.to_be_bytes(), payload.to_be_bytes()].concat());
    message.extend(ttl.to_be_bytes());
    message.extend((options.len() as u16).to_be_bytes());
    message.extend_from_slice(options);
    message
}

#[derive(Debug, Clone)]
struct Record {
    /// The owner in wire form, in the case that was sent.
    owner: Vec<u8>,
    record_type: u16,
    class: u16,
    ttl: u32,
    data: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    octets: Vec<u8>,
    id: u16,
    rcode: u16,
    authoritative: bool,
    truncated: bool,
    /// Of the question section, as sent.
    question: Vec<u8>,
    /// Answer, authority and additional without OPT.
    sections: [Vec<Record>; 3],
    opt: Option<Record>,
}

fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// The name at `at` without compression, and where it ends.
fn name_at(octets: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let (mut name, mut end, mut bound) = (Vec::new(), None, at);
    loop {
        let length = usize::from(octets[at]);
        match length {
            0 => {
                name.push(0);
                assert!(name.len() <= 255, "a name of {} octets", name.len());
                return (name, end.unwrap_or(at + 1));
            }
            1..=63 => {
                name.extend_from_slice(&octets[at..=at + length]);
                at += 1 + length;
            }
            192.. => {
                end.get_or_insert(at + 2);
                at = usize::from(u16_at(octets, at) & 0x3fff);
                assert!((12..bound).contains(&at), "a pointer to {at} from a name at {bound}");
                bound = at;
            }
            _ => panic!("a label of type {length:#x}"),
        }
    }
}

fn read(octets: Vec<u8>) -> Reply {
    let parsed = Message::from_vec(&octets).expect("hickory reads the reply");
    assert_eq!(octets[2] & 0x80, 0x80, "QR");
    assert_eq!(octets[3] & 0xe0, 0, "RA, Z and AD are clear");
    let mut at = 12;
    for _ in 0..u16_at(&octets, 4) {
        at = name_at(&octets, at).1 + 4;
    }
    let question = octets[12..at].to_vec();
    let mut opt = None;
    let mut sections = [Vec::new(), Vec::new(), Vec::new()];
    for (section, records) in sections.iter_mut().enumerate() {
        for _ in 0..u16_at(&octets, 6 + 2 * section) {
            let (owner, fixed) = name_at(&octets, at);
            at = fixed + 10 + usize::from(u16_at(&octets, fixed + 8));
            let record = Record {
                owner,
                record_type: u16_at(&octets, fixed),
                class: u16_at(&octets, fixed + 2),
                ttl: u32::from(u16_at(&octets, fixed + 4)) << 16 | u32::from(u16_at(&octets, fixed + 6)),
                data: octets[fixed + 10..at].to_vec(),
            };
            if record.record_type == OPT {
                assert!(section == 2 && record.owner == [0], "OPT at the root of the additional section");
                assert!(opt.replace(record).is_none(), "one OPT");
            } else {
                records.push(record);
            }
        }
    }
    assert_eq!(at, octets.len(), "octets after the last record");
    let high = opt.as_ref().map_or(0, |opt: &Record| (opt.ttl >> 24) as u16);
    let reply = Reply {
        id: u16_at(&octets, 0),
        rcode: high << 4 | u16::from(octets[3] & 0x0f),
        authoritative: octets[2] & 4 != 0,
        truncated: octets[2] & 2 != 0,
        question,
        sections,
        opt,
        octets,
    };
    assert_eq!(u16::from(parsed.metadata.response_code), reply.rcode);
    let counted = [&parsed.answers, &parsed.authorities, &parsed.additionals].map(Vec::len);
    assert_eq!(counted, [0, 1, 2].map(|section| reply.sections[section].len()));
    reply
}

/// The reply to a message, or nothing.
async fn send(world: &World, message: &[u8], protocol: Protocol) -> Option<Reply> {
    let reply = read(world.exchange(message, protocol).await?);
    assert_eq!(reply.id, u16_at(message, 0), "the id of the request");
    Some(reply)
}

async fn put(world: &World, service: &str, id: &str, body: &str) {
    let path = format!("/v1/services/{service}/instances/{id}");
    let reply = world.call("PUT", &path, Some(body)).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
}
