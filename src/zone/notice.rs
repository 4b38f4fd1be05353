//! What is said with answers that are not the ordinary ones of their service: made when the service changes, so that
//! no question makes a text.

use super::question::{Detail, ExtendedError, cut, time_of_day};
use crate::model::{Guarded, Health, Instance, State};
use crate::registry::Service;

/// INFO-CODEs (RFC 8914 §4).
const OTHER: u16 = 0;
const STALE_ANSWER: u16 = 3;

/// An extended error in the two forms that clients may see.
#[derive(Debug)]
pub(super) struct Notice {
    code: u16,
    counts: Box<str>,
    details: Box<str>,
}

impl Notice {
    fn new(code: u16, counts: String, details: String) -> Self {
        Self { code, counts: cut(counts).into(), details: cut(details).into() }
    }

    /// The last good set of a service is kept.
    pub(super) fn guarded(service: &Service, guarded: &Guarded) -> Self {
        let (name, since) = (service.name(), time_of_day(guarded.since));
        let counts = format!("{name}: kept as it was at {since}, because this server cannot tell who is well");
        let (held, registered) = (guarded.held.len(), service.instances().len());
        let details = format!("{name}: {held} of {registered} kept since {since}: {}", guarded.evidence);
        Self::new(STALE_ANSWER, counts, details)
    }

    /// All critical instances of a service are answered, for want of any that is well.
    pub(super) fn failing_open(service: &Service, answered: usize) -> Self {
        let (name, registered) = (service.name(), service.instances().len());
        let counts =
            format!("{name}: {registered} registered, 0 passing; answered with all {answered} that are critical");
        let error = service.instances().iter().filter(|i| is_open(i)).find_map(|i| Some((i, i.withheld()?)));
        let details = error.map_or(counts.clone(), |(i, withheld)| format!("{counts}; {}: {withheld}", i.id));
        Self::new(OTHER, counts, details)
    }

    /// Another service's instances are answered, for want of any of its own.
    pub(super) fn standing_in(service: &Service, other: &str) -> Self {
        let (name, registered) = (service.name(), service.instances().len());
        let counts = format!("{name}: {registered} registered, 0 passing; answered with its fallback {other}");
        Self::new(OTHER, counts.clone(), counts)
    }

    /// What a client may see of it.
    pub(super) fn error(&self, detail: Detail) -> ExtendedError {
        let text = if detail == Detail::Instances { &self.details } else { &self.counts };
        ExtendedError { code: self.code, text: text.to_string() }
    }
}

/// Whether an instance is answered when nobody is well and all that are critical are to be. One that no probe has looked
/// at yet has never worked.
pub(super) fn is_open(instance: &Instance) -> bool {
    instance.state == State::Up && instance.health() == Health::Critical
}
