//! The engine that keeps nothing: for tests and throw-away registries.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use super::leases::Moment;
use super::ledger::{Decision, Ledger};
use super::log::Log;
use super::{CommitError, Committed, Followed, Settings, Store, Watch};
use crate::model::{Lease, LeaseId, Revision, StoreId};
use crate::registry::Command;

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    log: Log,
}

#[derive(Debug)]
struct Shared {
    id: StoreId,
    /// Held for as long as one command takes, never across an await.
    books: Mutex<Books>,
    head: watch::Sender<Revision>,
    /// Wakes the housekeeper when a deadline was set that is nearer than the one it sleeps for.
    nearer: Notify,
}

impl Shared {
    fn settle(&self, books: &mut Books, decision: &Decision, now: Moment) -> Committed {
        let due = books.ledger.next_due();
        let committed = books.ledger.settle(decision, now);
        if let Some(batch) = &decision.batch {
            books.log.push(batch.clone());
            self.head.send_replace(batch.revision);
        }
        if books.ledger.next_due().is_some_and(|next| due.is_none_or(|due| next < due)) {
            self.nearer.notify_one();
        }
        committed
    }
}

/// Keeps the registry in memory. It ends with the process.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
    housekeeper: tokio::task::JoinHandle<()>,
}

impl Memory {
    /// An empty store; it expires leases in a task of the current runtime until it is dropped.
    pub fn new(settings: Settings) -> Self {
        let revision = Revision::default();
        let shared = Arc::new(Shared {
            id: StoreId::new(&format!("m{:016x}", rand::random::<u64>())),
            books: Mutex::new(Books { ledger: Ledger::new(settings, revision), log: Log::starting_at(revision) }),
            head: watch::Sender::new(revision),
            nearer: Notify::new(),
        });
        let housekeeper = tokio::spawn(keep_house(shared.clone()));
        Self { shared, housekeeper }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.housekeeper.abort();
    }
}

/// Ends leases and forgets names when their time has come.
async fn keep_house(shared: Arc<Shared>) {
    loop {
        let next = {
            let now = Moment::now();
            let mut books = shared.books.lock();
            if let Some(decision) = books.ledger.decide_due(now) {
                shared.settle(&mut books, &decision, now);
            }
            books.ledger.next_due()
        };
        match next {
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = shared.nearer.notified() => {}
            },
            None => shared.nearer.notified().await,
        }
    }
}

#[async_trait]
impl Store for Memory {
    fn engine(&self) -> &'static str {
        "memory"
    }

    fn id(&self) -> StoreId {
        self.shared.id.clone()
    }

    async fn commit(&self, command: Command) -> Result<Committed, CommitError> {
        let now = Moment::now();
        let mut books = self.shared.books.lock();
        let decision = books.ledger.decide(&command, now)?;
        Ok(self.shared.settle(&mut books, &decision, now))
    }

    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<Option<Lease>>, CommitError> {
        let now = Moment::now();
        let mut books = self.shared.books.lock();
        Ok(leases.iter().map(|id| books.ledger.renew(*id, now)).collect())
    }

    fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.shared.books.lock().ledger.lease(id, Moment::now())
    }

    fn watch(&self, after: Option<Revision>) -> Box<dyn Watch> {
        Box::new(Follower { shared: self.shared.clone(), head: self.shared.head.subscribe(), position: after })
    }
}

struct Follower {
    shared: Arc<Shared>,
    head: watch::Receiver<Revision>,
    position: Option<Revision>,
}

#[async_trait]
impl Watch for Follower {
    async fn next(&mut self) -> Option<Followed> {
        loop {
            self.head.borrow_and_update();
            {
                let books = self.shared.books.lock();
                match self.position.and_then(|position| books.log.after(position)) {
                    None => {
                        let snapshot = books.ledger.registry().clone();
                        self.position = Some(snapshot.revision());
                        return Some(Followed::Reset(snapshot));
                    }
                    Some(batches) => {
                        if let Some(last) = batches.last() {
                            self.position = Some(last.revision);
                            return Some(Followed::Batches(batches));
                        }
                    }
                }
            }
            self.head.changed().await.ok()?;
        }
    }
}
