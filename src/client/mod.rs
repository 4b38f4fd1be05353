//! A client of the HTTP API, as anybody could write one: it knows paths and JSON and nothing of the server.
//!
//! | for a service | |
//! |---|---|
//! | [`Client::register_with_lease`] | registers, and stays registered: renews, and registers again when that is needed |
//! | [`KeepAlive`] | says when that goes wrong and when it is well again; drains; leaves |
//! | [`Client::pass`], [`Client::fail`] | what a service says of itself, for checks of type `ttl` |
//! | [`Client::grant`], [`Client::register_on_shared_lease`], [`Client::revoke`] | many instances on one lease |
//! | **for who looks for services** | |
//! | [`Client::services_under`], [`Client::instances_of`] | what there is |
//! | [`Client::report_failed`] | has one probed that could not be used |
//! | [`Client::watch_under`], [`Client::watch_service`] | what there is, and then each change, over lost connections |
//! | **for operators** | |
//! | [`Client::deregister_under`], [`Client::amend`], … | everything else; [`Client::request`] for what has no method here |
//!
//! Methods that return [`Value`] give the answer as it came. Connections are kept and used again; a request that cannot
//! be repeated without harm goes over a new one, because of an old one nobody knows whether the server still listens.
//! Several addresses are asked in turn until one answers, and the one that did is asked first from then on. Every
//! request ends within [`Limits`].

mod address;
mod backoff;
mod connection;
mod events;
mod exchange;
mod failover;
mod follow;
mod journal;
mod keep;
mod lease;
mod pages;
mod path;
mod pool;
mod problem;
mod registration;
mod rehearse;
mod report;
mod shape;
#[cfg(feature = "server")]
mod snapshot;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, InvalidHeaderValue};
use hyper::{Method, StatusCode};
use serde_json::Value;

pub use address::AddressError;
pub use events::{Event, Events};
pub use follow::{Follow, Followed, Watch, WatchEvent};
pub use journal::Happened;
pub use keep::{KeepAlive, KeepEvent, Standing};
pub use problem::{ClientError, Problem};
pub use registration::{Check, Registration};
pub use shape::{Change, ChangeKind, Instance, Lease, Service};
#[cfg(feature = "server")]
pub use snapshot::Download;

use failover::{Call, Server};
use path::{instance_path, query, registration_path, service_path};

/// How long a request may take and how much it may answer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection stands, for each address.
    pub connect_timeout: Duration,
    /// From the connection to the end of the response.
    pub response_timeout: Duration,
    /// Octets of a response's body.
    pub body_octets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(30),
            body_octets_max: 64 << 20,
        }
    }
}

/// Where a server listens unless it was told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";

/// The longest that a record may be cached, and so that a drain may take.
const TTL_MAX: Duration = Duration::from_secs(3600);

/// A client of one server, or of several that serve the same registry.
///
/// It keeps a few connections open. Its clones share them, and cost nothing.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    limits: Limits,
}

#[derive(Debug)]
struct Shared {
    servers: Vec<Server>,
    /// The server that answered last; it is asked first.
    preferred: AtomicUsize,
    authorization: Option<HeaderValue>,
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status, 200 to 299.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; `null` when it has none.
    pub body: Value,
}

/// Which instances of a service are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    /// Only those that DNS answers with.
    pub passing: bool,
    /// Only those with this tag.
    pub tag: Option<&'a str>,
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Page<'a> {
    /// How many entries at most; the server's choice when there is none.
    pub limit: Option<usize>,
    /// The `next` of the page before.
    pub cursor: Option<&'a str>,
}

/// Which changes are watched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watched<'a> {
    /// Those of one service.
    pub service: Option<&'a str>,
    /// Those of services under a group.
    pub under: Option<&'a str>,
}

/// A DNS question to explain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The name.
    pub name: &'a str,
    /// The type; A when there is none.
    pub record_type: Option<&'a str>,
    /// Whom DNS would answer; the caller when there is none.
    pub client: Option<&'a str>,
    /// Whether it is asked over TCP.
    pub tcp: bool,
}

