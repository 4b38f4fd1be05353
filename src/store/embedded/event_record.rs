//! The form in which events are kept: one octet with the version of the form, then fields in this order, without names.
//!
//! | field | form |
//! |---|---|
//! | time | milliseconds since 1970, 8 octets |
//! | service, id | texts; no id is an empty one |
//! | from, to | an octet of [`STANDINGS`], or [`OTHER`] and a text |
//! | reason | an octet of [`KINDS`] and a text, the detail; or [`OTHER`] and the whole as a text |
//! | actor | a text |
//! | place, moved from | an octet that says what there is, the addresses, and the port in 2 octets |
//!
//! A text is its length in 2 octets and as much UTF-8; the most significant octet comes first. There are many records and
//! each is written once, so they are not JSON: an event has some 40 octets in place of 120. What a newer version adds
//! stands at the end, where this one does not look.

use std::net::IpAddr;

use crate::model::{Addresses, Place, ServiceName, Timestamp, Transport};
use crate::registry::{Actor, Event, EventPosition, Standing};
use crate::store::record::{RecordError, V1, malformed};

/// The standings that have an octet of their own; its number never changes its meaning.
const STANDINGS: [&str; 6] = ["absent", "unknown", "passing", "critical", "draining", "maintenance"];
/// The causes that have an octet of their own; its number never changes its meaning.
const KINDS: [&str; 13] = [
    "registered",
    "replaced",
    "amended",
    "health",
    "lifted",
    "deregistered",
    "expired",
    "revoked",
    "superseded",
    "evicted",
    "configured",
    "guarded",
    "unguarded",
];
/// Stands before a text that has no octet of its own.
const OTHER: u8 = u8::MAX;

/// What stands in the octet before a place; none of it when there is no place.
const HAS_V4: u8 = 1;
const HAS_V6: u8 = 2;
const IS_UDP: u8 = 4;

/// The octet of a word, as far as it has one.
fn octet_of(words: &[&str], word: &str) -> u8 {
    words.iter().position(|known| *known == word).and_then(|position| u8::try_from(position).ok()).unwrap_or(OTHER)
}

fn put_text(octets: &mut Vec<u8>, text: &str) {
    // Names have at most 253 octets, and the rest is cut long before.
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    octets.extend((text.len() as u16).to_be_bytes());
    octets.extend(text.as_bytes());
}

fn put_standing(octets: &mut Vec<u8>, standing: &Standing) {
    let octet = octet_of(&STANDINGS, standing.as_str());
    octets.push(octet);
    if octet == OTHER {
        put_text(octets, standing.as_str());
    }
}

fn put_place(octets: &mut Vec<u8>, place: Option<Place>) {
    let Some(Place { addresses, port, protocol }) = place else { return octets.push(0) };
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    octets.push(
        flag(addresses.v4().is_some(), HAS_V4)
            | flag(addresses.v6().is_some(), HAS_V6)
            | flag(protocol == Transport::Udp, IS_UDP),
    );
    octets.extend(addresses.v4().iter().flat_map(|address| address.octets()));
    octets.extend(addresses.v6().iter().flat_map(|address| address.octets()));
    octets.extend(port.to_be_bytes());
}

/// The record of an event.
pub(super) fn write_event(event: &Event) -> Vec<u8> {
    let mut octets = Vec::with_capacity(64);
    octets.push(V1);
    octets.extend(event.time.as_millis().to_be_bytes());
    put_text(&mut octets, event.service.as_str());
    put_text(&mut octets, event.id.as_ref().map_or("", |id| id.as_str()));
    put_standing(&mut octets, &event.from);
    put_standing(&mut octets, &event.to);
    let (kind, detail) = event.reason.split_once(": ").unwrap_or((&event.reason, ""));
    let kind = octet_of(&KINDS, kind);
    octets.push(kind);
    put_text(&mut octets, if kind == OTHER { &event.reason } else { detail });
    put_text(&mut octets, event.actor.as_str());
    put_place(&mut octets, event.place);
    put_place(&mut octets, event.moved_from);
    octets
}

/// What is left of a record.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn begin(octets: &'a [u8]) -> Result<Self, RecordError> {
        match octets.split_first() {
            Some((&V1, rest)) => Ok(Self(rest)),
            Some((version @ b'2'..=b'9', _)) => Err(RecordError::Future(char::from(*version))),
            _ => Err(malformed("it does not begin with a version")),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| malformed("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?.try_into().map_err(malformed)
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = u16::from_be_bytes(self.array()?);
        std::str::from_utf8(self.take(length.into())?).map_err(malformed)
    }

    fn standing(&mut self) -> Result<Standing, RecordError> {
        match self.array()? {
            [OTHER] => Ok(Standing::kept(self.text()?)),
            [octet] => {
                let word = STANDINGS.get(usize::from(octet)).ok_or_else(|| malformed("it stands nowhere"))?;
                Ok(Standing::kept(word))
            }
        }
    }

    fn reason(&mut self) -> Result<Box<str>, RecordError> {
        let [octet] = self.array()?;
        let text = self.text()?;
        if octet == OTHER {
            return Ok(text.into());
        }
        let kind = KINDS.get(usize::from(octet)).ok_or_else(|| malformed("it has no cause"))?;
        Ok(if text.is_empty() { (*kind).into() } else { format!("{kind}: {text}").into() })
    }

    fn place(&mut self) -> Result<Option<Place>, RecordError> {
        let [flags] = self.array()?;
        if flags == 0 {
            return Ok(None);
        }
        let mut addresses: Vec<IpAddr> = Vec::with_capacity(2);
        if flags & HAS_V4 != 0 {
            addresses.push(self.array::<4>()?.into());
        }
        if flags & HAS_V6 != 0 {
            addresses.push(self.array::<16>()?.into());
        }
        let addresses = Addresses::new(addresses).map_err(malformed)?;
        let protocol = if flags & IS_UDP != 0 { Transport::Udp } else { Transport::Tcp };
        Ok(Some(Place { addresses, port: u16::from_be_bytes(self.array()?), protocol }))
    }
}

/// What decides whether an event is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventHead<'a> {
    pub(super) time: Timestamp,
    pub(super) service: &'a str,
    pub(super) id: Option<&'a str>,
}

fn head<'a>(rest: &mut Rest<'a>) -> Result<EventHead<'a>, RecordError> {
    let time = Timestamp::from_millis(u64::from_be_bytes(rest.array()?));
    Ok(EventHead { time, service: rest.text()?, id: Some(rest.text()?).filter(|id| !id.is_empty()) })
}

/// The head of a record; the rest of it is passed over.
pub(super) fn read_event_head(octets: &[u8]) -> Result<EventHead<'_>, RecordError> {
    head(&mut Rest::begin(octets)?)
}

/// The event of a record.
pub(super) fn read_event(at: EventPosition, octets: &[u8]) -> Result<Event, RecordError> {
    let mut rest = Rest::begin(octets)?;
    let EventHead { time, service, id } = head(&mut rest)?;
    Ok(Event {
        at,
        time,
        service: service.parse::<ServiceName>().map_err(malformed)?,
        id: id.map(str::parse).transpose().map_err(malformed)?,
        from: rest.standing()?,
        to: rest.standing()?,
        reason: rest.reason()?,
        actor: Actor::kept(rest.text()?),
        place: rest.place()?,
        moved_from: rest.place()?,
    })
}
