//! What is kept, and the calls that keep it.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::KeepEvent;
use super::machine::{Outcome, is_final};
use crate::client::failover::Call;
use crate::client::path::instance_path;
use crate::client::{Client, ClientError, Instance, Registration, TTL_MAX};

/// How often a departure that comes upon changes looks anew.
const TRIES_MAX: usize = 5;

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
            Self::One(registration) => part(client, registration, Parting::Deregister).await,
            Self::Shared { lease: Some(id), .. } => client.revoke(id).await,
            Self::Shared { lease: None, .. } => Ok(()),
        };
        match left {
            Err(error) if is_gone(&error) => Ok(()),
            left => left,
        }
    }

    /// All of it.
    pub(super) fn members(&self) -> &[Registration] {
        match self {
            Self::One(registration) => std::slice::from_ref(registration),
            Self::Shared { members, .. } => members,
        }
    }
}

/// What is done to an instance at its end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parting {
    /// Out of answers, and wait until no cache holds it.
    Drain,
    Deregister,
}

impl Parting {
    async fn perform(
        self,
        client: &Client,
        registration: &Registration,
        condition: &[(&'static str, &str)],
    ) -> Result<(), ClientError> {
        let path = instance_path(registration.service(), registration.id());
        match self {
            Self::Deregister => client.request(Method::DELETE, &path, None, condition).await.map(drop),
            Self::Drain => {
                let path = format!("{path}/drain?wait=true");
                let call = Call::new(Method::POST, &path, None, condition);
                // With a condition it cannot be repeated: the first time has changed what it depends on.
                let call = if condition.is_empty() { call.repeatable() } else { call };
                client.waiting(TTL_MAX, call).await.map(drop)
            }
        }
    }
}

/// Does something to an instance, unless another start of it has registered under the same id since: its `generation`
/// tells, and the condition on the revision that nothing comes in between.
pub(super) async fn part(client: &Client, registration: &Registration, parting: Parting) -> Result<(), ClientError> {
    let Some(generation) = registration.body().get("generation").and_then(Value::as_u64) else {
        return parting.perform(client, registration, &[]).await;
    };
    let mut tries = 0;
    loop {
        let standing: Instance = client.read(client.instance(registration.service(), registration.id()).await?)?;
        if standing.generation != Some(generation) {
            return Ok(());
        }
        let revision = format!("\"{}\"", standing.revision);
        tries += 1;
        match parting.perform(client, registration, &[("if-match", revision.as_str())]).await {
            // It has changed since it was looked at.
            Err(error) if error.status() == Some(412) && tries < TRIES_MAX => {}
            done => return done,
        }
    }
}
