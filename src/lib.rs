//! Rollcall: service discovery over DNS.
pub mod api;
pub mod dns;
pub mod model;
pub mod net;
pub mod registry;
pub mod replica;
pub mod store;
pub mod view;
pub mod zone;
