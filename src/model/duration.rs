//! Durations as the API and the command line write them, and the lifetime of records.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use super::name::serde_as_text;

/// A span of time in whole milliseconds, written `250ms`, `5s`, `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration {
    milliseconds: u64,
}

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationError {
    /// It does not follow the form.
    Form,
    /// It is longer than can be counted in milliseconds.
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "not a duration: write whole numbers with a unit of ms, s, m or h, like 5s or 1m30s",
            Self::TooLong => "the duration is too long",
        })
    }
}

impl std::error::Error for DurationError {}

/// Milliseconds of each unit, largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self::from_millis(0);

    /// A duration of whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self { milliseconds }
    }

    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self { milliseconds: seconds * 1000 }
    }

    /// The duration in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.milliseconds
    }

    /// The duration in whole seconds, if it is a number of those.
    pub const fn whole_secs(self) -> Option<u64> {
        if self.milliseconds.is_multiple_of(1000) { Some(self.milliseconds / 1000) } else { None }
    }

    /// The same span as the standard library counts it.
    pub const fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.milliseconds)
    }
}

impl FromStr for Duration {
    type Err = DurationError;
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::Form)?;
            if digits == 0 {
                return Err(DurationError::Form);
            }
            let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
            let part = number.checked_mul(*factor).ok_or(DurationError::TooLong)?;
            total = total.checked_add(part).ok_or(DurationError::TooLong)?;
            rest = tail;
        }
        if text.is_empty() { Err(DurationError::Form) } else { Ok(Self { milliseconds: total }) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.milliseconds;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

/// How long a record may be cached, in whole seconds from 0 to 3,600 (RFC 2181 §8 allows more; a registry does not).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ttl(u16);

impl Ttl {
    /// The longest time to live: one hour.
    pub const MAX: Self = Self(3600);
    /// What answers have when nobody asks for another.
    pub const USUAL: Self = Self(5);

    /// A time to live from a duration.
    ///
    /// # Errors
    /// What the range is, when the duration is no whole number of seconds within it.
    pub fn new(duration: Duration) -> Result<Self, &'static str> {
        match duration.whole_secs().map(u16::try_from) {
            Some(Ok(seconds)) if seconds <= Self::MAX.0 => Ok(Self(seconds)),
            _ => Err("a ttl is whole seconds from 0s to 1h"),
        }
    }

    /// The shortest that spans a time, or the longest there is.
    pub fn spanning(span: StdDuration) -> Self {
        let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
        u16::try_from(seconds).map_or(Self::MAX, |seconds| Self(seconds).min(Self::MAX))
    }

    /// Half of it in whole seconds, at least one; nothing of nothing, which means not to be cached.
    #[must_use]
    pub const fn halved(self) -> Self {
        Self(if self.0 == 1 { 1 } else { self.0 / 2 })
    }

    /// The time to live in seconds.
    pub const fn secs(self) -> u32 {
        self.0 as u32
    }

    /// The time to live as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

serde_as_text!(Duration);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        for (text, milliseconds) in
            [("5s", 5000), ("1m30s", 90_000), ("250ms", 250), ("1h", 3_600_000), ("0s", 0), ("1s1s", 2000)]
        {
            assert_eq!(text.parse::<Duration>(), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in
            ["", "5", "s", "1.5s", "-1s", "5 s", "5S", "1d", "\u{663}s", "99999999999999999999s", "9999999999999999h"]
        {
            assert!(bad.parse::<Duration>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_are_written_back_in_their_largest_units() {
        for (text, written) in
            [("90s", "1m30s"), ("60m", "1h"), ("1500ms", "1s500ms"), ("0ms", "0s"), ("3661s", "1h1m1s")]
        {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn ttl_is_whole_seconds_up_to_an_hour() {
        assert_eq!(Ttl::new(Duration::from_secs(3600)).map(Ttl::secs), Ok(3600));
        let halved = [0, 1, 2, 5, 3600].map(|secs| Ttl::new(Duration::from_secs(secs)).unwrap().halved().secs());
        assert_eq!(halved, [0, 1, 1, 2, 1800]);
        assert!(Ttl::new(Duration::from_secs(3601)).is_err());
        assert!(Ttl::new(Duration::from_millis(1500)).is_err());
        assert!(Ttl::new(Duration::from_secs(u64::MAX / 1000)).is_err());
    }
}
