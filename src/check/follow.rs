//! Between the store and the thread that probes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::checker::{Checker, Lines};
use super::kind::Kinds;
use super::metrics::Metrics;
use super::post::{Ended, Saying, Wish, Word};
use super::prober::Prober;
use super::{Settings, Targets};
use crate::model::{Heard, Hint, InstanceId, ProbeReport, SelfReport, ServiceName, Unheard};
use crate::registry::{Actor, Command};
use crate::store::Store;

/// Transitions that are committed at once. An engine that writes to disk gathers them into few writes.
const COMMITS_MAX: usize = 256;
/// Words that the thread has not heard yet; further ones of the store wait, and further questions have no answer.
const WORDS_MAX: usize = 1024;
/// How long the thread may take to say what it knows.
const ANSWERED_WITHIN: Duration = Duration::from_millis(250);

/// Hints that the thread has not heard yet; further ones are refused, so that they keep no report out.
const HINTS_MAX: usize = 128;

/// How long the thread may take to have what was said kept.
const KEPT_WITHIN: Duration = Duration::from_secs(10);

/// Asks the thread that probes what it knows, and tells it what others say.
#[derive(Clone)]
pub struct Reports {
    words: mpsc::WeakSender<Word>,
    waker: Arc<Waker>,
    hints: Arc<Semaphore>,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

impl Reports {
    /// What is known of the checks of instances, in their order: nothing of one that this node does not probe, and of
    /// none when it has too much to do to say.
    pub async fn of(&self, names: Vec<(ServiceName, InstanceId)>) -> Vec<Vec<ProbeReport>> {
        let count = names.len();
        let asked = async {
            let (reply, replied) = oneshot::channel();
            self.words.upgrade()?.try_send(Word::Asked(names, reply)).ok()?;
            self.waker.wake().ok()?;
            tokio::time::timeout(ANSWERED_WITHIN, replied).await.ok()?.ok()
        };
        asked.await.unwrap_or_else(|| vec![Vec::new(); count])
    }

    /// Tells what a service says of itself, and waits until what that led to is kept.
    ///
    /// # Errors
    /// Why it counts for nothing.
    pub async fn report(&self, report: SelfReport) -> Result<Heard, Unheard> {
        self.say(|reply| Saying::Report(report, reply)).await
    }

    /// Has an instance probed of which a client says that it fails; whether it is, because of this.
    ///
    /// # Errors
    /// Why it counts for nothing.
    pub async fn hint(&self, hint: Hint) -> Result<bool, Unheard> {
        let _place = self.hints.try_acquire().map_err(|_| Unheard::Busy)?;
        self.say(|reply| Saying::Hint(hint, reply)).await
    }

    async fn say<T>(&self, saying: impl FnOnce(oneshot::Sender<Result<T, Unheard>>) -> Saying) -> Result<T, Unheard> {
        let (reply, replied) = oneshot::channel();
        let words = self.words.upgrade().ok_or(Unheard::Unknown)?;
        words.try_send(Word::Said(saying(reply))).map_err(|_| Unheard::Busy)?;
        self.waker.wake().map_err(|_| Unheard::Busy)?;
        match tokio::time::timeout(KEPT_WITHIN, replied).await {
            // Whoever was to answer went with the instance.
            Ok(replied) => replied.unwrap_or(Err(Unheard::Unknown)),
            Err(_) => Err(Unheard::Busy),
        }
    }
}

/// Starts probing every instance in a store, on a thread of its own, until `shutdown` holds true or the store closes,
/// and tells the store whenever an opinion turns. Probes and commits that are then under way are given up; the opinions
/// in the store stand until somebody probes again.
///
/// Its metrics are registered in `metrics`; call it once for each registry.
///
/// # Errors
/// What the system says when it grants no thread, or nothing to wait for sockets with.
pub fn spawn(
    store: Arc<dyn Store>,
    targets: Arc<Targets>,
    settings: &Settings,
    metrics: &mut prometheus_client::registry::Registry,
    shutdown: watch::Receiver<bool>,
) -> io::Result<(JoinHandle<()>, Reports)> {
    let prober = Prober::new(Kinds::new(&settings.trust))?;
    let waker = prober.waker();
    let (words, heard) = mpsc::channel(WORDS_MAX);
    let (told, wishes) = mpsc::channel(COMMITS_MAX);
    let lines = Lines { words: heard, wishes: told };
    let checker = Checker::new(prober, targets, settings, Metrics::new(metrics), lines);
    let (running, over) = oneshot::channel::<()>();
    let probe = move || {
        // Dropped when the thread ends, whatever the reason.
        let _running = running;
        if let Err(error) = checker.run() {
            tracing::error!(%error, "sockets cannot be waited for");
        }
    };
    std::thread::Builder::new().name("checks".to_owned()).spawn(probe)?;
    let reports =
        Reports { words: words.downgrade(), waker: waker.clone(), hints: Arc::new(Semaphore::new(HINTS_MAX)) };
    let follower = Follower { store, words, waker, wishes, over };
    Ok((tokio::spawn(follower.run(shutdown)), reports))
}

/// What carries words to the thread and wishes to the store.
struct Follower {
    store: Arc<dyn Store>,
    words: mpsc::Sender<Word>,
    waker: Arc<Waker>,
    wishes: mpsc::Receiver<Wish>,
    over: oneshot::Receiver<()>,
}

impl Follower {
    async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut commits = JoinSet::new();
        let mut watch = self.store.watch(None);
        // Kept from one turn to the next, because an engine need not bear it when its future is dropped halfway.
        let mut following = watch.next();
        loop {
            let word = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => break,
                _ = &mut self.over => return,
                followed = &mut following => {
                    let Some(followed) = followed else { break };
                    drop(following);
                    following = watch.next();
                    Word::Followed(followed)
                }
                Some(wish) = self.wishes.recv() => {
                    commits.spawn(commit(self.store.clone(), wish));
                    continue;
                }
                Some(ended) = commits.join_next() => match ended {
                    Ok(ended) => Word::Ended(ended),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
            };
            if self.words.send(word).await.is_err() || self.waker.wake().is_err() {
                break;
            }
        }
        let Self { words, waker, over, .. } = self;
        drop(words);
        if waker.wake().is_ok() {
            let _ = over.await;
        }
    }
}

async fn commit(store: Arc<dyn Store>, Wish { key, observation }: Wish) -> Ended {
    let (health, error) = (observation.health, observation.error.clone());
    let actor = Actor::check(&observation.check);
    let result = store.commit_by(actor, Command::Observe(Box::new(observation))).await;
    Ended { key, health, error, result }
}
