//! The journal of events: appended with the changes that made them, read beside the writer.

use std::fmt::Display;
use std::ops::Bound;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::event_record;
use super::schema::{EVENTS, EVENTS_SINCE, META};
use crate::model::{Revision, Timestamp};
use crate::registry::{EventPosition, Trail};
use crate::store::history::{
    EventPage, EventQuery, Head, History, Keep, Look, Verdict, is_overdue, superfluous, trim_max,
};
use crate::store::record::RecordError;

/// A database that one writes and several read. Empty while it has to be opened anew, and at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Arc<Database>>>>);

impl Slot {
    pub(super) fn holding(database: Database) -> Self {
        Self(Arc::new(Mutex::new(Some(Arc::new(database)))))
    }

    pub(super) fn get(&self) -> Option<Arc<Database>> {
        self.0.lock().clone()
    }

    /// Puts a database there that was opened anew.
    pub(super) fn fill(&self, database: Arc<Database>) {
        *self.0.lock() = Some(database);
    }

    /// Takes it away. It closes when the last who reads it is done.
    pub(super) fn empty(&self) -> Weak<Database> {
        self.0.lock().take().map_or_else(Weak::new, |database| Arc::downgrade(&database))
    }
}

/// Writes what has happened, and lets the oldest events go.
pub(super) fn append(
    transaction: &WriteTransaction,
    trail: &Trail,
    keep: Keep,
    now: Timestamp,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(EVENTS)?;
    // A write that failed may have left them all the same, and what they tell has never happened.
    while table.last()?.is_some_and(|(key, _)| key.value().0 > trail.base().0) {
        table.pop_last()?;
    }
    let skipped = superfluous(keep, trail);
    // A cursor at the end fills pages; inserted one by one, each page would be split in half and stay so.
    let mut end = table.upper_bound_mut(Bound::<(u64, u32)>::Unbounded)?;
    trail.try_each(skipped, |event| {
        end.insert_before((event.at.revision.0, event.at.change), event_record::write_event(&event).as_slice())
    })?;
    end.close()?;
    let mut since = trail.time().filter(|_| skipped > 0);
    for _ in 0..trim_max(trail.changes() - skipped) {
        let Some((key, octets)) = table.first()? else { break };
        // One that cannot be read is kept from nobody by going.
        let time = event_record::read_event_head(octets.value()).map_or(now, |head| head.time);
        if !is_overdue(keep, usize::try_from(table.len()?).unwrap_or(usize::MAX), time, now) {
            break;
        }
        drop((key, octets));
        since = since.max(Some(time));
        table.pop_first()?;
    }
    if let Some(since) = since {
        transaction.open_table(META)?.insert(EVENTS_SINCE, since.as_millis())?;
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

/// Reads the journal in transactions of its own.
#[derive(Debug)]
pub struct Reader {
    slot: Slot,
    keep: Keep,
}

impl Reader {
    pub(super) fn new(slot: Slot, keep: Keep) -> Self {
        Self { slot, keep }
    }
}

impl History for Reader {
    fn read(&self, query: &EventQuery, now: Timestamp) -> Result<EventPage, String> {
        let database = self.slot.get().ok_or("the store is not open")?;
        read(&database, query, self.keep, now)
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

/// One look at the journal of a database.
pub(super) fn read(database: &Database, query: &EventQuery, keep: Keep, now: Timestamp) -> Result<EventPage, String> {
    let transaction = database.begin_read().map_err(said)?;
    let begins = transaction.open_table(META).map_err(said)?.get(EVENTS_SINCE).map_err(said)?;
    let begins = Timestamp::from_millis(begins.map_or(0, |since| since.value()));
    let table = transaction.open_table(EVENTS).map_err(said)?;
    let below = (query.below.revision.0, query.below.change);
    let mut look = Look::new(query, keep, now);
    let mut events = Vec::new();
    for entry in table.range(..below).map_err(said)?.rev() {
        let (key, octets) = entry.map_err(said)?;
        let (at, octets) = (position(key.value()), octets.value());
        let head = event_record::read_event_head(octets).map_err(|error| unreadable(at, error))?;
        match look.judge(Head { at, time: head.time, service: head.service, id: head.id }) {
            Verdict::Take => events.push(event_record::read_event(at, octets).map_err(|error| unreadable(at, error))?),
            Verdict::Pass => {}
            Verdict::End => break,
        }
    }
    Ok(look.page(events, begins))
}
