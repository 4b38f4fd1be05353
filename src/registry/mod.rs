//! The state machine of the registry: which instances exist, and what a command would change.
//!
//! ```text
//! Command ──judge──▶ Judgement { changes, outcome }      asks nothing but the state and the time it is given
//! Batch   ──apply──▶ Registry                            a store's changes, in the store's order
//! ```
//!
//! Plain data without clocks, locks or waiting. Leases are known by id and length only: who may still renew is the
//! store's business. A clone costs O(1) and is a consistent snapshot.

mod change;
mod command;
mod conflict;
mod judge;
mod limits;
mod state;

pub use change::{Batch, Cause, Change, guard_word};
pub use command::{
    Amendment, Command, Expiry, IdChoice, LeaseWish, Observation, Outcome, Precondition, Refusal, Register, Renewal,
    Scope,
};
pub use judge::Judgement;
pub use limits::{Limits, Reserved};
pub use state::{Registry, Remains, Service, Superseded};
