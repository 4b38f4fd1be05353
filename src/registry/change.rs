//! What happened: the content of a store's history.

use std::sync::Arc;

use super::actor::Actor;
use crate::model::{Guarded, Instance, Revision, ServiceName, ServiceSettings, Timestamp, Transport};

/// All that one commit changed; one position in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The position that this batch leads to.
    pub revision: Revision,
    /// When it was committed.
    pub at: Timestamp,
    /// Who asked for it; the server itself for what the passing of time brings.
    pub actor: Actor,
    /// The changes, in the order they happened. Never empty.
    pub changes: Vec<Change>,
}

/// One thing that happened. It carries the whole new state, so that applying it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An instance is now this.
    Put {
        /// Its new state.
        instance: Arc<Instance>,
        /// Why.
        cause: Cause,
    },
    /// An instance is no longer there.
    Gone {
        /// Its last state.
        instance: Arc<Instance>,
        /// Why.
        cause: Cause,
    },
    /// The settings of a service are now these, or the server's own again.
    Configured {
        /// The service.
        service: ServiceName,
        /// What holds for it.
        settings: Option<Arc<ServiceSettings>>,
    },
    /// The last good set of a service is kept from now on, or in another way, or no longer. It is not kept by a store: after
    /// a start it is judged anew.
    Guarded {
        /// The service.
        service: ServiceName,
        /// How it is kept.
        guarded: Option<Arc<Guarded>>,
    },
    /// Nobody has used the name of a service with this transport for longer than names are remembered.
    Forgotten {
        /// The service.
        service: ServiceName,
        /// The transport whose RFC 2782 name is forgotten.
        transport: Transport,
    },
}

impl Batch {
    /// About how many octets it takes, in memory and written out once as a message.
    pub fn octets(&self) -> usize {
        self.changes.iter().map(Change::octets).sum()
    }
}

/// Octets of a change that carries nothing of its own, in memory and as a message.
const CHANGE_OCTETS: usize = 1_536;

impl Change {
    fn octets(&self) -> usize {
        let instance = match self {
            Self::Put { instance, .. } | Self::Gone { instance, .. } => instance,
            Self::Guarded { guarded, .. } => {
                return CHANGE_OCTETS + 128 * guarded.as_ref().map_or(0, |guarded| guarded.held.len());
            }
            Self::Configured { .. } | Self::Forgotten { .. } => return CHANGE_OCTETS,
        };
        let registration = &instance.registration;
        let meta: usize = registration.meta.iter().map(|(key, value)| key.len() + value.len() + 32).sum();
        let lists = 64 * (registration.tags.len() + registration.ports.len()) + 512 * registration.checks.len();
        CHANGE_OCTETS + 2 * meta + lists
    }

    /// The service it concerns.
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Put { instance, .. } | Self::Gone { instance, .. } => &instance.service,
            Self::Configured { service, .. } | Self::Guarded { service, .. } | Self::Forgotten { service, .. } => {
                service
            }
        }
    }
}

/// The word for a [`Change::Guarded`] in logs and in the API.
pub fn guard_word(guarded: Option<&Arc<Guarded>>) -> &'static str {
    if guarded.is_some() { "guarded" } else { "unguarded" }
}

/// Why something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It registered for the first time.
    Registered,
    /// It registered again with another body.
    Replaced,
    /// Its state, weight, tags or metadata were changed.
    Amended,
    /// The opinion of a check turned.
    Health,
    /// It left on purpose.
    Deregistered,
    /// Its lease lapsed.
    Expired,
    /// Its lease was revoked.
    Revoked,
    /// Another instance registered where it was.
    Superseded,
    /// It was critical for longer than it asked to be kept.
    Evicted,
    /// The time of its state was over, and it is up again.
    Lifted,
}

impl Cause {
    /// The word for it in logs and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Replaced => "replaced",
            Self::Amended => "amended",
            Self::Health => "health",
            Self::Deregistered => "deregistered",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::Evicted => "evicted",
            Self::Lifted => "lifted",
        }
    }
}
