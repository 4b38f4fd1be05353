//! The engine of one node: books in memory, and a journal that keeps what must not be lost.
//!
//! ```text
//! commit ─▶ queue ─▶ writer: decide and settle each ─▶ journal: one group, durable ─▶ log, followers, answers
//! ```
//!
//! Engines differ in their journal only. Nobody sees a change before it is kept: followers and snapshots show the
//! registry as it was last written, while the writer's books are a group ahead.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::books::Books;
use super::clock::LeaseClock;
use super::history::{EventPage, EventQuery, History, ReadError};
use super::journal::{Journal, Restored};
use super::lapses::Lapses;
use super::ledger::Ledger;
use super::log::Log;
use super::snapshot::{Replaced, Restorable, Snapshot};
use super::writer::{Order, Writer};
use super::{CommitError, Committed, Followed, Settings, Store, Watch};
use crate::model::{Lease, LeaseId, Revision, StoreId, Timestamp};
use crate::registry::{Actor, Command, Limits};

/// Commands that may wait for the writer. One more is refused at once.
const QUEUE_MAX: usize = 8192;
/// Leases that are looked at in one go.
const LEASES_AT_ONCE: usize = 1024;
/// Reads of the journal at once. One more is refused.
const READERS_MAX: usize = 4;

#[derive(Debug)]
struct Shared {
    /// Held for as long as one group takes to be decided, never across an await.
    books: Arc<Mutex<Books>>,
    id: StoreId,
    serial_base: u32,
    limits: Limits,
}

/// The engine of one node with a journal.
#[derive(Debug)]
pub struct Local<J: Journal> {
    shared: Shared,
    orders: mpsc::Sender<Order>,
    head: watch::Receiver<Revision>,
    history: Arc<J::History>,
    readers: Arc<Semaphore>,
}

impl<J: Journal> Local<J> {
    /// Begins to serve, in a task of the current runtime that ends after this value has gone.
    pub(super) fn start(restored: Restored, settings: Settings, journal: J) -> Self {
        let Restored { id, serial_base, registry, leases, unknown } = restored;
        let limits = settings.limits.clone();
        let revision = registry.revision();
        let is_new = revision == Revision::default() && leases.is_empty();
        let now = Instant::now();
        let mut clock = if is_new { LeaseClock::starting_at(now) } else { LeaseClock::held_at(now) };
        let ledger = Ledger::restored(settings, registry.clone(), leases, clock.now());
        let lapses = Lapses::starting_at(clock.now().instant);
        let books = Books { ledger, shown: registry, log: Log::starting_at(revision), lapses, clock };
        let books = Arc::new(Mutex::new(books));
        let (orders, queue) = mpsc::channel(QUEUE_MAX);
        let (head_sender, head) = watch::channel(revision);
        let history = Arc::new(journal.history());
        tokio::spawn(Writer::new(books.clone(), queue, head_sender, journal, unknown).run());
        let shared = Shared { books, id, serial_base, limits };
        Self { shared, orders, head, history, readers: Arc::new(Semaphore::new(READERS_MAX)) }
    }
}

fn closed() -> CommitError {
    CommitError::Unavailable("it is closing".to_owned())
}

#[async_trait]
impl<J: Journal> Store for Local<J> {
    fn engine(&self) -> &'static str {
        J::ENGINE
    }

    fn id(&self) -> StoreId {
        self.shared.id.clone()
    }

    fn serial_base(&self) -> u32 {
        self.shared.serial_base
    }

    async fn commit_by(&self, actor: Actor, command: Command) -> Result<Committed, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.orders.try_send(Order::Commit(command, actor, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => closed(),
            mpsc::error::TrySendError::Full(_) => {
                CommitError::Unavailable(format!("{QUEUE_MAX} changes are waiting to be written"))
            }
        })?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn events(&self, query: EventQuery) -> Result<EventPage, ReadError> {
        let permit = self.readers.clone().try_acquire_owned().map_err(|_| ReadError::Busy)?;
        let history = self.history.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let read = history.read(&query, Timestamp::now());
            // Not before: a caller that has gone leaves its read under way.
            drop(permit);
            read
        });
        let read = reading.await.unwrap_or_else(|_| Err("the journal contradicts itself".to_owned()));
        read.map_err(ReadError::Unavailable)
    }

    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, CommitError> {
        let mut books = self.shared.books.lock();
        let now = books.clock.now();
        Ok(leases.iter().map(|id| books.ledger.renew(*id, now)).collect())
    }

    fn leases(&self, ids: &[LeaseId]) -> Vec<Option<Lease>> {
        let mut leases = Vec::with_capacity(ids.len());
        // The writer is not kept waiting for a whole list.
        for ids in ids.chunks(LEASES_AT_ONCE) {
            let mut books = self.shared.books.lock();
            let now = books.clock.now();
            leases.extend(ids.iter().map(|id| books.ledger.lease(*id, now)));
        }
        leases
    }

    fn watch(&self, after: Option<Revision>) -> Box<dyn Watch> {
        Box::new(Follower { books: self.shared.books.clone(), head: self.head.clone(), position: after, lapsed: 0 })
    }

    fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    async fn snapshot(&self) -> Result<Snapshot, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Snapshot(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }

    async fn restore(&self, content: Restorable) -> Result<Replaced, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Restore(Box::new(content), answer)).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    fn serving(&self) {
        self.shared.books.lock().clock.let_go();
    }

    async fn close(&self) {
        if self.orders.send(Order::Close).await.is_ok() {
            let mut head = self.head.clone();
            while head.changed().await.is_ok() {}
        }
    }
}

struct Follower {
    books: Arc<Mutex<Books>>,
    head: watch::Receiver<Revision>,
    position: Option<Revision>,
    /// How many lapsed leases it has heard of.
    lapsed: u64,
}

impl Follower {
    /// What it has not seen yet.
    fn catch_up(&mut self) -> Option<Followed> {
        let books = self.books.lock();
        match self.position.and_then(|position| books.log.after(position)) {
            None => {
                let snapshot = books.shown.clone();
                self.position = Some(snapshot.revision());
                // What has lapsed and is still in the snapshot is told once more.
                self.lapsed = 0;
                Some(Followed::Reset(snapshot))
            }
            Some(batches) => match batches.last() {
                Some(last) => {
                    self.position = Some(last.revision);
                    Some(Followed::Batches(batches, books.shown.clone()))
                }
                None => {
                    let (lapsed, told) = books.lapses.after(self.lapsed);
                    self.lapsed = told;
                    (!lapsed.is_empty()).then_some(Followed::Lapsed(lapsed))
                }
            },
        }
    }
}

#[async_trait]
impl Watch for Follower {
    async fn next(&mut self) -> Option<Followed> {
        loop {
            self.head.borrow_and_update();
            if let Some(followed) = self.catch_up() {
                return Some(followed);
            }
            self.head.changed().await.ok()?;
        }
    }
}
