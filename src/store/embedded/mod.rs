//! The engine that keeps the registry in a file: what was acknowledged survives `kill -9` and a power cut.
//!
//! ```text
//! DIR/rollcall.redb    instances, leases, names, settings and what has happened
//! DIR/rollcall.wal     the latest groups of changes, each acknowledged once it is here
//! ```
//!
//! ```text
//! group ─▶ frame ─▶ wal (sync) ─▶ acknowledged
//!                    └─▶ pending ─▶ pages: many frames, one transaction of the tables, when half of the log is full
//! start: tables, and the frames that they do not have
//! ```
//!
//! A lone change is one short write and one sync; a page of the tables that many changes share is written once for all.
//! Renewals never touch the disk: a lease is kept with its length, not its deadline, and has a full term after a start.
//! Health is kept when it turns. One process uses a directory. The file is never overwritten when it cannot be read.

mod ends;
mod event_record;
mod events;
mod frame;
mod journal;
mod load;
mod pages;
mod pending;
mod place;
mod schema;
mod slot;
mod wal;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::Database;
use tokio::time::Instant;

use self::journal::Redb;
use self::load::LoadError;
use self::place::Place;
use self::wal::{Wal, WalError};
use super::Settings;
use super::journal::Restored;
use super::local::Local;

/// Keeps the registry in a directory.
pub type Embedded = Local<Redb>;

/// Why a directory cannot be used. What is kept in it has not been changed.
#[derive(Debug)]
pub enum OpenError {
    /// The directory cannot be made or opened.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process uses the directory.
    InUse(PathBuf),
    /// The file cannot be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not what Rollcall has written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
        /// The file that goes with it.
        other: PathBuf,
    },
    /// The log is not this store's, and nothing that it could have is missing.
    Needless {
        /// The log.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
        /// The file that has everything.
        file: PathBuf,
    },
    /// One of the two files is not there.
    Missing {
        /// Which.
        path: PathBuf,
        /// The file that goes with it.
        other: PathBuf,
    },
    /// A newer Rollcall has written the file.
    Future {
        /// The file.
        path: PathBuf,
        /// What of it.
        detail: String,
        /// The file that goes with it.
        other: PathBuf,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, error } => write!(
                f,
                "the directory {} cannot be used: {error}; name another with --data, or add --memory to keep nothing \
                 on disk",
                path.display()
            ),
            Self::InUse(path) => write!(
                f,
                "{} is in use by another rollcall: stop that one, or give this one a directory of its own with --data",
                path.display()
            ),
            Self::File { path, error } => {
                let remedy = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
                    io::ErrorKind::PermissionDenied => "give this user the right to read and write it",
                    _ => "see to the disk, or name another directory with --data",
                };
                write!(f, "{} cannot be used: {error}; {remedy}", path.display())
            }
            Self::Damaged { path, detail, other } => write!(
                f,
                "{} is no store that rollcall can read: {detail}; put a copy of it back, or move it away, and {} too, \
                 to begin with an empty registry",
                path.display(),
                other.display()
            ),
            Self::Needless { path, detail, file } => write!(
                f,
                "{} cannot be used: {detail}; move it away, {} has everything without it",
                path.display(),
                file.display()
            ),
            Self::Missing { path, other } => write!(
                f,
                "{} is missing, which goes with {}: put it back, or move that file away too to begin with an empty \
                 registry",
                path.display(),
                other.display()
            ),
            Self::Future { path, detail, other } => write!(
                f,
                "{} was written by a newer rollcall: {detail}; use that version, or move it away, and {} too, to begin \
                 with an empty registry",
                path.display(),
                other.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl Embedded {
    /// Opens the registry that a directory holds, or makes an empty one, and serves it in a task of the current runtime.
    ///
    /// Reads everything, which takes about a second for 300,000 instances; the caller's thread waits for it.
    ///
    /// # Errors
    /// Why the directory cannot be used. What is in it stays as it is.
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, OpenError> {
        let started = Instant::now();
        let place = Arc::new(Place::take(dir)?);
        place.make()?;
        let (database, wal, restored) = guarded(&place, || {
            let database = place.open(true)?;
            let (wal, restored) = read(&place, &database, &settings)?;
            Ok((database, wal, restored))
        })?;
        tracing::info!(
            store.file = %place.file().display(),
            store.revision = restored.registry.revision().0,
            instances.total = restored.registry.instances(),
            took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "the registry is loaded"
        );
        let reopen = Box::new(move || guarded(&place, || place.open(false)).map_err(|error| error.to_string()));
        let journal = Redb::new(wal, database, reopen, restored.registry.revision(), settings.history)
            .map_err(|error| OpenError::Directory { path: dir.to_owned(), error })?;
        Ok(Self::start(restored, settings, journal))
    }
}

fn read(place: &Place, database: &Database, settings: &Settings) -> Result<(Wal, Restored), OpenError> {
    let failed = |error| match error {
        LoadError::Future(detail) => OpenError::Future { path: place.file().to_owned(), detail, other: place.wal() },
        LoadError::Damaged(detail) => place.damaged(detail),
        LoadError::Database(error) => place.error(error),
        LoadError::Wal(WalError::Damaged(detail)) => place.damaged_wal(detail),
        LoadError::Wal(WalError::Io(error)) => OpenError::File { path: place.wal(), error },
    };
    let standing = load::standing(database).map_err(failed)?;
    let log = Arc::new(place.open_wal(standing.is_clean)?);
    let anchor = load::recover(database, &*log, standing, settings.history).map_err(|error| match error {
        LoadError::Wal(WalError::Damaged(detail)) if standing.is_clean => {
            OpenError::Needless { path: place.wal(), detail, file: place.file().to_owned() }
        }
        error => failed(error),
    })?;
    let mut restored = load::load(database).map_err(failed)?;
    let wal = load::begin(database, log, &mut restored, anchor, settings.ttl).map_err(failed)?;
    Ok((wal, restored))
}

/// Opens something of a file that anyone may have written to. The library checks all of it, and where it trusts its
/// checks more than it should, that is a damaged file too and no reason to die without a word.
fn guarded<T>(place: &Place, open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(place.damaged("what it holds contradicts itself")))
}
