//! `--check`: a health check in one word.

use std::str::FromStr;

use serde_json::{Map, Value, json};

/// A check as `--check` writes it; the API's fields for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckArg {
    fields: Map<String, Value>,
}

/// How every check of a registration is run, where the server's way is not wanted.
#[derive(Debug, Default)]
pub(super) struct Rhythm<'a> {
    pub(super) interval: Option<&'a str>,
    pub(super) fast_interval: Option<&'a str>,
    pub(super) timeout: Option<&'a str>,
    pub(super) rise: Option<u8>,
    pub(super) fall: Option<u8>,
    /// Of type tcp.
    pub(super) hold: bool,
}

impl CheckArg {
    /// Whether it is one that can hold a connection.
    fn is_tcp(&self) -> bool {
        self.fields["type"] == "tcp"
    }
}

impl FromStr for CheckArg {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a check is tcp, tcp::9000, http:/healthz, http:9000/healthz, http://10.0.0.7:9000/healthz, the \
             same with https, grpc, grpc:9000/payments.v1.Api or ttl";
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!(kind));
        if text == "ttl" {
            return Ok(Self { fields });
        }
        if matches!(kind, "http" | "https") && rest.starts_with("//") {
            fields.insert("url".to_owned(), json!(text));
            return Ok(Self { fields });
        }
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        let (digits, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !digits.is_empty() {
            let port = digits.parse::<u16>().ok().filter(|port| *port > 0).ok_or(FORM)?;
            fields.insert("port".to_owned(), json!(port));
        }
        match (kind, path) {
            ("tcp" | "grpc", "") => {}
            ("http" | "https", path) => {
                fields.insert("path".to_owned(), json!(if path.is_empty() { "/" } else { path }));
            }
            ("grpc", service) => {
                fields.insert("service".to_owned(), json!(service[1..]));
            }
            _ => return Err(FORM),
        }
        Ok(Self { fields })
    }
}

/// The `checks` of a registration. Names are unique within an instance, so the second of a type gets a number.
///
/// # Errors
/// What of the rhythm none of them can have.
pub(super) fn checks(args: &[CheckArg], rhythm: &Rhythm<'_>) -> Result<Value, &'static str> {
    if rhythm.hold && !args.iter().any(CheckArg::is_tcp) {
        return Err("--hold is for checks of type tcp, and there is none: add --check tcp");
    }
    let body = |(position, arg): (usize, &CheckArg)| {
        let mut fields = arg.fields.clone();
        let kind = &fields["type"];
        let before = args[..position].iter().filter(|other| &other.fields["type"] == kind).count();
        if before > 0 {
            let name = format!("{}-{}", kind.as_str().unwrap_or_default(), before + 1);
            fields.insert("name".to_owned(), json!(name));
        }
        if rhythm.hold && arg.is_tcp() {
            fields.insert("hold".to_owned(), json!(true));
        }
        let rhythm = [
            ("interval", rhythm.interval.map(Value::from)),
            ("fast_interval", rhythm.fast_interval.map(Value::from)),
            ("timeout", rhythm.timeout.map(Value::from)),
            ("rise", rhythm.rise.map(Value::from)),
            ("fall", rhythm.fall.map(Value::from)),
        ];
        // What waits for reports has no more of these.
        let is_ttl = fields["type"] == "ttl";
        let has = |name: &str| !is_ttl || ["interval", "rise", "fall"].contains(&name);
        let rhythm = rhythm.into_iter().filter(|(name, _)| has(name));
        fields.extend(rhythm.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Value::Object(fields)
    };
    Ok(args.iter().enumerate().map(body).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_written_in_one_word() {
        for (text, fields) in [
            ("tcp", json!({"type": "tcp"})),
            ("ttl", json!({"type": "ttl"})),
            ("tcp::9000", json!({"type": "tcp", "port": 9000})),
            ("tcp:9000", json!({"type": "tcp", "port": 9000})),
            ("http", json!({"type": "http", "path": "/"})),
            ("http:/healthz?a=b:c", json!({"type": "http", "path": "/healthz?a=b:c"})),
            ("http:9000/healthz", json!({"type": "http", "port": 9000, "path": "/healthz"})),
            ("http::9000/", json!({"type": "http", "port": 9000, "path": "/"})),
            ("http://10.0.0.7:9000/h", json!({"type": "http", "url": "http://10.0.0.7:9000/h"})),
            ("https", json!({"type": "https", "path": "/"})),
            ("https:8443/healthz", json!({"type": "https", "port": 8443, "path": "/healthz"})),
            ("https://10.0.0.7/h", json!({"type": "https", "url": "https://10.0.0.7/h"})),
            ("grpc", json!({"type": "grpc"})),
            ("grpc:9000", json!({"type": "grpc", "port": 9000})),
            ("grpc:9000/a.v1.B", json!({"type": "grpc", "port": 9000, "service": "a.v1.B"})),
            ("grpc:/a.v1.B", json!({"type": "grpc", "service": "a.v1.B"})),
        ] {
            assert_eq!(text.parse::<CheckArg>().map(|check| Value::Object(check.fields)), Ok(fields), "{text}");
        }
        for bad in
            ["", "ftp", "tcp:/path", "tcp::0", "tcp::65536", "grpc:x", "http:x/healthz", "HTTP:/", "ttl:15s", "ttl:"]
        {
            assert!(bad.parse::<CheckArg>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_unique_and_the_rhythm_is_everyones() {
        let args = ["tcp", "http:/a", "tcp::9000", "tcp::9001", "ttl"].map(|text| text.parse().unwrap());
        let rhythm = Rhythm { interval: Some("2s"), timeout: Some("1s"), fall: Some(1), ..Rhythm::default() };
        assert_eq!(
            checks(&args, &rhythm).unwrap(),
            json!([
                {"type": "tcp", "interval": "2s", "timeout": "1s", "fall": 1},
                {"type": "http", "path": "/a", "interval": "2s", "timeout": "1s", "fall": 1},
                {"type": "tcp", "port": 9000, "name": "tcp-2", "interval": "2s", "timeout": "1s", "fall": 1},
                {"type": "tcp", "port": 9001, "name": "tcp-3", "interval": "2s", "timeout": "1s", "fall": 1},
                {"type": "ttl", "interval": "2s", "fall": 1},
            ])
        );
    }

    #[test]
    fn those_hold_that_can_and_there_has_to_be_one() {
        let rhythm = Rhythm { hold: true, ..Rhythm::default() };
        let args = ["tcp", "http:/a"].map(|text| text.parse().unwrap());
        let body = json!([{"type": "tcp", "hold": true}, {"type": "http", "path": "/a"}]);
        assert_eq!(checks(&args, &rhythm), Ok(body));
        assert!(checks(&args[1..], &rhythm).unwrap_err().contains("--check tcp"));
    }
}
