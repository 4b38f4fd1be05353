//! The one task that changes the books of a node: it decides what is pending, has it kept, and then tells everyone.
//!
//! It writes whenever it is free and something is pending, so groups form while a write is under way and nobody waits
//! for a timer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::books::Books;
use super::clock::TICK;
use super::group::{Dirty, Group};
use super::journal::Journal;
use super::{CommitError, Committed};
use crate::model::Revision;
use crate::registry::{Actor, Batch, Command, Trail};

/// Commands of one group.
const GROUP_MAX: usize = 1024;
/// From a write that failed to the next try. Commands that come in between are refused at once.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Order {
    Commit(Command, Actor, Answer),
    /// Finish what came before and end.
    Close,
}

/// The last write has failed.
#[derive(Debug)]
struct Down {
    reason: String,
    retry_at: Instant,
}

#[derive(Debug)]
pub(super) struct Writer<J> {
    books: Arc<Mutex<Books>>,
    orders: mpsc::Receiver<Order>,
    head: watch::Sender<Revision>,
    /// Away only while it writes.
    journal: Option<J>,
    /// What the journal may have wrong, because a write failed.
    doubt: Dirty,
    down: Option<Down>,
}

/// A group between decision and answer.
struct Decided {
    batches: Vec<Arc<Batch>>,
    answers: Vec<(Answer, Result<Committed, CommitError>)>,
    group: Option<Group>,
}

impl<J: Journal> Writer<J> {
    pub(super) fn new(
        books: Arc<Mutex<Books>>,
        orders: mpsc::Receiver<Order>,
        head: watch::Sender<Revision>,
        journal: J,
    ) -> Self {
        Self { books, orders, head, journal: Some(journal), doubt: Dirty::default(), down: None }
    }

    /// Serves until it is told to close, or until nobody is left who could tell it anything.
    pub(super) async fn run(mut self) {
        let mut orders = Vec::with_capacity(GROUP_MAX);
        loop {
            let wake = self.wake();
            let is_open = tokio::select! {
                biased;
                received = self.orders.recv_many(&mut orders, GROUP_MAX) => received > 0,
                () = sleep_until(wake) => true,
            };
            let is_last = !is_open || orders.iter().any(|order| matches!(order, Order::Close));
            if is_last {
                self.orders.close();
                while let Ok(order) = self.orders.try_recv() {
                    orders.push(order);
                }
            }
            let commands = orders.drain(..).filter_map(|order| match order {
                Order::Commit(command, actor, answer) => Some((command, actor, answer)),
                Order::Close => None,
            });
            self.turn(commands.collect()).await;
            if is_last {
                break;
            }
            // Those who were answered may have more to say: let them, before the next group is closed.
            tokio::task::yield_now().await;
        }
        // A journal may have files to close.
        let journal = self.journal.take();
        let _ = tokio::task::spawn_blocking(move || drop(journal)).await;
    }

    /// When there will be something to do though nobody asks.
    fn wake(&self) -> Instant {
        let tick = Instant::now() + TICK;
        match &self.down {
            Some(down) => down.retry_at.min(tick),
            None => {
                let books = self.books.lock();
                books.ledger.next_due().and_then(|due| books.clock.due(due)).map_or(tick, |due| due.min(tick))
            }
        }
    }

    async fn turn(&mut self, commands: Vec<(Command, Actor, Answer)>) {
        if let Some(down) = self.down.as_ref().filter(|down| Instant::now() < down.retry_at) {
            self.books.lock().clock.now();
            for (.., answer) in commands {
                let _ = answer.send(Err(CommitError::Unavailable(down.reason.clone())));
            }
            return;
        }
        let mut decided = self.decide(commands);
        let kept = match decided.group.take() {
            Some(group) => self.keep(group).await,
            None => Ok(()),
        };
        match kept {
            Ok(()) => self.tell(decided),
            Err(reason) => self.take_back(decided, reason),
        }
    }

    /// Decides what time and callers bring, each on top of those before.
    fn decide(&mut self, commands: Vec<(Command, Actor, Answer)>) -> Decided {
        let mut books = self.books.lock();
        let now = books.clock.now();
        let Books { ledger, shown, .. } = &mut *books;
        let mut batches = Vec::new();
        if let Some(decision) = ledger.decide_due(now) {
            ledger.settle(&decision, now);
            batches.extend(decision.batch);
        }
        let mut answers = Vec::with_capacity(commands.len());
        for (command, actor, answer) in commands {
            let committed = ledger.decide(&command, &actor, now).map(|decision| {
                let committed = ledger.settle(&decision, now);
                batches.extend(decision.batch);
                committed
            });
            answers.push((answer, committed.map_err(CommitError::Refused)));
        }
        if J::KEEPS {
            self.doubt.gather(&batches, ledger, shown);
        }
        let has_happened = !batches.is_empty() || !self.doubt.is_empty();
        let trail = || Trail::new(shown.clone(), batches.clone());
        let group = has_happened.then(|| self.doubt.group(ledger, trail()));
        Decided { batches, answers, group }
    }

