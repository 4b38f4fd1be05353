//! The service types of each group, for DNS-SD browsing (RFC 6763 §9).

use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::OrdSet;

use super::name::parent_key;
use crate::model::Transport;

/// A service type: its group's key, its transport, its label.
type ServiceType = (Box<[u8]>, Transport, Box<str>);

/// Every service type of the zone, by group. A change costs O(log n); readers see one consistent set.
#[derive(Debug, Default)]
pub(super) struct Browse(ArcSwap<OrdSet<ServiceType>>);

impl Browse {
    /// The type that a service's key makes with a transport.
    fn service_type(key: &[u8], transport: Transport) -> ServiceType {
        let length = usize::from(key[0]);
        let label = std::str::from_utf8(&key[1..=length]).unwrap_or_default();
        (parent_key(key).into(), transport, label.into())
    }

    /// Adds or takes away the type of a service.
    pub(super) fn set(&self, key: &[u8], transport: Transport, exists: bool) {
        let mut types = OrdSet::clone(&self.0.load());
        let service_type = Self::service_type(key, transport);
        if exists {
            types.insert(service_type);
        } else {
            types.remove(&service_type);
        }
        self.0.store(Arc::new(types));
    }

    /// The types of a group.
    pub(super) fn types(&self, group: &[u8]) -> impl Iterator<Item = (Transport, Box<str>)> {
        let types = self.0.load_full();
        let mut after: Option<ServiceType> = None;
        let group: Box<[u8]> = group.into();
        std::iter::from_fn(move || {
            let next = match &after {
                None => types.range((group.clone(), Transport::Tcp, "".into())..).next(),
                Some(after) => {
                    types.range((std::ops::Bound::Excluded(after.clone()), std::ops::Bound::Unbounded)).next()
                }
            };
            let next = next.filter(|(of, _, _)| *of == group)?.clone();
            after = Some(next.clone());
            Some((next.1, next.2))
        })
    }

    /// Whether a group has any.
    pub(super) fn has_types(&self, group: &[u8]) -> bool {
        self.types(group).next().is_some()
    }
}
