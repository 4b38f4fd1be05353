//! What has happened, and who was there.

use hyper::Method;
use serde_json::Value;

use super::path::query;
use super::{Client, ClientError, Page};

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
