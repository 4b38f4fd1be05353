//! How often checks are made and how many results turn them, in the body of a check and in settings of a service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::form;
use super::problem::Problem;
use super::values::duration;
use crate::model::{CheckDefaults, Duration, probe_bounds};

/// The numbers of a body, as they were sent.
pub(super) struct CadenceBody<'a> {
    pub(super) interval: Option<&'a str>,
    pub(super) fast_interval: Option<&'a str>,
    pub(super) timeout: Option<&'a str>,
    pub(super) rise: Option<i64>,
    pub(super) fall: Option<i64>,
}

impl CadenceBody<'_> {
    /// What they mean. Nothing takes longer than the interval, or than `usual_interval` where they name none, if that is
    /// to be. `at` makes the pointer to a field.
    pub(super) fn understand(
        self,
        usual_interval: Option<Duration>,
        at: &dyn Fn(&str) -> String,
    ) -> Result<CheckDefaults, Problem> {
        let within = |text: Option<&str>, field: &str, (min, max): (Duration, Duration)| match text {
            None => Ok(None),
            Some(text) => match duration(text, &at(field))? {
                value if (min..=max).contains(&value) => Ok(Some(value)),
                _ => Err(Problem::invalid(at(field), format!("{field} is {min} to {max}"))),
            },
        };
        let times = |number: Option<i64>, field: &str| match number.map(u8::try_from) {
            None => Ok(None),
            Some(Ok(number)) if (1..=probe_bounds::THRESHOLD_MAX).contains(&number) => Ok(Some(number)),
            Some(_) => Err(Problem::invalid(at(field), format!("{field} is 1 to {}", probe_bounds::THRESHOLD_MAX))),
        };
        let interval = within(self.interval, "interval", probe_bounds::INTERVAL)?;
        let longest = interval.or(usual_interval);
        let timeout = within(self.timeout, "timeout", probe_bounds::TIMEOUT)?;
        if timeout.zip(longest).is_some_and(|(timeout, longest)| timeout > longest) {
            return Err(Problem::invalid(at("timeout"), "timeout is at most the interval"));
        }
        let bounds = (probe_bounds::FAST_INTERVAL_MIN, longest.unwrap_or(probe_bounds::INTERVAL.1));
        Ok(CheckDefaults {
            interval,
            fast_interval: within(self.fast_interval, "fast_interval", bounds)?,
            timeout,
            rise: times(self.rise, "rise")?,
            fall: times(self.fall, "fall")?,
        })
    }
}

/// How checks are made that do not say so themselves. What is left out is as the server has it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewCheckDefaults")]
pub(super) struct DefaultsBody {
    #[schemars(with = "Option<form::Interval>")]
    interval: Option<String>,
    #[schemars(with = "Option<form::FastInterval>")]
    fast_interval: Option<String>,
    #[schemars(with = "Option<form::Timeout>")]
    timeout: Option<String>,
    /// How many successes in a row turn critical into passing.
    #[schemars(with = "Option<form::Threshold>")]
    rise: Option<i64>,
    /// How many failures in a row turn passing into critical.
    #[schemars(with = "Option<form::Threshold>")]
    fall: Option<i64>,
}

impl DefaultsBody {
    /// What it means. A check with an interval of its own may be the one that a long timeout is for.
    pub(super) fn understand(&self) -> Result<CheckDefaults, Problem> {
        let body = CadenceBody {
            interval: self.interval.as_deref(),
            fast_interval: self.fast_interval.as_deref(),
            timeout: self.timeout.as_deref(),
            rise: self.rise,
            fall: self.fall,
        };
        body.understand(None, &|field| format!("/check_defaults/{field}"))
    }
}

/// How checks are made that do not say so themselves. What is null is as the server has it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CheckDefaults")]
pub(super) struct DefaultsShape {
    #[schemars(with = "Option<form::Interval>")]
    interval: Option<Duration>,
    #[schemars(with = "Option<form::FastInterval>")]
    fast_interval: Option<Duration>,
    #[schemars(with = "Option<form::Timeout>")]
    timeout: Option<Duration>,
    #[schemars(with = "Option<form::Threshold>")]
    rise: Option<u8>,
    #[schemars(with = "Option<form::Threshold>")]
    fall: Option<u8>,
}

impl DefaultsShape {
    /// None of those that say nothing.
    pub(super) fn new(defaults: &CheckDefaults) -> Option<Self> {
        let CheckDefaults { interval, fast_interval, timeout, rise, fall } = *defaults;
        (!defaults.is_empty()).then_some(Self { interval, fast_interval, timeout, rise, fall })
    }
}
