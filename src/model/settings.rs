//! What holds for a whole service, and outlives its instances.

use super::{CheckDefaults, Duration, InstanceId, ServiceName, Timestamp, Ttl};
use std::sync::Arc;

/// Settings of a service. What is `None` is as the server has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceSettings {
    /// Lifetime of its records in caches, for instances that ask for none of their own.
    pub ttl: Option<Ttl>,
    /// How its checks are made that do not say so themselves.
    pub check_defaults: CheckDefaults,
    /// Whether and when its last good set is kept against a failure that may be this node's own.
    pub guard: Option<GuardChoice>,
    /// What is answered when none of its instances is well.
    pub when_all_critical: WhenAllCritical,
    /// Whose instances are answered when it has none to answer with.
    pub fallback: Option<ServiceName>,
}

impl ServiceSettings {
    /// The rule of the guard; `None` when there is no guard.
    pub fn guard_rule(&self) -> Option<GuardRule> {
        self.guard.unwrap_or_default().rule()
    }
}

/// What is answered of a service when none of its instances is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenAllCritical {
    /// None of them.
    #[default]
    None,
    /// All that are `up` and critical.
    All,
}

impl WhenAllCritical {
    /// The word for it in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::All => "all",
        }
    }
}

/// Whether a service is guarded against mass failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardChoice {
    /// Who is silent leaves, whatever this node thinks of itself.
    Off,
    /// By this rule.
    On(GuardRule),
}

impl Default for GuardChoice {
    fn default() -> Self {
        Self::On(GuardRule::default())
    }
}

impl GuardChoice {
    /// The rule, when there is one.
    pub fn rule(self) -> Option<GuardRule> {
        match self {
            Self::Off => None,
            Self::On(rule) => Some(rule),
        }
    }
}

/// When the last good set of a service is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardRule {
    /// More than this share of the answered instances has to be about to leave by silence.
    pub ratio: Share,
    /// At least so many of them: 1 to 1,000.
    pub min: u16,
    /// Within this time: 1 s to 1 h. It is also how long a single one is held back while this node doubts itself.
    pub window: Duration,
    /// The set is kept for this time at most: 1 s to 24 h.
    pub max: Duration,
}

impl Default for GuardRule {
    /// More than half of at least three within 30 s, kept for 5 min at most.
    fn default() -> Self {
        Self { ratio: Share::HALF, min: 3, window: Duration::from_secs(30), max: Duration::from_secs(300) }
    }
}

/// Bounds of the numbers in a [`GuardRule`].
pub mod guard_bounds {
    use super::Duration;
    /// Fewest and most instances.
    pub const MIN: (u16, u16) = (1, 1000);
    /// Shortest and longest window.
    pub const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
    /// Shortest and longest time that a set is kept.
    pub const MAX: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
}

/// A part of a whole in thousandths, less than the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// One half.
    pub const HALF: Self = Self(500);

    /// A share from a fraction, taken to the nearest thousandth.
    ///
    /// # Errors
    /// What the range is.
    pub fn new(fraction: f64) -> Result<Self, &'static str> {
        if (0.0..=0.999).contains(&fraction) {
            Ok(Self((fraction * 1000.0).round() as u16))
        } else {
            Err("a ratio is a number from 0 to 0.999, such as 0.5")
        }
    }

    /// The share as a fraction.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// Whether a part is more than this share of a whole.
    pub fn is_exceeded_by(self, part: usize, whole: usize) -> bool {
        part as u128 * 1000 > u128::from(self.0) * whole as u128
    }
}

/// That the last good set of a service is kept, because this node doubts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest.
    pub until: Timestamp,
    /// What this node has against itself: one short line.
    pub evidence: Arc<str>,
    /// The instances that would have left, sorted.
    pub held: Box<[InstanceId]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_less_than_the_whole() {
        for (fraction, part, whole, exceeded) in
            [(0.5, 5, 10, false), (0.5, 6, 10, true), (0.0, 1, 1000, true), (0.0, 0, 3, false), (0.999, 3, 3, true)]
        {
            assert_eq!(
                Share::new(fraction).unwrap().is_exceeded_by(part, whole),
                exceeded,
                "{fraction} {part}/{whole}"
            );
        }
        for bad in [1.0, 0.9999, -0.1, f64::NAN, f64::INFINITY] {
            assert!(Share::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Share::new(0.3333).unwrap().fraction(), 0.333);
    }
}
