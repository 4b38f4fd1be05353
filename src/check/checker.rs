//! The thread that probes: it keeps time, and says what turned.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clock::{Clock, TICK, Tick, ticks};
use super::guarding::Guarding;
use super::hold::Sequel;
use super::holdings::Holdings;
use super::metrics::{Metrics, Skip};
use super::outcome::{Failure, Outcome};
use super::post::{Key, Saying, Turn, Wish, Word};
use super::prober::Prober;
use super::rate::Rate;
use super::rhythm::Pace;
use super::slots::{Bounds, Full, Slots, Standing};
use super::table::{Running, Stage, Table};
use super::ttl::{LOOK, Stalls};
use super::wheel::Wheel;
use super::{Settings, TargetRefused, Targets};
use crate::guard::Verdict;
use crate::model::{CheckDefaults, Health, Instance, InstanceId, Revision, ServiceName, Timestamp};
use crate::registry::{Change, Registry};
use crate::store::Followed;

/// Due probes that are started before results are looked at again, because results give room back, and how long a
/// probe took is known the better.
const STARTS_AT_ONCE: usize = 32;
/// Words that are heard before results are looked at again.
const WORDS_AT_ONCE: usize = 64;

/// Where the thread hears words, and tells wishes.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) words: mpsc::Receiver<Word>,
    /// Has room for as many wishes as may be under way.
    pub(super) wishes: mpsc::Sender<Wish>,
}

/// When the first probe of a check is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// Now: somebody waits for it.
    AtOnce,
    /// Some time within an interval: many checks start together and none is in a hurry.
    Spread,
}

/// Probes every instance that it hears of, and says whenever an opinion turns.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) clock: Clock,
    targets: Arc<Targets>,
    guarding: Guarding,
    pub(super) metrics: Metrics,
    pub(super) table: Table,
    /// By places of the table: when a check that is idle is probed, a probe that runs is given up, or a report has to have
    /// come.
    pub(super) wheel: Wheel,
    pub(super) slots: Slots<Key>,
    /// Room for connections that are held.
    pub(super) holdings: Holdings,
    pub(super) prober: Prober,
    pub(super) lines: Lines,
    /// Wishes under way.
    pub(super) wished: usize,
    /// Checks whose transition waits for room among the wishes; each at most once.
    pub(super) turned: VecDeque<Key>,
    /// The position of the history up to which the store has told.
    pub(super) known: Revision,
    /// What was said and waits, bounded.
    pub(super) parked: VecDeque<Saying>,
    /// Whether something of that may have to wait no longer.
    pub(super) unparked: bool,
    /// Checks that wait for reports.
    pub(super) awaiting: usize,
    /// What was no silence of theirs.
    pub(super) stalls: Stalls,
    /// Whether the last commit failed, so that an outage is logged once and not for each check.
    pub(super) store_away: bool,
}

impl Checker {
    pub(super) fn new(
        prober: Prober,
        targets: Arc<Targets>,
        settings: &Settings,
        metrics: Metrics,
        lines: Lines,
    ) -> Self {
        let bounds = Bounds {
            room: (settings.concurrency_max, settings.concurrency_per_host_max),
            rate: (Rate::per_second(settings.rate_max), Rate::per_second(settings.rate_per_host_max)),
            // Hearsay never takes the room of what is due.
            extra: (Rate::per_second(settings.rate_max / 10), Rate::per_second(settings.rate_per_host_max / 10)),
        };
        Self {
            clock: Clock::new(Instant::now()),
            targets,
            guarding: settings.guarding.clone(),
            metrics,
            table: Table::default(),
            wheel: Wheel::new(),
            slots: Slots::new(bounds),
            holdings: Holdings::new(settings.held_max, settings.held_per_host_max),
            prober,
            lines,
            wished: 0,
            turned: VecDeque::new(),
            known: Revision::default(),
            parked: VecDeque::new(),
            unparked: false,
            awaiting: 0,
            stalls: Stalls::starting_at(0),
            store_away: false,
        }
    }

    /// Probes until nobody has anything to say to it any more.
    ///
    /// # Errors
    /// What the system says when it does not tell of sockets any more.
    pub(super) fn run(mut self) -> io::Result<()> {
        let (mut ended, mut more) = (Vec::new(), false);
        loop {
            let wait = if more { Some(Duration::ZERO) } else { self.idle_for(Instant::now()) };
            self.prober.wait(wait, &mut ended)?;
            let now = Instant::now();
            self.stalls.look(self.clock.tick(now));
            for (place, outcome) in ended.drain(..) {
                self.probe_ended(place, &outcome, now);
            }
            self.hear_of_held(now);
            let Some(unheard) = self.hear(now) else { return Ok(()) };
            if std::mem::take(&mut self.unparked) {
                self.take_parked(now);
            }
            let undone = [unheard, self.turn_wheel(now), self.start_waiting(now)];
            more = undone.contains(&true);
        }
    }

