//! What has happened, and who was there.

use hyper::Method;
use serde_json::Value;

use super::pages::take_entries;
use super::path::query;
use super::{Client, ClientError, Page};

/// Events of one request.
const PAGE_MAX: usize = 1_000;

/// Which events are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Happened<'a> {
    /// Those of one service.
    pub service: Option<&'a str>,
    /// Those of services under a group.
    pub under: Option<&'a str>,
    /// Those of an id.
    pub id: Option<&'a str>,
    /// Those from a time on, as RFC 3339 has it.
    pub since: Option<&'a str>,
    /// Those up to a time.
    pub until: Option<&'a str>,
}

impl Client {
    /// One page of events, newest first. It may be short, or even empty, and not the last: `next` says.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn events(&self, happened: Happened<'_>, page: Page<'_>) -> Result<Value, ClientError> {
        let Happened { service, under, id, since, until } = happened;
        let pairs = [("service", service), ("under", under), ("id", id), ("since", since), ("until", until)];
        let pairs = pairs.map(|(name, value)| (name, value.map(Into::into)));
        let path = format!("/v1/events{}", query(&pairs, page));
        Ok(self.request(Method::GET, &path, None, &[]).await?.body)
    }

    /// The latest events, from as many pages as it takes: the envelope of the first, the events of all.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn latest_events(&self, happened: Happened<'_>, limit: usize) -> Result<Value, ClientError> {
        let page = async |cursor: Option<&str>, limit: usize| {
            self.events(happened, Page { limit: Some(limit.min(PAGE_MAX)), cursor }).await
        };
        let mut whole = page(None, limit).await?;
        let mut events = take_entries(self, &mut whole, "events")?;
        while events.len() < limit
            && let Some(cursor) = whole["next"].as_str().map(str::to_owned)
        {
            let mut next = page(Some(&cursor), limit - events.len()).await?;
            events.append(&mut take_entries(self, &mut next, "events")?);
            // A cursor that leads to itself would be followed for ever.
            let stuck = next["next"].as_str() == Some(&cursor);
            whole["next"] = if stuck { Value::Null } else { next["next"].take() };
        }
        whole["events"] = events.into();
        Ok(whole)
    }

    /// The instances of a service as they were at a time, as RFC 3339 has it.
    ///
    /// # Errors
    /// As [`Client::request`]; the server says no when its journal does not reach back that far.
    pub async fn history(&self, service: &str, at: &str) -> Result<Value, ClientError> {
        let pairs = [("service", Some(service.into())), ("at", Some(at.into()))];
        let path = format!("/v1/history{}", query(&pairs, Page::default()));
        Ok(self.request(Method::GET, &path, None, &[]).await?.body)
    }
}
