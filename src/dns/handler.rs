//! The full path of a question: parsed by hickory, decided by the zone, finished by `reply`.
//!
//! The only file that names hickory-server. The handler is also that library's [`RequestHandler`], so that its transports
//! over streams can be attached (they do not forward); replies over our own sockets are written by `reply`, which knows what fits.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol as NetProtocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use ipnet::IpNet;

use super::cookie::Cookies;
use super::edns::{self, Asked, Malformed, Manners, UDP_OCTETS_MIN, error_octets, udp_limit};
use super::forward::{Forwarder, Pending, Question as Foreign, Step};
use super::message::{HEADER_OCTETS, Triage, opt_options, triage};
use super::quick::{Asking, Quick};
use super::reply::{Frame, Opt};
use super::{Counters, Identity, Protocol, metrics};
use crate::model::Timestamp;
use crate::zone::{Answer, Detail, Question, Zone};

/// The most a TCP message holds (RFC 1035 §4.2.2).
const TCP_OCTETS_MAX: u16 = u16::MAX;
/// RA, in the header's fourth octet.
const RECURSION_AVAILABLE: u8 = 0x80;
/// Octets that hickory's encoder may need beyond ours in a message over a stream: it repeats the first owner name.
const ENCODER_SLACK: usize = 512;

/// The type of a question that would agree on a key (RFC 2930).
const TKEY: u16 = 249;

/// How a handler answers.
#[derive(Debug, Clone)]
pub struct HandlerSettings {
    /// The largest UDP reply, in octets.
    pub udp_payload: u16,
    /// How long TCP connections may be idle, for clients that ask (RFC 7828).
    pub idle: Duration,
    /// What the server says of itself.
    pub identity: Identity,
    /// Clients that may learn which instance fails with what.
    pub explain_allow: Vec<IpNet>,
}

/// Answers requests from the zone, and about names of others what upstreams say.
#[derive(Debug)]
pub struct Handler {
    zone: Arc<Zone>,
    forwarder: Option<Forwarder>,
    udp_payload: u16,
    identity: Identity,
    manners: Manners,
    /// Clients that may learn which instance fails with what.
    explain_allow: Vec<IpNet>,
    counters: Arc<Counters>,
}

/// What a message gets.
#[derive(Debug)]
pub(super) enum Begun {
    /// No reply.
    Nothing,
    /// A reply at once.
    Reply(Vec<u8>),
    /// A reply when an upstream has spoken.
    Later(Later),
}

/// A reply that an upstream is waited for.
#[derive(Debug)]
pub(super) struct Later {
    pending: Pending,
    protocol: Protocol,
    record_type: RecordType,
    counters: Arc<Counters>,
}

impl Later {
    pub(super) async fn reply(self) -> Vec<u8> {
        let reply = self.pending.reply().await;
        count(&self.counters, self.protocol, self.record_type, &reply);
        reply
    }
}

/// Counts a reply by what is written in it.
fn count(counters: &Counters, protocol: Protocol, record_type: RecordType, reply: &[u8]) {
    counters.replied(protocol, Some(record_type), ResponseCode::from(0, reply[3] & 0x0f));
    if reply[2] & 0x02 != 0 {
        counters.truncated();
    }
}

impl Handler {
    /// Answers from a zone; registers its counters.
    pub fn new(
        zone: Arc<Zone>,
        settings: HandlerSettings,
        registry: &mut prometheus_client::registry::Registry,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        registry.register_collector(Box::new(metrics::Export(counters.clone())));
        let HandlerSettings { udp_payload, idle, identity, explain_allow } = settings;
        let manners = Manners { idle, server_id: identity.server_id.clone(), cookies: Cookies::new() };
        Self { zone, forwarder: None, udp_payload, identity, manners, explain_allow, counters }
    }

    /// Asks others about what is in none of our zones.
    #[must_use]
    pub fn with_forwarder(mut self, forwarder: Forwarder) -> Self {
        self.forwarder = Some(forwarder);
        self
    }

    /// The reply to a message, or nothing for what must not be answered. Never fails: a message that cannot be read
    /// gets FORMERR.
    pub async fn respond(&self, message: &[u8], client: SocketAddr, protocol: Protocol) -> Option<Vec<u8>> {
        match self.begin(message, client, protocol) {
            Begun::Nothing => None,
            Begun::Reply(reply) => Some(reply),
            Begun::Later(later) => Some(later.reply().await),
        }
    }

