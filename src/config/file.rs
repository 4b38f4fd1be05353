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
        let values =
            values(key, value).map_err(|form| ConfigError::at(format!("{}: {}", place(line), key.name()), form))?;
        spec.insert(key, Written::new(Origin::File { path: Arc::clone(&path), line, key }, values));
    }
    Ok(spec)
}

/// The values of a key as the command line would write them, or how to write them in the file.
fn values(key: Key, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    let written = match (key.takes(), value.get_ref()) {
        (Takes::Text | Takes::List | Takes::Texts, DeValue::String(text)) => Some(vec![text.to_string()]),
        (Takes::Number, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| vec![number.to_string()])
        }
        (Takes::Switch, DeValue::Boolean(switch)) => Some(vec![switch.to_string()]),
        (Takes::List | Takes::Texts, DeValue::Array(entries)) => {
            entries.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned)).collect()
        }
        _ => None,
    };
    written.ok_or_else(|| form(key))
}

/// How a value of a key is written in the file.
fn form(key: Key) -> String {
    // A default shows best what is meant; where there is none, something of the kind.
    let example = match (key, key.default()) {
        (Key::Data, _) => "/var/lib/rollcall",
        (Key::Zones, _) => "/etc/rollcall/zones",
        (Key::NsAddress, _) => "10.0.0.2",
        (Key::Reverse | Key::CheckAllow, _) => "10.0.0.0/8",
        (Key::ServerId | Key::ServerVersion, _) => "a1",
        (Key::Forward, _) => "system",
        (Key::CheckCa, _) => "/etc/ssl/own-ca.pem",
        (Key::Canary, _) => "10.0.0.1:22",
        (_, list) if key.takes() == Takes::List => list.split(',').next().unwrap_or_default(),
        (_, default) => default,
    };
    match key.takes() {
        Takes::Text => format!("write a text such as {example:?}"),
        Takes::Number => format!("write a whole number such as {example}"),
        Takes::Switch => "write true or false, without quotes".to_owned(),
        Takes::List | Takes::Texts => format!("write a list of texts such as [{example:?}], or one text"),
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
        let dns = "r.toml, line 1: dns: write a list of texts such as [\"127.0.0.1:8600\"], or one text";
        assert_eq!(refusal("[dns]\nport = 1\n"), dns);
        assert_eq!(refusal("[server]\n").split(';').next(), Some("r.toml, line 1: there is no key \"server\""));
    }

    #[test]
    fn wrong_types_are_refused_with_the_right_one() {
        for (text, sentence) in [
            ("ttl = 5", "line 1: ttl: write a text such as \"5s\""),
            ("\n\nudp_payload = \"1232\"", "line 3: udp_payload: write a whole number such as 1232"),
            ("udp_payload = 1.5", "line 1: udp_payload: write a whole number such as 1232"),
            ("memory = \"yes\"", "line 1: memory: write true or false, without quotes"),
            ("dns = 53", "line 1: dns: write a list of texts such as [\"127.0.0.1:8600\"], or one text"),
            ("dns = [53]", "line 1: dns: write a list of texts such as [\"127.0.0.1:8600\"], or one text"),
            ("reverse = 10", "line 1: reverse: write a list of texts such as [\"10.0.0.0/8\"], or one text"),
        ] {
            assert_eq!(refusal(text), format!("r.toml, {sentence}"));
        }
    }

    #[test]
    fn every_key_shows_how_it_is_written() {
        for key in Key::ALL {
            assert!(!form(key).contains("\"\""), "{key:?}: {}", form(key));
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