    /// How long nothing is to be done unless something happens.
    fn idle_for(&mut self, now: Instant) -> Option<Duration> {
        // Those that wait for a rate wait for time alone.
        let rated = self.slots.waits_for_time().then(|| self.clock.tick(now) + 1);
        let next = [self.wheel.next(), rated].into_iter().flatten().min()?;
        let idle = self.clock.at(next).saturating_duration_since(now);
        Some(if self.awaiting > 0 { idle.min(LOOK) } else { idle })
    }

    /// Takes what is said; whether there may be more, and none when nobody is there any more.
    fn hear(&mut self, now: Instant) -> Option<bool> {
        for _ in 0..WORDS_AT_ONCE {
            match self.lines.words.try_recv() {
                Ok(Word::Followed(followed)) => self.follow(followed, now),
                Ok(Word::Ended(ended)) => self.commit_ended(ended, now),
                Ok(Word::Said(saying)) => self.take_saying(saying, now),
                Ok(Word::Asked(names, reply)) => {
                    let stalled = self.stalls.total();
                    let reports = names.iter().map(|name| self.table.reports(name, self.clock, stalled, now)).collect();
                    // Whoever asked may have left.
                    let _ = reply.send(reports);
                }
                Err(mpsc::error::TryRecvError::Empty) => return Some(false),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            }
        }
        Some(true)
    }

    fn follow(&mut self, followed: Followed, now: Instant) {
        let now = self.clock.tick(now);
        match followed {
            Followed::Reset(registry) => {
                self.start_over(&registry, now);
                self.known = registry.revision();
            }
            // The batch that takes it away follows.
            Followed::Lapsed(_) => {}
            Followed::Batches(batches, registry) => {
                self.known = registry.revision();
                for change in batches.iter().flat_map(|batch| &batch.changes) {
                    match change {
                        Change::Put { instance, .. } => self.put(instance, First::AtOnce, now),
                        Change::Gone { instance, .. } => self.remove(&instance.service, &instance.id),
                        Change::Configured { service, settings } => {
                            let defaults = settings.as_ref().map(|settings| settings.check_defaults);
                            self.configure(service, defaults.unwrap_or_default(), now);
                        }
                        Change::Guarded { .. } | Change::Forgotten { .. } => {}
                    }
                }
            }
        }
        self.unparked = true;
        self.metrics.checks.set(i64::try_from(self.table.len()).unwrap_or(i64::MAX));
    }

    fn start_over(&mut self, registry: &Registry, now: Tick) {
        for (service, id) in self.table.without(|service, id| registry.instance(service, id.as_str()).is_some()) {
            self.remove(&service, &id);
        }
        let unknown = |name: &&ServiceName| registry.service(name).is_none();
        for service in self.table.configured().filter(unknown).cloned().collect::<Vec<_>>() {
            self.configure(&service, CheckDefaults::default(), now);
        }
        for service in registry.services_after(None) {
            let defaults = service.settings().map(|settings| settings.check_defaults);
            self.configure(service.name(), defaults.unwrap_or_default(), now);
            for instance in service.instances() {
                self.put(instance, First::Spread, now);
            }
        }
    }

    /// Takes an instance as it is now. `first` says when to probe a new one whose health is known.
    fn put(&mut self, instance: &Arc<Instance>, first: First, now: Tick) {
        if self.table.refresh(instance, now) {
            return;
        }
        self.remove(&instance.service, &instance.id);
        for key in self.table.insert(instance, &self.targets, rand::random, now) {
            self.begin_holding(key);
            let Some(check) = self.table.get_mut(key) else { continue };
            if !check.spec().kind.is_probed() {
                self.await_reports(key, now);
                continue;
            }
            let at_once = first == First::AtOnce || check.threshold.standing() == Health::Unknown;
            self.wheel.insert(key.place, if at_once { now } else { check.rhythm.first() });
        }
    }

