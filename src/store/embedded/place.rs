//! The directory and the file in it: made with care, locked, and never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::Database;
use redb::backends::FileBackend;

use super::{OpenError, schema, wal};

const FILE_NAME: &str = "rollcall.redb";
const WAL_NAME: &str = "rollcall.wal";
/// Octets that are written at once where there are many.
const CHUNK: usize = 1 << 20;

/// A directory that nobody else uses for as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    file: PathBuf,
    /// The directory. The file's own lock would not do: it is let go of when a write failed and the file is opened anew.
    locked: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Closing would do, but for a program that this process is just starting: until it runs, it holds a copy.
        let _ = self.locked.unlock();
    }
}

impl Place {
    /// Takes a directory, which is made for this user alone when it does not exist.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory { path: dir.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let locked = File::open(dir).map_err(failed)?;
        match locked.try_lock() {
            Ok(()) => Ok(Self { file: dir.join(FILE_NAME), locked }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Makes the file when there is none. It comes under its name as a whole, so that whatever stands there and cannot
    /// be read was damaged and not left behind by a first start that was cut short.
    pub(super) fn make(&self) -> Result<(), OpenError> {
        let failed = |error| OpenError::File { path: self.file.clone(), error };
        match fs::metadata(&self.file) {
            Ok(metadata) if metadata.len() == 0 => return Err(self.damaged("it is empty")),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // A log comes after its tables: these were there.
        let wal = self.wal();
        if wal.try_exists().map_err(failed)? {
            return Err(OpenError::Missing { path: self.file.clone(), other: wal });
        }
        let new = self.file.with_extension("redb.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
        let keep = made.try_clone().map_err(failed)?;
        let backend = FileBackend::new(made).map_err(|error| self.error(error))?;
        let database = schema::builder().create_with_backend(backend).map_err(|error| self.error(error))?;
        schema::found(&database).map_err(|error| self.error(error))?;
        drop(database);
        keep.sync_all().map_err(failed)?;
        fs::rename(&new, &self.file).map_err(failed)?;
        self.locked.sync_all().map_err(failed)
    }

    pub(super) fn wal(&self) -> PathBuf {
        self.file.with_file_name(WAL_NAME)
    }

    /// Opens the log. Where there is none it is made, unless something is missing then.
    pub(super) fn open_wal(&self, may_be_missing: bool) -> Result<FileBackend, OpenError> {
        let path = self.wal();
        let failed = |error| OpenError::File { path: path.clone(), error };
        let open = || OpenOptions::new().read(true).write(true).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !may_be_missing {
                    return Err(OpenError::Missing { path, other: self.file.clone() });
                }
                self.make_wal(&path).map_err(failed)?;
                open().map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        FileBackend::new(file).map_err(|error| match error.into() {
            redb::Error::Io(error) => failed(error),
            error => self.damaged_wal(error.to_string()),
        })
    }

    /// Makes the log, all of it, so that to write it never changes what the directory says of the file: that would be
    /// another write to be sure of.
    fn make_wal(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("wal.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let zeros = vec![0; CHUNK];
        for _ in 0..wal::FILE_OCTETS / CHUNK as u64 {
            made.write_all(&zeros)?;
        }
        made.sync_all()?;
        fs::rename(&new, path)?;
        self.locked.sync_all()
    }

    /// Opens the file. Its mode stays as it is.
    pub(super) fn open(&self, check: bool) -> Result<Database, OpenError> {
        let failed = |error| OpenError::File { path: self.file.clone(), error };
        let file = OpenOptions::new().read(true).write(true).open(&self.file).map_err(failed)?;
        let backend = FileBackend::new(file).map_err(|error| self.error(error))?;
        let mut builder = schema::builder();
        builder.set_check_integrity_on_open(check);
        builder.create_with_backend(backend).map_err(|error| self.error(error))
    }

    pub(super) fn damaged(&self, detail: impl Into<String>) -> OpenError {
        OpenError::Damaged { path: self.file.clone(), detail: detail.into(), other: self.wal() }
    }

    pub(super) fn damaged_wal(&self, detail: String) -> OpenError {
        OpenError::Damaged { path: self.wal(), detail, other: self.file.clone() }
    }

    /// What redb said, in our words.
    pub(super) fn error(&self, error: impl Into<redb::Error>) -> OpenError {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => OpenError::InUse(self.file.clone()),
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.damaged("it does not begin as one")
            }
            redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.damaged("it is cut short"),
            redb::Error::Io(error) => OpenError::File { path: self.file.clone(), error },
            error => self.damaged(error.to_string()),
        }
    }
}
