//! What the server tells its operators: log lines on stderr, metrics as text.
//!
//! Nothing here knows any other module. A component writes `tracing` events and registers its own metrics with the
//! [`Metrics`] it is handed; this module only decides where they go.

mod export;
mod lines;
pub mod log;

pub use export::{METRICS_CONTENT_TYPE, Metrics};
