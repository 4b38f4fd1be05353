//! Names of others, over real sockets.

mod clients;
mod load;
mod upstreams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};
use prometheus_client::registry::Registry as Metrics;
use rollcall::dns::forward::{FlightLimits, Forwarder, Rule, Settings, Times};
use rollcall::dns::{self, Handler, Listeners, Protocol};
use rollcall::model::{Ttl, ZoneName};
use rollcall::registry::Registry;
use rollcall::zone;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::support::upstream::{Seen, Upstream, one};
use crate::support::world::answering;

const LOCAL: &str = "127.0.0.1:40000";
const ALLOWED: &str = "127.0.0.0/8";

/// Short enough to wait for, where an upstream says nothing.
const HASTY: Times = Times {
    attempt: Duration::from_millis(150),
    total: Duration::from_millis(400),
    hold_down: Duration::from_secs(60),
};

fn rule(domain: Option<&str>, upstreams: &[SocketAddr]) -> Rule {
    Rule { domain: domain.map(|domain| domain.parse().unwrap()), upstreams: upstreams.to_vec() }
}

fn settings(upstreams: &[SocketAddr]) -> Settings {
    let allow = vec![ALLOWED.parse().unwrap()];
    Settings::new(vec![rule(None, upstreams)], allow)
}

/// The same without patience for silence.
fn hasty(upstreams: &[SocketAddr]) -> Settings {
    Settings { times: HASTY, ..settings(upstreams) }
}

/// A server for an empty zone that forwards, without sockets of its own.
struct Server {
    handler: Arc<Handler>,
    metrics: Metrics,
}

impl Server {
    fn new(settings: Settings) -> Self {
        let zone: ZoneName = "svc.internal".parse().unwrap();
        let mut publisher = zone::Publisher::new(zone::Settings {
            name: zone,
            ttl: Ttl::new("5s".parse().unwrap()).unwrap(),
            name_server: vec!["127.0.0.1".parse().unwrap()],
            reverse: vec!["10.0.0.0/8".parse().unwrap()],
            serial: 1,
        });
        publisher.publish_all(&Registry::default());
        let mut metrics = Metrics::default();
        let handler = Handler::new(publisher.zone(), answering(1232), &mut metrics);
        let handler = Arc::new(handler.with_forwarder(Forwarder::new(settings, &mut metrics)));
        Self { handler, metrics }
    }

    /// In front of upstreams, in this order.
    fn before(upstreams: &[&Upstream]) -> Self {
        let addresses: Vec<SocketAddr> = upstreams.iter().map(|upstream| upstream.address).collect();
        Self::new(settings(&addresses))
    }

    async fn ask_from(&self, client: &str, message: &Message, protocol: Protocol) -> Message {
        let octets = message.to_vec().unwrap();
        let reply = self.handler.respond(&octets, client.parse().unwrap(), protocol).await.expect("a reply");
        let parsed = Message::from_vec(&reply).expect("a reply that parses");
        assert_eq!(parsed.metadata.id, message.metadata.id);
        parsed
    }

    async fn ask(&self, message: &Message) -> Message {
        self.ask_from(LOCAL, message, Protocol::Udp).await
    }

    fn count(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x4242, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(name: &str) -> Message {
    let mut message = query(name, RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message
}

/// The INFO-CODE of a reply's extended error.
fn why(reply: &Message) -> Option<u16> {
    let option = reply.edns.as_ref()?.option(EdnsCode::Unknown(15))?;
    let EdnsOption::Unknown(_, octets) = option else { panic!("{option:?}") };
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

fn last_octets(reply: &Message) -> Vec<u8> {
    let last = |data: &RData| if let RData::A(a) = data { a.octets()[3] } else { panic!("{data:?}") };
    reply.answers.iter().map(|record| last(&record.data)).collect()
}

fn well(seen: &Seen) -> Vec<Vec<u8>> {
    one(&seen.addresses(60, 2))
}

fn silent(_: &Seen) -> Vec<Vec<u8>> {
    vec![]
}

fn failed(reply: &Message) -> bool {
    reply.metadata.response_code == ResponseCode::ServFail && reply.answers.is_empty()
}
