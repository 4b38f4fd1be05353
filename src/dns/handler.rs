//! The full path of a question: parsed by hickory, decided by the zone, finished by `reply`.
//!
//! The only file that names hickory-server.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_server::net::xfer::Protocol as NetProtocol;
use hickory_server::server::Request;

use super::message::{HEADER_OCTETS, Triage, opt_options, options_are_whole, triage};
use super::reply::{Frame, Opt};
use super::{Counters, Protocol, metrics};
use crate::zone::{Answer, Detail, Question, Zone};

/// The smallest reply every client takes over UDP (RFC 1035 §4.2.1), and the most a TCP message holds.
const UDP_OCTETS_MIN: u16 = 512;
const TCP_OCTETS_MAX: u16 = u16::MAX;

/// Answers requests from the zone.
#[derive(Debug)]
pub struct Handler {
    zone: Arc<Zone>,
    udp_payload: u16,
    counters: Arc<Counters>,
}

impl Handler {
    /// Answers from a zone with UDP replies of at most `udp_payload` octets; registers its counters.
    pub fn new(zone: Arc<Zone>, udp_payload: u16, registry: &mut prometheus_client::registry::Registry) -> Self {
        let counters = Arc::new(Counters::default());
        registry.register_collector(Box::new(metrics::Export(counters.clone())));
        Self { zone, udp_payload, counters }
    }

    /// The reply to a message, or nothing for what must not be answered. Never fails: a message that cannot be read
    /// gets FORMERR.
    pub async fn respond(&self, message: &[u8], client: SocketAddr, protocol: Protocol) -> Option<Vec<u8>> {
        let triage = triage(message, client.port());
        if triage == Triage::Drop {
            self.counters.dropped();
            return None;
        }
        let options = opt_options(message);
        let opt = options.map(|_| Opt { udp_payload: self.udp_payload, dnssec_ok: false });
        let unread = Frame { request: message, question: &[], opt, limit: UDP_OCTETS_MIN.into() };
        let refuse = |rcode| {
            self.counters.replied(protocol, None, rcode);
            Some(unread.refuse(rcode))
        };
        if let Triage::Refuse(rcode) = triage {
            return refuse(rcode);
        }
        if options.is_some_and(|options| !options_are_whole(options)) {
            return refuse(ResponseCode::FormErr);
        }
        let net_protocol = match protocol {
            Protocol::Udp => NetProtocol::Udp,
            Protocol::Tcp => NetProtocol::Tcp,
        };
        let Ok(request) = Request::from_bytes(message.to_vec(), client, net_protocol) else {
            return refuse(ResponseCode::FormErr);
        };
        let opt = request
            .edns
            .as_ref()
            .map(|asked| Opt { udp_payload: self.udp_payload, dnssec_ok: asked.flags().dnssec_ok });
        let limit = self.limit(&request).into();
        let frame = Frame { request: message, question: request.queries.as_bytes(), opt, limit };
        let answer = self.decide(&request, &frame);
        let Ok(reply) = frame.answer(&answer) else {
            tracing::error!("a reply could not be encoded");
            return refuse(ResponseCode::ServFail);
        };
        let record_type = request.queries.queries().first().map(|query| query.query_type());
        self.counters.replied(protocol, record_type, answer.rcode);
        if reply[2] & 0x02 != 0 {
            self.counters.truncated();
        }
        Some(reply)
    }

    /// The most octets that the client takes in a reply.
    fn limit(&self, request: &Request) -> u16 {
        match &request.edns {
            _ if request.protocol() == NetProtocol::Tcp => TCP_OCTETS_MAX,
            Some(asked) => asked.max_payload().min(self.udp_payload).max(UDP_OCTETS_MIN),
            None => UDP_OCTETS_MIN,
        }
    }

    /// What to say to a request that could be read.
    fn decide(&self, request: &Request, frame: &Frame<'_>) -> Answer {
        if request.edns.as_ref().is_some_and(|asked| asked.version() > 0) {
            return Answer::empty(ResponseCode::BADVERS);
        }
        let [query] = request.queries.queries() else { return Answer::empty(ResponseCode::FormErr) };
        if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return Answer::empty(ResponseCode::Refused);
        }
        let taken = HEADER_OCTETS + frame.question.len() + frame.opt.map_or(0, |_| Opt::OCTETS);
        self.zone.answer(&Question {
            name: query.original().name(),
            record_type: query.query_type(),
            room: frame.limit.saturating_sub(taken),
            client: request.src().ip(),
            detail: if frame.opt.is_some() { Detail::Counts } else { Detail::None },
            last_resort: request.protocol() == NetProtocol::Tcp,
            turn: turn(),
        })
    }
}

/// A number that differs from one question to the next, without anything shared between threads.
///
/// Steps of the golden ratio spread evenly whatever they are divided by, and so does every second of them: a resolver
/// that asks for A and AAAA in turn sees each begin everywhere, which a number that grows by one would deny it.
fn turn() -> usize {
    thread_local!(static TURN: Cell<u64> = Cell::new(rand::random()));
    TURN.with(|turn| {
        turn.set(turn.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        (turn.get() >> 32) as usize
    })
}
