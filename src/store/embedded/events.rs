//! The journal of events: appended with the changes that made them, read beside the writer.

use std::fmt::Display;
use std::ops::Bound;
use std::sync::Arc;

use imbl::Vector;
use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction,
};

use super::event_record;
use super::frame::{Entry, Frame};
use super::pending::Pending;
use super::schema::{EVENTS, EVENTS_SINCE, META};
use super::slot::Slot;
use crate::model::{Revision, Timestamp};
use crate::registry::{Event, EventPosition};
use crate::store::history::{EventPage, EventQuery, Head, History, Keep, Look, Verdict, is_overdue, trim_max};
use crate::store::record::RecordError;

/// Writes what has happened, and lets the oldest events go.
pub(super) fn append(
    transaction: &WriteTransaction,
    frames: &[Arc<Frame>],
    keep: Keep,
    now: Timestamp,
) -> Result<(), redb::Error> {
    let added: Vec<((u64, u32), &[u8])> = frames.iter().flat_map(|frame| frame.events()).collect();
    let Some((first, _)) = added.first() else { return Ok(()) };
    let mut table = transaction.open_table(EVENTS)?;
    // Frames that could not be applied for sure come once more, and one that could not be kept has never happened.
    while table.last()?.is_some_and(|(key, _)| key.value() >= *first) {
        table.pop_last()?;
    }
    let missing = |entry: Entry<'_>| if let Entry::Since(millis) = entry { Some(millis) } else { None };
    let mut since = frames.iter().flat_map(|frame| frame.entries()).filter_map(missing).max();
    // A cursor at the end fills pages; inserted one by one, each page would be split in half and stay so.
    let mut end = table.upper_bound_mut(Bound::<(u64, u32)>::Unbounded)?;
    for (key, record) in &added {
        end.insert_before(*key, *record)?;
    }
    end.close()?;
    for _ in 0..trim_max(added.len()) {
        let Some((key, octets)) = table.first()? else { break };
        // One that cannot be read is kept from nobody by going.
        let time = event_record::read_event_head(octets.value()).map_or(now, |head| head.time);
        if !is_overdue(keep, usize::try_from(table.len()?).unwrap_or(usize::MAX), time, now) {
            break;
        }
        drop((key, octets));
        since = since.max(Some(time.as_millis()));
        table.pop_first()?;
    }
    if let Some(since) = since {
        transaction.open_table(META)?.insert(EVENTS_SINCE, since)?;
    }
    Ok(())
}

/// Takes out what is said to have happened after a revision.
pub(super) fn forget_after(transaction: &WriteTransaction, revision: u64) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(EVENTS)?;
    while table.last()?.is_some_and(|(key, _)| key.value().0 > revision) {
        table.pop_last()?;
    }
    Ok(())
}

/// Something has happened that no event tells of: from now on they are whole again.
pub(super) fn begin_anew(transaction: &WriteTransaction, now: Timestamp) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(EVENTS_SINCE, now.as_millis())?;
    Ok(())
}

/// Makes the journal in a file that has none. It tells what happens from then on.
pub(super) fn begin(transaction: &WriteTransaction, now: Timestamp) -> Result<(), redb::Error> {
    transaction.open_table(EVENTS)?;
    let mut meta = transaction.open_table(META)?;
    if meta.get(EVENTS_SINCE)?.is_none() {
        meta.insert(EVENTS_SINCE, now.as_millis())?;
    }
    Ok(())
}

fn position((revision, change): (u64, u32)) -> EventPosition {
    EventPosition { revision: Revision(revision), change }
}

/// Reads the journal: what is only in the log yet, and the table in transactions of its own.
#[derive(Debug)]
pub struct Reader {
    slot: Slot,
    pending: Pending,
    keep: Keep,
}

impl Reader {
    pub(super) fn new(slot: Slot, pending: Pending, keep: Keep) -> Self {
        Self { slot, pending, keep }
    }
}

impl History for Reader {
    fn read(&self, query: &EventQuery, now: Timestamp) -> Result<EventPage, String> {
        // In this order: what leaves the one meanwhile is in the other.
        let pending = self.pending.frames();
        let database = self.slot.get().ok_or("the store is not open")?;
        read(&database, &pending, query, self.keep, now)
    }
}

fn said(error: impl Into<redb::Error>) -> String {
    format!("the journal cannot be read: {}", error.into())
}

fn unreadable(at: impl Display, error: RecordError) -> String {
    match error {
        RecordError::Future(version) => format!("event {at} was written by a newer version, in form {version}"),
        RecordError::Malformed(reason) => format!("event {at} cannot be read: {reason}"),
    }
}

