//! All that an engine of one node has in memory.

use super::clock::LeaseClock;
use super::lapses::Lapses;
use super::ledger::Ledger;
use super::log::Log;
use crate::registry::Registry;

/// What the writer changes and everybody reads.
#[derive(Debug)]
pub(super) struct Books {
    /// With the group that is being written.
    pub(super) ledger: Ledger,
    /// As it was last written.
    pub(super) shown: Registry,
    pub(super) log: Log,
    pub(super) lapses: Lapses,
    pub(super) clock: LeaseClock,
}
