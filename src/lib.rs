//! Rollcall: service discovery over DNS.
pub mod client;
pub mod model;
pub mod registry;
pub mod store;
pub mod telemetry;