impl Client {
    /// A client that asks the first of `addresses` that answers: `host:port` or `http://host:port`; without a port 8500.
    ///
    /// # Errors
    /// When there is no address, one cannot be understood, or the token cannot be sent.
    pub fn new(addresses: impl IntoIterator<Item: AsRef<str>>, token: Option<&str>) -> Result<Self, AddressError> {
        let servers = addresses.into_iter().map(|address| Server::new(address.as_ref()));
        let servers = servers.collect::<Result<Vec<_>, AddressError>>()?;
        if servers.is_empty() {
            return Err(AddressError::None);
        }
        let bearer = |token: &str| -> Result<HeaderValue, InvalidHeaderValue> {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let authorization = token.map(bearer).transpose().map_err(|_| AddressError::Token)?;
        let shared = Shared { servers, preferred: AtomicUsize::new(0), authorization };
        Ok(Self { shared: Arc::new(shared), limits: Limits::default() })
    }

    /// A client of the servers that `ROLLCALL_HTTP_ADDR` names, with commas between, or of 127.0.0.1:8500; with the token
    /// of `ROLLCALL_TOKEN`, if there is one.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn from_environment() -> Result<Self, AddressError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
        let addresses = variable("ROLLCALL_HTTP_ADDR").unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        let addresses = addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
        Self::new(addresses, variable("ROLLCALL_TOKEN").as_deref())
    }

