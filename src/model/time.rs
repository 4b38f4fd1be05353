//! Points in time as people read them.

use std::fmt;
use std::time::{Duration as StdDuration, SystemTime, UNIX_EPOCH};

/// A wall-clock time in milliseconds since 1970, written as RFC 3339 UTC.
///
/// It is for people and for the journal. Deadlines are kept on the monotonic clock, which nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time on this machine's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(StdDuration::ZERO);
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// A time from milliseconds since 1970.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// From this time to a later one; nothing to an earlier one.
    pub const fn until(self, later: Self) -> StdDuration {
        StdDuration::from_millis(later.0.saturating_sub(self.0))
    }

    /// This time less `span`.
    pub fn before(self, span: StdDuration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This time and `span` more.
    pub fn after(self, span: StdDuration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last millisecond of the year 9999: what RFC 3339 can write.
        let milliseconds = self.0.min(253_402_300_799_999);
        let time = UNIX_EPOCH + StdDuration::from_millis(milliseconds);
        write!(f, "{}", humantime::format_rfc3339_millis(time))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_utc() {
        assert_eq!(Timestamp::from_millis(1_764_000_000_120).to_string(), "2025-11-24T16:00:00.120Z");
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
