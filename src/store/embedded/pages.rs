//! What the log has, put into the tables: many groups in one transaction, so that a page which they share is written
//! once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use redb::{Database, Durability, ReadableDatabase, WriteTransaction};

use super::frame::{Entry, Frame};
use super::schema::{APPLIED, CLEAN, INSTANCES, LEASES, META, REVISION, SERVICES};
use super::slot::Slot;
use super::{ends, events};
use crate::model::Timestamp;
use crate::registry::{Service, Wide};
use crate::store::group::Whole;
use crate::store::history::Keep;
use crate::store::record::{self, instance_key};
use crate::store::service_record;

/// Opens the database again after a write has failed.
pub(super) type Reopen = Box<dyn Fn() -> Result<Database, String> + Send>;

/// The tables.
pub(super) struct Pages {
    /// Empty after a write has failed: the database refuses all further work until it is opened anew.
    slot: Slot,
    /// What the slot held before, while somebody reads it.
    before: Weak<Database>,
    keep: Keep,
    reopen: Reopen,
}

impl Pages {
    pub(super) fn new(slot: Slot, reopen: Reopen, keep: Keep) -> Self {
        Self { slot, before: Weak::new(), keep, reopen }
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
        caught(|| {
            let database = self.open()?;
            caught(|| deed(&database).map_err(|error| error.to_string())).map_err(|reason| {
                self.before = self.slot.empty();
                format!("the disk cannot be written: {reason}")
            })
            // If nobody reads it, a database that failed closes here, which is writing too.
        })
    }

    /// Puts frames into the tables, the last of which has a number. Once more does no harm.
    pub(super) fn apply(&mut self, frames: &[Arc<Frame>], number: u64) -> Result<(), String> {
        let keep = self.keep;
        self.with(|database| {
            let transaction = begin(database)?;
            apply(&transaction, frames, number, keep)?;
            Ok(transaction.commit()?)
        })
    }

    /// Whether the tables have a frame which was refused, from then on for sure. What it says to have happened, after a
    /// revision, has not; for the rest of it, the writer names everything again.
    pub(super) fn settle(&mut self, revision: u64, number: u64) -> Result<bool, String> {
        self.with(|database| {
            let applied = database.begin_read()?.open_table(META)?.get(APPLIED)?.map_or(0, |applied| applied.value());
            if applied < number {
                return Ok(false);
            }
            // It can be read, which does not mean that it is on the disk.
            let transaction = begin(database)?;
            events::forget_after(&transaction, revision)?;
            transaction.open_table(META)?.insert(APPLIED, number)?;
            transaction.commit()?;
            Ok(true)
        })
    }

    /// Notes that the tables have everything, which they do not once the log has another frame.
    pub(super) fn clean(&mut self) -> Result<(), String> {
        self.with(|database| {
            let transaction = begin(database)?;
            transaction.open_table(META)?.insert(CLEAN, 1)?;
            Ok(transaction.commit()?)
        })
    }

    /// Puts other content in place of all there is; `committing` is told when it may be there from then on.
    pub(super) fn replace(&mut self, whole: &Whole, number: u64, committing: impl FnOnce()) -> Result<(), String> {
        let keep = self.keep;
        self.with(|database| {
            let transaction = replace(database, whole, number, keep)?;
            committing();
            Ok(transaction.commit()?)
        })
    }
}

/// The library trusts the disk more than it should where it panics; that is an error like others, and whoever waits for
/// this hears of it.
fn caught<T>(deed: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(deed)).unwrap_or_else(|_| Err("the store contradicts itself".to_owned()))
}

/// A transaction that is durable once it is committed.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

/// The last record of each key, in the order of keys, which is that of pages.
fn last<K: Ord + Copy, V: Copy>(mut entries: Vec<(K, V)>) -> impl Iterator<Item = (K, V)> {
    entries.sort_by_key(|(key, _)| *key);
    let mut entries = entries.into_iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let (key, value) = entries.next()?;
            if entries.peek().is_none_or(|(next, _)| *next != key) {
                return Some((key, value));
            }
        }
    })
}

/// Puts frames into the tables of a transaction.
pub(super) fn apply(
    transaction: &WriteTransaction,
    frames: &[Arc<Frame>],
    number: u64,
    keep: Keep,
) -> Result<(), redb::Error> {
    let (mut instances, mut services, mut leases, mut forgotten) = (Vec::new(), Vec::new(), Vec::new(), None);
    for entry in frames.iter().flat_map(|frame| frame.entries()) {
        match entry {
            Entry::Instance(key, record) => instances.push((key, record)),
            Entry::Service(key, record) => services.push((key, record)),
            Entry::Lease(id, record) => leases.push((id, record)),
            Entry::Forgotten(end) => forgotten = Some(end),
            Entry::Event(..) | Entry::Since(_) => {}
        }
    }
    for (definition, entries) in [(INSTANCES, instances), (SERVICES, services)] {
        if entries.is_empty() {
            continue;
        }
        let mut table = transaction.open_table(definition)?;
        for (key, record) in last(entries) {
            match record {
                Some(record) => drop(table.insert(key, record)?),
                None => drop(table.remove(key)?),
            }
        }
    }
    if !leases.is_empty() {
        let mut table = transaction.open_table(LEASES)?;
        for (id, record) in last(leases) {
            match record {
                Some(record) => drop(table.insert(id, record)?),
                None => drop(table.remove(id)?),
            }
        }
    }
    events::append(transaction, frames, keep, Timestamp::now())?;
    let mut meta = transaction.open_table(META)?;
    if let Some(frame) = frames.last() {
        meta.insert(REVISION, frame.revision())?;
    }
    meta.insert(APPLIED, number)?;
    ends::write(&mut meta, Wide { forgotten, ..Wide::default() })?;
    Ok(())
}

/// A transaction that puts other content in place of all there is.
fn replace(database: &Database, whole: &Whole, number: u64, keep: Keep) -> Result<WriteTransaction, redb::Error> {
    let Whole { registry, leases, unknown, trail } = whole;
    let transaction = begin(database)?;
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
                of_services.insert(name, service_record::write(&remains, unknown.services.get(name)).as_slice())?;
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
    events::append(&transaction, &[Arc::new(Frame::of_trail(registry.revision(), trail, keep))], keep, now)?;
    events::begin_anew(&transaction, now)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(REVISION, registry.revision().0)?;
        meta.insert(APPLIED, number)?;
        ends::write(&mut meta, registry.lingering())?;
    }
    Ok(transaction)
}