    /// Takes what holds for checks of a service that do not say so themselves, from now on.
    fn configure(&mut self, service: &ServiceName, defaults: CheckDefaults, now: Tick) {
        for key in self.table.configure(service, defaults, rand::random, now) {
            let Some(check) = self.table.get_mut(key) else { continue };
            let is_awaited = check.probed_at.is_none() && check.threshold.standing() == Health::Unknown;
            match check.stage {
                Stage::Awaiting(_) => self.await_reports(key, now),
                // A first probe or a confirmation is due in its own time, and the new rounds follow.
                Stage::Idle if !is_awaited && check.pace == Pace::Ordinary => {
                    self.wheel.insert(key.place, check.rhythm.first());
                }
                Stage::Idle | Stage::Waiting | Stage::Running(_) => {}
            }
        }
    }

    fn remove(&mut self, service: &ServiceName, id: &InstanceId) {
        for (place, check) in self.table.remove(service, id) {
            self.wheel.remove(place);
            if let Some(holding) = check.holding {
                self.end_holding(*holding);
            }
            match check.stage {
                Stage::Running(Running { flight, address, standing, .. }) => {
                    self.prober.give_up(flight);
                    self.slots.give_back(address, standing);
                }
                Stage::Awaiting(_) => self.awaiting -= 1,
                Stage::Idle | Stage::Waiting => {}
            }
        }
    }

    /// Does what is due, some of it at once; whether there is more.
    fn turn_wheel(&mut self, now: Instant) -> bool {
        let tick = self.clock.tick(now);
        let mut latest = None;
        for _ in 0..STARTS_AT_ONCE {
            let Some((place, due)) = self.wheel.pop(tick) else { break };
            latest = latest.max(Some(tick - due.min(tick)));
            let Some((key, check)) = self.table.at_mut(place) else { continue };
            match check.stage {
                Stage::Running(running) => {
                    let outcome = self.prober.give_up(running.flight);
                    self.probe_ended(place, &outcome, now);
                }
                Stage::Idle => {
                    // A first probe is not of a round, but comes before them.
                    if check.probed_at.is_some() {
                        self.metrics.skipped(Skip::Late, check.rhythm.rounds(due, tick));
                    }
                    self.start(key, now);
                }
                Stage::Awaiting(_) => self.not_reported(key, tick),
                Stage::Waiting => {}
            }
        }
        if let Some(lag) = latest {
            self.metrics.lag.observe(TICK.as_secs_f64() * lag as f64);
        }
        self.wheel.next().is_some_and(|next| next <= tick)
    }

    /// Starts a probe, or lets it wait, or skips it.
    fn start(&mut self, key: Key, now: Instant) {
        let (tick, micros) = (self.clock.tick(now), self.clock.micros(now));
        let check = self.table.get_mut(key).expect("what is scheduled has a check");
        // Asked anew each time, because addresses of this machine come and go.
        check.target = self.targets.resolve(&check.instance.registration, check.spec());
        self.look_after_held(key, tick);
        let check = self.table.get_mut(key).expect("what is scheduled has a check");
        let target = match check.target {
            Ok(target) => target,
            Err(refused) => {
                self.wheel.insert(key.place, check.rhythm.next(Pace::Ordinary, tick, tick));
                return match refused {
                    // That says nothing of the instance.
                    TargetRefused::Unknown(_) => self.metrics.skipped(Skip::Target, 1),
                    refused => self.observe(key, &Outcome::Failed(Failure::TargetRefused(refused)), tick),
                };
            }
        };
        let passing = check.threshold.standing() == Health::Passing;
        let standing = if passing { Standing::Passing } else { Standing::Doubtful };
        let skip = match self.slots.take(target.ip(), standing, micros) {
            Ok(()) => return self.launch(key, standing, tick),
            Err(_) if check.probed_at.is_none() && self.slots.wait(target.ip(), key, micros) => {
                check.stage = Stage::Waiting;
                return;
            }
            Err(Full::Room) => Skip::Room,
            Err(Full::RoomOfHost) => Skip::RoomOfHost,
            Err(Full::Rate) => Skip::Rate,
            Err(Full::RateOfHost) => Skip::RateOfHost,
        };
        self.metrics.skipped(skip, 1);
        self.wheel.insert(key.place, check.rhythm.next(check.pace, tick, tick));
    }

    /// Runs a probe in the room that was taken for it.
    fn launch(&mut self, key: Key, standing: Standing, tick: Tick) {
        let check = self.table.get_mut(key).expect("room is taken for checks that are there");
        let Ok(target) = check.target else { unreachable!("room is taken for a target") };
        let began = Instant::now();
        match self.prober.begin(key.place, target, check.spec(), check.cadence.timeout, began) {
            Ok(flight) => {
                // After the tick that has begun already: nobody gets less time than was said.
                let deadline = self.clock.tick(began) + 1 + ticks(check.cadence.timeout.std());
                check.stage = Stage::Running(Running { flight, address: target.ip(), standing, began, at: tick });
                self.wheel.insert(key.place, deadline);
            }
            Err(outcome) => {
                self.slots.give_back(target.ip(), standing);
                self.probed(key, &outcome, began.elapsed(), tick, tick);
            }
        }
    }

