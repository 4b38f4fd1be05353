//! "Did you mean": a registered name that one slip of the pen away from an absent one.
//!
//! No scan and no index of its own: the few hundred names that are one edit away are looked up. How often that happens
//! is bounded, because a client that asks for random names has made no slip.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Zone;
use super::name::WireName;

/// Searches a second.
const SEARCHES_PER_SECOND: u64 = 50;
/// Labels that are longer have too many neighbours to be worth it.
const LABEL_OCTETS_MAX: usize = 24;

/// How many searches there were in which second.
#[derive(Debug, Default)]
pub(super) struct Searches(AtomicU64);

impl Searches {
    /// Takes one of the searches of a second; `None` when they are used up.
    fn take(&self, second: u64) -> Option<()> {
        let taken = |before: u64| match (before >> 16 == second, before & 0xffff) {
            (true, count) if count >= SEARCHES_PER_SECOND => None,
            (true, _) => Some(before + 1),
            (false, _) => Some(second << 16 | 1),
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).map(drop).ok()
    }
}

/// Every label that is one deletion, transposition, substitution or insertion away.
fn neighbours(label: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    const OCTETS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-";
    let deletions = (0..label.len()).map(|at| [&label[..at], &label[at + 1..]].concat());
    let transpositions = (1..label.len()).map(|at| {
        let mut swapped = label.to_vec();
        swapped.swap(at - 1, at);
        swapped
    });
    let substitutions = (0..label.len()).flat_map(move |at| {
        OCTETS.iter().map(move |octet| {
            let mut changed = label.to_vec();
            changed[at] = *octet;
            changed
        })
    });
    let insertions = (0..=label.len())
        .flat_map(move |at| OCTETS.iter().map(move |octet| [&label[..at], &[*octet], &label[at..]].concat()));
    deletions.chain(transpositions).chain(substitutions).chain(insertions)
}

impl Zone {
    /// A service whose name is one slip away from an absent name, if searches are left in this second.
    pub(super) fn nearest_service(&self, name: &WireName, second: u64) -> Option<String> {
        let left = name.labels_below(&self.wire_origin).filter(|left| *left > 0)?;
        // `_wbe._tcp.group` asks for the service `wbe.group`.
        let underscored = left >= 2 && matches!(name.label(1), b"_tcp" | b"_udp");
        let (label, group) = if underscored {
            (name.label(0).strip_prefix(b"_")?, name.span(2, left))
        } else {
            (name.label(0), name.span(1, left))
        };
        if label.is_empty() || label.len() > LABEL_OCTETS_MAX {
            return None;
        }
        self.searches.take(second)?;
        neighbours(label).filter(|near| !near.is_empty()).find_map(|near| {
            let key = [&[near.len() as u8][..], &near, group].concat();
            let service = self.index.get(&key)?.service.clone()?;
            (!service.registered().is_empty()).then(|| service.name().to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_bounded_in_each_second() {
        let searches = Searches::default();
        assert_eq!((0..1000).filter_map(|_| searches.take(7)).count() as u64, SEARCHES_PER_SECOND);
        assert!(searches.take(8).is_some());
    }

    #[test]
    fn one_slip_away_means_one_edit() {
        let near: Vec<Vec<u8>> = neighbours(b"web").collect();
        for slip in ["wb", "wbe", "wep", "webb", "eb", "we-b"] {
            assert!(near.contains(&slip.as_bytes().to_vec()), "{slip}");
        }
        assert!(!near.contains(&b"api".to_vec()));
    }
}
