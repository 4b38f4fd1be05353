//! Where registrations live: engines that order changes, own leases, and tell what happened.
//!
//! ```text
//! commit(Command) ─▶ judged and ordered by the engine ─▶ watch: Batch, Batch, Reset(snapshot), Batch …
//! ```
//!
//! An engine judges a command inside its own transaction, so that two commands never both see a state that only one
//! of them may change. What was acknowledged is in the watch of every follower, in order. A follower that the engine
//! cannot bring up to date gets a snapshot to start over from.

mod books;
mod census;
mod clock;
mod deadlines;
mod draft;
mod embedded;
mod group;
mod history;
mod journal;
mod lapses;
mod leases;
mod ledger;
mod local;
mod log;
mod memory;
mod record;
mod ring;
mod service_record;
pub mod snapshot;
mod unknown;
mod waits;
mod writer;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::guard::Guard;
use crate::model::{InstanceId, Lease, LeaseId, Revision, ServiceName, StoreId, Ttl};
use crate::registry::{Actor, Batch, Command, Limits, Outcome, Refusal, Registry};
pub use census::census;
pub use embedded::{Embedded, OpenError};
pub use history::{EventPage, EventQuery, Keep, ReadError};
pub use memory::Memory;
use snapshot::{Replaced, Restorable, Snapshot};
use std::sync::Arc;

/// Settings that every engine takes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the registry may hold.
    pub limits: crate::registry::Limits,
    /// Lifetime of answers whose instances and services ask for none.
    pub ttl: Ttl,
    /// How long the name of a service is remembered after its last instance has left.
    pub name_memory: Duration,
    /// Whether leases that were not renewed are believed to have ended.
    pub guard: Guard,
    /// How much of what has happened is kept.
    pub history: Keep,
}

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The position from which on every reader sees it.
    pub revision: Revision,
    /// What became of it.
    pub outcome: Outcome,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// The registry's rules say no.
    Refused(Refusal),
    /// The engine cannot be reached or is shutting down; trying again makes sense.
    Unavailable(String),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unavailable(reason) => write!(f, "the store is not available: {reason}"),
        }
    }
}

impl std::error::Error for CommitError {}

impl From<Refusal> for CommitError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a follower of the history sees next.
#[derive(Debug, Clone)]
pub enum Followed {
    /// The whole state at its own revision: start over from here.
    Reset(Registry),
    /// What happened next, in order, never empty; and the state that it led to. Whoever shows that rather than a copy
    /// of its own has nothing in memory twice.
    Batches(Vec<Arc<Batch>>, Registry),
    /// These are no longer to be answered with: the end of their lease has come, and the batch that says so follows when
    /// it is kept. It may come as news of an instance that is gone already, or is there on another lease.
    Lapsed(Vec<Lapsed>),
}

/// An instance whose lease has lapsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lapsed {
    /// Its service.
    pub service: ServiceName,
    /// Its id.
    pub id: InstanceId,
    /// The lease.
    pub lease: LeaseId,
}

/// Follows the history of a store.
#[async_trait]
pub trait Watch: Send {
    /// Waits for what happened next; `None` when the store has closed.
    async fn next(&mut self) -> Option<Followed>;
}

/// An engine.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The name of the engine: `memory`, `embedded`, `etcd`.
    fn engine(&self) -> &'static str;

    /// The identity of the history.
    fn id(&self) -> StoreId;

    /// Where the serials of the zone begin: the serial of a revision is this much more, in the arithmetic of RFC 1982.
    ///
    /// It is at least one larger after each start on the same data, because another configuration may give the same
    /// registry other records.
    fn serial_base(&self) -> u32;

    /// Carries out a command that an actor asks for. When it returns, the change is as durable as the engine makes it and stands in the
    /// history; [`Committed::revision`] is where.
    ///
    /// # Errors
    /// When the registry's rules refuse it or the engine is not available; then nothing has changed.
    async fn commit_by(&self, actor: Actor, command: Command) -> Result<Committed, CommitError>;

    /// Carries out a command of the server itself.
    ///
    /// # Errors
    /// As [`Store::commit_by`].
    async fn commit(&self, command: Command) -> Result<Committed, CommitError> {
        self.commit_by(Actor::server(), command).await
    }

    /// Reads events of the journal, newest first. What is acknowledged is in it.
    ///
    /// # Errors
    /// When too many read it, or it cannot be read.
    async fn events(&self, query: EventQuery) -> Result<EventPage, ReadError>;

    /// Renews leases; `None` for each that is not alive. Renewals are not changes: they have no revision.
    ///
    /// # Errors
    /// When the engine is not available.
    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, CommitError>;

    /// Leases, as far as this node knows; `None` for each that is not alive.
    fn leases(&self, ids: &[LeaseId]) -> Vec<Option<Lease>>;

    /// A lease that is alive, as far as this node knows.
    fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.leases(&[id]).pop().flatten()
    }

    /// Follows the history after a position, or from a snapshot when there is none or it is no longer kept.
    fn watch(&self, after: Option<Revision>) -> Box<dyn Watch>;

    /// What the registry may hold.
    fn limits(&self) -> &Limits;

    /// All that is kept, at one position of the history.
    ///
    /// # Errors
    /// When the engine is not available.
    async fn snapshot(&self) -> Result<Snapshot, CommitError>;

    /// Puts other content in place of all there is, in one step that is as durable as a commit. Changes that come
    /// meanwhile wait, and are judged on the new content.
    ///
    /// It is a step of this history, at a revision beyond those of both. Followers start over from a snapshot, because no
    /// batches lead there. Leases have a full term from then.
    ///
    /// # Errors
    /// When the engine is not available; then nothing has changed.
    async fn restore(&self, content: Restorable) -> Result<Replaced, CommitError>;

    /// Everyone can renew from now on: the terms of leases that were restored begin.
    fn serving(&self) {}

    /// Finishes what was accepted and lets go of files; followers see the last of it and then the end. What comes later
    /// is refused.
    async fn close(&self) {}
}

/// The seconds since 1970, as far as they fit.
fn unix_seconds() -> u32 {
    (crate::model::Timestamp::now().as_millis() / 1000) as u32
}

#[cfg(test)]
mod tests;