/// A look, and what it has taken.
struct Taking<'q> {
    look: Look<'q>,
    events: Vec<Event>,
    /// The time from which on nothing is missing, in milliseconds since 1970.
    begins: u64,
}

impl Taking<'_> {
    /// Shows it the next event, going back. Whether it goes on.
    fn take(&mut self, key: (u64, u32), octets: &[u8]) -> Result<bool, String> {
        let at = position(key);
        let head = event_record::read_event_head(octets).map_err(|error| unreadable(at, error))?;
        match self.look.judge(Head { at, time: head.time, service: head.service, id: head.id }) {
            Verdict::Take => {
                self.events.push(event_record::read_event(at, octets).map_err(|error| unreadable(at, error))?);
                Ok(true)
            }
            Verdict::Pass => Ok(true),
            Verdict::End => Ok(false),
        }
    }

    /// Notes an event that has had to make room for later ones.
    fn hide(&mut self, octets: &[u8]) {
        let time = event_record::read_event_head(octets).map_or(0, |head| head.time.as_millis());
        self.begins = self.begins.max(time);
    }

    /// Shows it the events of frames, the newest `room` of them, from below a position on. The position of the first, and
    /// whether it goes on.
    fn take_pending(
        &mut self,
        pending: &Vector<Arc<Frame>>,
        mut below: (u64, u32),
        mut room: usize,
    ) -> Result<((u64, u32), bool), String> {
        for frame in pending.iter().rev() {
            let mut entries: Vec<Entry<'_>> = frame.entries().collect();
            while let Some(entry) = entries.pop() {
                match entry {
                    Entry::Since(millis) => self.begins = self.begins.max(millis),
                    Entry::Event(_, octets) if room == 0 => {
                        self.hide(octets);
                        return Ok((below, false));
                    }
                    Entry::Event(key, octets) => {
                        room -= 1;
                        if key < below {
                            below = key;
                            if !self.take(key, octets)? {
                                return Ok((below, false));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok((below, true))
    }

    fn page(self) -> EventPage {
        self.look.page(self.events, Timestamp::from_millis(self.begins))
    }
}

/// One look at the journal: at frames that may not be in the table, and at the table.
pub(super) fn read(
    database: &Database,
    pending: &Vector<Arc<Frame>>,
    query: &EventQuery,
    keep: Keep,
    now: Timestamp,
) -> Result<EventPage, String> {
    let transaction = database.begin_read().map_err(said)?;
    let begins = transaction.open_table(META).map_err(said)?.get(EVENTS_SINCE).map_err(said)?;
    let begins = begins.map_or(0, |since| since.value());
    let mut taking = Taking { look: Look::new(query, keep, now), events: Vec::new(), begins };
    let below = (query.below.revision.0, query.below.change);
    let (below, goes_on) = taking.take_pending(pending, below, keep.events)?;
    if !goes_on {
        return Ok(taking.page());
    }
    let table = transaction.open_table(EVENTS).map_err(said)?;
    let oldest = match last_hidden(&table, pending, keep)? {
        Some((key, octets)) => {
            taking.hide(octets.value());
            Bound::Excluded(key.value())
        }
        None => Bound::Unbounded,
    };
    if matches!(oldest, Bound::Excluded(oldest) if oldest >= below) {
        return Ok(taking.page());
    }
    for entry in table.range::<(u64, u32)>((oldest, Bound::Excluded(below))).map_err(said)?.rev() {
        let (key, octets) = entry.map_err(said)?;
        if !taking.take(key.value(), octets.value())? {
            break;
        }
    }
    Ok(taking.page())
}

type Kept<'a> = (AccessGuard<'a, (u64, u32)>, AccessGuard<'a, &'static [u8]>);

/// The last event of the table that has to make room: what is not in the table yet takes it from the oldest there.
fn last_hidden<'a>(
    table: &'a ReadOnlyTable<(u64, u32), &'static [u8]>,
    pending: &Vector<Arc<Frame>>,
    keep: Keep,
) -> Result<Option<Kept<'a>>, String> {
    let Some((first, _)) = pending.iter().flat_map(|frame| frame.events()).next() else {
        // The bounds hold after each write.
        return Ok(None);
    };
    // Some of it may be there by now.
    let twice = table.range::<(u64, u32)>(first..).map_err(said)?.count();
    let held = usize::try_from(table.len().map_err(said)?).unwrap_or(usize::MAX) - twice;
    let added: usize = pending.iter().map(|frame| frame.count()).sum();
    let hidden = (held + added).saturating_sub(keep.events).min(held);
    match hidden.checked_sub(1) {
        Some(last) => table.range::<(u64, u32)>(..first).map_err(said)?.nth(last).transpose().map_err(said),
        None => Ok(None),
    }
}
