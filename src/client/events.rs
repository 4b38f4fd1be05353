//! An answer that goes on: Server-Sent Events, read as they come.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ClientError;

/// The longest silence; the server breaks it every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// What happened; `message` when the server does not say.
    pub name: String,
    /// What it says about it: JSON, from a Rollcall.
    pub data: String,
}

/// Reads lines and events out of octets that come in pieces of any size.
#[derive(Debug, Default)]
struct Parser {
    /// The line that has begun.
    line: Vec<u8>,
    /// Whether the line before ended with CR, so that a LF belongs to that end.
    after_cr: bool,
    event: Event,
    has_data: bool,
    id: Option<String>,
}

impl Parser {
    /// Takes one octet in; an event when it ends one.
    fn take(&mut self, octet: u8) -> Option<Event> {
        let after_cr = std::mem::replace(&mut self.after_cr, octet == b'\r');
        match octet {
            b'\n' if after_cr => None,
            b'\n' | b'\r' => self.end_line(),
            octet => {
                self.line.push(octet);
                None
            }
        }
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            if !std::mem::take(&mut self.has_data) {
                return None;
            }
            if event.name.is_empty() {
                event.name = "message".to_owned();
            }
            return Some(event);
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // Comments, and fields of later versions.
            _ => {}
        }
        None
    }

    fn octets(&self) -> usize {
        self.line.len() + self.event.data.len()
    }
}

/// The events of one connection.
#[derive(Debug)]
pub struct Events {
    address: String,
    body: Incoming,
    /// The connection; it ends with this value.
    _driver: JoinSet<Result<(), hyper::Error>>,
    octets_max: usize,
    parser: Parser,
    pending: Bytes,
}

impl Events {
    pub(super) fn new(
        address: &str,
        body: Incoming,
        driver: JoinSet<Result<(), hyper::Error>>,
        octets_max: usize,
    ) -> Self {
        let (parser, pending) = (Parser::default(), Bytes::new());
        Self { address: address.to_owned(), body, _driver: driver, octets_max, parser, pending }
    }

    /// The position after the last event, for whoever goes on in another connection; none until the server has said one.
    pub fn last_id(&self) -> Option<&str> {
        self.parser.id.as_deref()
    }

    /// Waits for the next event; `None` when the server has ended the stream. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection is lost or silent for too long, or an event is larger than the client's limit.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            for position in 0..self.pending.len() {
                if let Some(event) = self.parser.take(self.pending[position]) {
                    self.pending = self.pending.slice(position + 1..);
                    return Ok(Some(event));
                }
                if self.parser.octets() > self.octets_max {
                    let detail = format!("an event is larger than {} octets", self.octets_max);
                    return Err(ClientError::Protocol { address: self.address.clone(), detail });
                }
            }
            self.pending = Bytes::new();
            let lost = |last: String| ClientError::Unreachable { tried: vec![self.address.clone()], last };
            match timeout(SILENCE_MAX, self.body.frame()).await {
                Err(_) => return Err(lost(format!("silent for {} s", SILENCE_MAX.as_secs()))),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(lost(error.to_string())),
                Ok(Some(Ok(frame))) => self.pending = frame.into_data().unwrap_or_default(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Vec<(String, String)>, Option<String>) {
        let mut parser = Parser::default();
        let events = text.bytes().filter_map(|octet| parser.take(octet));
        let events = events.map(|event| (event.name, event.data)).collect();
        (events, parser.id)
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let event = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        for end in ["\n", "\r\n", "\r"] {
            let text = "event: change\nid: s-1\ndata: {\"a\":1}\n\n: comment\nid: s-2\n\ndata:x\ndata: y: z\nretry: 5\n\nevent: cut\ndata: x";
            let (events, id) = parse(&text.replace('\n', end));
            assert_eq!(events, [event("change", "{\"a\":1}"), event("message", "x\ny: z")], "{end:?}");
            assert_eq!(id.as_deref(), Some("s-2"), "also without an event");
        }
        assert_eq!(parse("data\n\n"), (vec![event("message", "")], None));
        assert_eq!(parse("event: a\n\ndata: b\n\n").0, [event("message", "b")], "a name alone is no event");
    }
}
