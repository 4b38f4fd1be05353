//! How much a registry may hold.

use std::sync::Arc;

use crate::model::ServiceName;

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
    /// Names in the zone that no service can have.
    pub reserved: Arc<[ServiceName]>,
}
