//! Bringing the registry's changes into the zone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::linger::{Serving, Until};
use super::name::wire_key;
use super::service::ServiceAnswers;
use super::{Settings, Zone};
use crate::model::{Revision, ServiceName, Transport};
use crate::registry::{End, Registry};

/// The one writer of a zone. Its readers hold the [`Zone`] itself.
#[derive(Debug)]
pub struct Publisher {
    zone: Arc<Zone>,
    /// The serial of revision 0.
    serial_base: u32,
    /// Whether records have changed since the serial moved.
    is_changed: bool,
    /// Until when caches hold what was answered with a longer lifetime than the zone has now, as far as that is known.
    default_end: Option<(End, Until)>,
}

impl Publisher {
    /// An empty zone that is not loaded yet.
    pub fn new(settings: Settings) -> Self {
        let serial_base = settings.serial;
        Self { zone: Arc::new(Zone::new(settings)), serial_base, is_changed: false, default_end: None }
    }

    /// Sets the serial of revision 0, before anything is published.
    pub fn start_serial(&mut self, base: u32) {
        self.serial_base = base;
    }

    /// The zone, for readers.
    pub fn zone(&self) -> Arc<Zone> {
        self.zone.clone()
    }

    /// Serves a service as a registry has it now, or its absence. [`Self::stamp`] moves the serial when all that belongs together
    /// is served.
    pub fn publish(&mut self, name: &ServiceName, registry: &Registry) {
        let service = registry.service(name);
        let serving = self.serving(registry);
        let key = wire_key(name.as_str());
        let node = self.zone.index.get(&key);
        let before = node.as_ref().and_then(|node| node.service.as_deref());
        let after = service
            .filter(|service| service.is_named())
            .map(|service| ServiceAnswers::new(service.clone()).following(before, &serving));
        let changed = match (before, &after) {
            (None, None) => return,
            (Some(before), Some(after)) => !after.same_records(before),
            _ => true,
        };
        for transport in Transport::ALL {
            let knows = |service: Option<&ServiceAnswers>| service.is_some_and(|s| s.knows(transport));
            if knows(before) != knows(after.as_ref()) {
                self.zone.browse.set(&key, transport, knows(after.as_ref()));
            }
        }
        self.zone.reverse.follow(before, after.as_ref());
        // The instances are replaced also when no record changed, so that explanations stay true.
        self.zone.index.replace(&key, before, after.map(Arc::new));
        if let Some(service) = service {
            self.zone.tell_shadowed(service);
        }
        self.is_changed |= changed;
    }

    fn serving(&mut self, registry: &Registry) -> Serving {
        let default_end = None;
        let serving = Serving {
            default: self.zone.settings.ttl,
            default_end,
            is_first: !self.zone.is_loaded(),
            now: Until::now(),
        };
        let known = |end: &End| self.default_end.filter(|(known, _)| known == end);
        let end = registry.lingering().unasking;
        self.default_end = end.map(|end| known(&end).unwrap_or_else(|| (end, serving.until(end))));
        Serving { default_end: self.default_end.map(|(_, until)| until), ..serving }
    }

    /// Moves the serial to that of a revision (RFC 1982), when records have changed since it last moved. Revisions grow,
    /// also across restarts, so serials do.
    pub fn stamp(&mut self, revision: Revision) {
        if std::mem::take(&mut self.is_changed) {
            self.zone.serial.store(self.serial_base.wrapping_add(revision.0 as u32), Ordering::Relaxed);
        }
    }

    /// Serves a whole registry: what is not in it goes. [`Self::absent_from`], [`Self::publish`] and [`Self::complete`]
    /// do the same in pieces, for who has something else to do in between.
    pub fn publish_all(&mut self, registry: &Registry) {
        for name in self.absent_from(registry) {
            self.publish(&name, registry);
        }
        for service in registry.services_after(None) {
            self.publish(service.name(), registry);
        }
        self.complete(registry.revision());
    }

    /// The services that are served and have no name in a registry.
    pub fn absent_from(&self, registry: &Registry) -> Vec<ServiceName> {
        let is_absent = |name: &ServiceName| !registry.service(name).is_some_and(|service| service.is_named());
        let served = self.zone.index.services();
        served.iter().map(|service| service.name()).filter(|name| is_absent(name)).cloned().collect()
    }

    /// All services of a registry at a revision are served.
    pub fn complete(&mut self, revision: Revision) {
        // Also when there is nothing: the serial of the last life may have been larger.
        self.is_changed = true;
        self.stamp(revision);
        self.zone.loaded.store(true, Ordering::Release);
    }
}
