//! Checks as records of instances have them.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Not;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    CheckKind, CheckSpec, CheckState, Duration, Health, HttpCheck, HttpMethod, HttpsCheck, Label, RequestHeaders,
    Timestamp, Unsaid,
};

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// A check and the standing opinion of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CheckV1 {
    name: Label,
    kind: CheckKindV1,
    interval: Duration,
    /// Left out where it is what goes with the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fast_interval: Option<Duration>,
    timeout: Duration,
    rise: u8,
    fall: u8,
    /// Those of these numbers that the registration says though they are the usual ones. What it does not say is usual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    said: Vec<NumberV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Of type tcp. Beside the kind, because those who do not know it read the rest.
    #[serde(default, skip_serializing_if = "Not::not")]
    hold: bool,
    health: Health,
    since: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_error: Option<Arc<str>>,
}

/// A number of a check.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NumberV1 {
    Interval,
    FastInterval,
    Timeout,
    Rise,
    Fall,
}

/// Which numbers of a check are what they usually are, where it is probed or not: 5 s, a tenth of the interval, 1 s, 1, and
/// 3 or 1.
fn usual_numbers(check: &CheckV1) -> [(NumberV1, bool); 5] {
    let usual_fall = if check.kind == CheckKindV1::Ttl { 1 } else { 3 };
    [
        (NumberV1::Interval, check.interval == Duration::from_secs(5)),
        (NumberV1::FastInterval, check.fast_interval.is_none()),
        (NumberV1::Timeout, check.timeout == Duration::from_secs(1)),
        (NumberV1::Rise, check.rise == 1),
        (NumberV1::Fall, check.fall == usual_fall),
    ]
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CheckKindV1 {
    Tcp,
    Http(HttpV1),
    Https(HttpsV1),
    Grpc {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
    },
    Ttl,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct HttpV1 {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Not::not")]
    head: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    expect_status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expect_body: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct HttpsV1 {
    #[serde(flatten)]
    http: HttpV1,
    #[serde(default, skip_serializing_if = "Not::not")]
    any_certificate: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
}

impl HttpV1 {
    fn new(http: HttpCheck) -> Self {
        let HttpCheck { path, target, method, headers, expect_status, expect_body } = http;
        Self {
            path: path.to_string(),
            target,
            head: method == HttpMethod::Head,
            headers: headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            expect_status: expect_status.to_string(),
            expect_body,
        }
    }

    fn read(self) -> Result<HttpCheck, String> {
        let Self { path, target, head, headers, expect_status, expect_body } = self;
        Ok(HttpCheck {
            path: path.parse().map_err(text)?,
            target,
            method: if head { HttpMethod::Head } else { HttpMethod::Get },
            headers: RequestHeaders::new(headers).map_err(|error| error.detail.to_owned())?,
            expect_status: expect_status.parse().map_err(text)?,
            expect_body,
        })
    }
}

impl CheckV1 {
    pub(super) fn new((spec, state): (&CheckSpec, &CheckState)) -> Self {
        let CheckSpec { name, kind, interval, fast_interval, timeout, rise, fall, unsaid, port } = spec.clone();
        let hold = kind.holds();
        let fast_interval = Some(fast_interval).filter(|fast| *fast != CheckSpec::usual_fast_interval(interval));
        let kind = match kind {
            CheckKind::Tcp { .. } => CheckKindV1::Tcp,
            CheckKind::Http(http) => CheckKindV1::Http(HttpV1::new(*http)),
            CheckKind::Https(https) => CheckKindV1::Https(HttpsV1 {
                any_certificate: !https.tls_verify,
                server_name: https.server_name.map(|name| name.to_string()),
                http: HttpV1::new(https.http),
            }),
            CheckKind::Grpc(service) => CheckKindV1::Grpc { service: service.to_string() },
            CheckKind::Ttl => CheckKindV1::Ttl,
        };
        let CheckState { health, since, last_error } = state.clone();
        let since = since.as_millis();
        let said = Vec::new();
        let mut check = Self {
            name,
            kind,
            interval,
            fast_interval,
            timeout,
            rise,
            fall,
            said,
            port,
            hold,
            health,
            since,
            last_error,
        };
        let unsaid = [unsaid.interval, unsaid.fast_interval, unsaid.timeout, unsaid.rise, unsaid.fall];
        let said = usual_numbers(&check).into_iter().zip(unsaid);
        check.said = said.filter(|((_, usual), unsaid)| *usual && !unsaid).map(|((number, _), _)| number).collect();
        check
    }

    /// The check, and what is thought of its instance.
    ///
    /// # Errors
    /// What cannot be.
    pub(super) fn read(self) -> Result<(CheckSpec, CheckState), String> {
        let unsaid = usual_numbers(&self).map(|(number, is_usual)| is_usual && !self.said.contains(&number));
        let [of_interval, of_fast_interval, of_timeout, of_rise, of_fall] = unsaid;
        let unsaid = Unsaid {
            interval: of_interval,
            fast_interval: of_fast_interval,
            timeout: of_timeout,
            rise: of_rise,
            fall: of_fall,
        };
        let Self {
            name,
            kind,
            interval,
            fast_interval,
            timeout,
            rise,
            fall,
            port,
            hold,
            health,
            since,
            last_error,
            ..
        } = self;
        let fast_interval = fast_interval.unwrap_or_else(|| CheckSpec::usual_fast_interval(interval));
        let kind = match kind {
            CheckKindV1::Tcp => CheckKind::Tcp { hold },
            CheckKindV1::Http(http) => CheckKind::Http(Box::new(http.read()?)),
            CheckKindV1::Https(HttpsV1 { http, any_certificate, server_name }) => {
                let server_name = server_name.map(|name| name.parse().map_err(text)).transpose()?;
                CheckKind::Https(Box::new(HttpsCheck { http: http.read()?, tls_verify: !any_certificate, server_name }))
            }
            CheckKindV1::Grpc { service } => CheckKind::Grpc(service.parse().map_err(text)?),
            CheckKindV1::Ttl => CheckKind::Ttl,
        };
        let state = CheckState { health, since: Timestamp::from_millis(since), last_error };
        Ok((CheckSpec { name, kind, interval, fast_interval, timeout, rise, fall, unsaid, port }, state))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn checks_of_every_kind_are_written_alike_for_ever() {
        for (kind, written) in [
            (CheckKind::Tcp { hold: false }, json!("tcp")),
            (CheckKind::Tcp { hold: true }, json!("tcp")),
            (CheckKind::Http(Box::new(http())), json!({"http": {"path": "/a?b", "expect_status": "200-299"}})),
            (
                CheckKind::Https(Box::new(HttpsCheck { http: http(), tls_verify: true, server_name: None })),
                json!({"https": {"path": "/a?b", "expect_status": "200-299"}}),
            ),
            (
                CheckKind::Https(Box::new(HttpsCheck {
                    http: HttpCheck { method: HttpMethod::Head, ..http() },
                    tls_verify: false,
                    server_name: Some("web.example".parse().unwrap()),
                })),
                json!({"https": {
                    "path": "/a?b", "expect_status": "200-299", "head": true, "any_certificate": true,
                    "server_name": "web.example",
                }}),
            ),
            (CheckKind::Grpc("".parse().unwrap()), json!({"grpc": {}})),
            (CheckKind::Grpc("a.B".parse().unwrap()), json!({"grpc": {"service": "a.B"}})),
            (CheckKind::Ttl, json!("ttl")),
        ] {
            let spec = CheckSpec {
                name: "c".parse().unwrap(),
                kind,
                interval: Duration::from_secs(5),
                fast_interval: Duration::from_millis(500),
                timeout: Duration::from_secs(1),
                rise: 1,
                fall: 3,
                unsaid: Unsaid::default(),
                port: None,
            };
            let state = CheckState { health: Health::Unknown, since: Timestamp::from_millis(7), last_error: None };
            let record = serde_json::to_value(CheckV1::new((&spec, &state))).unwrap();
            assert_eq!(record["kind"], written);
            assert_eq!(record.get("hold"), spec.kind.holds().then_some(&json!(true)));
            assert_eq!(serde_json::from_value::<CheckV1>(record).unwrap().read(), Ok((spec, state)));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for kind in [
            json!({"https": {"path": "a", "expect_status": "200"}}),
            json!({"https": {"path": "/", "expect_status": "200", "server_name": "10.0.0.7"}}),
            json!({"grpc": {"service": "a b"}}),
        ] {
            let record: Value = json!({
                "name": "c", "kind": kind, "interval": "5s", "timeout": "1s", "rise": 1, "fall": 3, "health": "unknown",
                "since": 7,
            });
            assert!(serde_json::from_value::<CheckV1>(record).unwrap().read().is_err(), "{kind}");
        }
    }

    fn http() -> HttpCheck {
        HttpCheck {
            path: "/a?b".parse().unwrap(),
            target: None,
            method: HttpMethod::Get,
            headers: RequestHeaders::default(),
            expect_status: "200-299".parse().unwrap(),
            expect_body: None,
        }
    }
}
