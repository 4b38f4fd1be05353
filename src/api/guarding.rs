//! The rule of the guard in a body: `{"ratio": 0.5, "min": 3, "window": "30s", "max": "5m"}`, or a word for none.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::problem::Problem;
use super::values::duration;
use crate::model::{Duration, GuardChoice, GuardRule, Share, guard_bounds};

/// The word for no guard.
pub(super) const OFF: &str = "off";

/// What is left out is as the server has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleBody {
    ratio: Option<f64>,
    min: Option<i64>,
    window: Option<String>,
    max: Option<String>,
}

/// A rule, or the word for none.
#[derive(Debug)]
pub(super) enum GuardBody {
    Word(String),
    Rule(RuleBody),
}

// Written out, because an untagged enum would forget which field of the rule was at fault.
impl<'de> Deserialize<'de> for GuardBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = GuardBody;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or \"off\"")
            }
            fn visit_str<E>(self, text: &str) -> Result<GuardBody, E> {
                Ok(GuardBody::Word(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GuardBody, A::Error> {
                RuleBody::deserialize(MapAccessDeserializer::new(map)).map(GuardBody::Rule)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl GuardBody {
    /// What it means.
    pub(super) fn understand(self) -> Result<GuardChoice, Problem> {
        let RuleBody { ratio, min, window, max } = match self {
            Self::Word(word) if word == OFF => return Ok(GuardChoice::Off),
            Self::Word(_) => return Err(Problem::invalid("/guard", "an object with the rule, or \"off\"")),
            Self::Rule(rule) => rule,
        };
        let default = GuardRule::default();
        let ratio = ratio.map(|ratio| Share::new(ratio).map_err(|range| Problem::invalid("/guard/ratio", range)));
        let min = min.map(|min| match u16::try_from(min) {
            Ok(min) if (guard_bounds::MIN.0..=guard_bounds::MIN.1).contains(&min) => Ok(min),
            _ => Err(Problem::invalid("/guard/min", "a whole number from 1 to 1000")),
        });
        let within = |text: Option<String>, default, (least, most): (Duration, Duration), pointer| match text {
            None => Ok(default),
            Some(text) => match duration(&text, pointer)? {
                span if (least..=most).contains(&span) => Ok(span),
                _ => Err(Problem::invalid(pointer, format!("from {least} to {most}"))),
            },
        };
        let rule = GuardRule {
            ratio: ratio.unwrap_or(Ok(default.ratio))?,
            min: min.unwrap_or(Ok(default.min))?,
            window: within(window, default.window, guard_bounds::WINDOW, "/guard/window")?,
            max: within(max, default.max, guard_bounds::MAX, "/guard/max")?,
        };
        if rule.max < rule.window {
            return Err(Problem::invalid("/guard/max", "not less than the window"));
        }
        Ok(GuardChoice::On(rule))
    }
}
