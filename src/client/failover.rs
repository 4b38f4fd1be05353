//! One request to several servers of the same registry: the first that answers.

use std::sync::atomic::Ordering;

use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::address::{Outgoing, Target};
use super::connection::Fault;
use super::events::Events;
use super::exchange::{exchange, open, rest};
use super::pool::Pool;
use super::problem::judge;
use super::{AddressError, Client, ClientError, Limits, Reply};

/// A request, to whichever server.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<&'a Value>,
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// Whether it may be carried out twice without harm.
    pub(super) repeatable: bool,
}

impl<'a> Call<'a> {
    /// A request that is repeatable as its method says: GET is, and PUT unless it depends on what was there before.
    pub(super) fn new(
        method: Method,
        path: &'a str,
        body: Option<&'a Value>,
        headers: &'a [(&'static str, &'a str)],
    ) -> Self {
        let conditional = headers.iter().any(|(name, _)| {
            HeaderName::from_bytes(name.as_bytes())
                .is_ok_and(|name| name == header::IF_MATCH || name == header::IF_NONE_MATCH)
        });
        let repeatable = method == Method::GET || method == Method::PUT && !conditional;
        Self { method, path, body, headers, repeatable }
    }

    /// The same request, of which the caller knows that it may be repeated.
    pub(super) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }
}

/// A server and what is known of it.
#[derive(Debug)]
pub(super) struct Server {
    target: Target,
    pool: Pool,
}

impl Server {
    pub(super) fn new(address: &str) -> Result<Self, AddressError> {
        Ok(Self { target: address.parse()?, pool: Pool::default() })
    }

    /// Where it is.
    #[cfg(feature = "server")]
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Where it is, for people.
    #[cfg(feature = "server")]
    pub(super) fn address(&self) -> &str {
        self.target.authority()
    }

    fn protocol_error(&self, detail: String) -> ClientError {
        ClientError::Protocol { address: self.target.authority().to_owned(), detail }
    }
}

/// Whether another server may do what this one cannot: it has no registry at the moment, or stands behind a proxy that
/// cannot reach it.
fn passes_on(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

impl Client {
    /// The servers in the order in which they are asked: the one that answered last comes first.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (usize, &Server)> {
        let servers = &self.shared.servers;
        let first = self.shared.preferred.load(Ordering::Relaxed);
        (0..servers.len()).map(move |step| {
            let position = (first + step) % servers.len();
            (position, &servers[position])
        })
    }

    /// What the server that answered last said is none of this API.
    pub(super) fn protocol_error(&self, detail: String) -> ClientError {
        self.shared.servers[self.shared.preferred.load(Ordering::Relaxed)].protocol_error(detail)
    }

    pub(super) fn prefer(&self, position: usize) {
        self.shared.preferred.store(position % self.shared.servers.len(), Ordering::Relaxed);
    }

    pub(super) fn request_to(&self, server: &Server, call: &Call<'_>) -> Result<Outgoing, ClientError> {
        let mut request = server.target.request(&call.method, call.path, call.body, call.headers)?;
        if let Some(authorization) = &self.shared.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    pub(super) async fn call(&self, limits: &Limits, call: Call<'_>) -> Result<Reply, ClientError> {
        let mut tried = Vec::new();
        let mut last = String::new();
        let mut refusal = None;
        for (position, server) in self.in_turn() {
            let request = self.request_to(server, &call)?;
            tried.push(server.target.authority().to_owned());
            match exchange(&server.target, &server.pool, request, call.repeatable, limits).await {
                Ok((head, body)) if passes_on(head.status) && call.repeatable => {
                    let answer = judge(head, &body, server.target.authority());
                    refusal = refusal.or(answer.err());
                }
                Ok((head, body)) => {
                    self.prefer(position);
                    return judge(head, &body, server.target.authority());
                }
                Err(Fault::Answer(detail)) => return Err(server.protocol_error(detail)),
                Err(Fault::Connect(reason)) => last = reason,
                Err(Fault::Lost(reason) | Fault::Silent(reason)) => {
                    last = reason;
                    if !call.repeatable {
                        break;
                    }
                }
            }
        }
        Err(refusal.unwrap_or(ClientError::Unreachable { tried, last }))
    }

    /// The answer of the first server as a stream of events.
    pub(super) async fn stream(&self, call: Call<'_>) -> Result<Events, ClientError> {
        let mut tried = Vec::new();
        let mut last = String::new();
        let mut refusal = None;
        let first = self.shared.preferred.load(Ordering::Relaxed);
        for (position, server) in self.in_turn() {
            let request = self.request_to(server, &call)?;
            let authority = server.target.authority();
            tried.push(authority.to_owned());
            match open(&server.target, request, &self.limits).await {
                Ok((head, body, driver)) => {
                    let media_type = head.headers.get(header::CONTENT_TYPE);
                    if head.status == StatusCode::OK && media_type.is_some_and(|is| is == "text/event-stream") {
                        self.prefer(position);
                        return Ok(Events::new(authority, body, driver, self.limits.body_octets_max));
                    }
                    let passed_on = passes_on(head.status);
                    let body = rest(body, &self.limits).await.unwrap_or_default();
                    match judge(head, &body, authority) {
                        Err(error) if passed_on => refusal = refusal.or(Some(error)),
                        Err(error) => return Err(error),
                        Ok(_) => return Err(server.protocol_error("the answer is no stream of events".to_owned())),
                    }
                }
                Err(Fault::Answer(detail)) => return Err(server.protocol_error(detail)),
                Err(Fault::Connect(reason) | Fault::Lost(reason) | Fault::Silent(reason)) => last = reason,
            }
        }
        // Next time the others come first: what stays silent would otherwise be waited for again and again.
        self.prefer(first + 1);
        Err(refusal.unwrap_or(ClientError::Unreachable { tried, last }))
    }
}
