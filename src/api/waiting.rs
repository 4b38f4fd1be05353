//! Requests that wait for a change: how many, after which position, and what ends them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use schemars::json_schema;

use super::extract::Params;
use super::form::{self, forms};
use super::paging::Page;
use super::problem::Problem;
use super::{Closing, Context, Peer, Settings};
use crate::model::{Revision, StoreId};
use crate::net::ConnectionLimits;
use crate::view::Interest;

/// Of as many connections, in all or of one client address, so many may wait. They keep their connections busy, and
/// ordinary requests find the rest.
fn share_of(connections: usize) -> usize {
    (connections / 6 * 5).max(1)
}

/// The longest wait of a long poll.
const WAIT_MAX: crate::model::Duration = crate::model::Duration::from_secs(600);

forms! {
    /// A revision, or the id of an event: store, hyphen, revision.
    PositionForm inline |_| json_schema!({
        "type": "string", "format": "position", "pattern": "^(.+-)?[0-9]{1,19}$", "examples": ["17"],
    });

    /// How long to wait.
    PollWait inline |_| form::duration("poll-wait", "30s", format_args!("at most {WAIT_MAX}"));
}

#[derive(Debug)]
struct Table {
    limits: ConnectionLimits,
    clients: Mutex<HashMap<IpAddr, usize>>,
    total: Gauge,
}

/// The requests that wait.
#[derive(Debug)]
pub struct Waiting(Arc<Table>);

impl Default for Waiting {
    fn default() -> Self {
        Self::within(Settings::default().connections)
    }
}

impl Waiting {
    fn within(connections: ConnectionLimits) -> Self {
        let limits =
            ConnectionLimits { per_client: share_of(connections.per_client), total: share_of(connections.total) };
        Self(Arc::new(Table { limits, clients: Mutex::default(), total: Gauge::default() }))
    }

    /// Nobody waits yet, of as many connections.
    pub fn among(connections: ConnectionLimits, registry: &mut prometheus_client::registry::Registry) -> Self {
        let waiting = Self::within(connections);
        let help = "Requests that wait: watches, long polls, registrations and drains";
        registry.register("http_waiting", help, waiting.0.total.clone());
        waiting
    }

    /// How many requests wait, now and later.
    pub fn count(&self) -> Gauge {
        self.0.total.clone()
    }

    /// A place to wait in.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Place, Problem> {
        let mut clients = self.0.clients.lock();
        let of_client = clients.get(&client).copied().unwrap_or_default();
        if of_client >= self.0.limits.per_client || self.0.total.get() >= self.0.limits.total as i64 {
            return Err(Problem::too_many_waiting());
        }
        clients.insert(client, of_client + 1);
        self.0.total.inc();
        Ok(Place { table: self.0.clone(), client })
    }
}

/// The place of a request that waits; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<Table>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.table.clients.lock();
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
        self.table.total.dec();
    }
}

/// Who waits, and what ends the waiting of all.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) client: IpAddr,
    closing: Option<Closing>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let client = parts.extensions.get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip());
        Ok(Self { client, closing: parts.extensions.get::<Closing>().cloned() })
    }
}

impl Caller {
    /// Waits until the server closes.
    pub(super) async fn closing(&mut self) {
        match &mut self.closing {
            Some(Closing(signal)) => crate::net::closing(signal).await,
            None => std::future::pending().await,
        }
    }
}

/// A position as a client names it: a revision, with or without the store whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    store: Option<String>,
    revision: Revision,
}

impl Position {
    /// Reads `17` or, as events are named, `m0123-17`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (store, digits) = match text.rsplit_once('-') {
            Some((store, digits)) if !store.is_empty() => (Some(store.to_owned()), digits),
            Some(_) => return None,
            None => (None, text),
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let revision = Revision(digits.parse().ok().filter(|_| is_number)?);
        Some(Self { store, revision })
    }

    /// Takes `after` from the parameters.
    pub(super) fn take(params: &mut Params) -> Result<Option<Self>, Problem> {
        let read = |text: String| {
            let advice = "`after` is a revision, as a list or the id of an event says it";
            Self::parse(&text).ok_or_else(|| Problem::invalid_parameter(advice))
        };
        params.take("after")?.map(read).transpose()
    }

    /// The revision, when it is one of this store.
    pub(super) fn of(&self, store: &StoreId) -> Option<Revision> {
        self.store.as_ref().is_none_or(|named| named == store.as_str()).then_some(self.revision)
    }
}

/// `after` and `wait` of a list: whether to wait for a change before it is answered.
#[derive(Debug)]
pub(super) struct LongPoll {
    after: Option<Position>,
    wait: Duration,
}

impl LongPoll {
    pub(super) fn take(params: &mut Params) -> Result<Self, Problem> {
        let after = Position::take(params)?;
        let read = |text: String| {
            let wait = text.parse::<crate::model::Duration>().ok().filter(|wait| *wait <= WAIT_MAX);
            let advice = format!("`wait` is a duration of at most {WAIT_MAX}, such as 30s");
            wait.map(crate::model::Duration::std).ok_or_else(|| Problem::invalid_parameter(advice))
        };
        let wait = params.take("wait")?.map(read).transpose()?.unwrap_or_default();
        Ok(Self { after, wait })
    }

    /// The position, when it is one of this store.
    pub(super) fn after_in(&self, store: &StoreId) -> Option<Revision> {
        self.after.as_ref().and_then(|after| after.of(store))
    }

    /// Waits for the first change after the position that touches what is listed, or for the time to pass. The page is
    /// one of the present then.
    pub(super) async fn wait(
        self,
        page: &mut Page,
        interest: Interest,
        mut caller: Caller,
        context: &Context,
    ) -> Result<(), Problem> {
        let Some(after) = self.after else { return Ok(()) };
        if !page.after.is_empty() {
            return Err(Problem::invalid_parameter("`after` is for the first page: `cursor` says of which revision"));
        }
        // Of another store nothing is known, so the list is new to whoever asks.
        let Some(after) = after.of(&context.store.id()).filter(|_| !self.wait.is_zero()) else { return Ok(()) };
        let follow = || context.view.follow(interest.clone(), Some(after));
        if !context.view.is_loaded() || !follow().has_changed() {
            let _place = context.waiting.admit(caller.client)?;
            // Held by all who wait, the views of different times would cost what has changed in between.
            page.view = Arc::default();
            let changed = async {
                context.view.loaded().await;
                follow().changed().await;
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(self.wait) => {}
                () = caller.closing() => {}
            }
        }
        page.view = context.view.load();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_revisions_and_the_ids_of_events() {
        let store = StoreId::new("m1");
        let of = |text: &str| Position::parse(text).map(|position| position.of(&store).map(|revision| revision.0));
        for (text, expected) in [
            ("17", Some(Some(17))),
            ("m1-17", Some(Some(17))),
            ("m2-17", Some(None)),
            ("a-b-17", Some(None)),
            ("", None),
            ("-17", None),
            ("+17", None),
            ("m1-", None),
            ("m1-x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let waiting = Waiting::within(ConnectionLimits { per_client: 12, total: 24 });
        let client = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut places: Vec<Place> = (0..20).map(|n| waiting.admit(client(n / 10)).unwrap()).collect();
        assert!(waiting.admit(client(9)).is_err(), "all are taken");
        places.pop();
        assert!(waiting.admit(client(0)).is_err(), "the client has its share");
        places.push(waiting.admit(client(9)).unwrap());
        drop(places);
        assert_eq!(waiting.0.total.get(), 0);
        assert!(waiting.0.clients.lock().is_empty());
    }
}
