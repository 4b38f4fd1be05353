//! Names of others, over real sockets: what upstreams do wrong, what clients get, what nobody learns.

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

/// Short enough to wait for, long enough for a busy machine.
const TIMES: Times = Times {
    attempt: Duration::from_millis(150),
    total: Duration::from_millis(400),
    hold_down: Duration::from_secs(60),
};

fn rule(domain: Option<&str>, upstreams: &[SocketAddr]) -> Rule {
    Rule { domain: domain.map(|domain| domain.parse().unwrap()), upstreams: upstreams.to_vec() }
}

fn settings(upstreams: &[SocketAddr]) -> Settings {
    let allow = vec![ALLOWED.parse().unwrap()];
    Settings { times: TIMES, ..Settings::new(vec![rule(None, upstreams)], allow) }
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

#[tokio::test]
async fn an_answer_is_passed_on_and_kept() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    for _ in 0..2 {
        let reply = server.ask(&with_edns("WWW.Example.org.")).await;
        assert_eq!(last_octets(&reply), [0, 1]);
        assert!(reply.metadata.recursion_available && !reply.metadata.authoritative && reply.edns.is_some());
        assert_eq!(reply.queries[0].name().to_string(), "WWW.Example.org.");
        assert_eq!(reply.answers[0].name.to_string(), "WWW.Example.org.");
    }
    let plain = server.ask(&query("www.example.org.", RecordType::A)).await;
    assert!(plain.edns.is_none() && plain.answers.len() == 2);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(server.count("dns_forward_cache_total{result=\"hit\"}"), 2);
    assert_eq!(server.count("dns_forwarded_total{result=\"noerror\"}"), 3);
    assert_eq!(server.count("dns_forward_in_flight"), 0);
    let asked = &upstream.seen()[0].question;
    assert!(asked.metadata.recursion_desired && asked.metadata.authentic_data);
    assert_eq!(asked.edns.as_ref().map(Edns::max_payload), Some(1232));
}

