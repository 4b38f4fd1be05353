//! The task that probes: it follows the store, keeps time, and commits what turned.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::metrics::Metrics;
use super::outcome::{Failure, Outcome};
use super::probe::probe;
use super::schedule::{First, Schedule};
use super::slots::{Slots, Standing};
use super::table::{Key, Stage, Table, Transition};
use super::{Settings, TargetRefused, Targets};
use crate::model::{Health, Instance, InstanceId, ServiceName, Timestamp};
use crate::registry::{Actor, Change, Command, Observation, Registry};
use crate::store::{CommitError, Committed, Followed, Store};

/// Transitions that are committed at once. An engine that writes to disk gathers them into few writes.
const COMMITS_MAX: usize = 256;
/// Due probes that are started before results are looked at again, because results give room back.
const STARTS_AT_ONCE: usize = 256;

/// A probe that runs.
#[derive(Debug)]
struct Running {
    key: Key,
    address: IpAddr,
    standing: Standing,
}

/// A commit that ended.
#[derive(Debug)]
struct Ended {
    key: Key,
    health: Health,
    error: Option<Arc<str>>,
    result: Result<Committed, CommitError>,
}

/// Probes every instance in a store and tells the store whenever an opinion turns.
pub struct Checker {
    store: Arc<dyn Store>,
    targets: Arc<Targets>,
    metrics: Metrics,
    table: Table,
    schedule: Schedule<Key>,
    slots: Slots<Key>,
    probes: JoinSet<(Outcome, Duration)>,
    running: HashMap<Id, Running, foldhash::fast::RandomState>,
    commits: JoinSet<Ended>,
    /// Checks whose transition waits for room among the commits; each at most once.
    turned: VecDeque<Key>,
    /// Whether the last commit failed, so that an outage is logged once and not for each check.
    store_away: bool,
}

impl Checker {
    /// Starts probing until `shutdown` holds true or the store closes. Probes and commits that are then under way are
    /// given up; the opinions in the store stand until somebody probes again.
    ///
    /// Its metrics are registered in `metrics`; call it once for each registry.
    pub fn spawn(
        store: Arc<dyn Store>,
        targets: Arc<Targets>,
        settings: &Settings,
        metrics: &mut prometheus_client::registry::Registry,
        shutdown: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let checker = Self {
            store,
            targets,
            metrics: Metrics::new(metrics),
            table: Table::default(),
            schedule: Schedule::new(),
            slots: Slots::new(settings.concurrency_max, settings.concurrency_per_host_max),
            probes: JoinSet::new(),
            running: HashMap::default(),
            commits: JoinSet::new(),
            turned: VecDeque::new(),
            store_away: false,
        };
        tokio::spawn(checker.run(shutdown))
    }

