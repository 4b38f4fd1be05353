//! What the thread that probes hears from the rest, and tells it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::model::{
    Health, Heard, Hint, InstanceId, ProbeReport, Revision, SelfReport, ServiceName, Timestamp, Unheard,
};
use crate::registry::Observation;
use crate::store::{CommitError, Committed, Followed};

/// Names one check of one instance under one epoch. A place is used again, a key is not: what comes late for a check
/// that is gone finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) place: u32,
    pub(super) turn: u32,
}

/// An opinion that should stand but does not yet.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) health: Health,
    pub(super) error: Option<Arc<str>>,
    pub(super) at: Timestamp,
}

/// A transition that the store is to take.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) key: Key,
    pub(super) observation: Observation,
}

/// A commit that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) key: Key,
    pub(super) health: Health,
    pub(super) error: Option<Arc<str>>,
    pub(super) result: Result<Committed, CommitError>,
}

/// What somebody says, and who waits for what becomes of it.
#[derive(Debug)]
pub(super) enum Saying {
    /// A service of itself.
    Report(SelfReport, oneshot::Sender<Result<Heard, Unheard>>),
    /// A client of an instance; whether that is probed because of it.
    Hint(Hint, oneshot::Sender<Result<bool, Unheard>>),
}

impl Saying {
    /// The position of the history that it was said at.
    pub(super) fn seen(&self) -> Revision {
        match self {
            Self::Report(report, _) => report.seen,
            Self::Hint(hint, _) => hint.seen,
        }
    }

    /// Tells who waits that it counts for nothing. Whoever said it may have left, here and wherever else it is answered.
    pub(super) fn refuse(self, why: Unheard) {
        match self {
            Self::Report(_, reply) => drop(reply.send(Err(why))),
            Self::Hint(_, reply) => drop(reply.send(Err(why))),
        }
    }
}

/// What the thread hears.
#[derive(Debug)]
pub(super) enum Word {
    /// What the store has to tell.
    Followed(Followed),
    /// What became of a wish.
    Ended(Ended),
    /// Somebody has something to say.
    Said(Saying),
    /// Somebody wants to know what is known of the checks of instances.
    Asked(Vec<(ServiceName, InstanceId)>, oneshot::Sender<Vec<Vec<ProbeReport>>>),
}
