//! What is kept, and the calls that keep it.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::KeepEvent;
use super::machine::{Outcome, is_final};
use crate::client::path::instance_path;
use crate::client::{Client, ClientError, Instance, Registration};

/// How often a departure that comes upon changes looks anew.
const LEAVING_TRIES: usize = 5;

#[derive(Debug)]
pub(super) enum Kept {
    /// An instance on a lease of its own.
    One(Registration),
    /// Instances on one lease, which is unknown until it is granted.
    Shared { lease: Option<String>, ttl: Duration, members: Vec<Registration> },
}

fn is_gone(error: &ClientError) -> bool {
    matches!(error.status(), Some(404 | 410))
}

impl Kept {
    /// Registers all of it. What of several is refused for good is left out from then on, which `report` is told.
    pub(super) async fn register(&mut self, client: &Client, report: impl Fn(KeepEvent)) -> Outcome {
        let (lease, ttl, members) = match self {
            Self::One(registration) => {
                return match client.register_instance(registration).await {
                    Ok(instance) => Outcome::Registered(vec![instance]),
                    Err(error) => Outcome::Failed(error),
                };
            }
            Self::Shared { lease, ttl, members } => (lease, *ttl, members),
        };
        let id = match &lease {
            Some(id) => id.clone(),
            None => match client.grant(ttl).await {
                Ok(granted) => lease.insert(granted.id).clone(),
                Err(error) => return Outcome::Failed(error),
            },
        };
        let mut instances = Vec::with_capacity(members.len());
        let mut position = 0;
        while let Some(member) = members.get(position) {
            match client.register_instance(&member.clone().on_lease(&id)).await {
                Ok(instance) => instances.push(instance),
                // It ended since it was granted. The next try has another.
                Err(ClientError::Refused(mut problem)) if problem.kind == "urn:rollcall:lease-gone" => {
                    *lease = None;
                    problem.status = 410;
                    return Outcome::Failed(ClientError::Refused(problem));
                }
                Err(because) if is_final(&because) && members.len() > 1 => {
                    let left_out = members.remove(position);
                    let (service, id) = (left_out.service().to_owned(), left_out.id().to_owned());
                    report(KeepEvent::LeftOut { service, id, because });
                    continue;
                }
                Err(error) => return Outcome::Failed(error),
            }
            position += 1;
        }
        Outcome::Registered(instances)
    }

    pub(super) async fn renew(&mut self, client: &Client) -> Outcome {
        let renewed = match self {
            Self::One(registration) => client.renew(registration.service(), registration.id()).await.map(drop),
            Self::Shared { lease, .. } => {
                let Some(id) = &*lease else { return Outcome::Gone };
                let renewed = client.renew_lease(id).await.map(drop);
                if renewed.as_ref().is_err_and(is_gone) {
                    *lease = None;
                }
                renewed
            }
        };
        match renewed {
            Ok(()) => Outcome::Renewed,
            Err(error) if is_gone(&error) => Outcome::Gone,
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Takes all of it away.
    pub(super) async fn leave(&self, client: &Client) -> Result<(), ClientError> {
        let left = match self {
            Self::One(registration) => leave(client, registration).await,
            Self::Shared { lease: Some(id), .. } => client.revoke(id).await,
            Self::Shared { lease: None, .. } => Ok(()),
        };
        match left {
            Err(error) if is_gone(&error) => Ok(()),
            left => left,
        }
    }

    /// Service and id of all of it.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let name = |member: &Registration| (member.service().to_owned(), member.id().to_owned());
        match self {
            Self::One(registration) => vec![name(registration)],
            Self::Shared { members, .. } => members.iter().map(name).collect(),
        }
    }
}

/// Deregisters an instance, unless another start of it has registered under the same id since: its `generation` tells.
async fn leave(client: &Client, registration: &Registration) -> Result<(), ClientError> {
    let (service, id) = (registration.service(), registration.id());
    let Some(generation) = registration.body().get("generation").and_then(Value::as_u64) else {
        return client.deregister(service, id).await;
    };
    let mut tries = 0;
    loop {
        let standing: Instance = client.read(client.instance(service, id).await?)?;
        if standing.generation != Some(generation) {
            return Ok(());
        }
        let revision = format!("\"{}\"", standing.revision);
        let condition = [("if-match", revision.as_str())];
        tries += 1;
        match client.request(Method::DELETE, &instance_path(service, id), None, &condition).await {
            // It has changed since it was looked at.
            Err(error) if error.status() == Some(412) && tries < LEAVING_TRIES => {}
            left => return left.map(drop),
        }
    }
}
