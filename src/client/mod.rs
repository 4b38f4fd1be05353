//! A client of the HTTP API, as anybody could write one: it knows paths and JSON and no type of the server.
//!
//! One connection for each request. Requests are rare (a renewal every few seconds), and a connection kept from
//! before the server restarted would turn the next renewal into an error that nobody could act on.

mod address;
mod events;
mod exchange;
mod journal;
mod path;
mod problem;
mod snapshot;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, InvalidHeaderValue};
use hyper::{Method, StatusCode};
use serde_json::Value;

pub use address::AddressError;
pub use events::{Event, Events};
pub use journal::Happened;
pub use problem::{ClientError, Problem};
pub use snapshot::Download;

use address::Target;
use exchange::{Fault, exchange, open, rest};
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

/// The longest that a record may be cached, and so that a drain may take.
const TTL_MAX: Duration = Duration::from_secs(3600);

/// A client of one server, or of several that serve the same registry.
#[derive(Debug)]
pub struct Client {
    targets: Vec<Target>,
    /// The target that answered last; it is asked first.
    preferred: AtomicUsize,
    authorization: Option<HeaderValue>,
    limits: Limits,
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
    pub fn new(addresses: &[String], token: Option<&str>) -> Result<Self, AddressError> {
        let targets: Vec<Target> =
            addresses.iter().map(|address| address.parse()).collect::<Result<_, AddressError>>()?;
        if targets.is_empty() {
            return Err(AddressError::None);
        }
        let bearer = |token: &str| -> Result<HeaderValue, InvalidHeaderValue> {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let authorization = token.map(bearer).transpose().map_err(|_| AddressError::Token)?;
        Ok(Self { targets, preferred: AtomicUsize::new(0), authorization, limits: Limits::default() })
    }

    /// The same client with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sends a request and waits for its answer.
    ///
    /// An address that refuses the connection is passed over for the next. After a connection was lost the next
    /// address is asked only when the request can be repeated without harm (GET, PUT).
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
        self.request_within(&self.limits, method, path_and_query, body, headers).await
    }

    /// A request that the server answers only after `wait` at most.
    async fn waiting(
        &self,
        wait: Duration,
        method: Method,
        path_and_query: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let limits = Limits { response_timeout: self.limits.response_timeout + wait, ..self.limits };
        Ok(self.request_within(&limits, method, path_and_query, body, &[]).await?.body)
    }

    async fn request_within(
        &self,
        limits: &Limits,
        method: Method,
        path_and_query: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Reply, ClientError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let repeatable = method == Method::GET || method == Method::PUT;
        let mut tried = Vec::new();
        let mut last = String::new();
        for position in (0..self.targets.len()).map(|step| (first + step) % self.targets.len()) {
            let target = &self.targets[position];
            let mut request = target.request(&method, path_and_query, body, headers)?;
            if let Some(authorization) = &self.authorization {
                request.headers_mut().insert(hyper::header::AUTHORIZATION, authorization.clone());
            }
            tried.push(target.authority().to_owned());
            match exchange(target, request, limits).await {
                Ok((head, body)) => {
                    self.preferred.store(position, Ordering::Relaxed);
                    return problem::judge(head, &body, target.authority());
                }
                Err(Fault::Answer(detail)) => {
                    return Err(ClientError::Protocol { address: target.authority().to_owned(), detail });
                }
                Err(Fault::Connect(reason)) => last = reason,
                Err(Fault::Lost(reason)) => {
                    last = reason;
                    if !repeatable {
                        break;
                    }
                }
            }
        }
        Err(ClientError::Unreachable { tried, last })
    }

    /// Watches changes as they happen, after the position that [`Events::last_id`] said; without one from now on, and
    /// what there is comes first. The first address that answers is used.
    ///
    /// # Errors
    /// When no address answered, or one answered with anything but events.
    pub async fn watch(&self, watched: Watched<'_>, after: Option<&str>) -> Result<Events, ClientError> {
        let pairs = [("service", watched.service.map(Into::into)), ("under", watched.under.map(Into::into))];
        let path = format!("/v1/watch{}", query(&pairs, Page::default()));
        let after = after.map(|id| ("last-event-id", id));
        let headers: Vec<(&'static str, &str)> = [("accept", "text/event-stream")].into_iter().chain(after).collect();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut tried = Vec::new();
        let mut last = String::new();
        for position in (0..self.targets.len()).map(|step| (first + step) % self.targets.len()) {
            let target = &self.targets[position];
            let mut request = target.request(&Method::GET, &path, None, &headers)?;
            if let Some(authorization) = &self.authorization {
                request.headers_mut().insert(hyper::header::AUTHORIZATION, authorization.clone());
            }
            let authority = target.authority();
            tried.push(authority.to_owned());
            match open(target, request, &self.limits).await {
                Ok((head, body, driver)) => {
                    self.preferred.store(position, Ordering::Relaxed);
                    let media_type = head.headers.get(hyper::header::CONTENT_TYPE);
                    if head.status == StatusCode::OK && media_type.is_some_and(|is| is == "text/event-stream") {
                        return Ok(Events::new(authority, body, driver, self.limits.body_octets_max));
                    }
                    let body = rest(body, &self.limits).await.unwrap_or_default();
                    problem::judge(head, &body, authority)?;
                    let detail = "the answer is no stream of events".to_owned();
                    return Err(ClientError::Protocol { address: authority.to_owned(), detail });
                }
                Err(Fault::Answer(detail)) => {
                    return Err(ClientError::Protocol { address: authority.to_owned(), detail });
                }
                Err(Fault::Connect(reason) | Fault::Lost(reason)) => last = reason,
            }
        }
        // Next time the others come first: what stays silent would otherwise be waited for again and again.
        self.preferred.store((first + 1) % self.targets.len(), Ordering::Relaxed);
        Err(ClientError::Unreachable { tried, last })
    }

    async fn bodyless(&self, method: Method, path_and_query: &str) -> Result<Value, ClientError> {
        Ok(self.request(method, path_and_query, None, &[]).await?.body)
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
        self.waiting(wait, method, &format!("{path}?wait={}ms", wait.as_millis()), Some(body)).await
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
            self.waiting(TTL_MAX, Method::POST, &format!("{path}?wait=true"), body.as_ref()).await
        } else {
            Ok(self.request(Method::POST, &path, body.as_ref(), &[]).await?.body)
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

    /// Deregisters every instance of every service below a group and returns how many there were.
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
        self.bodyless(Method::POST, &format!("{}/renew", instance_path(service, id))).await
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
