//! Writing groups.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use redb::{Database, Durability};

use super::events::{self, Reader, Slot};
use super::record::{self, Foreign};
use super::schema::{INSTANCES, LEASES, META, REVISION, SERVICES};
use crate::model::Timestamp;
use crate::store::group::Group;
use crate::store::history::Keep;
use crate::store::journal::Journal;

/// What this version does not know of the records it has read; by key.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    pub(super) instances: HashMap<String, Foreign>,
    pub(super) services: HashMap<String, Foreign>,
    pub(super) leases: HashMap<u64, Foreign>,
}

impl Unknown {
    /// Drops what belongs to things that are gone.
    fn follow(&mut self, group: &Group) {
        if !self.instances.is_empty() {
            for ((service, id), _) in group.instances.iter().filter(|(_, instance)| instance.is_none()) {
                self.instances.remove(&instance_key(service.as_str(), id.as_str()));
            }
        }
        for (name, _) in group.services.iter().filter(|(_, remains)| remains.is_none()) {
            self.services.remove(name.as_str());
        }
        for (id, _) in group.leases.iter().filter(|(_, ttl)| ttl.is_none()) {
            self.leases.remove(&id.number());
        }
    }
}

/// Opens the database again after a write has failed.
pub(super) type Reopen = Box<dyn Fn() -> Result<Database, String> + Send>;

/// A database that groups are written to.
pub struct Redb {
    /// Empty after a write has failed: the database refuses all further work until it is opened anew.
    slot: Slot,
    /// What the slot held before, while somebody reads it.
    before: Weak<Database>,
    keep: Keep,
    reopen: Reopen,
    unknown: Unknown,
}

impl std::fmt::Debug for Redb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redb").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Redb {
    pub(super) fn new(database: Database, reopen: Reopen, unknown: Unknown, keep: Keep) -> Self {
        Self { slot: Slot::holding(database), before: Weak::new(), keep, reopen, unknown }
    }

    /// Where readers find the database.
    #[cfg(test)]
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The database, opened anew if it has to be.
    fn open(&self) -> Result<Arc<Database>, String> {
        if let Some(database) = self.slot.get() {
            return Ok(database);
        }
        if self.before.strong_count() > 0 {
            return Err("the disk could not be written, and its journal is still being read".to_owned());
        }
        let database = Arc::new((self.reopen)()?);
        self.slot.fill(database.clone());
        Ok(database)
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        // Whoever could still read holds the slot too.
        self.slot.empty();
    }
}

impl Journal for Redb {
    const ENGINE: &'static str = "embedded";
    const KEEPS: bool = true;
    type History = Reader;

    fn history(&self) -> Reader {
        Reader::new(self.slot.clone(), self.keep)
    }

    fn write(&mut self, group: &Group) -> Result<(), String> {
        let database = self.open()?;
        let written = catch_unwind(AssertUnwindSafe(|| write(&database, group, &self.unknown, self.keep)));
        let reason = match written {
            Ok(Ok(())) => {
                self.unknown.follow(group);
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            // The library trusted the disk more than it should have; it is opened anew like after an error.
            Err(_) => "the store contradicts itself".to_owned(),
        };
        self.before = self.slot.empty();
        Err(format!("the disk cannot be written: {reason}"))
    }
}

/// The key of an instance. No name contains a slash.
pub(super) fn instance_key(service: &str, id: &str) -> String {
    [service, id].join("/")
}

fn write(database: &Database, group: &Group, unknown: &Unknown, keep: Keep) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        // In the order of keys, which is that of pages.
        let mut instances: Vec<(String, Option<Vec<u8>>)> = group
            .instances
            .iter()
            .map(|((service, id), instance)| {
                let key = instance_key(service.as_str(), id.as_str());
                let record =
                    instance.as_ref().map(|instance| record::write_instance(instance, unknown.instances.get(&key)));
                (key, record)
            })
            .collect();
        instances.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut table = transaction.open_table(INSTANCES)?;
        for (key, record) in &instances {
            match record {
                Some(record) => drop(table.insert(key.as_str(), record.as_slice())?),
                None => drop(table.remove(key.as_str())?),
            }
        }
    }
    if !group.services.is_empty() {
        let mut table = transaction.open_table(SERVICES)?;
        for (name, remains) in &group.services {
            let name = name.as_str();
            match remains {
                Some(remains) => {
                    let record = record::write_service(remains, unknown.services.get(name));
                    table.insert(name, record.as_slice())?;
                }
                None => drop(table.remove(name)?),
            }
        }
    }
    if !group.leases.is_empty() {
        let mut table = transaction.open_table(LEASES)?;
        for (id, ttl) in &group.leases {
            let id = id.number();
            match ttl {
                Some(ttl) => {
                    let record = record::write_lease(*ttl, unknown.leases.get(&id));
                    table.insert(id, record.as_slice())?;
                }
                None => drop(table.remove(id)?),
            }
        }
    }
    if group.trail.changes() > 0 {
        events::append(&transaction, &group.trail, keep, Timestamp::now())?;
    }
    transaction.open_table(META)?.insert(REVISION, group.revision.0)?;
    Ok(transaction.commit()?)
}
