//! Where the database is found by those who write and read it.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redb::Database;

/// A database that one writes and several read. Empty while it has to be opened anew, and at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Arc<Database>>>>);

impl Slot {
    pub(super) fn holding(database: Database) -> Self {
        Self(Arc::new(Mutex::new(Some(Arc::new(database)))))
    }

    pub(super) fn get(&self) -> Option<Arc<Database>> {
        self.0.lock().clone()
    }

    /// Puts a database there that was opened anew.
    pub(super) fn fill(&self, database: Arc<Database>) {
        *self.0.lock() = Some(database);
    }

    /// Takes it away. It closes when the last who reads it is done.
    pub(super) fn empty(&self) -> Weak<Database> {
        self.0.lock().take().map_or_else(Weak::new, |database| Arc::downgrade(&database))
    }
}
