//! How services stand, for the guard.

use crate::guard::Census;
use crate::model::{GuardRule, ServiceName};
use crate::registry::Registry;

/// How a service stands, for the guard.
pub fn census(registry: &Registry, service: &ServiceName) -> Census {
    let service = registry.service(service);
    let settings = service.and_then(|service| service.settings());
    Census {
        answered: service.map_or(0, |service| service.answered()),
        rule: settings.map_or_else(|| Some(GuardRule::default()), |settings| settings.guard_rule()),
        hosts: service.map_or(&[][..], |s| s.instances()).iter().map(|i| i.registration.addresses.first()).collect(),
    }
}
