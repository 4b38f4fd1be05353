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

    /// A time that is written as RFC 3339 has it, in UTC or with an offset from it.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, offset) = split_offset(text)?;
        let time = humantime::parse_rfc3339(&format!("{}Z", local.to_ascii_uppercase())).ok()?;
        let milliseconds = u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
        milliseconds.checked_add_signed(-offset * 60_000).map(Self)
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

/// The part before the offset (RFC 3339 §5.6), and the minutes that its clock is ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, 0));
    }
    let split = text.len().checked_sub("+00:00".len())?;
    let (local, offset) = (text.get(..split)?, text.get(split..)?);
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok())?;
    let (hours, minutes) = offset[1..].split_once(':')?;
    let (hours, minutes) = (number(hours).filter(|hours| *hours < 24)?, number(minutes).filter(|m| *m < 60)?);
    Some((local, sign * (hours * 60 + minutes)))
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
        let written = Timestamp::from_millis(1_764_000_000_120);
        for text in [
            "2025-11-24T16:00:00.120Z",
            "2025-11-24t16:00:00.12z",
            "2025-11-24T17:30:00.12+01:30",
            "2025-11-24T08:00:00.120-08:00",
        ] {
            assert_eq!(Timestamp::parse(text), Some(written), "{text}");
        }
        for bad in [
            "",
            "Z",
            "14:03",
            "2025-11-24",
            "2025-11-24T16:00:00",
            "2025-11-24T16:00:00+1:00",
            "2025-11-24T16:00:00+24:00",
            "2025-11-24T16:00:00+01:é",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2025-13-24T16:00:00Z",
            "2025-11-24T16:00:00+-1:00",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
