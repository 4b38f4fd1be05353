//! The form in which events are kept. An event is written once and never again, so what a newer version adds to a record
//! needs no keeping; names of fields are short, because there are many records.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::record::{RecordError, decode, encode, malformed};
use crate::model::{Addresses, Place, Timestamp, Transport};
use crate::registry::{Actor, Event, EventPosition, Standing};

/// An event; its revision, and which of the changes of that it was, are the key.
#[derive(Debug, Serialize, Deserialize)]
struct EventV1<'a> {
    /// Milliseconds since 1970.
    t: u64,
    /// The service.
    #[serde(borrow)]
    s: Cow<'a, str>,
    /// The id.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    i: Option<Cow<'a, str>>,
    /// From.
    #[serde(borrow)]
    f: Cow<'a, str>,
    /// To.
    #[serde(borrow)]
    o: Cow<'a, str>,
    /// The reason.
    #[serde(borrow)]
    r: Cow<'a, str>,
    /// The actor.
    #[serde(borrow)]
    a: Cow<'a, str>,
    /// Where it listens or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<PlaceV1>,
    /// Where it listened before it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<PlaceV1>,
}

/// Addresses with the port, and the protocol when it is UDP.
#[derive(Debug, Serialize, Deserialize)]
struct PlaceV1 {
    a: Vec<SocketAddr>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    udp: bool,
}

impl PlaceV1 {
    fn new(place: Place) -> Self {
        let Place { addresses, port, protocol } = place;
        let a = addresses.iter().map(|address| SocketAddr::new(address, port)).collect();
        Self { a, udp: protocol == Transport::Udp }
    }

    fn read(self) -> Result<Place, RecordError> {
        let port = self.a.first().map_or(0, SocketAddr::port);
        let addresses = Addresses::new(self.a.iter().map(SocketAddr::ip)).map_err(malformed)?;
        let protocol = if self.udp { Transport::Udp } else { Transport::Tcp };
        Ok(Place { addresses, port, protocol })
    }
}

/// The record of an event.
pub(super) fn write_event(event: &Event) -> Vec<u8> {
    encode(&EventV1 {
        t: event.time.as_millis(),
        s: event.service.as_str().into(),
        i: event.id.as_ref().map(|id| id.as_str().into()),
        f: event.from.as_str().into(),
        o: event.to.as_str().into(),
        r: (&*event.reason).into(),
        a: event.actor.as_str().into(),
        p: event.place.map(PlaceV1::new),
        m: event.moved_from.map(PlaceV1::new),
    })
}

/// What decides whether an event is asked for.
#[derive(Debug)]
pub(super) struct EventHead<'a> {
    pub(super) time: Timestamp,
    pub(super) service: Cow<'a, str>,
    pub(super) id: Option<Cow<'a, str>>,
}

/// The head of a record; the rest of it is passed over.
pub(super) fn read_event_head(octets: &[u8]) -> Result<EventHead<'_>, RecordError> {
    #[derive(Deserialize)]
    struct HeadV1<'a> {
        t: u64,
        #[serde(borrow)]
        s: Cow<'a, str>,
        #[serde(borrow, default)]
        i: Option<Cow<'a, str>>,
    }
    let HeadV1 { t, s, i } = decode(octets)?;
    Ok(EventHead { time: Timestamp::from_millis(t), service: s, id: i })
}

/// The event of a record.
pub(super) fn read_event(at: EventPosition, octets: &[u8]) -> Result<Event, RecordError> {
    let form: EventV1<'_> = decode(octets)?;
    Ok(Event {
        at,
        time: Timestamp::from_millis(form.t),
        service: form.s.parse().map_err(malformed)?,
        id: form.i.map(|id| id.parse()).transpose().map_err(malformed)?,
        from: Standing::kept(&form.f),
        to: Standing::kept(&form.o),
        reason: form.r.into(),
        actor: Actor::kept(&form.a),
        place: form.p.map(PlaceV1::read).transpose()?,
        moved_from: form.m.map(PlaceV1::read).transpose()?,
    })
}
