//! The way of a question about a name of others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Metadata;
use hickory_proto::rr::{Name, RecordType};
use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::cache::Cache;
use super::flight::{Boarded, Coming, Flights, Lead, Seat};
use super::metrics::{Metrics, Outcome};
use super::reply::{Answer, Envelope, NOERROR, SERVFAIL};
use super::rule::{Rules, domains_of};
use super::upstream::{Upstream, ask};
use super::wire::Asked;
use super::{CacheLimits, Settings, Times};
use crate::dns::message::OPT_TYPE;
use crate::dns::reply::Opt;
use crate::zone::ExtendedError;

/// INFO-CODEs (RFC 8914 §4).
const OTHER: u16 = 0;
const PROHIBITED: u16 = 18;
const NOT_AUTHORITATIVE: u16 = 20;
const NOT_SUPPORTED: u16 = 21;
/// What clients ask there is which resolver to use instead of this one, which is not for an upstream to say
/// (RFC 9462 §6.4).
const RESOLVER_ARPA: &[u8] = b"\x08resolver\x04arpa\0";

/// Asks upstreams about names of others.
#[derive(Debug, Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rules: Rules,
    allow: Vec<IpNet>,
    times: Times,
    limits: CacheLimits,
    cache: Mutex<Cache>,
    flights: Arc<Flights>,
    metrics: Metrics,
}

/// A question of the class IN about a name outside of our zones.
#[derive(Debug)]
pub(in crate::dns) struct Question<'a> {
    /// The name in the client's letters.
    pub name: &'a Name,
    /// The type.
    pub record_type: RecordType,
    /// Who asks.
    pub client: IpAddr,
    /// The header of its message: id, and whether it wants others to be asked (RD), an answer that the upstream finds
    /// bogus (CD), to know if it finds it authentic (AD).
    pub metadata: Metadata,
    /// The question section in the client's letters.
    pub question: &'a [u8],
    /// The OPT record that the reply shall have; its DO is the client's, who then wants signatures.
    pub opt: Option<Opt>,
    /// Octets that the reply may have.
    pub limit: usize,
}

/// How far a question has come without waiting.
#[derive(Debug)]
pub(in crate::dns) enum Step {
    /// It is refused, and why.
    Refused(ExtendedError),
    /// The whole reply.
    Reply(Vec<u8>),
    /// Somebody has to be waited for.
    Pending(Pending),
}

/// A reply that is on its way.
#[derive(Debug)]
pub(in crate::dns) struct Pending {
    coming: Coming,
    envelope: Envelope,
    metrics: Metrics,
    _seat: Option<Seat>,
}

impl Question<'_> {
    /// An RD that is not set is what a server asks another one about its own names, and who snoops in caches. Types
    /// that are none of data are between two neighbours (RFC 6895 §3.1).
    fn refusal(&self, allow: &[IpNet]) -> Option<ExtendedError> {
        let refuse = |code, text: &str| Some(ExtendedError { code, text: text.to_owned() });
        let client = self.client.to_canonical();
        if !allow.iter().any(|net| net.contains(&client)) {
            return refuse(PROHIBITED, "names of others are asked for clients in --forward-allow only");
        }
        if !self.metadata.recursion_desired {
            return refuse(NOT_AUTHORITATIVE, "a name of others, and recursion is not desired");
        }
        match u16::from(self.record_type) {
            0 | OPT_TYPE | 128..=254 => refuse(NOT_SUPPORTED, "not a type of data"),
            _ => None,
        }
    }

    fn dnssec_ok(&self) -> bool {
        self.opt.as_ref().is_some_and(|opt| opt.dnssec_ok)
    }

    fn envelope(self) -> Envelope {
        Envelope {
            id: self.metadata.id,
            question: self.question.to_vec(),
            limit: self.limit,
            checking_disabled: self.metadata.checking_disabled,
            authentic_data: self.metadata.authentic_data || self.dnssec_ok(),
            opt: self.opt,
        }
    }
}

