//! The journal's entries: what a change was from and to, why, and by whom.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use super::actor::Actor;
use super::change::{Batch, Cause, Change, guard_word};
use super::state::Registry;
use crate::model::{
    CheckDefaults, Guarded, Health, Instance, InstanceId, Place, Revision, ServiceName, ServiceSettings, State,
    Timestamp, WhenAllCritical,
};

/// Octets of the cause that an entry gives: what a probe says of its failure may be long.
const REASON_OCTETS_MAX: usize = 240;

/// Where an instance stood, or which settings a service had. In answers is exactly who is [`Self::Passing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not registered; without settings.
    Absent,
    /// Up, and no probe has ended yet.
    Unknown,
    /// Up and well: in answers.
    Passing,
    /// Up, and a check fails.
    Critical,
    /// Out of answers because it is about to stop, whatever its health.
    Draining,
    /// Out of answers because somebody works on it, whatever its health.
    Maintenance,
    /// Settings of a service in words, `ttl 10s`; or that it is `guarded`.
    Set(Box<str>),
}

impl Standing {
    /// Where an instance stands.
    pub fn of(instance: &Instance) -> Self {
        match (instance.state, instance.health()) {
            (State::Draining, _) => Self::Draining,
            (State::Maintenance, _) => Self::Maintenance,
            (State::Up, Health::Unknown) => Self::Unknown,
            (State::Up, Health::Passing) => Self::Passing,
            (State::Up, Health::Critical) => Self::Critical,
        }
    }

    /// Which settings hold.
    pub fn of_settings(settings: Option<&ServiceSettings>) -> Self {
        settings.map_or(Self::Absent, |settings| {
            let CheckDefaults { interval, fast_interval, timeout, rise, fall } = settings.check_defaults;
            let said = [
                settings.ttl.map(|ttl| format!("ttl {}", ttl.duration())),
                interval.map(|span| format!("check interval {span}")),
                fast_interval.map(|span| format!("check fast interval {span}")),
                timeout.map(|span| format!("check timeout {span}")),
                rise.map(|times| format!("check rise {times}")),
                fall.map(|times| format!("check fall {times}")),
                (settings.when_all_critical == WhenAllCritical::All).then(|| "all when all critical".to_owned()),
                settings.fallback.as_ref().map(|fallback| format!("fallback {fallback}")),
                settings.guard.map(|guard| if guard.rule().is_some() { "guard" } else { "no guard" }.to_owned()),
            ];
            let said: Vec<String> = said.into_iter().flatten().collect();
            Self::Set(if said.is_empty() { "nothing set".into() } else { said.join(", ").into() })
        })
    }

    /// Whether the last good set of a service is kept.
    fn of_guard(guarded: Option<&Arc<Guarded>>) -> Self {
        guarded.map_or(Self::Absent, |_| Self::Set("guarded".into()))
    }

    /// What a journal has kept; any other text stands for settings.
    pub fn kept(text: &str) -> Self {
        match text {
            "absent" => Self::Absent,
            "unknown" => Self::Unknown,
            "passing" => Self::Passing,
            "critical" => Self::Critical,
            "draining" => Self::Draining,
            "maintenance" => Self::Maintenance,
            settings => Self::Set(settings.into()),
        }
    }

    /// The word for it in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Absent => "absent",
            Self::Unknown => "unknown",
            Self::Passing => "passing",
            Self::Critical => "critical",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
            Self::Set(text) => text,
        }
    }
}

/// One change of one instance, or of a service as a whole: its settings, its guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The position in the history, and which of the changes there it was.
    pub at: EventPosition,
    /// When it was committed.
    pub time: Timestamp,
    /// The service.
    pub service: ServiceName,
    /// The instance; none when it is about the service as a whole.
    pub id: Option<InstanceId>,
    /// Before.
    pub from: Standing,
    /// After.
    pub to: Standing,
    /// The cause, with what is known of it after a colon: `superseded: by w2`.
    pub reason: Box<str>,
    /// Who did it.
    pub actor: Actor,
    /// Where it listens when it registers, where it did when it leaves.
    pub place: Option<Place>,
    /// Where it listened before it moved.
    pub moved_from: Option<Place>,
}

/// Where an event stands in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    /// The revision that it was part of.
    pub revision: Revision,
    /// How many changes of that revision came before it.
    pub change: u32,
}

