//! What the node that probes an instance knows of a check beyond its opinion.

use std::sync::Arc;

use super::{Label, Timestamp};

/// How a check has fared on the node that probes it, since that started or the instance last moved. It is of that node
/// alone: not part of the registry, and gone with a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The name of the check.
    pub check: Label,
    /// How often it has fallen from passing to critical again, of late: one is forgotten every five minutes.
    pub flaps: u8,
    /// Successes in a row that turn critical into passing: `rise`, and more for who flaps.
    pub rise_needed: u8,
    /// How often its opinion has turned.
    pub transitions: u32,
    /// How often clients have said that the instance fails.
    pub hints: u32,
    /// When its last probe ended, or its last report came.
    pub last_probe_at: Option<Timestamp>,
    /// Why the last of its probes or reports that failed did. The registry has the reason for which the opinion turned,
    /// and is not told of another.
    pub last_failure: Option<Arc<str>>,
    /// Microseconds within which half, and 99 of 100, of its last 32 probes ended.
    pub latency_us: Option<(u64, u64)>,
    /// When an interval without a report will have passed, of a check that waits for reports.
    pub report_by: Option<Timestamp>,
}