impl Forwarder {
    /// Forwards by these rules; registers its metrics.
    pub fn new(settings: Settings, registry: &mut Registry) -> Self {
        let metrics = Metrics::new(registry);
        let shared = Shared {
            rules: Rules::new(&settings.rules),
            allow: settings.allow,
            times: settings.times,
            limits: settings.cache,
            cache: Mutex::new(Cache::new(&settings.cache)),
            flights: Flights::new(settings.in_flight, metrics.in_flight.clone()),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether questions of a client are forwarded, which is what RA says in every reply to it.
    pub fn serves(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.shared.allow.iter().any(|net| net.contains(&client))
    }

    /// Answers what can be answered at once. Has to be called within a runtime.
    pub(in crate::dns) fn begin(&self, question: Question<'_>) -> Step {
        let shared = &self.shared;
        let refuse = |error| {
            shared.metrics.ended(Outcome::Refused);
            Step::Refused(error)
        };
        if let Some(error) = question.refusal(&shared.allow) {
            return refuse(error);
        }
        let now = Instant::now();
        let checking_disabled = question.metadata.checking_disabled;
        let asked = Asked::new(question.name, question.record_type, question.dnssec_ok(), checking_disabled);
        let client = question.client.to_canonical();
        let Some((upstreams, named)) = shared.rules.find(asked.name()) else {
            let text = "no --forward is for this name".to_owned();
            return refuse(ExtendedError { code: NOT_AUTHORITATIVE, text });
        };
        let envelope = question.envelope();
        let reply = |answer: &Answer, outcome| {
            shared.metrics.ended(outcome);
            Step::Reply(answer.encode(&envelope, now))
        };
        if !named && domains_of(asked.name()).any(|domain| domain == RESOLVER_ARPA) {
            return reply(&Answer::empty(NOERROR, None, now), Outcome::Answered(NOERROR));
        }
        let kept = shared.cache.lock().get(&asked, now);
        if let Some(answer) = kept {
            shared.metrics.looked_up("hit");
            return reply(&answer, Outcome::Answered(answer.rcode));
        }
        let (coming, seat) = match shared.flights.board(&asked, client) {
            None => {
                let text = "too many questions wait for upstreams".to_owned();
                return reply(&Answer::empty(SERVFAIL, Some(ExtendedError { code: OTHER, text }), now), Outcome::Full);
            }
            Some(Boarded::Follows(seat, coming)) => {
                shared.metrics.looked_up("joined");
                (coming, Some(seat))
            }
            Some(Boarded::Leads(lead, coming)) => {
                shared.metrics.looked_up("miss");
                tokio::spawn(shared.clone().exchange(upstreams, lead));
                (coming, None)
            }
        };
        Step::Pending(Pending { coming, envelope, metrics: shared.metrics.clone(), _seat: seat })
    }
}

impl Shared {
    /// Asks for everyone who waits. Goes on when they have left: the next one finds the answer in the cache.
    async fn exchange(self: Arc<Self>, upstreams: Arc<[Arc<Upstream>]>, lead: Lead) {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let ttl_max = seconds(self.limits.ttl_max);
        let asked = lead.asked();
        let (answer, lifetime) = match ask(&upstreams, asked, &self.times, ttl_max, &self.metrics).await {
            Ok(reply) => {
                let lifetime = reply.lifetime(asked.record_type(), seconds(self.limits.negative_ttl_max));
                (Answer::of(reply, Instant::now()), Duration::from_secs(lifetime.into()))
            }
            Err(failure) => (failure, self.limits.failure_ttl),
        };
        let answer = Arc::new(answer);
        if !lifetime.is_zero() {
            self.cache.lock().insert(asked.clone(), answer.clone(), Instant::now() + lifetime);
        }
        lead.land(answer);
    }
}

impl Pending {
    /// The reply, after the time that upstreams have at most.
    pub(in crate::dns) async fn reply(mut self) -> Vec<u8> {
        let answer = self.coming.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        let now = Instant::now();
        let answer = answer.unwrap_or_else(|| Arc::new(Answer::empty(SERVFAIL, None, now)));
        self.metrics.ended(Outcome::Answered(answer.rcode));
        answer.encode(&self.envelope, now)
    }
}
