//! The recent history, for followers to catch up from.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Revision;
use crate::registry::Batch;

/// Batches kept. A follower that falls further behind starts over from a snapshot.
const BATCHES_KEPT: usize = 8192;
/// Changes kept in all batches, because one batch may hold a whole service.
const CHANGES_KEPT: usize = 65_536;
/// Octets kept in all batches, as [`Batch::octets`] estimates them.
const OCTETS_KEPT: usize = 32 << 20;

/// A bounded tail of the history.
#[derive(Debug)]
pub(super) struct Log {
    batches: VecDeque<Arc<Batch>>,
    changes: usize,
    octets: usize,
    /// The position before the first batch that is kept.
    base: Revision,
}

impl Log {
    pub(super) fn starting_at(base: Revision) -> Self {
        Self { batches: VecDeque::new(), changes: 0, octets: 0, base }
    }

    pub(super) fn push(&mut self, batch: Arc<Batch>) {
        self.changes += batch.changes.len();
        self.octets += batch.octets();
        self.batches.push_back(batch);
        let is_full = |log: &Self| log.changes > CHANGES_KEPT || log.octets > OCTETS_KEPT;
        while self.batches.len() > BATCHES_KEPT || (self.batches.len() > 1 && is_full(self)) {
            if let Some(oldest) = self.batches.pop_front() {
                self.changes -= oldest.changes.len();
                self.octets -= oldest.octets();
                self.base = oldest.revision;
            }
        }
    }

    /// All that came after a position; `None` when that is not known any more or not yet.
    pub(super) fn after(&self, position: Revision) -> Option<Vec<Arc<Batch>>> {
        let head = self.batches.back().map_or(self.base, |batch| batch.revision);
        if position < self.base || position > head {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.revision <= position);
        Some(self.batches.range(first..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Timestamp, Transport};
    use crate::registry::{Actor, Change};

    fn batch(revision: u64, changes: usize) -> Arc<Batch> {
        let change = Change::Forgotten { service: "web".parse().unwrap(), transport: Transport::Tcp };
        let at = Timestamp::from_millis(0);
        Arc::new(Batch { revision: Revision(revision), at, actor: Actor::server(), changes: vec![change; changes] })
    }

    #[test]
    fn history_is_bounded_in_batches_and_in_changes() {
        let mut log = Log::starting_at(Revision(0));
        for revision in 1..=10_000 {
            log.push(batch(revision, 1));
        }
        assert!(log.after(Revision(1)).is_none(), "dropped");
        assert_eq!(log.after(Revision(9_999)).unwrap().len(), 1);
        assert_eq!(log.after(Revision(10_000)).unwrap().len(), 0);
        assert!(log.after(Revision(10_001)).is_none(), "the future");
        log.push(batch(10_001, CHANGES_KEPT + 1));
        assert!(log.after(Revision(9_999)).is_none(), "one huge batch is kept alone");
        assert_eq!(log.after(Revision(10_000)).unwrap().len(), 1);
        // Half of the changes, and more than their share of octets.
        let wide = CHANGES_KEPT / 16;
        for revision in 10_002..10_010 {
            log.push(batch(revision, wide));
        }
        assert!(log.changes < CHANGES_KEPT && log.octets <= OCTETS_KEPT, "{} octets", log.octets);
        assert_eq!(log.octets, log.batches.iter().map(|batch| batch.octets()).sum::<usize>());
        assert!(log.after(Revision(10_001)).is_none() && log.after(Revision(10_008)).is_some());
    }
}
