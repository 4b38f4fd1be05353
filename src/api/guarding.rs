//! The rule of the guard in a body: `{"ratio": 0.5, "min": 3, "window": "30s", "max": "5m"}`, or a word for none.

use std::fmt;

use schemars::{JsonSchema, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::form::{self, forms};
use super::problem::Problem;
use super::values::duration;
use crate::model::{Duration, GuardChoice, GuardRule, Share, guard_bounds};

/// The word for no guard.
const OFF: &str = "off";

forms! {
    /// More than this share of the answered instances has to be about to leave by silence.
    Ratio inline |_| json_schema!({ "type": "number", "minimum": 0, "maximum": 0.999 });

    /// At least so many of them.
    Fewest inline |_| json_schema!({
        "type": "integer", "minimum": guard_bounds::MIN.0, "maximum": guard_bounds::MIN.1,
    });

    /// Within this time.
    Window inline |_| form::duration("guard-window", "30s", form::between(guard_bounds::WINDOW));

    /// The set is kept for this time at most.
    Longest inline |_| form::duration("guard-max", "5m", form::between(guard_bounds::MAX));

    /// No guard.
    Off inline |_| form::words(&[OFF]);

    /// `none` of them, or `all` that are up and critical.
    WhenAll inline |_| form::words(&["none", "all"]);
}

/// When a last good set is kept. What is left out is as the server has it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewGuardRule")]
pub(super) struct RuleBody {
    #[schemars(with = "Option<Ratio>")]
    ratio: Option<f64>,
    #[schemars(with = "Option<Fewest>")]
    min: Option<i64>,
    #[schemars(with = "Option<Window>")]
    window: Option<String>,
    #[schemars(with = "Option<Longest>")]
    max: Option<String>,
}

/// A rule, or the word for none.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "NewGuardChoice")]
pub(super) enum GuardBody {
    Word(#[schemars(with = "Off")] String),
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
        Ok(GuardChoice::On(GuardRule {
            ratio: ratio.unwrap_or(Ok(default.ratio))?,
            min: min.unwrap_or(Ok(default.min))?,
            window: within(window, default.window, guard_bounds::WINDOW, "/guard/window")?,
            max: within(max, default.max, guard_bounds::MAX, "/guard/max")?,
        }))
    }
}

/// When a last good set is kept.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GuardRule")]
pub(super) struct GuardRuleShape {
    #[schemars(with = "Ratio")]
    ratio: f64,
    #[schemars(with = "Fewest")]
    min: u16,
    #[schemars(with = "Window")]
    window: Duration,
    #[schemars(with = "Longest")]
    max: Duration,
}

/// The word for no guard, or its rule.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "GuardChoice")]
pub(super) enum GuardChoiceShape {
    Off(#[schemars(with = "Off")] &'static str),
    On(GuardRuleShape),
}

impl From<GuardChoice> for GuardChoiceShape {
    fn from(choice: GuardChoice) -> Self {
        match choice.rule() {
            None => Self::Off(OFF),
            Some(GuardRule { ratio, min, window, max }) => {
                Self::On(GuardRuleShape { ratio: ratio.fraction(), min, window, max })
            }
        }
    }
}
