//! The tables of the file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | a word | a number |
//! | `instances` | `service/id` | its record |
//! | `services` | a service with settings or a remembered name | its record |
//! | `leases` | the id's number | its record |
//! | `events` | a revision, and which of the changes of it | its record |
//!
//! `meta` holds `format` (the version of this table of tables: 2), `store` (the identity of the history), `revision`,
//! `serial_base`, `events_since` (milliseconds since 1970 from which on no event is missing), `applied` (the number of the
//! last frame of the log that is in the tables) and `clean` (1 when the log has no further ones, 0 when it may); `ttl`
//! (seconds that answers last which nobody asks another lifetime for), and until when longer ones may be in caches:
//! `unasking_until` and `unasking_span` of instances that ask for none, `forgotten_until` and `forgotten_span` of services
//! that nobody knows any more, in milliseconds since 1970 and in seconds; these may be missing. A version that reads format 2 reads all of it; one that needs another format writes another number. Format 1 had no log.

use std::cell::Cell;
use std::time::Duration;

use redb::{Builder, Database, Durability, TableDefinition};
use tokio::time::Instant;

use crate::store::unix_seconds;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const INSTANCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("instances");
pub(super) const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
pub(super) const LEASES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("leases");

pub(super) const EVENTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("events");

pub(super) const FORMAT: &str = "format";
pub(super) const STORE: &str = "store";
pub(super) const REVISION: &str = "revision";
pub(super) const SERIAL_BASE: &str = "serial_base";
pub(super) const EVENTS_SINCE: &str = "events_since";
pub(super) const APPLIED: &str = "applied";
pub(super) const CLEAN: &str = "clean";
pub(super) const TTL: &str = "ttl";
pub(super) const UNASKING_UNTIL: &str = "unasking_until";
pub(super) const UNASKING_SPAN: &str = "unasking_span";
pub(super) const FORGOTTEN_UNTIL: &str = "forgotten_until";
pub(super) const FORGOTTEN_SPAN: &str = "forgotten_span";

/// The version that this program writes.
pub(super) const FORMAT_NOW: u64 = 2;
/// The first version that it reads.
pub(super) const FORMAT_FIRST: u64 = 1;

/// Pages that are kept in memory. The registry is in memory anyway, so more would help nobody.
const CACHE_OCTETS: usize = 64 << 20;

/// From one line about the progress to the next.
pub(super) const PROGRESS: Duration = Duration::from_secs(1);

/// How files are opened.
pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_OCTETS);
    let told = Cell::new(Instant::now());
    builder.set_repair_callback(move |session| {
        if told.get().elapsed() >= PROGRESS {
            told.set(Instant::now());
            tracing::info!("checking the store: {:.0} %", session.progress() * 100.0);
        }
    });
    builder
}

/// Makes an empty registry of a new database.
pub(super) fn found(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, FORMAT_NOW)?;
        meta.insert(STORE, rand::random::<u64>())?;
        meta.insert(REVISION, 0)?;
        meta.insert(SERIAL_BASE, u64::from(unix_seconds()))?;
        meta.insert(APPLIED, 0)?;
        meta.insert(CLEAN, 1)?;
        transaction.open_table(INSTANCES)?;
        transaction.open_table(SERVICES)?;
        transaction.open_table(LEASES)?;
    }
    Ok(transaction.commit()?)
}