    async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut watch = self.store.watch(None);
        // Kept from one turn to the next, because an engine need not bear it when its future is dropped halfway.
        let mut following = watch.next();
        loop {
            let due = self.schedule.next();
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                followed = &mut following => {
                    let Some(followed) = followed else { return };
                    self.follow(followed, Instant::now());
                    drop(following);
                    following = watch.next();
                }
                Some(ended) = self.probes.join_next_with_id() => self.probe_ended(ended),
                Some(ended) = self.commits.join_next() => match ended {
                    Ok(ended) => self.commit_ended(ended),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.start_due(Instant::now()),
            }
        }
    }

    fn follow(&mut self, followed: Followed, now: Instant) {
        match followed {
            Followed::Reset(registry) => self.start_over(&registry, now),
            // The batch that takes it away follows.
            Followed::Lapsed(_) => {}
            Followed::Batches(batches, _) => {
                for change in batches.iter().flat_map(|batch| &batch.changes) {
                    match change {
                        Change::Put { instance, .. } => self.put(instance, First::AtOnce, now),
                        Change::Gone { instance, .. } => self.remove(&instance.service, &instance.id),
                        Change::Configured { .. } | Change::Forgotten { .. } => {}
                    }
                }
            }
        }
        self.metrics.checks.set(i64::try_from(self.table.len()).unwrap_or(i64::MAX));
    }

    fn start_over(&mut self, registry: &Registry, now: Instant) {
        for (service, id) in self.table.without(|service, id| registry.instance(service, id.as_str()).is_some()) {
            self.remove(&service, &id);
        }
        for instance in registry.services_after(None).flat_map(|service| service.instances()) {
            self.put(instance, First::Spread, now);
        }
    }

    /// Takes an instance as it is now. `first` says when to probe a new one whose health is known.
    fn put(&mut self, instance: &Arc<Instance>, first: First, now: Instant) {
        if self.table.refresh(instance) {
            return;
        }
        self.remove(&instance.service, &instance.id);
        for key in self.table.insert(instance, &self.targets) {
            let Some(check) = self.table.get_mut(key) else { continue };
            let unknown = check.threshold.standing() == Health::Unknown;
            let first = if unknown { First::AtOnce } else { first };
            self.schedule.start(key, check.spec().interval.std(), first, rand::random(), now);
        }
    }

    fn remove(&mut self, service: &ServiceName, id: &InstanceId) {
        for key in self.table.remove(service, id) {
            self.schedule.stop(key);
        }
    }

    fn start_due(&mut self, now: Instant) {
        for _ in 0..STARTS_AT_ONCE {
            let Some(due) = self.schedule.pop_due(now) else { return };
            self.metrics.skipped.inc_by(due.missed);
            self.start(due.key);
        }
    }

    /// Starts a probe, or lets it wait, or skips it.
    fn start(&mut self, key: Key) {
        let check = self.table.get_mut(key).expect("what is scheduled has a check");
        // Asked anew each time, because addresses of this machine come and go.
        check.target = self.targets.resolve(&check.instance.registration, check.spec());
        let target = match check.target {
            Ok(target) => target,
            // That says nothing of the instance.
            Err(TargetRefused::Unknown(_)) => {
                self.metrics.skipped.inc();
                return;
            }
            Err(refused) => return self.observe(key, &Outcome::Failed(Failure::TargetRefused(refused))),
        };
        let passing = check.threshold.standing() == Health::Passing;
        let standing = if passing { Standing::Passing } else { Standing::Doubtful };
        if check.stage != Stage::Idle {
            self.metrics.skipped.inc();
        } else if self.slots.take(target.ip(), standing) {
            self.launch(key, target.ip(), standing);
        } else if !check.probed && self.slots.wait(target.ip(), key) {
            check.stage = Stage::Waiting;
        } else {
            self.metrics.skipped.inc();
        }
    }

    /// Runs a probe in the room that was taken for it at `address`; gives the room back when the check is gone.
    fn launch(&mut self, key: Key, address: IpAddr, standing: Standing) {
        let Some(check) = self.table.get_mut(key) else { return self.slots.give_back(address, standing) };
        let Ok(target) = check.target else {
            // It became a listener of our own while it waited.
            check.stage = Stage::Idle;
            return self.slots.give_back(address, standing);
        };
        check.stage = Stage::Running;
        let (specs, position) = check.shared_spec();
        let task = self.probes.spawn(async move {
            let started = Instant::now();
            let outcome = probe(target, &specs[position]).await;
            (outcome, started.elapsed())
        });
        self.running.insert(task.id(), Running { key, address, standing });
    }

    fn probe_ended(&mut self, ended: Result<(Id, (Outcome, Duration)), JoinError>) {
        let (id, (outcome, took)) = match ended {
            Ok(ended) => ended,
            // A peer that makes a probe panic must not end all others. It is logged by the panic itself.
            Err(panic) => (panic.id(), (Outcome::Abandoned, Duration::ZERO)),
        };
        let Running { key, address, standing } = self.running.remove(&id).expect("every probe that ends was running");
        self.slots.give_back(address, standing);
        if let Some(check) = self.table.get_mut(key) {
            check.stage = Stage::Idle;
            self.metrics.probed(&check.spec().kind, &outcome, took);
            self.observe(key, &outcome);
        }
        while let Some((address, key)) = self.slots.take_waiting() {
            self.launch(key, address, Standing::Doubtful);
        }
    }

    /// Lets a result count towards the opinion of a check.
    fn observe(&mut self, key: Key, outcome: &Outcome) {
        let Some(check) = self.table.get_mut(key) else { return };
        let (passed, error) = match outcome {
            Outcome::Passed => (true, None),
            Outcome::Failed(failure) => (false, Some(failure)),
            Outcome::Abandoned => return,
        };
        check.probed = true;
        check.transition = check.threshold.observe(passed).map(|health| Transition {
            health,
            error: error.map(Failure::reason),
            at: Timestamp::now(),
        });
        if check.transition.is_some() && !check.committing {
            check.committing = true;
            self.turned.push_back(key);
            self.commit_turned();
        }
    }

    fn commit_turned(&mut self) {
        while self.commits.len() < COMMITS_MAX
            && let Some(key) = self.turned.pop_front()
        {
            let Some(check) = self.table.get_mut(key) else { continue };
            let Some(Transition { health, error, at }) = check.transition.clone() else {
                // A result that came while it waited contradicts it.
                check.committing = false;
                continue;
            };
            let observation = Observation {
                service: check.instance.service.clone(),
                id: check.instance.id.clone(),
                epoch: check.instance.epoch,
                check: check.spec().name.clone(),
                health,
                error: error.clone(),
                at,
            };
            let store = self.store.clone();
            let actor = Actor::check(&observation.check);
            self.commits.spawn(async move {
                let result = store.commit_by(actor, Command::Observe(Box::new(observation))).await;
                Ended { key, health, error, result }
            });
        }
    }

    fn commit_ended(&mut self, Ended { key, health, error, result }: Ended) {
        if let Err(error) = &result
            && !self.store_away
        {
            tracing::warn!(%error, "no transition of health can be committed; each is tried again with its next probe");
        }
        self.store_away = result.is_err();
        if let Some(check) = self.table.get_mut(key) {
            check.committing = false;
            // What a later result asked for, it asked of an opinion that stood no longer.
            check.transition = None;
            if let Ok(committed) = result {
                check.settle(health, committed.revision);
                self.metrics.turned(health);
                tracing::debug!(
                    service.name = %check.instance.service,
                    instance.id = %check.instance.id,
                    check.name = %check.spec().name,
                    error = error.as_deref(),
                    "check is {health}",
                );
            }
        }
        self.commit_turned();
    }
}
