//! A server that names are asked of, and what is known of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

/// A server that names are asked of.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    /// Until when it is asked last, because it failed.
    held_until: Mutex<Option<Instant>>,
    /// Whether it sends names back in the letters they were asked in, as nearly all do.
    keeps_case: AtomicBool,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, held_until: Mutex::new(None), keeps_case: AtomicBool::new(true) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn keeps_case(&self) -> bool {
        self.keeps_case.load(Ordering::Relaxed)
    }

    pub(super) fn loses_case(&self) {
        self.keeps_case.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.held_until.lock().is_some_and(|until| until > now)
    }

    pub(super) fn hold(&self, until: Option<Instant>) {
        *self.held_until.lock() = until;
    }
}
