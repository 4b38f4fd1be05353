//! Reading everything, once, at the start.

use std::collections::HashMap;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend};
use tokio::time::Instant;

use super::frame::Frame;
use super::schema::{
    APPLIED, CLEAN, FORMAT, FORMAT_FIRST, FORMAT_NOW, INSTANCES, LEASES, META, PROGRESS, REVISION, SERIAL_BASE,
    SERVICES, STORE, TTL,
};
use super::wal::{self, Anchor, Wal, WalError};
use super::{ends, events, pages};
use crate::model::{Duration, Instance, InstanceId, LeaseId, Revision, ServiceName, StoreId, Timestamp, Ttl};
use crate::registry::{Registry, Remains};
use crate::store::history::Keep;
use crate::store::journal::Restored;
use crate::store::record::{self, RecordError};
use crate::store::service_record;
use crate::store::unknown::Unknown;

/// Why what is in a database cannot be read.
#[derive(Debug)]
pub(super) enum LoadError {
    /// It was written by a newer version; what says so.
    Future(String),
    /// What is wrong with it.
    Damaged(String),
    /// The database says no.
    Database(redb::Error),
    /// The log cannot be read.
    Wal(WalError),
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::TableDoesNotExist(table) => Self::Damaged(format!("it has no table {table}")),
            error => Self::Database(error),
        }
    }
}

/// A record that cannot be read.
fn at(table: &str, key: &dyn std::fmt::Display, error: RecordError) -> LoadError {
    match error {
        RecordError::Future(version) => LoadError::Future(format!("{table} {key} is in form {version}")),
        RecordError::Malformed(reason) => LoadError::Damaged(format!("{table} {key}: {reason}")),
    }
}

/// Lines in the log while much is read.
struct Progress {
    total: u64,
    read: u64,
    told: Instant,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self { total, read: 0, told: Instant::now() }
    }

    fn step(&mut self) {
        self.read += 1;
        // The clock is not free either.
        if self.read.is_multiple_of(1024) && self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let percent = self.read * 100 / self.total.max(1);
            tracing::info!(
                instances.read = self.read,
                instances.total = self.total,
                "loading the registry: {percent} %"
            );
        }
    }
}

type Kept = (ServiceName, Vec<Arc<Instance>>, Remains);

/// A number that a database says of itself.
fn number(meta: &impl ReadableTable<&'static str, u64>, key: &str) -> Result<u64, LoadError> {
    let value = meta.get(key)?.map(|value| value.value());
    value.ok_or_else(|| LoadError::Damaged(format!("it does not say its {key}")))
}

/// Where the log of a database goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) anchor: Anchor,
    /// Whether the tables have all that there is, so that the log may be missing.
    pub(super) is_clean: bool,
}

/// What a database says of its log.
pub(super) fn standing(database: &Database) -> Result<Standing, LoadError> {
    let meta = database.begin_read()?.open_table(META)?;
    let format = number(&meta, FORMAT)?;
    if !(FORMAT_FIRST..=FORMAT_NOW).contains(&format) {
        return Err(LoadError::Future(format!("it is in format {format}")));
    }
    let store = number(&meta, STORE)?;
    if format == FORMAT_FIRST {
        // There was no log.
        return Ok(Standing { anchor: Anchor { store, applied: 0 }, is_clean: true });
    }
    let anchor = Anchor { store, applied: number(&meta, APPLIED)? };
    Ok(Standing { anchor, is_clean: number(&meta, CLEAN)? == 1 })
}

/// Puts what only the log has into the tables, and says where the log goes on.
pub(super) fn recover(
    database: &Database,
    log: &dyn StorageBackend,
    Standing { anchor, is_clean }: Standing,
    keep: Keep,
) -> Result<Anchor, LoadError> {
    if is_clean {
        return wal::halves(log, anchor.store).map(|_| anchor).map_err(LoadError::Wal);
    }
    let frames = wal::read(log, anchor).map_err(LoadError::Wal)?;
    if frames.is_empty() {
        return Ok(anchor);
    }
    let number = |count: usize| anchor.applied + count as u64;
    let read = |(position, octets): (usize, &Vec<u8>)| {
        let frame = Frame::read(octets).map(Arc::new);
        let failed = |reason| WalError::Damaged(format!("frame {}: {reason}", number(position + 1)));
        frame.map_err(|reason| LoadError::Wal(failed(reason)))
    };
    let frames: Vec<Arc<Frame>> = frames.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let transaction = pages::begin(database)?;
    let applied = number(frames.len());
    pages::apply(&transaction, &frames, applied, keep)?;
    transaction.commit()?;
    tracing::info!(store.frames = frames.len(), "the tables have caught up with the log");
    Ok(Anchor { applied, ..anchor })
}

