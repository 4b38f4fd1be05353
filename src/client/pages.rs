//! Whole lists, page after page.

use serde_json::Value;

use super::shape::{Instance, Service};
use super::{Client, ClientError, Page, Selection};

/// How often a list is begun again that moves on faster than it can be read.
const RESTARTS_MAX: usize = 3;

/// Which list.
#[derive(Debug, Clone, Copy)]
enum List<'a> {
    Services { under: Option<&'a str> },
    Instances { service: &'a str, selection: Selection<'a> },
}

impl List<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Services { .. } => "services",
            Self::Instances { .. } => "instances",
        }
    }

    async fn page(self, client: &Client, cursor: Option<&str>) -> Result<Value, ClientError> {
        let page = Page { limit: None, cursor };
        match self {
            Self::Services { under } => client.services(under, page).await,
            Self::Instances { service, selection } => client.instances(service, selection, page).await,
        }
    }

    /// All pages as one: the envelope of the first, the entries of all.
    async fn whole(self, client: &Client) -> Result<Value, ClientError> {
        let name = self.name();
        let mut restarts = 0;
        'anew: loop {
            let mut whole = self.page(client, None).await?;
            let mut entries = take_entries(client, &mut whole, name)?;
            while let Some(cursor) = whole["next"].as_str().map(str::to_owned) {
                let mut next = match self.page(client, Some(&cursor)).await {
                    // The cursor has become too old.
                    Err(error) if error.status() == Some(410) && restarts < RESTARTS_MAX => {
                        restarts += 1;
                        continue 'anew;
                    }
                    next => next?,
                };
                entries.append(&mut take_entries(client, &mut next, name)?);
                // A cursor that leads to itself would be followed for ever.
                let stuck = next["next"].as_str() == Some(&cursor);
                whole["next"] = if stuck { Value::Null } else { next["next"].take() };
            }
            whole[name] = entries.into();
            return Ok(whole);
        }
    }
}

pub(super) fn take_entries(client: &Client, page: &mut Value, list: &'static str) -> Result<Vec<Value>, ClientError> {
    match page.get_mut(list).map(Value::take) {
        Some(Value::Array(entries)) => Ok(entries),
        _ => Err(client.protocol_error(format!("the answer has no list of {list}"))),
    }
}

impl Client {
    /// All services, or those under a group, as one list: `{"store", "revision", "services": […], "next": null}`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn every_service(&self, under: Option<&str>) -> Result<Value, ClientError> {
        List::Services { under }.whole(self).await
    }

    /// All instances of a service as one list.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn every_instance(&self, service: &str, selection: Selection<'_>) -> Result<Value, ClientError> {
        List::Instances { service, selection }.whole(self).await
    }

    /// The services under a group, at any depth: `payments` has `api.payments`. An empty group has all.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn services_under(&self, group: &str) -> Result<Vec<Service>, ClientError> {
        let group = Some(group).filter(|group| !group.is_empty());
        self.read(self.every_service(group).await?["services"].take())
    }

    /// The instances of a service; a service that nobody knows has none.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn instances_of(&self, service: &str, selection: Selection<'_>) -> Result<Vec<Instance>, ClientError> {
        self.read(self.every_instance(service, selection).await?["instances"].take())
    }
}
