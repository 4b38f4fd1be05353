//! Looks after the node itself, and carries what the guard decides into the registry.
//!
//! ```text
//! every 100 ms: is the event loop on time, do the clocks agree ─┐
//! every 250 ms, and when a host falls silent: is a link up ─────┼▶ Guard ─▶ turns ─▶ store.commit(Guard)
//! every second: are the canaries heard ─────────────────────────┘
//! ```
//!
//! Each is a task of its own, so that a store that takes its time makes no clock late.

mod canary;
mod keeper;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::guard::{Guard, Moment, TICK};
use crate::store::Store;
use crate::view::ViewReader;

/// Between two looks at the link at most, and at least.
const LINK_EVERY: Duration = Duration::from_millis(250);
const LINK_PAUSE: Duration = Duration::from_millis(20);

/// What a sentry looks at.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses that are well as long as the network is (`--canary`).
    pub canaries: Vec<SocketAddr>,
    /// Whether an interface that leads elsewhere is up.
    pub is_linked: fn() -> io::Result<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { canaries: Vec::new(), is_linked: crate::net::is_linked }
    }
}

/// Looks after the node until `shutdown` holds true. Its metrics are registered in `metrics`.
pub fn spawn(
    guard: Guard,
    store: Arc<dyn Store>,
    view: ViewReader,
    settings: Settings,
    metrics: &mut prometheus_client::registry::Registry,
    mut shutdown: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let keeper = keeper::Keeper::new(guard.clone(), store, view, metrics);
    tokio::spawn(async move {
        let mut tasks = JoinSet::new();
        tasks.spawn(tick(guard.clone()));
        tasks.spawn(look_at_link(guard.clone(), settings.is_linked));
        for address in settings.canaries {
            tasks.spawn(canary::listen(guard.clone(), address));
        }
        tasks.spawn(keeper.run());
        tokio::select! {
            () = crate::net::closing(&mut shutdown) => {}
            // None of them ends by itself.
            Some(Err(panic)) = tasks.join_next() => std::panic::resume_unwind(panic.into_panic()),
        }
    })
}

async fn tick(guard: Guard) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        guard.tick(Moment::now());
    }
}

async fn look_at_link(guard: Guard, is_linked: fn() -> io::Result<bool>) {
    loop {
        // Who cannot tell has nothing to say.
        if let Ok(is_up) = is_linked() {
            guard.link(is_up, Moment::now());
        }
        sleep(LINK_PAUSE).await;
        let _ = timeout(LINK_EVERY, guard.alarmed()).await;
    }
}
