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
pub mod net;
pub mod telemetry;
// What the registry is, when silence is believed, and what speaks to one from outside.
pub mod client;
pub mod guard;
pub mod registry;
// Where it is kept, and how it is read.
pub mod store;
pub mod view;
pub mod zone;
// What changes it and what serves it.
pub mod api;
pub mod check;
pub mod dns;
pub mod replica;
pub mod sentry;
// What puts it together.
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
