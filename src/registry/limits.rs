//! How much a registry may hold, and which names it does not give away.

use std::fmt;
use std::sync::Arc;

/// Says what a name below the zone's apex is, if it is not the registry's to give away.
type NameOwner = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The names in the zone that nobody can register; they may differ from one moment to the next.
#[derive(Clone)]
pub struct Reserved(Arc<NameOwner>);

impl Reserved {
    /// Asks `owner` for what a name such as `gateway` or `i1.web` is already.
    pub fn by(owner: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(owner))
    }

    /// What a name is already.
    pub(super) fn owner(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl Default for Reserved {
    /// None.
    fn default() -> Self {
        Self::by(|_| None)
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reserved")
    }
}

/// What a registry may hold, and the names it does not own.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Instances of one service.
    pub instances_per_service: usize,
    /// Instances in all.
    pub instances: usize,
    /// Leases in all, with those nobody is on.
    pub leases: usize,
    /// Names remembered after their last instance has left.
    pub remembered_names: usize,
    /// Services with settings, which outlive instances.
    pub configured: usize,
    /// Octets of the zone's name in wire form, with the root label.
    pub zone_octets: usize,
    /// Names in the zone that no registration can make.
    pub reserved: Reserved,
}
