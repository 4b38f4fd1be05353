//! The full path of a question through hickory: parsed request in, finished message out.
//!
//! The only file that names hickory-server. Later transports of that library take the same [`RequestHandler`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{Time, TokioTime};
use hickory_server::net::xfer::Protocol as NetProtocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use ipnet::IpNet;
use parking_lot::Mutex;

use super::message::{HEADER_OCTETS, Triage, bare_opt, error_reply, has_opt, triage};
use super::{Counters, Protocol, metrics};
use crate::zone::{Answer, Detail, ExtendedError, Question, Zone};

/// The smallest reply every client takes over UDP (RFC 1035 §4.2.1), and the most a TCP message holds.
const UDP_OCTETS_MIN: u16 = 512;
const TCP_OCTETS_MAX: u16 = u16::MAX;
/// The EDNS option of an extended error (RFC 8914 §2).
const EXTENDED_ERROR_OPTION: u16 = 15;
/// Octets of an OPT record without options.
const OPT_OCTETS: usize = 11;

/// Answers requests from the zone.
#[derive(Debug)]
pub struct Handler {
    zone: Arc<Zone>,
    udp_payload: u16,
    /// Clients that may learn which instance fails with what.
    explain_allow: Vec<IpNet>,
    counters: Arc<Counters>,
}

/// What is said to a request, before it is encoded.
struct Decision {
    answer: Answer,
    edns: Option<Edns>,
    limit: u16,
}

impl Handler {
    /// Answers from a zone with UDP replies of at most `udp_payload` octets; clients within `explain_allow` learn which
    /// instance fails with what. Registers its counters.
    pub fn new(
        zone: Arc<Zone>,
        udp_payload: u16,
        explain_allow: Vec<IpNet>,
        registry: &mut prometheus_client::registry::Registry,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        registry.register_collector(Box::new(metrics::Export(counters.clone())));
        Self { zone, udp_payload, explain_allow, counters }
    }

    /// The reply to a message, or nothing for what must not be answered. Never fails: a message that cannot be read
    /// gets FORMERR.
    pub async fn respond(&self, message: &[u8], client: SocketAddr, protocol: Protocol) -> Option<Vec<u8>> {
        let opt = || has_opt(message).then(|| bare_opt(self.udp_payload));
        let refuse = |rcode| {
            self.counters.replied(protocol, None, rcode);
            Some(error_reply(message, rcode, opt().as_ref().map(AsRef::as_ref)))
        };
        match triage(message, client.port()) {
            Triage::Drop => {
                self.counters.dropped();
                return None;
            }
            Triage::Refuse(rcode) => return refuse(rcode),
            Triage::Parse => {}
        }
        let net_protocol = match protocol {
            Protocol::Udp => NetProtocol::Udp,
            Protocol::Tcp => NetProtocol::Tcp,
        };
        let Ok(request) = Request::from_bytes(message.to_vec(), client, net_protocol) else {
            return refuse(ResponseCode::FormErr);
        };
        let sink = Sink::default();
        let info = self.handle_request::<_, TokioTime>(&request, sink.clone()).await;
        let record_type = request.queries.queries().first().map(|query| query.query_type());
        self.counters.replied(protocol, record_type, info.response_code);
        let reply = sink.0.lock().take()?;
        if reply[2] & 0x02 != 0 {
            self.counters.truncated();
        }
        Some(reply)
    }

    /// What to say to a request that could be read.
    fn decide(&self, request: &Request) -> Decision {
        let over_udp = request.protocol() == NetProtocol::Udp;
        let edns = request.edns.as_ref().map(|asked| self.edns(asked));
        let limit = match &request.edns {
            _ if !over_udp => TCP_OCTETS_MAX,
            Some(asked) => asked.max_payload().clamp(UDP_OCTETS_MIN, self.udp_payload),
            None => UDP_OCTETS_MIN,
        };
        let decision = |answer| Decision { answer, edns: edns.clone(), limit };
        let refuse = |rcode| decision(Answer::empty(rcode));
        if request.edns.as_ref().is_some_and(|asked| asked.version() > 0) {
            return refuse(ResponseCode::BADVERS);
        }
        let [query] = request.queries.queries() else { return refuse(ResponseCode::FormErr) };
        if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return refuse(ResponseCode::Refused);
        }
        let taken = HEADER_OCTETS + request.queries.as_bytes().len() + edns.as_ref().map_or(0, |_| OPT_OCTETS);
        let question = Question {
            name: query.original().name(),
            record_type: query.query_type(),
            room: usize::from(limit).saturating_sub(taken),
            client: request.src().ip(),
            detail: edns.as_ref().map_or(Detail::None, |_| Detail::of(request.src().ip(), &self.explain_allow)),
            last_resort: !over_udp,
            turn: turn(),
        };
        let mut decision = decision(self.zone.answer(&question));
        if let (Some(edns), Some(error)) = (&mut decision.edns, &decision.answer.extended_error) {
            edns.options_mut().insert(extended_error(error));
        }
        decision
    }

    /// The OPT of the reply to a request that has one: version 0, our own payload size, DO as asked (RFC 3225 §3).
    fn edns(&self, asked: &Edns) -> Edns {
        let mut edns = Edns::new();
        edns.set_max_payload(self.udp_payload).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
        edns
    }
}

/// A number that differs from one question to the next, without anything shared between threads.
fn turn() -> usize {
    thread_local!(static TURN: AtomicUsize = AtomicUsize::new(rand::random::<u16>().into()));
    TURN.with(|turn| turn.fetch_add(1, Ordering::Relaxed))
}

fn extended_error(error: &ExtendedError) -> EdnsOption {
    let mut data = error.code.to_be_bytes().to_vec();
    data.extend_from_slice(error.text.as_bytes());
    EdnsOption::Unknown(EXTENDED_ERROR_OPTION, data)
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let Decision { answer, edns, limit } = self.decide(request);
        debug_assert!(usize::from(limit) >= HEADER_OCTETS);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.rcode;
        metadata.authoritative = answer.authoritative;
        metadata.truncation = answer.truncated;
        metadata.authentic_data = false;
        metadata.recursion_available = false;
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let none: [&Record; 0] = [];
        let message = builder.build(metadata, &answer.answers, &answer.authorities, none, &answer.additionals);
        match reply.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::error!(error = %error, "a reply could not be encoded");
                let mut metadata = Metadata::response_from_request(&request.metadata);
                metadata.response_code = ResponseCode::ServFail;
                Header { metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}

/// Takes the encoded reply for a transport of our own.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Option<Vec<u8>>>>);

#[async_trait]
impl ResponseHandler for Sink {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::with_capacity(usize::from(UDP_OCTETS_MIN));
        let info = {
            let mut encoder = BinEncoder::new(&mut octets);
            // The answer was made to fit: the encoder, which would lose the OPT of a reply it has to cut, never cuts.
            encoder.set_max_size(TCP_OCTETS_MAX);
            response.destructive_emit(&mut encoder)?
        };
        *self.0.lock() = Some(octets);
        Ok(info)
    }
}
