//! How long answers that were given stay in caches: what a drain has to wait for.
//!
//! The registry says which answers were longer than those of now, and keeps it across restarts; here is when that was
//! served, by the clock that nobody can set.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Instance, InstanceId, Place, State, Timestamp, Ttl};
use crate::registry::{End, Lingering, SERVED_WITHIN, Service, Whose};

/// A moment on both clocks: waiting goes by the first, people by the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Until {
    /// By the clock that nobody can set.
    pub instant: Instant,
    /// By the clock on the wall.
    pub wall: Timestamp,
}

impl Until {
    /// Now.
    pub fn now() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }

    fn later(self, span: Duration) -> Self {
        Self { instant: self.instant + span, wall: self.wall.after(span) }
    }

    fn after(self, ttl: Ttl) -> Self {
        self.later(ttl.duration().std())
    }

    /// An end that was decided in this life of the server, and is served from now on.
    fn served(self, end: End) -> Self {
        self.after(end.span)
    }

    /// An end of the life before, whose answers nobody gives from now on at the latest.
    fn restored(self, end: End) -> Self {
        self.later(self.wall.until(end.until.after(SERVED_WITHIN)).min(end.span.duration().std()))
    }
}

/// The lifetime of an instance's records while its service is not guarded: its own, the service's, or the server's.
pub(super) fn full_ttl(service: &Service, instance: &Instance, default: Ttl) -> Ttl {
    instance.registration.ttl.or(ttl_asked(service)).unwrap_or(default)
}

/// The lifetime that a service asks for.
pub(super) fn ttl_asked(service: &Service) -> Option<Ttl> {
    service.settings().and_then(|settings| settings.ttl)
}

/// What there is to know besides a service's own answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Serving {
    /// The lifetime of records that nobody asks another for.
    pub(super) default: Ttl,
    /// When those end that were given with a longer such lifetime.
    pub(super) default_end: Option<Until>,
    /// Whether what there is to serve is that of the life before.
    pub(super) is_first: bool,
    pub(super) now: Until,
}

impl Serving {
    pub(super) fn until(&self, end: End) -> Until {
        if self.is_first { self.now.restored(end) } else { self.now.served(end) }
    }
}

/// A draining instance, and when no cache holds it any more.
#[derive(Debug, Clone)]
struct Drained {
    id: InstanceId,
    place: Place,
    until: Until,
}

/// Instances of a service that caches hold for longer than the records of now say.
#[derive(Debug, Default)]
pub(super) struct Lingers {
    /// By id.
    drained: Box<[Drained]>,
    /// What the registry says of longer answers, and in the same order when they end.
    known: Option<(Arc<Lingering>, Box<[Until]>)>,
    /// Since when lifetimes are half of what they were.
    halved: Option<Until>,
}

impl Lingers {
    /// The end of what caches hold of a draining instance.
    pub(super) fn of_drained(&self, id: &str) -> Option<Until> {
        self.drained(id).map(|drained| drained.until)
    }

    fn drained(&self, id: &str) -> Option<&Drained> {
        let position = self.drained.binary_search_by(|drained| drained.id.as_str().cmp(id));
        position.ok().map(|position| &self.drained[position])
    }

    /// When an end passes: that which was served before, or one in its place that is served now, but no sooner.
    fn until(&self, (whose, end): &(Whose, End), serving: &Serving) -> Until {
        let known = self.known.as_ref().and_then(|(lingering, untils)| {
            let mut ends = lingering.ends().iter().zip(untils);
            ends.find(|((known, _), _)| known == whose)
        });
        match known {
            Some(((_, known), until)) if known == end => *until,
            Some((_, until)) => serving.until(*end).max(*until),
            None => serving.until(*end),
        }
    }

    /// What goes on, if anything does, from what was answered `before`, when a service is answered from now on.
    ///
    /// No answer holds an instance for longer than its own lifetime: that of a set is the smallest of its members.
    pub(super) fn following(
        before: Option<(&Service, Option<&Self>)>,
        service: &Service,
        serving: &Serving,
    ) -> Option<Box<Self>> {
        let nothing = Self::default();
        let (before, were) = before.unwrap_or((service, None));
        let were = were.unwrap_or(&nothing);
        let known = service.lingering().map(|lingering| {
            (lingering.clone(), lingering.ends().iter().map(|ends| were.until(ends, serving)).collect())
        });
        let halved = service.guarded().map(|_| were.halved.unwrap_or(serving.now));
        let mut lingers = Self { drained: Box::default(), known, halved };
        let drained = service.instances().iter().filter(|instance| instance.state == State::Draining);
        let drained = drained.map(|instance| {
            let place = instance.registration.place();
            let known = were.drained(instance.id.as_str());
            let until = match known.filter(|known| known.place == place) {
                Some(known) => known.until,
                None => lingers.withdrawn(instance, before, service, serving).max_of(known),
            };
            Drained { id: instance.id.clone(), place, until }
        });
        let drained = drained.collect();
        lingers.drained = drained;
        let is_empty = lingers.drained.is_empty() && lingers.known.is_none() && lingers.halved.is_none();
        (!is_empty).then(|| Box::new(lingers))
    }

    /// When the last cache lets go of an instance that was answered `before` and is not from now on.
    fn withdrawn(&self, instance: &Instance, before: &Service, after: &Service, serving: &Serving) -> Until {
        let was = before.instance(instance.id.as_str()).map_or(instance, |was| was);
        let full = full_ttl(before, was, serving.default);
        let last = match self.halved {
            Some(since) => serving.now.after(full.halved()).max(since.after(full)),
            None => serving.now.after(full),
        };
        let asks_none = instance.registration.ttl.is_none() && ttl_asked(after).is_none();
        let longer = self.known.iter().flat_map(|(lingering, untils)| {
            // One that was no longer when it was withdrawn is over before this one.
            let is_longer = |whose: &Whose, end: &End| end.span > full && whose.concerns(instance);
            let ends = lingering.ends().iter().zip(untils);
            ends.filter(move |((whose, end), _)| is_longer(whose, end)).map(|(_, until)| *until)
        });
        longer.chain(serving.default_end.filter(|_| asks_none)).fold(last, Until::max)
    }
}

impl Until {
    /// The later of this and what was known before.
    fn max_of(self, known: Option<&Drained>) -> Self {
        known.map_or(self, |known| self.max(known.until))
    }
}
