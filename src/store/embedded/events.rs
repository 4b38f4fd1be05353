//! The journal of events: appended with the changes that made them, read beside the writer.

use std::fmt::Display;
use std::ops::Bound;
use std::sync::Arc;

use imbl::Vector;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};

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
    let mut begins = begins.map_or(0, |since| since.value());
    let mut below = (query.below.revision.0, query.below.change);
    let mut taking = Taking { look: Look::new(query, keep, now), events: Vec::new() };
    for frame in pending.iter().rev() {
        let mut entries: Vec<Entry<'_>> = frame.entries().collect();
        while let Some(entry) = entries.pop() {
            match entry {
                Entry::Since(millis) => begins = begins.max(millis),
                Entry::Event(key, octets) if key < below => {
                    below = key;
                    if !taking.take(key, octets)? {
                        return Ok(taking.look.page(taking.events, Timestamp::from_millis(begins)));
                    }
                }
                _ => {}
            }
        }
    }
    let table = transaction.open_table(EVENTS).map_err(said)?;
    for entry in table.range(..below).map_err(said)?.rev() {
        let (key, octets) = entry.map_err(said)?;
        if !taking.take(key.value(), octets.value())? {
            break;
        }
    }
    Ok(taking.look.page(taking.events, Timestamp::from_millis(begins)))
}
