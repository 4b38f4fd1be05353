//! Going back: who was registered at a time, from who is now and what has happened since.

use std::collections::BTreeMap;

use super::event::{Event, Standing};
use super::service::Service;
use crate::model::{InstanceId, Place};

/// Where an instance stood, and where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stood {
    /// Where it stood; in answers when it is [`Standing::Passing`].
    pub standing: Standing,
    /// Where it listened; unknown only when the journal has lost the part that says it.
    pub place: Option<Place>,
    /// Why it was not in answers, as far as it is known.
    pub because: Option<String>,
    /// Whether what is known of it comes from the present, so that the cause does too.
    from_now: bool,
}

/// The instances of a service, as they were before the events that were taken back.
#[derive(Debug, Clone, Default)]
pub struct Past(BTreeMap<InstanceId, Stood>);

impl Past {
    /// The present.
    pub fn present(service: Option<&Service>) -> Self {
        let instances = service.map_or(&[][..], |service| service.instances());
        let stands = instances.iter().map(|instance| {
            let stands = Stood {
                standing: Standing::of(instance),
                place: Some(instance.registration.place()),
                because: instance.withheld().map(|why| why.to_string()),
                from_now: true,
            };
            (instance.id.clone(), stands)
        });
        Self(stands.collect())
    }

    /// Takes an event back. They come in the opposite order of their happening.
    pub fn undo(&mut self, event: &Event) {
        let Some(id) = &event.id else { return };
        let after = self.0.remove(id);
        if event.from == Standing::Absent {
            return;
        }
        let place = event.moved_from.or(event.place).or(after.and_then(|after| after.place));
        let stood = Stood { standing: event.from.clone(), place, because: None, from_now: false };
        self.0.insert(id.clone(), stood);
    }

    /// Learns from an event that came before the time why an instance stood where it did.
    pub fn explain(&mut self, event: &Event) {
        let Some(stood) = event.id.as_ref().and_then(|id| self.0.get_mut(id)) else { return };
        if stood.because.is_none() && !stood.from_now && stood.standing != Standing::Passing {
            stood.because = Some(event.reason.to_string());
        }
    }

    /// Whether the cause is missing for somebody who was not in answers.
    pub fn wants_causes(&self) -> bool {
        self.0.values().any(|stood| stood.because.is_none() && stood.standing != Standing::Passing)
    }

    /// The instances, by id.
    pub fn instances(&self) -> impl Iterator<Item = (&InstanceId, &Stood)> {
        self.0.iter()
    }
}
