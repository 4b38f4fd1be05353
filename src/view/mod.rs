//! The registry as readers see it: a consistent snapshot behind one atomic load, waiting for a revision, and a feed of
//! what changed for those who follow.
//!
//! A view is published after the zone serves it, so whoever waits for a revision or is told of a change here finds it
//! in DNS.

mod feed;
mod follow;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::model::Revision;
use crate::registry::{Batch, Registry};
use feed::Feed;
pub use feed::{Interest, Published};
pub use follow::{Following, News};

#[derive(Debug)]
struct Shared {
    registry: ArcSwap<Registry>,
    reached: watch::Sender<Option<Revision>>,
    feed: Feed,
}

/// The one writer of a view.
#[derive(Debug)]
pub struct ViewWriter(Arc<Shared>);

/// A reader of a view; cloning is cheap.
#[derive(Debug, Clone)]
pub struct ViewReader(Arc<Shared>);

/// A view that shows an empty registry until the first [`ViewWriter::reset`].
pub fn channel() -> (ViewWriter, ViewReader) {
    let registry = ArcSwap::from_pointee(Registry::default());
    let shared = Arc::new(Shared { registry, reached: watch::Sender::new(None), feed: Feed::default() });
    (ViewWriter(shared.clone()), ViewReader(shared))
}

impl ViewWriter {
    /// A reader of what is written here.
    pub fn reader(&self) -> ViewReader {
        ViewReader(self.0.clone())
    }

    /// Shows a registry to start over from: the first one, or one that no known batches lead to.
    pub fn reset(&self, registry: Registry) {
        let revision = registry.revision();
        self.0.registry.store(Arc::new(registry));
        self.0.feed.reset(revision);
        self.0.reached.send_replace(Some(revision));
    }

    /// Shows a registry and the batches that led to it, and wakes those who wait for its revision or follow.
    pub fn publish(&self, registry: Registry, batches: &[Arc<Batch>]) {
        let revision = registry.revision();
        self.0.registry.store(Arc::new(registry));
        self.0.reached.send_replace(Some(revision));
        self.0.feed.push(batches);
    }
}

impl ViewReader {
    /// The registry now.
    pub fn load(&self) -> Arc<Registry> {
        self.0.registry.load_full()
    }

    /// Whether the first state has been published.
    pub fn is_loaded(&self) -> bool {
        self.0.reached.borrow().is_some()
    }

    /// Waits until the first state has been published; for ever if the writer has gone before.
    pub async fn loaded(&self) {
        self.wait_for(|reached| reached.is_some()).await;
    }

    /// Waits until a revision is served; for ever if the writer has gone.
    pub async fn reached(&self, revision: Revision) {
        self.wait_for(|reached| reached.is_some_and(|reached| reached >= revision)).await;
    }

    /// Follows what is published after a position; [`News::Reset`] comes first when there is none, or when what came
    /// after it is no longer known. A position in the future is waited for.
    pub fn follow(&self, interest: Interest, after: Option<Revision>) -> Following {
        Following::new(self.0.clone(), interest, after)
    }

    async fn wait_for(&self, wanted: impl FnMut(&Option<Revision>) -> bool) {
        if self.0.reached.subscribe().wait_for(wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests;
