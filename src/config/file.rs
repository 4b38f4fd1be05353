//! The configuration file: TOML with the flags' names in snake_case.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::key::{Key, Takes};
use super::spec::{Origin, Spec, Written};

/// What a file says.
pub(super) fn parse(path: &Path, text: &str) -> Result<Spec, ConfigError> {
    let line_at = |offset: usize| text.bytes().take(offset).filter(|&octet| octet == b'\n').count() + 1;
    let place = |line: usize| format!("{}, line {line}", path.display());
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(span.start));
        ConfigError::at(place(line), format_args!("not TOML: {}", error.message().replace('\n', ", ")))
    })?;
    let path: Arc<Path> = path.into();
    let mut spec = Spec::default();
    for (name, value) in table.get_ref() {
        let line = line_at(name.span().start);
        let key = Key::named(name.get_ref()).ok_or_else(|| {
            let nearest = Key::nearest(name.get_ref());
            ConfigError::at(place(line), format_args!("there is no key {:?}; the nearest is {nearest}", name.get_ref()))
        })?;
        let values = values(key, value).map_err(|expected| {
            ConfigError::at(format!("{}: {}", place(line), key.name()), format_args!("expected {expected}"))
        })?;
        spec.insert(key, Written::new(Origin::File { path: Arc::clone(&path), line, key }, values));
    }
    Ok(spec)
}

/// The values of a key as the command line would write them, or what it takes.
fn values(key: Key, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, &'static str> {
    match (key.takes(), value.get_ref()) {
        (Takes::Text | Takes::List | Takes::Texts, DeValue::String(text)) => Ok(vec![text.to_string()]),
        (Takes::Number, DeValue::Integer(number)) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| vec![number.to_string()])
            .map_err(|_| "a number"),
        (Takes::Switch, DeValue::Boolean(switch)) => Ok(vec![switch.to_string()]),
        (Takes::List | Takes::Texts, DeValue::Array(entries)) => entries
            .iter()
            .map(|entry| match entry.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err("a string or an array of strings"),
            })
            .collect(),
        (Takes::Text, _) => Err("a string"),
        (Takes::Number, _) => Err("a number"),
        (Takes::Switch, _) => Err("true or false"),
        (Takes::List | Takes::Texts, _) => Err("a string or an array of strings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(Path::new("r.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest() {
        assert_eq!(
            refusal("ttl = \"5s\"\nzoen = \"x\"\n"),
            "r.toml, line 2: there is no key \"zoen\"; the nearest is zone"
        );
        assert_eq!(refusal("[dns]\nport = 1\n"), "r.toml, line 1: dns: expected a string or an array of strings");
        assert_eq!(refusal("[server]\n").split(';').next(), Some("r.toml, line 1: there is no key \"server\""));
    }

    #[test]
    fn wrong_types_are_refused_with_the_right_one() {
        for (text, sentence) in [
            ("ttl = 5", "r.toml, line 1: ttl: expected a string"),
            ("\n\nudp_payload = \"1232\"", "r.toml, line 3: udp_payload: expected a number"),
            ("udp_payload = 1.5", "r.toml, line 1: udp_payload: expected a number"),
            ("memory = \"yes\"", "r.toml, line 1: memory: expected true or false"),
            ("dns = 53", "r.toml, line 1: dns: expected a string or an array of strings"),
            ("dns = [53]", "r.toml, line 1: dns: expected a string or an array of strings"),
        ] {
            assert_eq!(refusal(text), sentence);
        }
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        assert!(refusal("ttl = \"5s\"\nzone = \n").starts_with("r.toml, line 2: not TOML: "), "{}", refusal("zone ="));
        assert!(refusal("ttl = \"5s\"\nttl = \"6s\"\n").contains("line 2"), "twice");
    }

    #[test]
    fn lists_are_arrays_or_one_string() {
        let dns = |text| parse(Path::new("r.toml"), text).unwrap().get(Key::Dns).values;
        assert_eq!(dns("dns = \"::1, 127.0.0.1\""), ["::1", "127.0.0.1"]);
        assert_eq!(dns("dns = [\"::1\", \"127.0.0.1\"]"), ["::1", "127.0.0.1"]);
        assert_eq!(dns("dns = []"), [""; 0]);
    }

    #[test]
    fn numbers_may_be_written_as_toml_allows() {
        let number = |text| parse(Path::new("r.toml"), text).unwrap().get(Key::MaxInstancesPerService).values;
        assert_eq!(number("max_instances_per_service = 1_000"), ["1000"]);
        assert_eq!(number("max_instances_per_service = 0x10"), ["16"]);
    }
}
