//! The quick path of a question: read in place, answered from the zone as octets, without a record being made.
//!
//! It takes what clients ask most: one plain question of the class IN, with or without EDNS, for the commonest answers.
//! Everything else is left to the full path (`handler`), which says the same of these too.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::Protocol;
use super::edns::{Asked, Manners, udp_limit};
use super::message::{HEADER_OCTETS, OPT_TYPE};
use super::reply::Opt;
use crate::zone::{Detail, QuickQuestion, Zone};

/// Type and class of a question; type, payload, extended code, version, flags and length of an OPT (RFC 6891 §6.1.2).
const QUESTION_END: usize = 4;
const OPT_FIXED: usize = 10;
const CLASS_IN: u16 = 1;
/// Where the header counts questions, answers, authorities and additionals.
const COUNTS_AT: [usize; 4] = [4, 6, 8, 10];

/// A question that was read in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    request: &'a [u8],
    /// Where the question ends.
    end: usize,
    pub(super) record_type: RecordType,
    edns: Option<Edns>,
}

#[derive(Debug, Clone, Copy)]
struct Edns {
    payload: u16,
    dnssec_ok: bool,
    asked: Asked,
}

fn number(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
}

impl<'a> Asking<'a> {
    /// Reads a request; none when it is anything but plain.
    pub(super) fn read(request: &'a [u8]) -> Option<Self> {
        // A query that is no response, of opcode 0; whatever its other flags say is the same to both paths.
        if request.get(2)? & 0xf8 != 0 {
            return None;
        }
        let additionals = match COUNTS_AT.map(|at| number(request, at)) {
            [Some(1), Some(0), Some(0), Some(additionals @ 0..=1)] => additionals,
            _ => return None,
        };
        let mut at = HEADER_OCTETS;
        loop {
            match *request.get(at)? {
                0 => break,
                length @ 1..=63 => at += 1 + usize::from(length),
                _ => return None,
            }
        }
        let end = at + 1 + QUESTION_END;
        if number(request, end - 2)? != CLASS_IN {
            return None;
        }
        let record_type = RecordType::from(number(request, end - 4)?);
        let edns = if additionals == 1 { Some(Edns::read(&request[end..])?) } else { None };
        (edns.is_some() || request.len() == end).then_some(Self { request, end, record_type, edns })
    }

    /// The name in wire form, in its own case, with the root label.
    fn name(&self) -> &'a [u8] {
        &self.request[HEADER_OCTETS..self.end - QUESTION_END]
    }
}

impl Edns {
    /// Reads the OPT that ends a message.
    fn read(record: &[u8]) -> Option<Self> {
        let (owner, fixed) = record.split_first()?;
        if *owner != 0 || number(fixed, 0)? != OPT_TYPE {
            return None;
        }
        let (fixed, options) = fixed.split_at_checked(OPT_FIXED)?;
        // Of another version, or with flags that nobody knows yet.
        if fixed[5] != 0 || fixed[6] & 0x7f != 0 || fixed[7] != 0 || usize::from(number(fixed, 8)?) != options.len() {
            return None;
        }
        let asked = Asked::read(options).ok()?;
        Some(Self { payload: number(fixed, 2)?, dnssec_ok: fixed[6] & 0x80 != 0, asked })
    }
}

/// What the quick path has of the handler.
pub(super) struct Quick<'a> {
    pub(super) zone: &'a Zone,
    pub(super) manners: &'a Manners,
    /// The largest reply, in octets.
    pub(super) udp_payload: u16,
}

impl Quick<'_> {
    /// The reply to a question over UDP; none where the full path is to answer.
    pub(super) fn reply(
        &self,
        asking: &Asking<'_>,
        client: IpAddr,
        detail: impl FnOnce() -> Detail,
        turn: usize,
        second: u32,
    ) -> Option<(Vec<u8>, ResponseCode)> {
        let limit = udp_limit(asking.edns.map(|edns| edns.payload), self.udp_payload);
        let opt = asking.edns.map(|edns| Opt {
            udp_payload: self.udp_payload,
            dnssec_ok: edns.dnssec_ok,
            options: self.manners.reply(edns.asked, client, Protocol::Udp, second),
        });
        let taken = asking.end + opt.as_ref().map_or(0, Opt::octets);
        let question = QuickQuestion {
            name: asking.name(),
            record_type: asking.record_type,
            detail: if opt.is_some() { detail() } else { Detail::None },
            room: usize::from(limit).saturating_sub(taken),
            turn,
        };
        let request = asking.request;
        let mut reply = Vec::with_capacity(512);
        reply.extend_from_slice(&request[..asking.end]);
        let answer = self.zone.answer_quickly(&question, &mut reply)?;
        if let Some(opt) = &opt {
            opt.write(answer.rcode, &mut reply);
        }
        // QR and AA; opcode, RD and CD as they came.
        reply[2] = 0x84 | (request[2] & 0x79);
        reply[3] = request[3] & 0x10 | answer.rcode.low();
        let additionals = answer.additionals + u16::from(opt.is_some());
        for (at, count) in COUNTS_AT.into_iter().zip([1, answer.answers, answer.authorities, additionals]) {
            reply[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        Some((reply, answer.rcode))
    }
}
