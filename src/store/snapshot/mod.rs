//! All that a store keeps as lines of JSON: to keep elsewhere, to look at, and to put back into a store of any engine.
//!
//! ```text
//! {"format":1,"zone":"svc.internal","store":"e0123456789abcdef","revision":17,"time":"2026-01-01T00:00:00.000Z","ttl":"1m"}
//! {"lease":"61c9ab1de0e04a3d","form":1,"record":{"ttl":"15s"}}
//! {"service":"web","form":1,"record":{"settings":{"ttl":"10s"}}}
//! {"instance":"web/w1","form":1,"record":{"addresses":["10.0.0.7"],"port":80,…}}
//! {"end":{"services":1,"instances":1,"leases":1},"checksum":"…"}
//! ```
//!
//! `ttl` is how long answers last that nobody asks another lifetime for, where that is not 5 s.
//! Leases come first, by id; then services, in the order of names in a zone, each with its instances by id. A service
//! has a line of its own when more is known of it than instances. Records are those of the embedded store, in the same
//! forms. The checksum is SipHash-2-4 of 128 bits with a key of zeros over all lines before it: a file that was cut or
//! damaged is recognised. It is no signature.
//!
//! Neither side holds more than a line of text.

mod bounds;
mod read;
mod write;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::group::Whole;
use super::unknown::Unknown;
use crate::model::{Duration, Instance, LeaseId, Revision, ServiceName, Timestamp, Ttl};
use crate::registry::{Refusal, Registry, Remains, Trail};
pub use read::Reader;
pub use write::Lines;

/// The version of the form that is written, and the only one that is read.
const FORMAT: u64 = 1;

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
pub struct Counts {
    /// Services that have instances.
    pub services: usize,
    /// Instances.
    pub instances: usize,
    /// Leases.
    pub leases: usize,
}

/// All that a store keeps, at one position of its history.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) registry: Registry,
    /// By id.
    pub(super) leases: Vec<(LeaseId, Duration)>,
    pub(super) unknown: Arc<Unknown>,
}

impl Snapshot {
    /// The position.
    pub fn revision(&self) -> Revision {
        self.registry.revision()
    }

    /// About how many octets it holds that the store does not hold anyway.
    pub fn octets(&self) -> usize {
        self.leases.len() * size_of::<(LeaseId, Duration)>()
    }
}

/// A service as it is to be.
pub(super) type Kept = (ServiceName, Vec<Arc<Instance>>, Remains);

/// All that a store is to keep in place of what it does.
#[derive(Debug)]
pub struct Restorable {
    pub(super) revision: Revision,
    /// How long answers lasted, where it was taken, that nobody asked another lifetime for.
    pub(super) ttl: Ttl,
    pub(super) services: Vec<Kept>,
    pub(super) leases: Vec<(LeaseId, Duration)>,
    pub(super) unknown: Unknown,
    pub(super) counts: Counts,
}

/// A store's content was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The position from which on every reader sees the new one.
    pub revision: Revision,
    /// What there was.
    pub before: Counts,
    /// What there is.
    pub after: Counts,
}

/// How much is in a registry.
pub(super) fn counts(registry: &Registry, leases: usize) -> Counts {
    let services = registry.services_after(None).filter(|service| !service.instances().is_empty()).count();
    Counts { services, instances: registry.instances(), leases }
}

impl Restorable {
    /// What a store that shows `before` has from the next revision of both histories on.
    ///
    /// An instance that is not as it was has changed at that revision, and its health was formed under it: whoever asks
    /// for it unchanged, or comes with a late opinion of the one that was there, speaks of another.
    pub(super) fn onto(self, before: &Registry) -> Whole {
        let revision = before.revision().max(self.revision).next();
        let services = self.services.into_iter().map(|(name, mut instances, remains)| {
            for instance in &mut instances {
                match before.instance(&name, instance.id.as_str()) {
                    Some(known) if known == instance => *instance = known.clone(),
                    _ => {
                        let instance = Arc::make_mut(instance);
                        (instance.revision, instance.epoch) = (revision, revision);
                    }
                }
            }
            (name, instances, remains)
        });
        let registry = Registry::restored(revision, services).in_place_of(before, self.ttl, Timestamp::now());
        let trail = Trail::new(before.clone(), Vec::new());
        Whole { registry, leases: self.leases, unknown: Arc::new(self.unknown), trail }
    }
}

/// Why lines cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not what a snapshot has there; the rest of a sentence that begins with the line.
    Malformed(String),
    /// The registry may not hold it.
    Refused(Refusal),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::Malformed(reason) => write!(f, "line {}: {reason}", self.line),
            Fault::Refused(refusal) => write!(f, "line {}: {refusal}", self.line),
        }
    }
}

impl std::error::Error for SnapshotError {}
