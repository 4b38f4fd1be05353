//! What holds for a whole service, and outlives its instances.

use super::Ttl;

/// Settings of a service. What is `None` is as the server has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceSettings {
    /// Lifetime of its records in caches, for instances that ask for none of their own.
    pub ttl: Option<Ttl>,
}
