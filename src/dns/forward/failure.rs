//! The ways in which an upstream says nothing.

use std::io;

/// Why an upstream did not reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// It said nothing in time.
    Silent,
    /// The network said that it cannot.
    Network(io::Error),
}
