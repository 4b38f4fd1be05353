//! Moments as people write them.

use std::str::FromStr;

use crate::model::{Duration, Timestamp};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A moment in the past, before it is known what time it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// As RFC 3339 has it.
    Exact(Timestamp),
    /// The last time that a clock in UTC showed so many milliseconds since midnight.
    OfDay(u64),
    /// So long ago.
    Ago(Duration),
}

impl FromStr for Moment {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = |text: &str| text.parse().ok().map(Self::Ago);
        let exact = |text: &str| Timestamp::parse(text).map(Self::Exact);
        let moment = exact(text).or_else(|| of_day(text).map(Self::OfDay)).or_else(|| ago(text));
        moment.ok_or("14:03, 14:03:11 or 2026-11-24T14:03:00Z (all UTC), or how long ago: 10m, 1h30m")
    }
}

/// Milliseconds since midnight of a time of day.
fn of_day(text: &str) -> Option<u64> {
    let number = |text: &str, limit: u64| -> Option<u64> {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| is_number && *number < limit)
    };
    let mut parts = text.split(':');
    let hours = number(parts.next()?, 24)?;
    let minutes = number(parts.next()?, 60)?;
    let seconds = parts.next().map_or(Some(0), |text| number(text, 60))?;
    parts.next().is_none().then_some(((hours * 60 + minutes) * 60 + seconds) * 1000)
}

impl Moment {
    /// When that is.
    pub(super) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Exact(time) => time,
            Self::Ago(span) => now.before(span.std()),
            Self::OfDay(since_midnight) => {
                let today = now.as_millis() / DAY_MS * DAY_MS + since_midnight;
                let is_to_come = today > now.as_millis();
                Timestamp::from_millis(if is_to_come { today.saturating_sub(DAY_MS) } else { today })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_the_last_that_the_words_fit() {
        let now = Timestamp::parse("2026-11-24T14:03:30.500Z").unwrap();
        for (text, expected) in [
            ("14:03", "2026-11-24T14:03:00.000Z"),
            ("14:03:30", "2026-11-24T14:03:30.000Z"),
            ("14:03:31", "2026-11-23T14:03:31.000Z"),
            ("9:05", "2026-11-24T09:05:00.000Z"),
            ("23:59:59", "2026-11-23T23:59:59.000Z"),
            ("00:00", "2026-11-24T00:00:00.000Z"),
            ("10m", "2026-11-24T13:53:30.500Z"),
            ("1h30m", "2026-11-24T12:33:30.500Z"),
            ("2026-11-24T15:03:00+01:00", "2026-11-24T14:03:00.000Z"),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().at(now).to_string(), expected, "{text}");
        }
        for bad in
            ["", "14", "24:00", "14:60", "14:03:60", "14:03:00:00", "+1:00", "1:2:", "10", "noon", "-5m", "014:03"]
        {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }
}