impl EventPosition {
    /// Before every event of a revision.
    pub const fn before(revision: Revision) -> Self {
        Self { revision, change: 0 }
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, self.change)
    }
}

impl Event {
    /// The cause alone, in one word.
    pub fn kind(&self) -> &str {
        self.reason.split(':').next().unwrap_or_default()
    }
}

/// What one group of batches changed, with the registry before them. The events are made one at a time when they are
/// asked for: a million instances may leave at once.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    before: Registry,
    batches: Vec<Arc<Batch>>,
}

impl Trail {
    /// What batches made of a registry.
    pub fn new(before: Registry, batches: Vec<Arc<Batch>>) -> Self {
        Self { before, batches }
    }

    /// The position of the history before all of it.
    pub fn base(&self) -> Revision {
        self.before.revision()
    }

    /// When the last of it was committed.
    pub fn time(&self) -> Option<Timestamp> {
        self.batches.last().map(|batch| batch.at)
    }

    /// How many changes there are, at least as many as events.
    pub fn changes(&self) -> usize {
        self.batches.iter().map(|batch| batch.changes.len()).sum()
    }

    /// Hands out the events of all but the first `skipped` changes, in order.
    ///
    /// # Errors
    /// The first that `take` returns.
    pub fn try_each<E>(&self, skipped: usize, mut take: impl FnMut(Event) -> Result<(), E>) -> Result<(), E> {
        let mut so_far: HashMap<(&ServiceName, &InstanceId), Option<&Instance>, foldhash::fast::RandomState> =
            HashMap::default();
        let mut settings_so_far: HashMap<&ServiceName, Option<&ServiceSettings>, foldhash::fast::RandomState> =
            HashMap::default();
        let mut guards_so_far: HashMap<&ServiceName, Option<&Arc<Guarded>>, foldhash::fast::RandomState> =
            HashMap::default();
        let mut seen = 0;
        for batch in &self.batches {
            for (position, change) in batch.changes.iter().enumerate() {
                seen += 1;
                let event = match change {
                    Change::Put { instance, cause } => {
                        let key = (&instance.service, &instance.id);
                        let before = so_far.insert(key, Some(instance));
                        let before = before.unwrap_or_else(|| {
                            self.before.instance(&instance.service, instance.id.as_str()).map(AsRef::as_ref)
                        });
                        put(before, instance, *cause)
                    }
                    Change::Gone { instance, cause } => {
                        so_far.insert((&instance.service, &instance.id), None);
                        gone(instance, *cause, &batch.changes[position..])
                    }
                    Change::Configured { service, settings } => {
                        let before = settings_so_far.insert(service, settings.as_deref());
                        let before = before.unwrap_or_else(|| {
                            self.before.service(service).and_then(|service| service.settings()).map(AsRef::as_ref)
                        });
                        configured(before, settings.as_deref(), service)
                    }
                    Change::Guarded { service, guarded } => {
                        let before = guards_so_far.insert(service, guarded.as_ref());
                        let before = before
                            .unwrap_or_else(|| self.before.service(service).and_then(|service| service.guarded()));
                        kept_or_not(before, guarded.as_ref(), service)
                    }
                    // Names are remembered for DNS; who was there has left before.
                    Change::Forgotten { .. } => continue,
                };
                if seen > skipped {
                    let change = u32::try_from(position).unwrap_or(u32::MAX);
                    take(event.of(batch, EventPosition { revision: batch.revision, change }))?;
                }
            }
        }
        Ok(())
    }
}

/// An event but for what the batch says.
struct Draft {
    service: ServiceName,
    id: Option<InstanceId>,
    from: Standing,
    to: Standing,
    reason: String,
    cause: Option<Cause>,
    place: Option<Place>,
    moved_from: Option<Place>,
}

impl Draft {
    fn of(self, batch: &Batch, at: EventPosition) -> Event {
        let Self { service, id, from, to, mut reason, cause, place, moved_from } = self;
        if reason.len() > REASON_OCTETS_MAX {
            reason.truncate(reason.floor_char_boundary(REASON_OCTETS_MAX));
            reason.push('…');
        }
        let actor = match cause {
            Some(Cause::Expired) => Actor::lease(),
            _ => batch.actor.clone(),
        };
        Event { at, time: batch.at, service, id, from, to, reason: reason.into(), actor, place, moved_from }
    }
}

fn with_detail(cause: Cause, detail: &str) -> String {
    if detail.is_empty() { cause.as_str().to_owned() } else { format!("{}: {detail}", cause.as_str()) }
}

