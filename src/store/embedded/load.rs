//! Reading everything, once, at the start.

use std::collections::HashMap;
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable};
use tokio::time::Instant;

use super::events;
use super::schema::{FORMAT, FORMAT_NOW, INSTANCES, LEASES, META, PROGRESS, REVISION, SERIAL_BASE, SERVICES, STORE};
use crate::model::{Duration, Instance, InstanceId, LeaseId, Revision, ServiceName, StoreId, Timestamp};
use crate::registry::{Registry, Remains};
use crate::store::journal::Restored;
use crate::store::record::{self, RecordError};
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

/// All that a database holds.
pub(super) fn load(database: &Database) -> Result<Restored, LoadError> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |key: &str| -> Result<u64, LoadError> {
        let value = meta.get(key)?.map(|value| value.value());
        value.ok_or_else(|| LoadError::Damaged(format!("it does not say its {key}")))
    };
    let format = number(FORMAT)?;
    if format != FORMAT_NOW {
        return Err(LoadError::Future(format!("it is in format {format}")));
    }
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
        let (remain, foreign) = record::read_service(octets.value()).map_err(|error| at("service", &name, error))?;
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
        registry: Registry::restored(Revision(number(REVISION)?), services),
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

/// Begins another life: serials of this one are beyond those of the last, and there is a journal of events.
pub(super) fn begin(database: &Database, restored: &mut Restored) -> Result<(), redb::Error> {
    restored.serial_base = restored.serial_base.wrapping_add(1);
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.open_table(META)?.insert(SERIAL_BASE, u64::from(restored.serial_base))?;
    events::begin(&transaction, Timestamp::now())?;
    Ok(transaction.commit()?)
}