    /// Replies without waiting for anybody, or says that it would have to.
    pub(super) fn begin(&self, message: &[u8], client: SocketAddr, protocol: Protocol) -> Begun {
        let mut begun = self.reply(message, client, protocol);
        if let (Begun::Reply(reply), Some(forwarder)) = (&mut begun, &self.forwarder)
            && forwarder.serves(client.ip())
        {
            reply[3] |= RECURSION_AVAILABLE;
        }
        begun
    }

    fn reply(&self, message: &[u8], client: SocketAddr, protocol: Protocol) -> Begun {
        let (turn, second) = (turn(), now());
        match self.reply_quickly(message, client, protocol, turn, second) {
            Some(reply) => Begun::Reply(reply),
            None => self.reply_fully(message, client, protocol, turn, second),
        }
    }

    /// What either way says to a datagram, the quick one only to what it takes. They are to be the same, which is for tests
    /// to see.
    pub fn both_ways(&self, message: &[u8], client: SocketAddr) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let (turn, second) = (turn(), now());
        let fully = match self.reply_fully(message, client, Protocol::Udp, turn, second) {
            Begun::Reply(reply) => Some(reply),
            Begun::Nothing | Begun::Later(_) => None,
        };
        (self.reply_quickly(message, client, Protocol::Udp, turn, second), fully)
    }

    /// The reply to what is asked most, and nothing where it takes more.
    fn reply_quickly(
        &self,
        message: &[u8],
        client: SocketAddr,
        protocol: Protocol,
        turn: usize,
        second: u32,
    ) -> Option<Vec<u8>> {
        if protocol != Protocol::Udp || client.port() == 0 {
            return None;
        }
        let asking = Asking::read(message)?;
        let (zone, manners) = (&*self.zone, &self.manners);
        let quick = Quick { zone, manners, udp_payload: self.udp_payload };
        let detail = || Detail::of(client.ip(), &self.explain_allow);
        let (reply, rcode) = quick.reply(&asking, client.ip(), detail, turn, second)?;
        self.counters.replied(protocol, Some(asking.record_type), rcode);
        Some(reply)
    }

    fn reply_fully(&self, message: &[u8], client: SocketAddr, protocol: Protocol, turn: usize, second: u32) -> Begun {
        let triage = triage(message, client.port());
        if triage == Triage::Drop {
            self.counters.dropped();
            return Begun::Nothing;
        }
        let asked = opt_options(message).map(Asked::read);
        let mut opt = asked.map(|asked| {
            let options = self.manners.reply(asked.unwrap_or_default(), client.ip(), protocol, second);
            Opt { udp_payload: self.udp_payload, dnssec_ok: false, options }
        });
        let refuse = |rcode, opt| {
            self.counters.replied(protocol, None, rcode);
            Begun::Reply(Frame { request: message, question: &[], opt, limit: UDP_OCTETS_MIN.into() }.refuse(rcode))
        };
        match (triage, asked) {
            (Triage::Refuse(rcode), _) => return refuse(rcode, opt),
            (_, Some(Err(Malformed))) => return refuse(ResponseCode::FormErr, opt),
            (Triage::Questionless, Some(Ok(Asked { cookie: Some(_), .. }))) => {
                return refuse(ResponseCode::NoError, opt);
            }
            (Triage::Questionless, _) => return refuse(ResponseCode::FormErr, opt),
            (Triage::Parse | Triage::Drop, _) => {}
        }
        let net_protocol = match protocol {
            Protocol::Udp => NetProtocol::Udp,
            Protocol::Tcp => NetProtocol::Tcp,
        };
        let Ok(request) = Request::from_bytes(message.to_vec(), client, net_protocol) else {
            return refuse(ResponseCode::FormErr, opt);
        };
        if let (Some(opt), Some(asked)) = (&mut opt, &request.edns) {
            opt.dnssec_ok = asked.flags().dnssec_ok;
        }
        let limit = usize::from(self.limit(&request));
        let frame = Frame { request: message, question: request.queries.as_bytes(), opt, limit };
        let taken = HEADER_OCTETS + frame.question.len() + frame.opt.as_ref().map_or(0, Opt::octets);
        let room = limit.saturating_sub(taken);
        let mut answer = self.decide(&request, room, turn);
        let record_type = request.queries.queries().first().map(|query| query.query_type());
        // Names of our own zones are never refused, so what is may be a name of others.
        if let (ResponseCode::Refused, Some(forwarder)) = (answer.rcode, &self.forwarder)
            && let Some(foreign) = foreign(&request, &frame)
        {
            let (record_type, counters) = (foreign.record_type, &self.counters);
            match forwarder.begin(foreign) {
                Step::Refused(error) => answer.extended_error = Some(error).filter(|error| error_octets(error) <= room),
                Step::Reply(reply) => {
                    count(counters, protocol, record_type, &reply);
                    return Begun::Reply(reply);
                }
                Step::Pending(pending) => {
                    return Begun::Later(Later { pending, protocol, record_type, counters: counters.clone() });
                }
            }
        }
        let Ok(reply) = frame.answer(&answer) else {
            tracing::error!("a reply could not be encoded");
            return refuse(ResponseCode::ServFail, frame.opt);
        };
        self.counters.replied(protocol, record_type, answer.rcode);
        if reply[2] & 0x02 != 0 {
            self.counters.truncated();
        }
        Begun::Reply(reply)
    }

    /// The most octets that the client takes in a reply.
    fn limit(&self, request: &Request) -> u16 {
        match request.protocol() {
            NetProtocol::Udp => udp_limit(request.edns.as_ref().map(Edns::max_payload), self.udp_payload),
            _ => TCP_OCTETS_MAX,
        }
    }

    /// What to say to a request that could be read, in records and options of at most `room` octets.
    fn decide(&self, request: &Request, room: usize, turn: usize) -> Answer {
        if request.edns.as_ref().is_some_and(|asked| asked.version() > 0) {
            return Answer::empty(ResponseCode::BADVERS);
        }
        // Nobody has a key with us, so no signature can be right (RFC 8945 §5.2.1).
        let is_signature = |record: &Record| matches!(record.record_type(), RecordType::TSIG | RecordType::SIG);
        if request.signature.is_some() || request.additionals.iter().any(is_signature) {
            return Answer::empty(ResponseCode::NotAuth);
        }
        let [query] = request.queries.queries() else { return Answer::empty(ResponseCode::FormErr) };
        let (name, record_type) = (query.original().name(), query.query_type());
        match query.query_class() {
            DNSClass::IN => {}
            DNSClass::CH => return self.identity.answer(name, record_type),
            _ => return Answer::empty(ResponseCode::Refused),
        }
        if record_type == RecordType::Unknown(TKEY) {
            return Answer::empty(ResponseCode::NotImp);
        }
        if matches!(record_type, RecordType::AXFR | RecordType::IXFR) {
            return Answer::empty(ResponseCode::Refused);
        }
        self.zone.answer(&Question {
            name,
            record_type,
            room,
            client: request.src().ip(),
            detail: match &request.edns {
                Some(_) => Detail::of(request.src().ip(), &self.explain_allow),
                None => Detail::None,
            },
            last_resort: request.protocol() != NetProtocol::Udp,
            turn,
        })
    }
}

