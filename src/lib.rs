//! Rollcall: service discovery over DNS. Services register over HTTP, leases and health checks keep the list honest,
//! and whatever resolves names finds who is alive now.
//!
//! The story in three parts:
//!
//! 1. **Something changes.** [`api`] reads a request, [`check`] finds that a service died, a lease lapses: each becomes a
//!    [`registry::Command`], which a [`store`] judges, orders and keeps.
//! 2. **The change is published.** [`replica`] follows the store's history, applies it to the [`registry`], makes the
//!    answers of the touched services anew in the [`zone`], and then shows the [`view`].
//! 3. **Questions are answered.** [`dns`] answers from the zone and [`api`] from the view; neither waits for a writer.
//!
//! [`config`], [`daemon`] and [`cli`] put it together. A module imports from lower rows of the layer table in
//! ARCHITECTURE.md only, which a test holds.

// What everything speaks of.
pub mod model;
#[cfg(feature = "server")]
pub mod net;
#[cfg(feature = "server")]
pub mod telemetry;
// What the registry is, when silence is believed, and what speaks to one from outside.
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod guard;
#[cfg(feature = "server")]
pub mod registry;
// Where it is kept, and how it is read.
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod view;
#[cfg(feature = "server")]
pub mod zone;
// What changes it and what serves it.
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod check;
#[cfg(feature = "server")]
pub mod dns;
#[cfg(feature = "server")]
pub mod replica;
#[cfg(feature = "server")]
pub mod sentry;
// What puts it together.
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod daemon;
#[cfg(feature = "server")]
pub mod demo;