    async fn keep(&mut self, group: Group) -> Result<(), String> {
        let mut journal = self.journal.take().expect("the journal is away only while it writes");
        if !J::KEEPS {
            let written = journal.write(&group);
            self.journal = Some(journal);
            return written;
        }
        let writing = tokio::task::spawn_blocking(move || {
            let written = journal.write(&group);
            (journal, written)
        });
        let (journal, written) = writing.await.expect("a journal does not panic");
        self.journal = Some(journal);
        written
    }

    /// The group is kept: everyone may know.
    fn tell(&mut self, decided: Decided) {
        if self.down.take().is_some() {
            tracing::info!("changes can be written again");
        }
        self.doubt = Dirty::default();
        {
            let mut books = self.books.lock();
            books.ledger.keep();
            if let Some(last) = decided.batches.last() {
                books.shown = books.ledger.registry().clone();
                let revision = last.revision;
                for batch in decided.batches {
                    books.log.push(batch);
                }
                self.head.send_replace(revision);
            }
        }
        for (answer, committed) in decided.answers {
            // Who has gone does not hear it.
            let _ = answer.send(committed);
        }
    }

    /// The group could not be kept: nothing of it has happened.
    fn take_back(&mut self, decided: Decided, reason: String) {
        {
            let mut books = self.books.lock();
            let shown = books.shown.clone();
            books.ledger.undo(shown);
        }
        if self.down.is_none() {
            tracing::error!(reason, "changes cannot be written; they are refused until they can");
        }
        for (answer, _) in decided.answers {
            let _ = answer.send(Err(CommitError::Unavailable(reason.clone())));
        }
        self.down = Some(Down { reason, retry_at: Instant::now() + RETRY });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::super::history::Keep;
    use super::super::journal::Restored;
    use super::super::local::Local;
    use super::super::ring::Ring;
    use super::super::{Settings, Store};
    use super::*;
    use crate::model::{Duration as Span, StoreId, Timestamp};
    use crate::registry::{Limits, Registry};

    const KEEP: Keep = Keep { age: Duration::from_secs(3600), events: 10 };

    /// Writes when it is let, and notes the size of each group.
    struct Slow {
        may_write: std::sync::mpsc::Receiver<()>,
        groups: Arc<Mutex<Vec<usize>>>,
    }

    impl Journal for Slow {
        const ENGINE: &'static str = "slow";
        const KEEPS: bool = true;
        type History = Ring;

        fn history(&self) -> Ring {
            Ring::new(KEEP, Timestamp::from_millis(0))
        }

        fn write(&mut self, group: &Group) -> Result<(), String> {
            self.groups.lock().push(group.leases.len());
            self.may_write.recv().map_err(|error| error.to_string())
        }
    }

    fn grant() -> Command {
        Command::Grant { ttl: Span::from_secs(600) }
    }

    #[tokio::test(start_paused = true)]
    async fn groups_form_while_a_write_is_under_way_and_the_queue_is_bounded() {
        let limits = Limits {
            instances_per_service: 10,
            instances: 10,
            leases: 100_000,
            remembered_names: 10,
            configured: 10,
            zone_octets: 14,
            reserved: Default::default(),
        };
        let restored =
            Restored { id: StoreId::new("test"), serial_base: 0, registry: Registry::default(), leases: Vec::new() };
        let (let_write, may_write) = std::sync::mpsc::channel();
        let groups: Arc<Mutex<Vec<usize>>> = Arc::default();
        let journal = Slow { may_write, groups: groups.clone() };
        let settings = Settings { limits, name_memory: Duration::ZERO, history: KEEP };
        let store = Arc::new(Local::start(restored, settings, journal));
        let first = tokio::spawn({
            let store = store.clone();
            async move { store.commit(grant()).await }
        });
        while groups.lock().is_empty() {
            tokio::task::yield_now().await;
        }

        let commits = join_all((0..10_000).map(|_| store.commit(grant())));
        let release = async {
            // Enough for all groups, once everyone has asked.
            tokio::task::yield_now().await;
            (0..100).for_each(|_| let_write.send(()).unwrap());
        };
        let (committed, ()) = tokio::join!(commits, release);

        assert!(first.await.unwrap().is_ok());
        let refused = committed.iter().filter(|committed| committed.is_err()).count();
        assert_eq!(refused, 10_000 - 8192, "more than the queue holds");
        let reason = committed.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(reason.contains("8192 changes are waiting"), "{reason}");
        assert_eq!(*groups.lock(), [vec![1], vec![GROUP_MAX; 8]].concat());
    }
}