    /// The same client with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sends a request and waits for its answer.
    ///
    /// An address that refuses the connection is passed over for the next. After a connection was lost, or an answer of
    /// a server without a registry (502, 503, 504), the next address is asked only when the request can be repeated
    /// without harm: GET, and PUT without a precondition.
    ///
    /// # Errors
    /// When no address answered, or one answered with anything but success.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Reply, ClientError> {
        self.call(&self.limits, Call::new(method, path_and_query, body, headers)).await
    }

    /// A request that the server answers only after `wait` at most.
    async fn waiting(&self, wait: Duration, call: Call<'_>) -> Result<Value, ClientError> {
        let limits = Limits { response_timeout: self.limits.response_timeout + wait, ..self.limits };
        Ok(self.call(&limits, call).await?.body)
    }

    /// Watches changes as they happen, after the position that [`Events::last_id`] said; without one from now on, and
    /// what there is comes first. The first address that answers is used. [`Client::follow`] comes back by itself.
    ///
    /// # Errors
    /// When no address answered, or one answered with anything but events.
    pub async fn watch(&self, watched: Watched<'_>, after: Option<&str>) -> Result<Events, ClientError> {
        let pairs = [("service", watched.service.map(Into::into)), ("under", watched.under.map(Into::into))];
        let path = format!("/v1/watch{}", query(&pairs, Page::default()));
        let after = after.map(|id| ("last-event-id", id));
        let headers: Vec<(&'static str, &str)> = [("accept", "text/event-stream")].into_iter().chain(after).collect();
        self.stream(Call::new(Method::GET, &path, None, &headers)).await
    }

    async fn bodyless(&self, method: Method, path_and_query: &str) -> Result<Value, ClientError> {
        Ok(self.request(method, path_and_query, None, &[]).await?.body)
    }

    /// A request of which is known that it may be carried out twice.
    async fn repeatable(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        Ok(self.call(&self.limits, Call::new(method, path, body, &[]).repeatable()).await?.body)
    }

    /// Registers an instance and returns it as the server knows it; without an id the server chooses one.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn register(&self, service: &str, id: Option<&str>, body: &Value) -> Result<Value, ClientError> {
        let (method, path) = registration_path(service, id);
        Ok(self.request(method, &path, Some(body), &[]).await?.body)
    }

    /// Registers an instance, and waits until DNS answers with it, at most `wait`. Whether it does stands in `answered`
    /// of what is returned, and why not in `withheld_because`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn register_and_wait(
        &self,
        service: &str,
        id: Option<&str>,
        body: &Value,
        wait: Duration,
    ) -> Result<Value, ClientError> {
        let (method, path) = registration_path(service, id);
        let path = format!("{path}?wait={}ms", wait.as_millis());
        self.waiting(wait, Call::new(method, &path, Some(body), &[])).await
    }

    /// Takes an instance out of answers and returns it with `safe_to_stop_at`, at once or when that has come; the drain
    /// ends by itself when it `expires`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn drain(
        &self,
        service: &str,
        id: &str,
        expires: Option<&str>,
        wait: bool,
    ) -> Result<Value, ClientError> {
        let path = format!("{}/drain", instance_path(service, id));
        let body = expires.map(|expires| serde_json::json!({ "expires": expires }));
        if wait {
            let path = format!("{path}?wait=true");
            self.waiting(TTL_MAX, Call::new(Method::POST, &path, body.as_ref(), &[]).repeatable()).await
        } else {
            self.repeatable(Method::POST, &path, body.as_ref()).await
        }
    }

    /// Changes `state`, `weight`, `tags` or `meta` of an instance and returns it.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn amend(&self, service: &str, id: &str, changes: &Value) -> Result<Value, ClientError> {
        Ok(self.request(Method::PATCH, &instance_path(service, id), Some(changes), &[]).await?.body)
    }

    /// Deregisters an instance.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn deregister(&self, service: &str, id: &str) -> Result<(), ClientError> {
        self.bodyless(Method::DELETE, &instance_path(service, id)).await.map(drop)
    }

    /// Deregisters every instance of a service and returns how many there were: `{"deregistered": 3}`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn deregister_all(&self, service: &str) -> Result<Value, ClientError> {
        self.bodyless(Method::DELETE, &service_path(service)).await
    }

    /// Deregisters every instance of every service under a group, at any depth, and returns how many there were:
    /// `{"deregistered": 3}`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn deregister_under(&self, group: &str) -> Result<Value, ClientError> {
        let query = query(&[("under", Some(group.into()))], Page::default());
        self.bodyless(Method::DELETE, &format!("/v1/services{query}")).await
    }

    /// Renews an instance's own lease and returns it: `{"lease": {…}}`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn renew(&self, service: &str, id: &str) -> Result<Value, ClientError> {
        let path = format!("{}/renew", instance_path(service, id));
        self.repeatable(Method::POST, &path, None).await
    }

    /// One page of the services, or of those under a group.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn services(&self, under: Option<&str>, page: Page<'_>) -> Result<Value, ClientError> {
        let query = query(&[("under", under.map(Into::into))], page);
        self.bodyless(Method::GET, &format!("/v1/services{query}")).await
    }

    /// One page of the instances of a service.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn instances(
        &self,
        service: &str,
        selection: Selection<'_>,
        page: Page<'_>,
    ) -> Result<Value, ClientError> {
        let health = selection.passing.then(|| "passing".into());
        let query = query(&[("health", health), ("tag", selection.tag.map(Into::into))], page);
        self.bodyless(Method::GET, &format!("{}{query}", service_path(service))).await
    }

    /// One instance.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn instance(&self, service: &str, id: &str) -> Result<Value, ClientError> {
        self.bodyless(Method::GET, &instance_path(service, id)).await
    }

    /// The decision for a DNS question, with every instance that had a say in it.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn explain(&self, question: Asked<'_>) -> Result<Value, ClientError> {
        let Asked { name, record_type, client, tcp } = question;
        let pairs = [
            ("name", Some(name.into())),
            ("type", record_type.map(Into::into)),
            ("client", client.map(Into::into)),
            ("protocol", tcp.then(|| "tcp".into())),
        ];
        self.bodyless(Method::GET, &format!("/v1/explain{}", query(&pairs, Page::default()))).await
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn status(&self) -> Result<Value, ClientError> {
        self.bodyless(Method::GET, "/v1/status").await
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
