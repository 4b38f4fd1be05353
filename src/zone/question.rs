//! A question, and the answer that it gets.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use ipnet::IpNet;

use super::name::wire_octets;
use crate::model::Timestamp;

/// Octets of an extended error's text.
pub(super) const TEXT_OCTETS_MAX: usize = 200;

/// A text cut to what an extended error may hold.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > TEXT_OCTETS_MAX {
        let mut end = TEXT_OCTETS_MAX - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// The time of day of a timestamp, with the zone.
pub(super) fn time_of_day(timestamp: Timestamp) -> String {
    let text = timestamp.to_string();
    let time = text.split_once('T').map_or("", |(_, time)| time);
    format!("{}Z", time.split('.').next().unwrap_or_default())
}

/// How much a reply may tell its client about why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing: it has no EDNS.
    None,
    /// Counts.
    Counts,
    /// Which instance fails with what.
    Instances,
}

impl Detail {
    /// What a client that has EDNS may learn: which instance fails with what, if it is in one of the nets.
    pub fn of(client: IpAddr, nets: &[IpNet]) -> Self {
        let client = client.to_canonical();
        if nets.iter().any(|net| net.contains(&client)) { Self::Instances } else { Self::Counts }
    }
}

/// A question within the class IN.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name as it was asked, in its own case.
    pub name: &'a Name,
    /// The type.
    pub record_type: RecordType,
    /// Who asks: picks the subset when not everything fits.
    pub client: IpAddr,
    /// How much the client may learn.
    pub detail: Detail,
    /// Octets there are for records and options.
    pub room: usize,
    /// Whether the room is a whole TCP message, so that asking again brings no more.
    pub last_resort: bool,
    /// Where rotating answers start; any number that differs from one question to the next.
    pub turn: usize,
}

impl Question<'_> {
    /// The room in a message of so many octets beside header, question and OPT record.
    pub fn room_in(message_octets: u16, name: &Name) -> usize {
        const HEADER_OCTETS: usize = 12;
        const TYPE_AND_CLASS_OCTETS: usize = 4;
        const OPT_OCTETS: usize = 11;
        let taken = HEADER_OCTETS + wire_octets(name) + TYPE_AND_CLASS_OCTETS + OPT_OCTETS;
        usize::from(message_octets).saturating_sub(taken)
    }
}

/// Why an answer is what it is (RFC 8914).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT, at most 200 octets.
    pub text: String,
}

/// What a question gets, made to fit its room.
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
    /// Why, when the client may know and there is room for it.
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
