//! The state machine of the registry: which instances exist, and what a command would change.
//!
//! ```text
//! Command ──judge──▶ Judgement { changes, outcome }      asks nothing but the state and the time it is given
//! Batch   ──apply──▶ Registry                            a store's changes, in the store's order
//! ```
//!
//! Plain data without clocks, locks or waiting. Leases are known by id and length only: who may still renew is the
//! store's business. A clone costs O(1) and is a consistent snapshot.

mod actor;
mod change;
mod command;
mod conflict;
mod event;
mod judge;
mod limits;
mod linger;
mod past;
mod service;
mod state;

pub use actor::Actor;
pub use change::{Batch, Cause, Change, guard_word};
pub use command::{
    Amendment, Command, Expiry, IdChoice, LeaseWish, Observation, Outcome, Precondition, Refusal, Register, Renewal,
    Scope,
};
pub use event::{Event, EventPosition, Standing, Trail};
pub use judge::Judgement;
pub use limits::{Limits, Reserved};
pub use linger::{End, Lingering, SERVED_WITHIN, Whose};
pub use past::{Past, Stood};
pub use service::{Remains, Service, Superseded};
pub use state::{Registry, Wide};
