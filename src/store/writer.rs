//! The one task that changes the books of a node: it decides what is pending, has it kept, and then tells everyone.
//!
//! It writes whenever it is free and something is pending, so groups form while a write is under way and nobody waits
//! for a timer. The end of a lease is told at once, also while a write is under way; its record follows.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::books::Books;
use super::clock::TICK;
use super::group::{Dirty, Group, Whole};
use super::journal::{Fate, Journal};
use super::ledger::Ledger;
use super::log::Log;
use super::snapshot::{Replaced, Restorable, Snapshot, counts};
use super::unknown::Unknown;
use super::{CommitError, Committed};
use crate::guard;
use crate::model::Revision;
use crate::registry::{Actor, Batch, Command, Trail};

/// Commands of one group.
const GROUP_MAX: usize = 1024;
/// Batches of what is due that one group may hold, so that a slow disk keeps up with many ends of leases.
const DUE_BATCHES_MAX: usize = 8;
/// From a write that failed to the next try. Commands that come in between are refused at once.
const RETRY: Duration = Duration::from_secs(1);
/// A write that takes longer means that the disk stands still: leases wait with those who would register again.
const WRITE_MAX: Duration = Duration::from_secs(1);

pub(super) type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// A command, who asks for it, and who waits for what becomes of it.
type Asked = (Command, Actor, Answer);

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Order {
    Commit(Command, Actor, Answer),
    /// Say what is kept.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Put other content in place of all there is.
    Restore(Box<Restorable>, oneshot::Sender<Result<Replaced, CommitError>>),
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
    unknown: Arc<Unknown>,
    /// What the journal may have wrong, because a write failed.
    doubt: Dirty,
    /// Whether that may be all of it.
    doubts_all: bool,
    down: Option<Down>,
}

/// What to write.
enum Work {
    Group(Group),
    Whole(Whole),
}

/// A group between decision and answer.
struct Decided {
    batches: Vec<Arc<Batch>>,
    answers: Vec<(Answer, Result<Committed, CommitError>)>,
    work: Option<Work>,
}