#[tokio::test]
async fn a_kept_answer_grows_old_and_dies() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    server.ask(&with_edns("www.example.org.")).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(reply.answers.iter().all(|record| record.ttl == 40), "{reply}");
    tokio::time::advance(Duration::from_secs(40)).await;
    tokio::time::resume();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(reply.answers.iter().all(|record| record.ttl == 60), "{reply}");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn what_does_not_exist_is_kept_as_long_as_its_soa_says() {
    let upstream = Upstream::start(|seen| one(&seen.absent(30)));
    let server = Server::before(&[&upstream]);
    server.ask(&with_edns("nope.example.")).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(29)).await;
    let reply = server.ask(&with_edns("nope.example.")).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(reply.authorities.len(), 1);
    assert_eq!(upstream.seen().len(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    server.ask(&with_edns("nope.example.")).await;
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn what_the_upstream_had_to_cut_is_fetched_over_tcp() {
    let upstream = Upstream::start(|seen| {
        let mut reply = seen.addresses(60, 200);
        if !seen.over_tcp {
            reply.answers.truncate(3);
            reply.metadata.truncation = true;
        }
        one(&reply)
    });
    let server = Server::before(&[&upstream]);
    let whole = server.ask_from(LOCAL, &with_edns("big.example.org."), Protocol::Tcp).await;
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
    assert_eq!(upstream.seen().iter().map(|seen| seen.over_tcp).collect::<Vec<_>>(), [false, true]);
    // The same for a client over UDP, as far as it fits.
    let cut = server.ask(&with_edns("big.example.org.")).await;
    assert!(cut.metadata.truncation && (40..200).contains(&cut.answers.len()) && cut.edns.is_some());
    assert!(cut.to_vec().unwrap().len() <= 1232);
    let small = server.ask(&query("big.example.org.", RecordType::A)).await;
    assert!(small.metadata.truncation && small.to_vec().unwrap().len() <= 512 && !small.answers.is_empty());
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn silence_ends_in_servfail_within_the_time_there_is() {
    let upstream = Upstream::start(silent);
    let server = Server::before(&[&upstream]);
    let began = Instant::now();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(failed(&reply) && why(&reply) == Some(22), "{reply}");
    assert!(began.elapsed() >= TIMES.total && began.elapsed() < 10 * TIMES.total, "{:?}", began.elapsed());
    let tries = upstream.seen().len();
    assert!((2..=3).contains(&tries), "{tries}");
    // The failure itself is kept for a moment, so that a name that cannot be resolved does not keep everyone busy.
    assert!(failed(&server.ask(&with_edns("www.example.org.")).await));
    assert_eq!(upstream.seen().len(), tries);
    let ports: std::collections::HashSet<u16> = upstream.seen().iter().map(|seen| seen.from.port()).collect();
    assert_eq!(ports.len(), tries, "each try has a port of its own");
}

#[tokio::test]
async fn nobody_at_the_address_is_a_network_error() {
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Server::new(settings(&[free]));
    let began = Instant::now();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(failed(&reply) && why(&reply) == Some(23), "{reply}");
    assert!(began.elapsed() < TIMES.total, "the network said so at once");
}

#[tokio::test]
async fn the_next_upstream_is_asked_when_one_cannot() {
    for rcode in [ResponseCode::Refused, ResponseCode::ServFail, ResponseCode::NotImp, ResponseCode::FormErr] {
        let cannot = Upstream::start(move |seen: &Seen| one(&seen.reply(rcode)));
        let can = Upstream::start(well);
        let server = Server::before(&[&cannot, &can]);
        assert_eq!(last_octets(&server.ask(&with_edns("www.example.org.")).await), [0, 1], "{rcode}");
        assert_eq!((cannot.seen().len(), can.seen().len()), (1, 1), "{rcode}");
    }
}

#[tokio::test]
async fn an_upstream_that_was_silent_is_asked_last() {
    let (slow, quick) = (Upstream::start(silent), Upstream::start(well));
    let server = Server::before(&[&slow, &quick]);
    for name in ["a.example.org.", "b.example.org.", "c.example.org."] {
        assert_eq!(last_octets(&server.ask(&with_edns(name)).await), [0, 1]);
    }
    assert_eq!((slow.seen().len(), quick.seen().len()), (1, 3));
}

#[tokio::test]
async fn when_no_upstream_can_the_reason_of_the_last_is_told() {
    let upstreams = [(); 2].map(|()| Upstream::start(|seen| one(&seen.reply(ResponseCode::Refused))));
    let server = Server::before(&[&upstreams[0], &upstreams[1]]);
    let began = Instant::now();
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(failed(&reply) && why(&reply) == Some(22), "{reply}");
    assert!(began.elapsed() < TIMES.total, "nobody is asked twice who has said no");
    assert_eq!(upstreams.map(|upstream| upstream.seen().len()), [1, 1]);
}

#[tokio::test]
async fn a_server_from_before_edns_is_asked_without() {
    let upstream = Upstream::start(|seen| match seen.question.edns {
        Some(_) => {
            let mut reply = seen.reply(ResponseCode::FormErr);
            reply.edns = None;
            one(&reply)
        }
        None => well(seen),
    });
    let server = Server::before(&[&upstream]);
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert!(reply.answers.len() == 2 && reply.edns.is_some(), "{reply}");
}

/// What is sent before the true reply must not be believed, and must not keep it from being believed.
async fn assert_ignored(what: &str, forge: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) {
    let upstream = Upstream::start(move |seen: &Seen| {
        let truth = seen.addresses(60, 2).to_vec().unwrap();
        if seen.over_tcp { vec![truth] } else { vec![forge(seen), truth] }
    });
    let server = Server::before(&[&upstream]);
    let reply = server.ask(&with_edns("www.example.org.")).await;
    assert_eq!(last_octets(&reply), [0, 1], "{what}");
}

#[tokio::test]
async fn only_a_matching_reply_is_used() {
    let forged = |seen: &Seen, change: &dyn Fn(&mut Message)| {
        let mut reply = seen.addresses(60, 7);
        change(&mut reply);
        reply.to_vec().unwrap()
    };
    assert_ignored("another id", move |seen| forged(seen, &|reply| reply.metadata.id ^= 1)).await;
    assert_ignored("another name", move |seen| {
        let other = Name::from_ascii("wwx.example.org.").unwrap();
        forged(seen, &|reply| {
            reply.queries[0].set_name(other.clone());
        })
    })
    .await;
    assert_ignored("another type", move |seen| {
        forged(seen, &|reply| {
            reply.queries[0].set_query_type(RecordType::AAAA);
        })
    })
    .await;
    assert_ignored("no question", move |seen| forged(seen, &|reply| reply.queries.clear())).await;
    assert_ignored("a query", move |seen| forged(seen, &|reply| reply.metadata.message_type = MessageType::Query))
        .await;
    assert_ignored("other letters", move |seen| {
        let lower = seen.question.queries[0].name().to_lowercase();
        forged(seen, &|reply| {
            reply.queries[0].set_name(lower.clone());
        })
    })
    .await;
    assert_ignored("nothing", |_| vec![]).await;
    assert_ignored("a fragment", move |seen| forged(seen, &|_| ())[..50].to_vec()).await;
    assert_ignored("garbage", |_| vec![0xa5; 4096]).await;
    assert_ignored("a huge datagram", move |seen| {
        let mut reply = forged(seen, &|_| ());
        reply.resize(60_000, 0xff);
        reply[4..12].fill(0xff);
        reply
    })
    .await;
}

#[tokio::test]
async fn a_reply_from_elsewhere_is_not_used() {
    let elsewhere = Arc::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let upstream = Upstream::start(move |seen: &Seen| {
        let forged = seen.addresses(60, 7).to_vec().unwrap();
        elsewhere.send_to(&forged, seen.from).unwrap();
        one(&seen.addresses(60, 2))
    });
    let server = Server::before(&[&upstream]);
    assert_eq!(last_octets(&server.ask(&with_edns("www.example.org.")).await), [0, 1]);
}

#[tokio::test]
async fn guessing_ids_leads_to_tcp() {
    let upstream = Upstream::start(|seen| {
        if seen.over_tcp {
            return well(seen);
        }
        let mut forged = seen.addresses(60, 7);
        let guess = |step: u16| {
            forged.metadata.id = seen.question.metadata.id.wrapping_add(step);
            forged.to_vec().unwrap()
        };
        (1..100).chain([0]).map(guess).collect()
    });
    let server = Server::before(&[&upstream]);
    assert_eq!(last_octets(&server.ask(&with_edns("www.example.org.")).await), [0, 1]);
    assert!(upstream.seen().last().unwrap().over_tcp);
}

#[tokio::test]
async fn a_server_that_does_not_keep_letters_is_found_out_once() {
    let upstream = Upstream::start(|seen| {
        let mut reply = seen.addresses(60, 2);
        let lower = reply.queries[0].name().to_lowercase();
        reply.queries[0].set_name(lower);
        one(&reply)
    });
    let server = Server::before(&[&upstream]);
    for name in ["a-name-with-letters.example.org.", "another-name-with-letters.example.org."] {
        assert_eq!(last_octets(&server.ask(&with_edns(name)).await), [0, 1]);
    }
    assert_eq!(upstream.seen().iter().map(|seen| seen.over_tcp).collect::<Vec<_>>(), [false, true, false]);
}

#[tokio::test]
async fn our_own_names_never_leave() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    for (name, rcode) in [
        ("nope.svc.internal.", ResponseCode::NXDomain),
        ("a.b.c.SVC.Internal.", ResponseCode::NXDomain),
        ("svc.internal.", ResponseCode::NoError),
        ("7.0.0.10.in-addr.arpa.", ResponseCode::NXDomain),
    ] {
        let reply = server.ask(&with_edns(name)).await;
        assert_eq!(reply.metadata.response_code, rcode, "{name}");
        assert!(reply.metadata.authoritative && reply.metadata.recursion_available, "{name}");
    }
    for opcode in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut message = query("www.example.org.", RecordType::SOA);
        message.metadata.op_code = opcode;
        let reply = server.ask(&message).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);
        assert!(reply.metadata.recursion_available);
    }
    for kind in [RecordType::AXFR, RecordType::IXFR, RecordType::Unknown(249), RecordType::OPT] {
        let reply = server.ask(&query("www.example.org.", kind)).await;
        assert_ne!(reply.metadata.response_code, ResponseCode::NoError, "{kind}");
    }
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
    assert_eq!(server.ask(&chaos).await.metadata.response_code, ResponseCode::Refused);
    // Which resolver to use instead of this one is not for others to say.
    let reply = server.ask(&query("_dns.resolver.arpa.", RecordType::SVCB)).await;
    assert!(reply.metadata.response_code == ResponseCode::NoError && reply.answers.is_empty());
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn who_is_not_allowed_or_does_not_ask_for_it_is_refused() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    let reply = server.ask_from("192.0.2.1:40000", &with_edns("www.example.org."), Protocol::Udp).await;
    assert_eq!((reply.metadata.response_code, why(&reply)), (ResponseCode::Refused, Some(18)));
    assert!(!reply.metadata.recursion_available);
    let own = server.ask_from("192.0.2.1:40000", &with_edns("svc.internal."), Protocol::Udp).await;
    assert!(own.metadata.authoritative && !own.metadata.recursion_available);
    let mut iterative = with_edns("www.example.org.");
    iterative.metadata.recursion_desired = false;
    let reply = server.ask(&iterative).await;
    assert_eq!((reply.metadata.response_code, why(&reply)), (ResponseCode::Refused, Some(20)));
    assert!(reply.metadata.recursion_available);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn the_longest_domain_is_asked() {
    let (corp, public) = (Upstream::start(|seen| one(&seen.addresses(60, 1))), Upstream::start(well));
    let mut settings = settings(&[public.address]);
    settings.rules.push(rule(Some("corp.example"), &[corp.address]));
    let server = Server::new(settings);
    assert_eq!(last_octets(&server.ask(&with_edns("db.corp.example.")).await), [0]);
    assert_eq!(last_octets(&server.ask(&with_edns("www.example.")).await), [0, 1]);
    assert_eq!((corp.seen().len(), public.seen().len()), (1, 1));

    let only_corp = Settings {
        times: TIMES,
        ..Settings::new(vec![rule(Some("corp.example"), &[corp.address])], vec![ALLOWED.parse().unwrap()])
    };
    let reply = Server::new(only_corp).ask(&with_edns("www.example.")).await;
    assert_eq!((reply.metadata.response_code, why(&reply)), (ResponseCode::Refused, Some(20)));
}

#[tokio::test]
async fn signatures_and_bogus_answers_are_for_those_who_want_them() {
    let upstream = Upstream::start(|seen| {
        let mut reply = seen.addresses(60, 1);
        reply.metadata.authentic_data = true;
        one(&reply)
    });
    let server = Server::before(&[&upstream]);
    let plain = server.ask(&with_edns("www.example.org.")).await;
    assert!(!plain.metadata.authentic_data, "nobody asked");
    let mut wants_ad = with_edns("www.example.org.");
    wants_ad.metadata.authentic_data = true;
    assert!(server.ask(&wants_ad).await.metadata.authentic_data);
    assert_eq!(upstream.seen().len(), 1);
    let mut wants_signatures = with_edns("www.example.org.");
    wants_signatures.metadata.checking_disabled = true;
    wants_signatures.edns.as_mut().unwrap().set_dnssec_ok(true);
    let reply = server.ask(&wants_signatures).await;
    assert!(reply.metadata.authentic_data && reply.metadata.checking_disabled);
    assert!(reply.edns.is_some_and(|edns| edns.flags().dnssec_ok));
    let seen = upstream.seen();
    let [first, second] = &seen[..] else { panic!("{seen:?}") };
    let flags = |seen: &Seen| {
        (seen.question.metadata.checking_disabled, seen.question.edns.as_ref().unwrap().flags().dnssec_ok)
    };
    assert_eq!((flags(first), flags(second)), ((false, false), (true, true)));
}

#[tokio::test]
async fn the_same_question_is_asked_once_for_all_who_wait() {
    let upstream = Upstream::start(well);
    let server = Server::before(&[&upstream]);
    let question = with_edns("www.example.org.");
    let replies = futures(20, || server.ask(&question)).await;
    assert!(replies.iter().all(|reply| reply.answers.len() == 2));
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(server.count("dns_forward_cache_total{result=\"joined\"}"), 19);
}

/// Runs so many of the same at once.
async fn futures<T, F: Future<Output = T>>(count: usize, make: impl Fn() -> F) -> Vec<T> {
    let mut running: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn those_who_wait_are_bounded() {
    let upstream = Upstream::start(silent);
    let mut settings = settings(&[upstream.address]);
    settings.in_flight = FlightLimits { total: 8, per_net: 5 };
    let server = Server::new(settings);
    let next = AtomicUsize::new(0);
    let replies = futures(40, || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let client = format!("127.0.{}.1:40000", number / 20);
        let (server, question) = (&server, with_edns(&format!("n{number}.example.org.")));
        async move { server.ask_from(&client, &question, Protocol::Udp).await }
    })
    .await;
    assert!(replies.iter().all(failed));
    let full = replies.iter().filter(|reply| why(reply) == Some(0)).count();
    assert_eq!(full, 32);
    assert_eq!(server.count("dns_forwarded_total{result=\"full\"}"), 32);
    assert_eq!(server.count("dns_forward_in_flight"), 0, "places are free again");
}

/// A server with sockets of its own, for as long as the sender is held.
fn listen(handler: Arc<Handler>, listeners: Listeners) -> watch::Sender<bool> {
    let (closing, signal) = watch::channel(false);
    tokio::spawn(listeners.serve(handler, dns::Settings::default(), signal));
    closing
}

fn listeners() -> (Listeners, SocketAddr) {
    let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners.addresses()[0];
    (listeners, address)
}

#[tokio::test]
async fn loops_end_in_servfail() {
    // To itself, and two to each other.
    for count in [1, 2] {
        let (listeners, addresses): (Vec<_>, Vec<_>) = (0..count).map(|_| listeners()).unzip();
        let servers: Vec<Server> = (1..=count).map(|next| Server::new(settings(&[addresses[next % count]]))).collect();
        let _open: Vec<_> = listeners.into_iter().zip(&servers).map(|(l, s)| listen(s.handler.clone(), l)).collect();
        let reply = timeout(10 * TIMES.total, servers[0].ask(&with_edns("www.example.org."))).await.unwrap();
        assert!(failed(&reply), "{reply}");
        for server in &servers {
            let asked = server.count("dns_forward_cache_total{result=\"joined\"}");
            assert!(asked <= 10, "{asked} questions went round");
        }
    }
}

#[tokio::test]
async fn own_names_do_not_wait_for_upstreams() {
    let upstream = Upstream::start(silent);
    let server = Server::before(&[&upstream]);
    let (listeners, address) = listeners();
    let _open = listen(server.handler.clone(), listeners);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    let mut reply = [0; 1500];
    for name in ["foreign.example.org.", "svc.internal."] {
        socket.send(&with_edns(name).to_vec().unwrap()).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..2 {
        let length = timeout(10 * TIMES.total, socket.recv(&mut reply)).await.unwrap().unwrap();
        order.push(Message::from_vec(&reply[..length]).unwrap().metadata.response_code);
    }
    assert_eq!(order, [ResponseCode::NoError, ResponseCode::ServFail]);
}
