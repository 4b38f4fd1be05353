//! What an engine of one node is given: how to keep changes, and what was kept.

use super::group::{Group, Whole};
use super::history::History;
use super::unknown::Unknown;
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
    fn write(&mut self, group: &Group, unknown: &Unknown) -> Result<(), String>;

    /// Puts other content in place of all there is, durably, all of it or nothing. May block for long.
    /// What the journal of events tells is whole from then on: nobody knows what led there.
    ///
    /// # Errors
    /// What is wrong, and what is known of the content then.
    fn replace(&mut self, whole: &Whole) -> Result<(), Unwritten>;
}

/// A replacement that failed.
#[derive(Debug)]
pub struct Unwritten {
    /// What is wrong and will be tried again, as the end of a sentence.
    pub(super) reason: String,
    pub(super) fate: Fate,
}

/// What became of a replacement that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// All is as it was.
    Nothing,
    /// It may be there or not. The writer then has all of it replaced again with what the books say.
    Unknown,
}

/// What an engine begins with.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) id: StoreId,
    pub(super) serial_base: u32,
    pub(super) registry: Registry,
    pub(super) leases: Vec<(LeaseId, Duration)>,
    pub(super) unknown: Unknown,
}
