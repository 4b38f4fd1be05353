//! Validated values: names, durations, times, and what an instance is made of.
//!
//! Nothing here knows IO, DNS messages or HTTP. A value that exists is valid: the only way to make one is a
//! constructor that says in its error what was wrong, so no later layer checks again.

mod cadence;
mod check;
mod duration;
mod instance;
mod lease;
mod name;
mod peer;
mod probe_report;
mod revision;
mod said;
mod settings;
mod time;

pub use cadence::{Cadence, CheckDefaults};
pub use check::{
    CheckKind, CheckSpec, HttpCheck, HttpMethod, HttpsCheck, RequestHeaders, RequestHeadersError, RequestPath,
    RequestPathError, StatusRanges, StatusRangesError, Unsaid, probe_bounds,
};
pub use duration::{Duration, DurationError, Ttl};
pub use instance::{
    Addresses, CheckState, Health, INSTANCE_LIMITS, Instance, InstanceLimits, Meta, MetaError, Place, Registration,
    State, Transport, Withheld,
};
pub use lease::{InstanceLease, Lease, LeaseId, LeaseIdError};
pub use name::{InstanceId, Label, NameError, ServiceName, ZoneName};
pub use peer::{HealthService, HealthServiceError, ServerName, ServerNameError};
pub use probe_report::{HoldReport, HoldState, ProbeReport};
pub use revision::{Revision, StoreId};
pub use said::{Heard, Hint, Remark, SelfReport, Unheard};
pub use settings::{GuardChoice, GuardRule, Guarded, ServiceSettings, Share, WhenAllCritical, guard_bounds};
pub use time::Timestamp;
