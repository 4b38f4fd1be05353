//! The engine that keeps nothing: for tests and throw-away registries.

use super::group::{Group, Whole};
use super::journal::{Journal, Restored, Unwritten};
use super::local::Local;
use super::unknown::Unknown;
use super::{Settings, unix_seconds};
use crate::model::{Revision, StoreId};
use crate::registry::Registry;

/// Keeps nothing.
#[derive(Debug)]
pub struct Nothing;

impl Journal for Nothing {
    const ENGINE: &'static str = "memory";
    const KEEPS: bool = false;

    fn write(&mut self, _: &Group, _: &Unknown) -> Result<(), String> {
        Ok(())
    }

    fn replace(&mut self, _: &Whole) -> Result<(), Unwritten> {
        Ok(())
    }
}

/// Keeps the registry in memory. It ends with the process.
pub type Memory = Local<Nothing>;

impl Memory {
    /// An empty store, served by a task of the current runtime.
    pub fn new(settings: Settings) -> Self {
        let restored = Restored {
            id: StoreId::new(&format!("m{:016x}", rand::random::<u64>())),
            serial_base: unix_seconds(),
            registry: Registry::starting_at(Revision::default()),
            leases: Vec::new(),
            unknown: Unknown::default(),
        };
        Self::start(restored, settings, Nothing)
    }
}
