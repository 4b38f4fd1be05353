//! The engine that keeps nothing: for tests and throw-away registries.

use super::group::{Group, Whole};
use super::journal::{Journal, Restored, Unwritten};
use super::local::Local;
use super::ring::Ring;
use super::unknown::Unknown;
use super::{Settings, unix_seconds};
use crate::model::{StoreId, Timestamp};
use crate::registry::Registry;

/// Keeps nothing but the latest events, in memory.
#[derive(Debug)]
pub struct Nothing(Ring);

impl Journal for Nothing {
    const ENGINE: &'static str = "memory";
    const KEEPS: bool = false;
    type History = Ring;

    fn history(&self) -> Ring {
        self.0.clone()
    }

    fn write(&mut self, group: &Group, _: &Unknown) -> Result<(), String> {
        self.0.push(&group.trail, Timestamp::now());
        Ok(())
    }

    fn replace(&mut self, _: &Whole) -> Result<(), Unwritten> {
        self.0.begin_anew(Timestamp::now());
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
            registry: Registry::default().served_for(settings.ttl, None, Timestamp::now()),
            leases: Vec::new(),
            unknown: Unknown::default(),
        };
        let ring = Ring::new(settings.history, Timestamp::now());
        Self::start(restored, settings, Nothing(ring))
    }
}
