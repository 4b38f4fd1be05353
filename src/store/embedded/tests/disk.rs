//! A disk in memory that remembers what was written and when it was made sure of, and that can fail.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

/// What was asked of the disk.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
struct State {
    octets: Vec<u8>,
    deeds: Vec<Deed>,
    /// Deeds until all fail; none is never.
    left: Option<usize>,
    /// Whether a sync fails too, or only what takes room.
    syncs_fail: bool,
    failed: usize,
}

/// Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn holding(octets: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { octets, ..State::default() })))
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        self.0.lock().octets.clone()
    }

    /// How many deeds there were.
    pub(super) fn count(&self) -> usize {
        self.0.lock().deeds.len()
    }

    pub(super) fn deeds(&self) -> Vec<Deed> {
        self.0.lock().deeds.clone()
    }

    /// Lets so many more deeds succeed.
    pub(super) fn fail_after(&self, deeds: usize, syncs_fail: bool) {
        let mut state = self.0.lock();
        (state.left, state.syncs_fail, state.failed) = (Some(deeds), syncs_fail, 0);
    }

    pub(super) fn mend(&self) {
        self.0.lock().left = None;
    }

    pub(super) fn failed(&self) -> usize {
        self.0.lock().failed
    }

    fn act(&self, deed: Deed) -> io::Result<()> {
        let mut state = self.0.lock();
        let fails = !matches!(deed, Deed::Sync) || state.syncs_fail;
        match &mut state.left {
            Some(0) if fails => {
                state.failed += 1;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            Some(left) => *left = left.saturating_sub(1),
            None => {}
        }
        apply(&mut state.octets, &deed);
        state.deeds.push(deed);
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

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().octets.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let start = offset as usize;
        let octets = state.octets.get(start..start + out.len());
        out.copy_from_slice(octets.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.act(Deed::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.act(Deed::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.act(Deed::Write(offset, data.to_vec()))
    }
}
