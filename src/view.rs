//! The registry as readers see it: a consistent snapshot behind one atomic load, and waiting for a revision.
//!
//! A view is published after the zone serves it, so whoever waits for a revision here finds it in DNS.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::model::Revision;
use crate::registry::Registry;

#[derive(Debug)]
struct Shared {
    registry: ArcSwap<Registry>,
    reached: watch::Sender<Option<Revision>>,
}

/// The one writer of a view.
#[derive(Debug)]
pub struct ViewWriter(Arc<Shared>);

/// A reader of a view; cloning is cheap.
#[derive(Debug, Clone)]
pub struct ViewReader(Arc<Shared>);

/// A view that shows an empty registry until the first [`ViewWriter::publish`].
pub fn channel() -> (ViewWriter, ViewReader) {
    let registry = ArcSwap::from_pointee(Registry::default());
    let shared = Arc::new(Shared { registry, reached: watch::Sender::new(None) });
    (ViewWriter(shared.clone()), ViewReader(shared))
}

impl ViewWriter {
    /// A reader of what is written here.
    pub fn reader(&self) -> ViewReader {
        ViewReader(self.0.clone())
    }

    /// Shows a registry, and wakes those who wait for its revision.
    pub fn publish(&self, registry: Registry) {
        let revision = registry.revision();
        self.0.registry.store(Arc::new(registry));
        self.0.reached.send_replace(Some(revision));
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

    async fn wait_for(&self, wanted: impl FnMut(&Option<Revision>) -> bool) {
        if self.0.reached.subscribe().wait_for(wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_the_revision_and_then_sees_it() {
        let (writer, reader) = channel();
        assert!(!reader.is_loaded());
        let waiting = tokio::spawn({
            let reader = reader.clone();
            async move {
                reader.reached(Revision(2)).await;
                reader.load().revision()
            }
        });
        writer.publish(Registry::starting_at(Revision(1)));
        assert!(reader.is_loaded());
        writer.publish(Registry::starting_at(Revision(3)));
        assert_eq!(waiting.await.unwrap(), Revision(3));
    }
}
