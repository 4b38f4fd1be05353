//! The harness, nothing else.

pub(crate) mod world;