    /// Starts first probes that have waited, as there is room for them, some at once; whether there may be more.
    fn start_waiting(&mut self, now: Instant) -> bool {
        let (tick, micros) = (self.clock.tick(now), self.clock.micros(now));
        for _ in 0..STARTS_AT_ONCE {
            let Some((address, key)) = self.slots.take_waiting(micros) else { return false };
            // Its instance may have gone, or its address become a listener of our own while it waited.
            let Some(check) = self.table.get_mut(key) else {
                self.slots.give_back(address, Standing::Doubtful);
                continue;
            };
            check.target = self.targets.resolve(&check.instance.registration, check.spec());
            if check.target.is_ok_and(|target| target.ip() == address) {
                self.launch(key, Standing::Doubtful, tick);
            } else {
                check.stage = Stage::Idle;
                self.wheel.insert(key.place, tick);
                self.slots.give_back(address, Standing::Doubtful);
            }
        }
        true
    }

    fn probe_ended(&mut self, place: u32, outcome: &Outcome, now: Instant) {
        let Some((key, check)) = self.table.at_mut(place) else { return };
        let Stage::Running(Running { address, standing, began, at, .. }) = check.stage else { return };
        self.slots.give_back(address, standing);
        self.probed(key, outcome, now.saturating_duration_since(began), at, self.clock.tick(now));
    }

    /// Takes the outcome of a probe that began in the turn of a tick, and has the next one follow.
    fn probed(&mut self, key: Key, outcome: &Outcome, took: Duration, began: Tick, now: Tick) {
        let Some(check) = self.table.get_mut(key) else { return };
        check.stage = Stage::Idle;
        self.metrics.probed(&check.spec().kind, outcome, took);
        if let Ok(target) = check.target {
            self.guarding.probed(target.ip(), outcome);
        }
        if *outcome != Outcome::Abandoned {
            check.latencies.add(took);
        }
        let sequel = self.weigh_held(key, outcome, now);
        if sequel != (Sequel::Alone { counts: false }) {
            self.observe(key, outcome, now);
        }
        let Some(check) = self.table.get_mut(key) else { return };
        if check.pace == Pace::Ordinary {
            self.metrics.skipped(Skip::Running, check.rhythm.rounds(began, now));
        }
        // Who waits for a word of the guard asks again soon; those it holds are many, and it holds them for longer.
        check.pace = if check.verdict == Verdict::Wait { Pace::Fast } else { check.threshold.pace(now) };
        let pace = if check.hinted.wants_another() && check.pace == Pace::Ordinary { Pace::Fast } else { check.pace };
        let next = match sequel {
            Sequel::None => check.rhythm.next(pace, began, now),
            Sequel::AtOnce => now,
            // Refusals are that far apart in full.
            Sequel::Soon => check.rhythm.next(Pace::Fast, began + 1, now),
            Sequel::Alone { .. } => check.rhythm.next(Pace::Fast, now, now),
        };
        self.wheel.insert(key.place, next);
    }

    /// Lets a result count towards the opinion of a check.
    pub(super) fn observe(&mut self, key: Key, outcome: &Outcome, now: Tick) {
        let Some(check) = self.table.get_mut(key) else { return };
        let (passed, error) = match outcome {
            Outcome::Passed => (true, None),
            Outcome::Failed(failure) => (false, Some(failure)),
            Outcome::Abandoned => return,
        };
        if !matches!(error, Some(Failure::Unreported(_))) {
            check.probed_at = Some(now);
        }
        let reason = error.map(Failure::reason);
        check.last_failure = reason.clone().or(check.last_failure.take());
        let turned = check.threshold.observe(passed, now);
        // The next result asks again: what does not stand is proposed with each that agrees.
        let is_silent = turned.is_some() && error.is_some_and(Failure::is_silence);
        let verdict =
            if is_silent { self.guarding.judge(&check.instance, check.confirmed_after()) } else { Verdict::Leave };
        if std::mem::replace(&mut check.verdict, verdict).stays() && !verdict.stays() {
            self.guarding.settled(&check.instance);
        }
        check.transition =
            turned.filter(|_| !verdict.stays()).map(|health| Turn { health, error: reason, at: Timestamp::now() });
        if check.transition.is_some() && !check.committing {
            check.committing = true;
            self.turned.push_back(key);
            self.commit_turned();
        }
    }
}
