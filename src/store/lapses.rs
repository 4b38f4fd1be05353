//! Instances whose lease has lapsed while the record of it is still to be kept. Followers hear of them at once: nothing
//! is lost if the record never comes, because the lease has a full term after a start anyway.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::Lapsed;
use super::ledger::Ledger;
use crate::model::LeaseId;
use crate::registry::{Batch, Change, Registry};

/// Told in the order in which leases lapse, which is that of their records.
#[derive(Debug)]
pub(super) struct Lapses {
    told: VecDeque<Lapsed>,
    /// How many were told before the first that is still here.
    before: u64,
    /// No lease that has lapsed up to here is still to be told of.
    until: Instant,
}

impl Lapses {
    pub(super) fn starting_at(now: Instant) -> Self {
        Self { told: VecDeque::new(), before: 0, until: now }
    }

    /// No lease that has lapsed up to here is still to be told of.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Takes in what has lapsed up to now; whether anything has.
    pub(super) fn gather(&mut self, ledger: &Ledger, now: Instant) -> bool {
        let told = self.told.len();
        self.told.extend(ledger.lapsed_after(self.until, now));
        self.until = self.until.max(now);
        self.told.len() > told
    }

    /// When the next one is to be told of.
    pub(super) fn next(&self, ledger: &Ledger) -> Option<Instant> {
        ledger.next_lapse_after(self.until)
    }

    /// Lets go of what is on record. What was put anew by a change from before it lapsed is told of again.
    pub(super) fn follow(&mut self, batches: &[Arc<Batch>], shown: &Registry) {
        let is_here = |lapsed: &Lapsed| {
            let instance = shown.instance(&lapsed.service, lapsed.id.as_str());
            instance.and_then(|instance| instance.lease).is_some_and(|lease| lease.id == lapsed.lease)
        };
        while self.told.front().is_some_and(|lapsed| !is_here(lapsed)) {
            self.told.pop_front();
            self.before += 1;
        }
        if self.told.is_empty() {
            return;
        }
        let put = batches.iter().flat_map(|batch| &batch.changes).filter_map(|change| match change {
            Change::Put { instance, .. } => instance.lease.map(|lease| lease.id),
            _ => None,
        });
        let put: HashSet<LeaseId> = put.collect();
        let again: Vec<Lapsed> = self.told.iter().filter(|lapsed| put.contains(&lapsed.lease)).cloned().collect();
        self.told.extend(again);
    }

    /// What was told after so many, and how many were told in all.
    pub(super) fn after(&self, seen: u64) -> (Vec<Lapsed>, u64) {
        let skip = usize::try_from(seen.saturating_sub(self.before)).unwrap_or(usize::MAX).min(self.told.len());
        (self.told.range(skip..).cloned().collect(), self.before + self.told.len() as u64)
    }

    /// Begins anew with other books: nothing is told of that is not in them.
    pub(super) fn reset(&mut self, now: Instant) {
        self.before += self.told.len() as u64;
        self.told.clear();
        self.until = now;
    }
}
