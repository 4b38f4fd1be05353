//! Leases: the right to stay listed.

use std::fmt;
use std::str::FromStr;

use super::{Duration, Timestamp, name::serde_as_text};

/// Names a lease: a positive 63-bit number (as etcd's are), written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(u64);

/// A text that names no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseIdError;

impl fmt::Display for LeaseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a lease id is the 16 hexadecimal digits that POST /v1/leases returned")
    }
}

impl std::error::Error for LeaseIdError {}

impl LeaseId {
    /// The id of a number; the sign bit is cleared and zero becomes one.
    pub const fn new(number: u64) -> Self {
        let number = number & (u64::MAX >> 1);
        Self(if number == 0 { 1 } else { number })
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for LeaseId {
    type Err = LeaseIdError;
    fn from_str(text: &str) -> Result<Self, LeaseIdError> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(number) if digits && Self::new(number).0 == number => Ok(Self(number)),
            _ => Err(LeaseIdError),
        }
    }
}

serde_as_text!(LeaseId);

/// A lease that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lives after a grant or a renewal: whole seconds, 2 s to 24 h.
    pub ttl: Duration,
    /// When it ends unless it is renewed.
    pub expires_at: Timestamp,
}

impl Lease {
    /// The shortest and the longest lease.
    pub const TTL_RANGE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(24 * 3600));

    /// Checks the length of a lease.
    ///
    /// # Errors
    /// What the range is.
    pub fn check_ttl(ttl: Duration) -> Result<Duration, &'static str> {
        let (min, max) = Self::TTL_RANGE;
        if ttl.whole_secs().is_some() && (min..=max).contains(&ttl) {
            Ok(ttl)
        } else {
            Err("a lease lasts whole seconds from 2s to 24h")
        }
    }
}

/// The lease that an instance is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceLease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lives after a renewal.
    pub ttl: Duration,
    /// Whether it was granted for this instance alone (`lease_ttl`), and so ends with it.
    pub own: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_ids_are_sixteen_hexadecimal_digits() {
        let id = LeaseId::new(u64::MAX);
        assert_eq!(id.to_string(), "7fffffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "0", "0000000000000000", "ffffffffffffffff", "7fffffffffffffff0", "+fffffffffffffff", "zz"] {
            assert_eq!(bad.parse::<LeaseId>(), Err(LeaseIdError), "{bad:?}");
        }
    }

    #[test]
    fn lease_lengths_are_bounded() {
        assert!(Lease::check_ttl(Duration::from_secs(2)).is_ok());
        assert!(Lease::check_ttl(Duration::from_secs(86_400)).is_ok());
        for bad in [0, 1000, 1999, 2500, 86_401_000] {
            assert!(Lease::check_ttl(Duration::from_millis(bad)).is_err(), "{bad}");
        }
    }
}
