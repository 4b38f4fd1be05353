//! What an engine of one node is given: how to keep changes, and what was kept.

use super::group::Group;
use super::history::History;
use crate::model::{Duration, LeaseId, StoreId};
use crate::registry::Registry;

/// Keeps groups of changes.
pub trait Journal: Send + 'static {
    /// The name of the engine that it makes.
    const ENGINE: &'static str;
    /// Whether it keeps anything but events. Otherwise a group is no more than its trail, and writing it does not block.
    const KEEPS: bool;
    /// How its events are read.
    type History: History;

    /// Reads the events of this journal, while it is written.
    fn history(&self) -> Self::History;

    /// Makes a group durable, all of it or nothing. May block.
    ///
    /// After an error the group may or may not be there. The writer then names everything in it again with the next.
    ///
    /// # Errors
    /// What is wrong and will be tried again, as the end of a sentence.
    fn write(&mut self, group: &Group) -> Result<(), String>;
}

/// What an engine begins with.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) id: StoreId,
    pub(super) serial_base: u32,
    pub(super) registry: Registry,
    pub(super) leases: Vec<(LeaseId, Duration)>,
}
