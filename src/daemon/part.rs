//! The parts that a server consists of while it runs.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A part that ends after its signal says so.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) closing: watch::Sender<bool>,
    pub(super) task: JoinHandle<()>,
}

impl Part {
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        start: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Self {
        let (closing, signal) = watch::channel(false);
        Self { name, closing, task: tokio::spawn(start(signal)) }
    }

    /// Tells the part to end and waits until it has, or until `deadline`.
    pub(super) async fn close(mut self, deadline: Instant) {
        self.closing.send_replace(true);
        if tokio::time::timeout_at(deadline, &mut self.task).await.is_err() {
            tracing::warn!(part = self.name, "cut off at the end of the grace period");
            self.task.abort();
        }
    }
}

/// Waits for the first part that ends, and says which.
pub(super) async fn first_to_end(parts: &mut [&mut Part]) -> &'static str {
    std::future::poll_fn(|context| {
        for part in parts.iter_mut() {
            if Pin::new(&mut part.task).poll(context).is_ready() {
                return Poll::Ready(part.name);
            }
        }
        Poll::Pending
    })
    .await
}