fn put(before: Option<&Instance>, after: &Arc<Instance>, cause: Cause) -> Draft {
    let (was, is) = (before.map(|before| before.registration.place()), after.registration.place());
    let moved_from = was.filter(|was| *was != is);
    let detail = match (cause, before) {
        (Cause::Health, Some(before)) => turned(before, after),
        (Cause::Amended, Some(before)) => amended(before, after),
        (Cause::Replaced, _) => moved_from.map_or_else(String::new, |was| format!("moved from {}", listed(&was))),
        (Cause::Lifted, Some(before)) => format!("{} is over", before.state),
        _ => String::new(),
    };
    Draft {
        service: after.service.clone(),
        id: Some(after.id.clone()),
        from: before.map_or(Standing::Absent, Standing::of),
        to: Standing::of(after),
        reason: with_detail(cause, &detail),
        cause: Some(cause),
        place: matches!(cause, Cause::Registered | Cause::Replaced).then_some(is),
        moved_from,
    }
}

/// An instance that leaves, and the changes of its batch from there on.
fn gone(instance: &Arc<Instance>, cause: Cause, rest: &[Change]) -> Draft {
    let detail = match cause {
        Cause::Expired | Cause::Revoked => instance.lease.map(|lease| format!("lease {}", lease.id)),
        Cause::Evicted => Some(format!("critical since {}", instance.health_since)),
        Cause::Superseded => rest.iter().find_map(|change| match change {
            Change::Put { instance: other, .. } if other.service == instance.service => {
                Some(format!("by {}", other.id))
            }
            _ => None,
        }),
        _ => None,
    };
    Draft {
        service: instance.service.clone(),
        id: Some(instance.id.clone()),
        from: Standing::of(instance),
        to: Standing::Absent,
        reason: with_detail(cause, &detail.unwrap_or_default()),
        cause: Some(cause),
        place: Some(instance.registration.place()),
        moved_from: None,
    }
}

fn configured(before: Option<&ServiceSettings>, after: Option<&ServiceSettings>, service: &ServiceName) -> Draft {
    Draft {
        service: service.clone(),
        id: None,
        from: Standing::of_settings(before),
        to: Standing::of_settings(after),
        reason: "configured".to_owned(),
        cause: None,
        place: None,
        moved_from: None,
    }
}

/// A guard that begins, changes or ends, and what this node has against itself.
fn kept_or_not(before: Option<&Arc<Guarded>>, after: Option<&Arc<Guarded>>, service: &ServiceName) -> Draft {
    let evidence = |guarded: &Arc<Guarded>| {
        let held: Vec<&str> = guarded.held.iter().map(|id| id.as_str()).collect();
        format!(": {}; keeps {}", guarded.evidence, held.join(", "))
    };
    Draft {
        service: service.clone(),
        id: None,
        from: Standing::of_guard(before),
        to: Standing::of_guard(after),
        reason: guard_word(after).to_owned() + &after.map(evidence).unwrap_or_default(),
        cause: None,
        place: None,
        moved_from: None,
    }
}

/// The check whose opinion turned, and what it found.
fn turned(before: &Instance, after: &Instance) -> String {
    let checks = after.registration.checks.iter().zip(before.checks.iter().zip(&after.checks));
    let turned = checks.filter(|(_, (before, after))| before.health != after.health).map(|(spec, (_, after))| {
        let error = after.last_error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
        format!("check {} is {}{error}", spec.name, after.health)
    });
    turned.collect::<Vec<_>>().join("; ")
}

/// What an operator changed.
fn amended(before: &Instance, after: &Instance) -> String {
    let mut said = Vec::new();
    if (before.state, before.state_until) != (after.state, after.state_until) {
        let until = after.state_until.map_or_else(String::new, |until| format!(" until {until}"));
        said.push(format!("{}{until}", after.state));
    }
    let (was, is) = (&before.registration, &after.registration);
    if was.weight != is.weight {
        said.push(format!("weight {}", is.weight));
    }
    if was.tags != is.tags {
        said.push("tags".to_owned());
    }
    if was.meta != is.meta {
        said.push("metadata".to_owned());
    }
    said.join(", ")
}

/// A place as people write it.
fn listed(place: &Place) -> String {
    let mut text = String::new();
    for (position, address) in place.addresses.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}", std::net::SocketAddr::new(address, place.port));
    }
    text
}
