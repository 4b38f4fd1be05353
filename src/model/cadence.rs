//! How often a check is made and how many results turn it: as its registration says, else as its service's settings do,
//! else as the server has it.

use super::{CheckSpec, Duration, probe_bounds};

/// How often a check is made, how long that may take, and how many results in a row turn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// As [`CheckSpec::interval`].
    pub interval: Duration,
    /// As [`CheckSpec::fast_interval`].
    pub fast_interval: Duration,
    /// As [`CheckSpec::timeout`].
    pub timeout: Duration,
    /// As [`CheckSpec::rise`].
    pub rise: u8,
    /// As [`CheckSpec::fall`].
    pub fall: u8,
}

impl Cadence {
    /// What the server has for a check that is probed, or waits for reports: whoever says itself that it fails is believed
    /// at once.
    pub const fn usual(is_probed: bool) -> Self {
        Self {
            interval: Duration::from_secs(5),
            fast_interval: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: if is_probed { 3 } else { 1 },
        }
    }
}

/// What holds for all checks of a service that do not say so themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckDefaults {
    /// As [`CheckSpec::interval`].
    pub interval: Option<Duration>,
    /// As [`CheckSpec::fast_interval`]; a tenth of the interval when there is none.
    pub fast_interval: Option<Duration>,
    /// As [`CheckSpec::timeout`].
    pub timeout: Option<Duration>,
    /// As [`CheckSpec::rise`].
    pub rise: Option<u8>,
    /// As [`CheckSpec::fall`].
    pub fall: Option<u8>,
}

impl CheckDefaults {
    /// Whether they say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether each number is one that a check may have, and none takes longer than the interval.
    pub fn is_possible(&self) -> bool {
        let longest = self.interval.unwrap_or(probe_bounds::INTERVAL.1);
        let within = |value: Option<Duration>, (min, max): (Duration, Duration)| {
            value.is_none_or(|value| (min..=max).contains(&value))
        };
        let times =
            |number: Option<u8>| number.is_none_or(|number| (1..=probe_bounds::THRESHOLD_MAX).contains(&number));
        within(self.interval, probe_bounds::INTERVAL)
            && within(self.fast_interval, (probe_bounds::FAST_INTERVAL_MIN, longest))
            && within(self.timeout, (probe_bounds::TIMEOUT.0, probe_bounds::TIMEOUT.1.min(longest)))
            && times(self.rise)
            && times(self.fall)
    }
}

impl CheckSpec {
    /// What holds for the check under the settings of its service. Where one says an interval and the other a longer
    /// timeout or fast interval, those end with the interval.
    pub fn cadence(&self, defaults: &CheckDefaults) -> Cadence {
        fn pick<T>(own: T, is_unsaid: bool, default: Option<T>) -> T {
            default.filter(|_| is_unsaid).unwrap_or(own)
        }
        let unsaid = &self.unsaid;
        let interval = pick(self.interval, unsaid.interval, defaults.interval);
        let usual_fast = defaults.fast_interval.unwrap_or_else(|| Self::usual_fast_interval(interval));
        Cadence {
            interval,
            fast_interval: pick(self.fast_interval, unsaid.fast_interval, Some(usual_fast)).min(interval),
            timeout: pick(self.timeout, unsaid.timeout, defaults.timeout).min(interval),
            rise: pick(self.rise, unsaid.rise, defaults.rise),
            fall: pick(self.fall, unsaid.fall, defaults.fall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CheckKind, Unsaid};
    use super::*;

    /// A check that says nothing, adjusted.
    fn check(adjust: impl FnOnce(&mut CheckSpec)) -> CheckSpec {
        let Cadence { interval, fast_interval, timeout, rise, fall } = Cadence::usual(true);
        let mut check = CheckSpec {
            name: "tcp".parse().unwrap(),
            kind: CheckKind::Tcp { hold: false },
            interval,
            fast_interval,
            timeout,
            rise,
            fall,
            unsaid: Unsaid { interval: true, fast_interval: true, timeout: true, rise: true, fall: true },
            port: None,
        };
        adjust(&mut check);
        check
    }

    fn seconds(cadence: Cadence) -> (f64, f64, f64, u8, u8) {
        let Cadence { interval, fast_interval, timeout, rise, fall } = cadence;
        let [interval, fast, timeout] = [interval, fast_interval, timeout].map(|span| span.std().as_secs_f64());
        (interval, fast, timeout, rise, fall)
    }

    #[test]
    fn what_a_check_says_wins_and_then_the_service_and_then_the_server() {
        let span = |seconds: f64| Duration::from_millis((seconds * 1000.0) as u64);
        let defaults = CheckDefaults {
            interval: Some(span(30.0)),
            timeout: Some(span(2.0)),
            rise: Some(2),
            fall: Some(4),
            fast_interval: None,
        };
        let own = check(|own| {
            (own.interval, own.unsaid.interval) = (span(10.0), false);
            (own.fast_interval, own.fall, own.unsaid.fall) = (span(1.0), 1, false);
        });
        for (check, defaults, expected) in [
            (check(|_| {}), CheckDefaults::default(), (5.0, 0.5, 1.0, 1, 3)),
            (check(|_| {}), defaults, (30.0, 3.0, 2.0, 2, 4)),
            (own.clone(), CheckDefaults::default(), (10.0, 1.0, 1.0, 1, 1)),
            (own.clone(), defaults, (10.0, 1.0, 2.0, 2, 1)),
            (own, CheckDefaults { fast_interval: Some(span(4.0)), ..defaults }, (10.0, 4.0, 2.0, 2, 1)),
        ] {
            assert_eq!(seconds(check.cadence(&defaults)), expected, "{check:?}");
        }
    }

    #[test]
    fn impossible_defaults_are_told() {
        let span = Duration::from_millis;
        let none = CheckDefaults::default();
        for (defaults, possible) in [
            (none, true),
            (CheckDefaults { timeout: Some(span(60_000)), ..none }, true),
            (CheckDefaults { timeout: Some(span(60_001)), ..none }, false),
            (CheckDefaults { interval: Some(span(2000)), timeout: Some(span(2001)), ..none }, false),
            (CheckDefaults { interval: Some(span(999)), ..none }, false),
            (CheckDefaults { interval: Some(span(2000)), fast_interval: Some(span(2001)), ..none }, false),
            (CheckDefaults { fast_interval: Some(span(49)), ..none }, false),
            (CheckDefaults { rise: Some(0), ..none }, false),
            (CheckDefaults { fall: Some(101), ..none }, false),
        ] {
            assert_eq!(defaults.is_possible(), possible, "{defaults:?}");
        }
    }

    #[test]
    fn nothing_takes_longer_than_the_interval() {
        let slow = check(|own| (own.timeout, own.unsaid.timeout) = (Duration::from_secs(4), false));
        let often = CheckDefaults { interval: Some(Duration::from_secs(2)), ..CheckDefaults::default() };
        assert_eq!(seconds(slow.cadence(&often)), (2.0, 0.2, 2.0, 1, 3));
        let quick = check(|own| {
            (own.interval, own.unsaid.interval) = (Duration::from_secs(1), false);
            own.fast_interval = Duration::from_millis(100);
        });
        let (timeout, fast_interval) = (Some(Duration::from_secs(9)), Some(Duration::from_secs(3)));
        let lax = CheckDefaults { timeout, fast_interval, ..CheckDefaults::default() };
        assert_eq!(seconds(quick.cadence(&lax)), (1.0, 1.0, 1.0, 1, 3));
    }
}
