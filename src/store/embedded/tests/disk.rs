//! A disk in memory with the two files of a store, that remembers what was written and when it was made sure of, and
//! that can fail.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Tables,
    Log,
}

/// What was asked of a file.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// What both files hold.
pub(super) type Images = [Vec<u8>; 2];

#[derive(Debug, Default)]
struct State {
    images: Images,
    deeds: Vec<(Name, Deed)>,
    /// Deeds until all fail; none is never.
    left: Option<usize>,
    /// Whether a sync fails too, or only what takes room.
    syncs_fail: bool,
    /// Whether whatever is asked of the tables fails.
    tables_fail: bool,
    /// Whether it ends in a panic.
    tables_panic: bool,
    failed: usize,
}

/// Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn holding(images: Images) -> Self {
        Self(Arc::new(Mutex::new(State { images, ..State::default() })))
    }

    pub(super) fn images(&self) -> Images {
        self.0.lock().images.clone()
    }

    pub(super) fn tables(&self) -> FileOn {
        FileOn { disk: self.clone(), name: Name::Tables }
    }

    /// The log, which is made of zeros where there is none.
    pub(super) fn log(&self, octets: usize) -> FileOn {
        let log = &mut self.0.lock().images[Name::Log as usize];
        if log.is_empty() {
            *log = vec![0; octets];
        }
        FileOn { disk: self.clone(), name: Name::Log }
    }

    /// How many deeds there were.
    pub(super) fn count(&self) -> usize {
        self.0.lock().deeds.len()
    }

    pub(super) fn deeds(&self) -> Vec<(Name, Deed)> {
        self.0.lock().deeds.clone()
    }

    /// Lets so many more deeds succeed.
    pub(super) fn fail_after(&self, deeds: usize, syncs_fail: bool) {
        let mut state = self.0.lock();
        (state.left, state.syncs_fail, state.failed) = (Some(deeds), syncs_fail, 0);
    }

    /// Lets nothing succeed that is asked of the tables.
    pub(super) fn fail_tables(&self) {
        self.0.lock().tables_fail = true;
    }

    /// Lets whatever is asked of the tables end in a panic.
    pub(super) fn break_tables(&self) {
        self.0.lock().tables_panic = true;
    }

    pub(super) fn mend(&self) {
        let mut state = self.0.lock();
        (state.left, state.tables_fail, state.tables_panic) = (None, false, false);
    }

    pub(super) fn failed(&self) -> usize {
        self.0.lock().failed
    }

    fn act(&self, name: Name, deed: Deed) -> io::Result<()> {
        let mut state = self.0.lock();
        let fails = !matches!(deed, Deed::Sync) || state.syncs_fail;
        if name == Name::Tables && state.tables_fail {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if name == Name::Tables && state.tables_panic {
            drop(state);
            panic!("the tables are broken");
        }
        match &mut state.left {
            Some(0) if fails => {
                state.failed += 1;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            Some(left) => *left = left.saturating_sub(1),
            None => {}
        }
        apply(&mut state.images[name as usize], &deed);
        state.deeds.push((name, deed));
        Ok(())
    }
}

/// Carries a deed out on an image.
pub(super) fn apply(image: &mut Vec<u8>, deed: &Deed) {
    match deed {
        Deed::Write(offset, octets) => {
            let (start, end) = (*offset as usize, *offset as usize + octets.len());
            // A write whose growing of the file was lost grows it itself.
            image.resize(image.len().max(end), 0);
            image[start..end].copy_from_slice(octets);
        }
        Deed::SetLen(len) => image.resize(*len as usize, 0),
        Deed::Sync => {}
    }
}

/// A file on a disk.
#[derive(Debug, Clone)]
pub(super) struct FileOn {
    disk: Disk,
    name: Name,
}

impl StorageBackend for FileOn {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().images[self.name as usize].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock();
        let start = offset as usize;
        let octets = state.images[self.name as usize].get(start..start + out.len());
        out.copy_from_slice(octets.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.act(self.name, Deed::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.act(self.name, Deed::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.act(self.name, Deed::Write(offset, data.to_vec()))
    }
}
