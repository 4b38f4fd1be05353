//! Rollcall: service discovery over DNS.
pub mod check;
pub mod model;
pub mod registry;
pub mod store;
