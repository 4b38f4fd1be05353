//! Somebody who follows what is published, from a position on.

use std::sync::Arc;

use tokio::sync::watch;

use super::feed::{Interest, Published, Step};
use super::{Shared, ViewReader};
use crate::model::Revision;
use crate::registry::Registry;

/// What a follower hears.
#[derive(Debug)]
pub enum News {
    /// This happened, and some of it is of interest. The view shows it, and so does DNS.
    Batch(Arc<Published>),
    /// More has happened than is kept for those who are behind.
    Lagged,
    /// How it came to be as it is now is not known: [`Following::restart`].
    Reset,
}

/// Follows what is published; woken by what is of interest and by nothing else.
#[derive(Debug)]
pub struct Following {
    shared: Arc<Shared>,
    interest: Interest,
    woken: watch::Receiver<()>,
    position: Revision,
    era: u64,
}

impl Following {
    pub(super) fn new(shared: Arc<Shared>, interest: Interest, after: Option<Revision>) -> Self {
        let woken = shared.feed.join(&interest);
        // No part of the history is numbered 0 once there is one, so whoever is there has to start over.
        let era = after.and_then(|after| shared.feed.era_reaching(after)).unwrap_or(0);
        Self { shared, interest, woken, position: after.unwrap_or_default(), era }
    }

    fn step(&self) -> Step {
        self.shared.feed.step(&self.interest, self.position, self.era)
    }

    /// What is followed.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Whether something of interest has happened after the position, or may have.
    pub fn has_changed(&self) -> bool {
        !matches!(self.step(), Step::Wait(_))
    }

    /// Waits until something of interest has happened after the position, or may have; for ever if the writer has gone.
    pub async fn changed(&mut self) {
        loop {
            self.woken.borrow_and_update();
            if self.has_changed() {
                return;
            }
            if self.woken.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for what is next; the position moves there. Dropping the future loses nothing.
    pub async fn next(&mut self) -> News {
        loop {
            self.changed().await;
            match self.step() {
                Step::Wait(_) => {}
                Step::Batch(published) => {
                    self.position = published.batch.revision;
                    return News::Batch(published);
                }
                Step::Lagged => return News::Lagged,
                Step::Reset => return News::Reset,
            }
        }
    }

    /// The position up to which everything of interest has been heard of, as far as the present when nothing is left.
    pub fn position(&mut self) -> Revision {
        if let Step::Wait(head) = self.step() {
            self.position = head;
        }
        self.position
    }

    /// Starts over from the registry as it is now, and follows what comes after.
    pub fn restart(&mut self) -> Arc<Registry> {
        // In this order: a part of the history that begins in between is noticed by the next step.
        self.era = self.shared.feed.era();
        let registry = ViewReader(self.shared.clone()).load();
        self.position = registry.revision();
        registry
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.shared.feed.leave(&self.interest);
    }
}