/// The question of a request, if it is one that may be asked of others: of the class IN, and not for a whole zone.
fn foreign<'a>(request: &'a Request, frame: &Frame<'a>) -> Option<Foreign<'a>> {
    let [query] = request.queries.queries() else { return None };
    let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    (query.query_class() == DNSClass::IN && !transfer).then(|| Foreign {
        name: query.original().name(),
        record_type: query.query_type(),
        client: request.src().ip(),
        metadata: request.metadata,
        question: frame.question,
        opt: frame.opt.clone(),
        limit: frame.limit,
    })
}

/// Answers over transports of the library: the decision, the options and the counts are those of [`Handler::respond`], the
/// octets are the library's. Nothing is forwarded, and what the library cannot parse it refuses itself, without options
/// and uncounted.
#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let protocol = if request.protocol() == NetProtocol::Udp { Protocol::Udp } else { Protocol::Tcp };
        let asked = opt_options(request.as_slice()).map(Asked::read);
        let mut options = match asked {
            Some(asked) => self.manners.reply(asked.unwrap_or_default(), request.src().ip(), protocol, now()),
            None => Vec::new(),
        };
        let room = usize::from(self.limit(request)).saturating_sub(ENCODER_SLACK + options.len());
        let answer = match asked {
            Some(Err(Malformed)) => Answer::empty(ResponseCode::FormErr),
            _ => self.decide(request, room, turn()),
        };
        if let Some(error) = &answer.extended_error {
            edns::add_error(&mut options, error);
        }
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(self.udp_payload).set_dnssec_ok(asked.flags().dnssec_ok);
            edns.set_rcode_high(answer.rcode.high());
            for (code, data) in edns::split(&options) {
                edns.options_mut().insert(EdnsOption::Unknown(code, data.to_vec()));
            }
            edns
        });
        let record_type = request.queries.queries().first().map(|query| query.query_type());
        self.counters.replied(protocol, record_type, answer.rcode);
        if answer.truncated {
            self.counters.truncated();
        }
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.rcode;
        metadata.authoritative = answer.authoritative;
        metadata.truncation = answer.truncated;
        metadata.authentic_data = false;
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let none: [&Record; 0] = [];
        let message = builder.build(metadata, &answer.answers, &answer.authorities, none, &answer.additionals);
        match reply.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(error = %error, "a reply could not be sent");
                metadata.response_code = ResponseCode::ServFail;
                Header { metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}

