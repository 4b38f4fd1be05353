//! Writing groups.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use redb::{Database, Durability, WriteTransaction};

use super::events::{self, Reader, Slot};
use super::schema::{INSTANCES, LEASES, META, REVISION, SERVICES};
use crate::model::Timestamp;
use crate::registry::Service;
use crate::store::group::{Group, Whole};
use crate::store::history::Keep;
use crate::store::journal::{Fate, Journal, Unwritten};
use crate::store::record::{self, instance_key};
use crate::store::unknown::Unknown;

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
}

impl std::fmt::Debug for Redb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redb").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Redb {
    pub(super) fn new(database: Database, reopen: Reopen, keep: Keep) -> Self {
        Self { slot: Slot::holding(database), before: Weak::new(), keep, reopen }
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

    /// Does something with the database, which is opened anew after it has failed.
    fn with<T>(&mut self, deed: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, String> {
        let database = self.open()?;
        let reason = match catch_unwind(AssertUnwindSafe(|| deed(&database))) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.to_string(),
            // The library trusted the disk more than it should have; it is opened anew like after an error.
            Err(_) => "the store contradicts itself".to_owned(),
        };
        self.before = self.slot.empty();
        Err(format!("the disk cannot be written: {reason}"))
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

    fn write(&mut self, group: &Group, unknown: &Unknown) -> Result<(), String> {
        let keep = self.keep;
        self.with(|database| write(database, group, unknown, keep))
    }

    fn replace(&mut self, whole: &Whole) -> Result<(), Unwritten> {
        let keep = self.keep;
        let mut fate = Fate::Nothing;
        let replaced = self.with(|database| {
            let transaction = replace(database, whole, keep)?;
            fate = Fate::Unknown;
            Ok(transaction.commit()?)
        });
        replaced.map_err(|reason| Unwritten { reason, fate })
    }
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

/// A transaction that puts other content in place of all there is.
fn replace(database: &Database, whole: &Whole, keep: Keep) -> Result<WriteTransaction, redb::Error> {
    let Whole { registry, leases, unknown, trail } = whole;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.delete_table(INSTANCES)?;
    transaction.delete_table(SERVICES)?;
    transaction.delete_table(LEASES)?;
    // In the order of keys, so that each page is written once.
    let mut services: Vec<&Arc<Service>> = registry.services_after(None).collect();
    let key = |service: &Arc<Service>| service.name().as_str().bytes().chain([b'/']).collect::<Vec<u8>>();
    services.sort_by_cached_key(|service| key(service));
    {
        let (mut of_instances, mut of_services) =
            (transaction.open_table(INSTANCES)?, transaction.open_table(SERVICES)?);
        for service in services {
            let name = service.name().as_str();
            for instance in service.instances() {
                let key = instance_key(name, instance.id.as_str());
                let record = record::write_instance(instance, unknown.instances.get(&key));
                of_instances.insert(key.as_str(), record.as_slice())?;
            }
            let remains = service.remains();
            if !remains.is_empty() {
                of_services.insert(name, record::write_service(&remains, unknown.services.get(name)).as_slice())?;
            }
        }
    }
    {
        let mut table = transaction.open_table(LEASES)?;
        for (id, ttl) in leases {
            let id = id.number();
            table.insert(id, record::write_lease(*ttl, unknown.leases.get(&id)).as_slice())?;
        }
    }
    let now = Timestamp::now();
    events::append(&transaction, trail, keep, now)?;
    events::begin_anew(&transaction, now)?;
    transaction.open_table(META)?.insert(REVISION, registry.revision().0)?;
    Ok(transaction)
}