impl<J: Journal> Writer<J> {
    pub(super) fn new(
        books: Arc<Mutex<Books>>,
        orders: mpsc::Receiver<Order>,
        head: watch::Sender<Revision>,
        journal: J,
        unknown: Unknown,
    ) -> Self {
        let (journal, unknown) = (Some(journal), Arc::new(unknown));
        Self { books, orders, head, journal, unknown, doubt: Dirty::default(), doubts_all: false, down: None }
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
            let (mut commands, mut snapshots, mut restores) = (Vec::new(), Vec::new(), Vec::new());
            for order in orders.drain(..) {
                match order {
                    Order::Commit(command, actor, answer) => commands.push((command, actor, answer)),
                    Order::Snapshot(answer) => snapshots.push(answer),
                    Order::Restore(content, answer) => restores.push((content, answer)),
                    Order::Close => {}
                }
            }
            self.turn(commands).await;
            for answer in snapshots {
                let _ = answer.send(self.snapshot());
            }
            for (content, answer) in restores {
                let restored = self.restore(*content).await;
                let _ = answer.send(restored);
            }
            if is_last {
                break;
            }
            // Those who were answered may have more to say: let them, before the next group is closed.
            tokio::task::yield_now().await;
        }
        if let Some(down) = &mut self.down {
            // What was refused may be kept all the same, and nobody would take it back later.
            down.retry_at = Instant::now();
            self.turn(Vec::new()).await;
        }
        // A journal may have files to close.
        let journal = self.journal.take();
        let _ = tokio::task::spawn_blocking(move || drop(journal)).await;
    }

    /// When there will be something to do though nobody asks.
    fn wake(&self) -> Instant {
        let tick = Instant::now() + TICK;
        let books = self.books.lock();
        let due = match &self.down {
            Some(down) => {
                let lapse = books.lapses.next(&books.ledger).and_then(|lapse| books.clock.due(lapse));
                Some(lapse.map_or(down.retry_at, |lapse| lapse.min(down.retry_at)))
            }
            None => books.ledger.next_due().and_then(|due| books.clock.due(due)),
        };
        due.map_or(tick, |due| due.min(tick))
    }

    async fn turn(&mut self, mut commands: Vec<Asked>) {
        self.tell_lapses();
        if self.down.is_some() {
            commands = self.renew(commands);
        }
        if let Some(refusal) = self.refusal() {
            for (.., answer) in commands {
                let _ = answer.send(Err(refusal.clone()));
            }
            return;
        }
        let mut decided = self.decide(commands);
        let kept = match decided.work.take() {
            Some(work) => self.keep(work).await,
            None => Ok(()),
        };
        match kept {
            Ok(()) => self.tell(decided),
            Err(reason) => self.take_back(decided, reason),
        }
    }

    /// Tells followers of leases that have lapsed since it last looked.
    fn tell_lapses(&self) {
        let mut books = self.books.lock();
        let now = books.clock.now();
        let Books { ledger, lapses, .. } = &mut *books;
        ledger.hold_back(lapses.until(), now, guard::Moment::now());
        if lapses.gather(ledger, now.instant) {
            // The same revision: there is no record yet.
            self.head.send_modify(|_| ());
        }
    }

    /// Why nothing can be written now.
    fn refusal(&self) -> Option<CommitError> {
        let down = self.down.as_ref().filter(|down| Instant::now() < down.retry_at)?;
        Some(CommitError::Unavailable(down.reason.clone()))
    }

    /// Carries out what changes nothing that would have to be written, and returns the others: whoever registers again to
    /// renew is not to lose its lease to a disk that refuses.
    fn renew(&mut self, commands: Vec<Asked>) -> Vec<Asked> {
        let mut books = self.books.lock();
        let now = books.clock.now();
        let mut others = Vec::new();
        for (command, actor, answer) in commands {
            match books.ledger.decide(&command, &actor, now) {
                Ok(decision) if decision.only_renews() => {
                    let _ = answer.send(Ok(books.ledger.settle(&decision, now)));
                }
                _ => others.push((command, actor, answer)),
            }
        }
        others
    }

    /// Decides what time and callers bring, each on top of those before.
    fn decide(&mut self, commands: Vec<Asked>) -> Decided {
        let mut books = self.books.lock();
        let now = books.clock.now();
        let Books { ledger, shown, lapses, .. } = &mut *books;
        ledger.hold_back(lapses.until(), now, guard::Moment::now());
        let mut batches = Vec::new();
        for _ in 0..DUE_BATCHES_MAX {
            let Some(decision) = ledger.decide_due(now) else { break };
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
        let trail = Trail::new(shown.clone(), batches.clone());
        let work = if self.doubts_all {
            let (registry, leases) = (ledger.registry().clone(), ledger.all_leases());
            Some(Work::Whole(Whole { registry, leases, unknown: self.unknown.clone(), trail }))
        } else if !batches.is_empty() || !self.doubt.is_empty() {
            Some(Work::Group(self.doubt.group(ledger, trail)))
        } else {
            None
        };
        Decided { batches, answers, work }
    }

    async fn keep(&mut self, work: Work) -> Result<(), String> {
        let mut journal = self.journal.take().expect("the journal is away only while it writes");
        let unknown = self.unknown.clone();
        let write = move || {
            let written = match &work {
                Work::Group(group) => journal.write(group, &unknown),
                Work::Whole(whole) => journal.replace(whole).map_err(|unwritten| unwritten.reason),
            };
            (journal, written)
        };
        if !J::KEEPS {
            let (journal, written) = write();
            self.journal = Some(journal);
            return written;
        }
        let writing = tokio::task::spawn_blocking(write);
        let (journal, written) = self.while_writing(writing).await;
        self.journal = Some(journal);
        written
    }

    /// Waits for a write, and tells meanwhile which leases lapse.
    async fn while_writing<T>(&mut self, mut writing: JoinHandle<T>) -> T {
        let patience = Instant::now() + WRITE_MAX;
        loop {
            let wake = {
                let books = self.books.lock();
                let lapse = books.lapses.next(&books.ledger).and_then(|lapse| books.clock.due(lapse));
                lapse.unwrap_or(patience).min(Instant::now() + TICK).min(patience)
            };
            tokio::select! {
                biased;
                written = &mut writing => return written.expect("a journal does not panic"),
                () = sleep_until(wake) => {}
            }
            if Instant::now() >= patience {
                self.books.lock().clock.hold();
                let written = writing.await;
                self.books.lock().clock.let_go();
                return written.expect("a journal does not panic");
            }
            self.tell_lapses();
        }
    }

    /// The group is kept: everyone may know.
    fn tell(&mut self, decided: Decided) {
        if self.down.take().is_some() {
            tracing::info!("changes can be written again");
        }
        (self.doubt, self.doubts_all) = (Dirty::default(), false);
        {
            let mut books = self.books.lock();
            let Books { ledger, shown, log, lapses, .. } = &mut *books;
            if !self.unknown.is_empty() {
                Arc::make_mut(&mut self.unknown).follow(&decided.batches, ledger);
            }
            ledger.keep();
            if let Some(last) = decided.batches.last() {
                *shown = ledger.registry().clone();
                lapses.follow(&decided.batches, shown);
                let revision = last.revision;
                for batch in decided.batches {
                    log.push(batch);
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
        for (answer, _) in decided.answers {
            let _ = answer.send(Err(CommitError::Unavailable(reason.clone())));
        }
        self.fail(reason);
    }

    fn fail(&mut self, reason: String) {
        if self.down.is_none() {
            tracing::error!(reason, "changes cannot be written; they are refused until they can");
        }
        self.down = Some(Down { reason, retry_at: Instant::now() + RETRY });
    }

    /// What is kept. Between two groups the books are what is shown.
    fn snapshot(&self) -> Snapshot {
        let books = self.books.lock();
        Snapshot { registry: books.shown.clone(), leases: books.ledger.all_leases(), unknown: self.unknown.clone() }
    }

    /// Puts other content in place of all there is. Leases stand still meanwhile, because nobody's end could be kept.
    async fn restore(&mut self, content: Restorable) -> Result<Replaced, CommitError> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let mut journal = self.journal.take().expect("the journal is away only while it writes");
        let (now, before, settings, shown) = {
            let mut books = self.books.lock();
            let now = books.clock.hold();
            (now, counts(&books.shown, books.ledger.leases()), books.ledger.settings().clone(), books.shown.clone())
        };
        let after = content.counts;
        let working = tokio::task::spawn_blocking(move || {
            let whole = content.onto(&shown);
            let made = journal.replace(&whole).map(|()| {
                let ledger = Ledger::restored(settings, whole.registry.clone(), whole.leases, now);
                (ledger, whole.registry, whole.unknown)
            });
            (journal, made)
        });
        let (journal, made) = working.await.expect("a journal does not panic");
        self.journal = Some(journal);
        let (ledger, registry, unknown) = match made {
            Ok(made) => made,
            Err(unwritten) => {
                self.books.lock().clock.let_go();
                self.doubts_all |= unwritten.fate == Fate::Unknown;
                self.fail(unwritten.reason.clone());
                return Err(CommitError::Unavailable(unwritten.reason));
            }
        };
        let revision = registry.revision();
        let old = {
            let mut books = self.books.lock();
            let old = (std::mem::replace(&mut books.ledger, ledger), std::mem::replace(&mut books.shown, registry));
            books.log = Log::starting_at(revision);
            books.lapses.reset(now.instant);
            books.clock.let_go();
            self.head.send_replace(revision);
            old
        };
        (self.unknown, self.doubt, self.doubts_all, self.down) = (unknown, Dirty::default(), false, None);
        // There may be much to let go of.
        tokio::task::spawn_blocking(move || drop(old));
        tracing::info!(
            store.revision = revision.0,
            instances.before = before.instances,
            instances.after = after.instances,
            "the registry was replaced by a snapshot"
        );
        Ok(Replaced { revision, before, after })
    }
}

#[cfg(test)]
mod tests;