/// Seconds since 1970, for the timestamps of cookies (RFC 9018 §4.3).
fn now() -> u32 {
    (Timestamp::now().as_millis() / 1000) as u32
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

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::Name;
    use hickory_proto::serialize::binary::BinEncoder;
    use hickory_server::net::NetError;
    use hickory_server::net::runtime::TokioTime;
    use hickory_server::zone_handler::MessageResponse;
    use parking_lot::Mutex;

    use crate::model::Ttl;
    use crate::zone::{Publisher, Settings};

    /// A transport of the library that keeps what it is to send.
    #[derive(Clone, Default)]
    struct Transport(Arc<Mutex<Vec<u8>>>);

    #[async_trait]
    impl ResponseHandler for Transport {
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
            Ok(response.destructive_emit(&mut BinEncoder::new(&mut self.0.lock()))?)
        }
    }

    #[tokio::test]
    async fn transports_of_the_library_get_the_same_options_and_counts() {
        let mut publisher = Publisher::new(Settings {
            name: "svc.internal".parse().unwrap(),
            ttl: Ttl::new("5s".parse().unwrap()).unwrap(),
            name_server: Vec::new(),
            reverse: Vec::new(),
            serial: 1,
        });
        publisher.publish_all(&crate::registry::Registry::default());
        let settings = HandlerSettings {
            udp_payload: 1232,
            idle: Duration::from_secs(10),
            identity: Identity { server_id: "n1".into(), server_version: String::new() },
            explain_allow: Vec::new(),
        };
        let mut registry = prometheus_client::registry::Registry::default();
        let handler = Handler::new(publisher.zone(), settings, &mut registry);

        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii("web.svc.internal.").unwrap(), RecordType::A));
        let mut edns = Edns::new();
        for (code, data) in [(3, Vec::new()), (10, vec![1; 8]), (11, Vec::new())] {
            edns.options_mut().insert(EdnsOption::Unknown(code, data));
        }
        message.set_edns(edns);
        let client: SocketAddr = "192.0.2.1:40000".parse().unwrap();
        let octets = message.to_vec().unwrap();
        let ours = Message::from_vec(&handler.respond(&octets, client, Protocol::Tcp).await.unwrap()).unwrap();
        let transport = Transport::default();
        let request = Request::from_bytes(octets, client, NetProtocol::Tcp).unwrap();
        handler.handle_request::<_, TokioTime>(&request, transport.clone()).await;
        let theirs = Message::from_vec(&transport.0.lock()).unwrap();

        assert_eq!(theirs.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(theirs.authorities, ours.authorities);
        let codes = |reply: &Message| {
            let options = reply.edns.as_ref().expect("an OPT").options();
            options.as_ref().iter().map(|(code, _)| u16::from(*code)).collect::<Vec<_>>()
        };
        assert_eq!(codes(&ours), [10, 3, 11, 15]);
        assert_eq!(codes(&theirs), codes(&ours));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = r#"dns_requests_total{proto="tcp",type="A",rcode="NXDOMAIN"} 2"#;
        assert!(text.contains(line), "{text}");
    }
}
