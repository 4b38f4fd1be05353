//! Writing groups: into the log at once, and from there into the tables by a thread of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redb::Database;

use super::events::Reader;
use super::frame::Frame;
use super::pages::{Pages, Reopen};
use super::pending::Pending;
use super::slot::Slot;
use super::wal::{Room, Wal};
use crate::model::Revision;
use crate::store::group::{Group, Whole};
use crate::store::history::Keep;
use crate::store::journal::{Fate, Journal, Unwritten};
use crate::store::unknown::Unknown;

/// Puts into the tables what it is told to, until there is nothing more to come.
fn fill(pages: &Mutex<Pages>, pending: &Pending) {
    loop {
        let load = pending.next();
        let applied = match load.frames.is_empty() {
            true => Ok(()),
            false => pages.lock().apply(&load.frames, load.number),
        };
        if load.is_last {
            // A log that could not be emptied is read at the next start.
            if let Err(reason) = applied.and_then(|()| pages.lock().clean()) {
                tracing::warn!(reason, "the tables of the store are not complete; the next start makes them so");
            }
            return;
        }
        if let Err(reason) = &applied {
            tracing::warn!(reason, "the tables of the store fall behind its log");
        }
        pending.done(&load, applied);
    }
}

/// A log and a database that groups are written to.
pub struct Redb {
    wal: Wal,
    pending: Pending,
    pages: Arc<Mutex<Pages>>,
    slot: Slot,
    keep: Keep,
    /// The position of the history that the last group led to.
    revision: u64,
    /// Whether the tables have failed with what did not come by the log, and may have it all the same.
    is_unsure: bool,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Redb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redb").field("wal", &self.wal).finish_non_exhaustive()
    }
}

impl Redb {
    /// A log whose frames are all in the tables, and the database that holds them.
    pub(super) fn new(
        wal: Wal,
        database: Database,
        reopen: Reopen,
        revision: Revision,
        keep: Keep,
    ) -> io::Result<Self> {
        let slot = Slot::holding(database);
        let pages = Arc::new(Mutex::new(Pages::new(slot.clone(), reopen, keep)));
        let pending = Pending::default();
        pending.pass(wal.last());
        let thread = std::thread::Builder::new().name("store-pages".to_owned()).spawn({
            let (pending, pages) = (pending.clone(), pages.clone());
            move || fill(&pages, &pending)
        })?;
        let revision = revision.0;
        Ok(Self { wal, pending, pages, slot, keep, revision, is_unsure: false, thread: Some(thread) })
    }

    /// Where readers find the database.
    #[cfg(test)]
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Puts a frame that no half of the log can hold into the tables.
    fn pass(&mut self, frame: Frame) -> Result<(), String> {
        self.pending.wait(self.wal.last())?;
        self.is_unsure = true;
        self.pages.lock().apply(&[Arc::new(frame)], self.wal.last() + 1)?;
        self.is_unsure = false;
        self.pending.pass(self.wal.pass());
        Ok(())
    }

    /// Makes sure whether the tables have what was refused, and opens them anew for that. If they do, the next frame has
    /// another number, or a start would take it for one that is in the tables already.
    fn settle(&mut self) -> Result<(), String> {
        if self.is_unsure {
            let number = self.wal.last() + 1;
            if self.pages.lock().settle(self.revision, number)? {
                self.pending.pass(self.wal.pass());
            }
            self.is_unsure = false;
        }
        Ok(())
    }

    fn put(&mut self, group: &Group, unknown: &Unknown) -> Result<(), String> {
        self.settle()?;
        let frame = Frame::of(group, unknown, self.keep);
        let room = self.wal.room(frame.octets().len());
        match room {
            Room::Here => {}
            Room::Other(number) => self.pending.wait(number)?,
            Room::Nowhere => return self.pass(frame),
        }
        let before = self.wal.last();
        self.wal.append(frame.octets()).map_err(|error| format!("the disk cannot be written: {error}"))?;
        self.pending.push(frame);
        if room != Room::Here {
            // The half that is full is to be free again when this one is.
            self.pending.ask(before);
        }
        Ok(())
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        self.pending.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Whoever could still read holds the slot too.
        self.slot.empty();
    }
}

impl Journal for Redb {
    const ENGINE: &'static str = "embedded";
    const KEEPS: bool = true;
    type History = Reader;

    fn history(&self) -> Reader {
        Reader::new(self.slot.clone(), self.pending.clone(), self.keep)
    }

    fn write(&mut self, group: &Group, unknown: &Unknown) -> Result<(), String> {
        self.put(group, unknown)?;
        self.revision = group.revision.0;
        Ok(())
    }

    fn replace(&mut self, whole: &Whole) -> Result<(), Unwritten> {
        let mut fate = Fate::Nothing;
        let replaced = self.settle().and_then(|()| {
            let last = self.wal.last();
            self.pending.wait(last)?;
            self.is_unsure = true;
            self.pages.lock().replace(whole, last, || fate = Fate::Unknown)
        });
        replaced.map_err(|reason| Unwritten { reason, fate })?;
        (self.revision, self.is_unsure) = (whole.registry.revision().0, false);
        Ok(())
    }
}