/// All that the tables of a database hold.
pub(super) fn load(database: &Database) -> Result<Restored, LoadError> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |key: &str| number(&meta, key);
    let mut unknown = Unknown::default();

    let mut leases: Vec<(LeaseId, Duration)> = Vec::new();
    for entry in transaction.open_table(LEASES)?.iter()? {
        let (key, octets) = entry?;
        let id = LeaseId::new(key.value());
        let (ttl, foreign) = record::read_lease(octets.value()).map_err(|error| at("lease", &id, error))?;
        if !foreign.is_empty() {
            unknown.leases.insert(id.number(), foreign);
        }
        leases.push((id, ttl));
    }

    let mut remains: HashMap<ServiceName, Remains> = HashMap::new();
    for entry in transaction.open_table(SERVICES)?.iter()? {
        let (key, octets) = entry?;
        let name = service_name(key.value())?;
        let (remain, foreign) = service_record::read(octets.value()).map_err(|error| at("service", &name, error))?;
        if !foreign.is_empty() {
            unknown.services.insert(key.value().to_owned(), foreign);
        }
        remains.insert(name, remain);
    }

    let mut services = read_instances(&transaction.open_table(INSTANCES)?, &mut remains, &mut unknown)?;
    services.extend(remains.into_iter().map(|(name, remains)| (name, Vec::new(), remains)));
    Ok(Restored {
        id: StoreId::new(&format!("e{:016x}", number(STORE)?)),
        serial_base: number(SERIAL_BASE)? as u32,
        registry: Registry::restored(Revision(number(REVISION)?), services).with_lingering(ends::read(&meta)?),
        leases,
        unknown,
    })
}

fn service_name(text: &str) -> Result<ServiceName, LoadError> {
    text.parse().map_err(|error| LoadError::Damaged(format!("service {text:?}: {error}")))
}

/// Instances stand by service and id, which is how a registry wants them.
fn read_instances(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    remains: &mut HashMap<ServiceName, Remains>,
    unknown: &mut Unknown,
) -> Result<Vec<Kept>, LoadError> {
    let mut services: Vec<Kept> = Vec::new();
    // Of the service at hand.
    let mut read: Vec<Arc<Instance>> = Vec::new();
    let mut progress = Progress::new(table.len()?);
    for entry in table.iter()? {
        let (key, octets) = entry?;
        let key = key.value();
        let split = key.split_once('/').and_then(|(service, id)| Some((service, id.parse::<InstanceId>().ok()?)));
        let Some((service, id)) = split else {
            return Err(LoadError::Damaged(format!("instance {key:?} has no name")));
        };
        if services.last().is_none_or(|(name, ..)| name.as_str() != service) {
            if let Some((_, complete, _)) = services.last_mut() {
                // Copied to what it needs: shrunk in place, a million would leave as many gaps.
                complete.append(&mut read);
            }
            let name = service_name(service)?;
            let remains = remains.remove(&name).unwrap_or_default();
            services.push((name, Vec::new(), remains));
        }
        let (name, ..) = services.last().expect("its service was pushed");
        let (mut instance, foreign) =
            record::read_instance(name, id, octets.value()).map_err(|error| at("instance", &key, error))?;
        if !foreign.is_empty() {
            unknown.instances.insert(key.to_owned(), foreign);
        }
        if let Some(sibling) = read.last() {
            instance.registration.share_with(&sibling.registration);
        }
        read.push(Arc::new(instance));
        progress.step();
    }
    if let Some((_, complete, _)) = services.last_mut() {
        complete.extend(read);
    }
    Ok(services)
}

/// Begins another life: serials of this one are beyond those of the last, there is a journal of events, and answers that
/// nobody asks another lifetime for have this one. The log of it.
pub(super) fn begin(
    database: &Database,
    log: Arc<dyn StorageBackend>,
    restored: &mut Restored,
    anchor: Anchor,
    ttl: Ttl,
) -> Result<Wal, LoadError> {
    // Before the tables say that it may have more than they.
    let wal = Wal::begin(log, anchor).map_err(|error| LoadError::Wal(error.into()))?;
    restored.serial_base = restored.serial_base.wrapping_add(1);
    let transaction = pages::begin(database)?;
    let now = Timestamp::now();
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, FORMAT_NOW)?;
        meta.insert(SERIAL_BASE, u64::from(restored.serial_base))?;
        meta.insert(APPLIED, anchor.applied)?;
        // From now on the log may have more.
        meta.insert(CLEAN, 0)?;
        let before = meta.insert(TTL, u64::from(ttl.secs()))?.map(|value| value.value());
        let before = before.map(|seconds| Ttl::spanning(std::time::Duration::from_secs(seconds)));
        restored.registry = std::mem::take(&mut restored.registry).served_for(ttl, before, now);
        ends::write(&mut meta, restored.registry.lingering())?;
    }
    events::begin(&transaction, now)?;
    transaction.commit()?;
    Ok(wal)
}
