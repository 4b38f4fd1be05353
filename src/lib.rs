//! Rollcall: service discovery over DNS.
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod model;
pub mod registry;
pub mod store;
pub mod telemetry;
