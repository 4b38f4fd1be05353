//! Text from a server on its way to a terminal.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

/// Whether a terminal may act on a character instead of showing it, or show what follows it in another order.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The same text on one line, with everything visible that a terminal would act on.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_treacherous) {
        return text.into();
    }
    let escape = |c: char| if is_treacherous(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}

/// The value as JSON on several lines; what JSON leaves as it is but a terminal would act on is escaped too.
pub(super) fn json(value: &Value) -> String {
    harmless(&format!("{value:#}"))
}

/// The value as JSON on one line.
pub(super) fn json_line(value: &Value) -> String {
    harmless(&value.to_string())
}

fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Outside strings there is nothing else, and every treacherous character has four hexadecimal digits.
            c if is_treacherous(c) && c != '\n' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

/// A value as the cell of a table.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(",")
        }
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_shown() {
        assert_eq!(visible("web"), "web");
        assert_eq!(visible("a\u{1b}[2J\n\u{9b}b\u{202e}c"), "a\\u{1b}[2J\\n\\u{9b}b\\u{202e}c");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = json!({"error": "a\u{1b}\u{7f}\u{9b}\u{202e}\né", "list": [1, {"x": null}]});
        let text = self::json(&value);
        assert!(!text.chars().any(|c| is_treacherous(c) && c != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn cells_are_short() {
        for (value, expected) in [
            (json!(null), "-"),
            (json!([]), "-"),
            (json!(true), "yes"),
            (json!(["a", "b"]), "a,b"),
            (json!({"metrics": 9090}), "metrics=9090"),
        ] {
            assert_eq!(cell(&value), expected);
        }
    }
}
