//! From the body of a check to a check.

use std::net::SocketAddr;

use serde::Deserialize;

use super::extract::{UniqueMap, escape_key};
use super::problem::Problem;
use super::values::{duration, port};
use crate::model::{
    CheckKind, CheckSpec, Duration, HttpCheck, HttpMethod, Label, RequestHeaders, RequestPath, RequestPathError,
    StatusRanges, probe_bounds,
};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);
const RISE: i64 = 1;
const FALL: i64 = 3;
/// Octets of the text that a body must contain.
const TEXT_OCTETS_MAX: usize = 1024;

/// The body of a check. Which fields there may be depends on its type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckBody {
    name: Option<String>,
    r#type: String,
    interval: Option<String>,
    fast_interval: Option<String>,
    timeout: Option<String>,
    rise: Option<i64>,
    fall: Option<i64>,
    port: Option<i64>,
    path: Option<String>,
    url: Option<String>,
    method: Option<String>,
    headers: Option<UniqueMap<String>>,
    expect_status: Option<String>,
    expect_body: Option<String>,
    tls_verify: Option<bool>,
    server_name: Option<String>,
    service: Option<String>,
}

impl CheckBody {
    /// The check that stands at a position of the list.
    pub(super) fn into_spec(self, position: usize) -> Result<CheckSpec, Problem> {
        let at = |field: &str| format!("/checks/{position}/{field}");
        let within = |text: Option<&str>, default: Duration, field: &str, (min, max): (Duration, Duration)| {
            let value = text.map_or(Ok(default), |text| duration(text, &at(field)))?;
            if (min..=max).contains(&value) {
                Ok(value)
            } else {
                Err(Problem::invalid(at(field), format!("{field} is {min} to {max}")))
            }
        };
        let times = |number: Option<i64>, default: i64, field: &str| {
            let number = u8::try_from(number.unwrap_or(default)).ok();
            number
                .filter(|number| (1..=probe_bounds::THRESHOLD_MAX).contains(number))
                .ok_or_else(|| Problem::invalid(at(field), format!("{field} is 1 to {}", probe_bounds::THRESHOLD_MAX)))
        };
        let interval = within(self.interval.as_deref(), INTERVAL, "interval", probe_bounds::INTERVAL)?;
        let timeout = within(self.timeout.as_deref(), TIMEOUT.min(interval), "timeout", probe_bounds::TIMEOUT)?;
        if timeout > interval {
            return Err(Problem::invalid(at("timeout"), "timeout is at most the interval"));
        }
        let usual = CheckSpec::usual_fast_interval(interval);
        let bounds = (probe_bounds::FAST_INTERVAL_MIN, interval);
        let fast_interval = within(self.fast_interval.as_deref(), usual, "fast_interval", bounds)?;
        let name = self.name.as_deref().unwrap_or(&self.r#type);
        Ok(CheckSpec {
            name: name
                .parse::<Label>()
                .map_err(|error| Problem::invalid_name("name of a check", &error).at(at("name")))?,
            interval,
            fast_interval,
            timeout,
            rise: times(self.rise, RISE, "rise")?,
            fall: times(self.fall, FALL, "fall")?,
            port: self.port.map(|number| port(number, &at("port"))).transpose()?,
            kind: self.kind(&at)?,
        })
    }

    fn kind(self, at: &dyn Fn(&str) -> String) -> Result<CheckKind, Problem> {
        let of_http = [
            ("path", self.path.is_some()),
            ("url", self.url.is_some()),
            ("method", self.method.is_some()),
            ("headers", self.headers.is_some()),
            ("expect_status", self.expect_status.is_some()),
            ("expect_body", self.expect_body.is_some()),
        ];
        let of_none = [
            ("tls_verify", self.tls_verify.is_some()),
            ("server_name", self.server_name.is_some()),
            ("service", self.service.is_some()),
        ];
        let foreign = |fields: &[(&str, bool)]| match fields.iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(Problem::invalid(at(field), format!("a check of this type has no {field}"))),
            None => Ok(()),
        };
        foreign(&of_none)?;
        match self.r#type.as_str() {
            "tcp" => foreign(&of_http).map(|()| CheckKind::Tcp),
            "http" => self.http(at).map(|http| CheckKind::Http(Box::new(http))),
            "https" | "grpc" | "ttl" => {
                Err(Problem::invalid(at("type"), "this type is not in this version: use `tcp` or `http`"))
            }
            _ => Err(Problem::invalid(at("type"), "a type is `tcp` or `http`")),
        }
    }

    fn http(self, at: &dyn Fn(&str) -> String) -> Result<HttpCheck, Problem> {
        let (path, target) = match (&self.path, &self.url) {
            (Some(_), Some(_)) => return Err(Problem::invalid(at("url"), "give `path` or `url`, not both")),
            (Some(path), None) => {
                let fault = |error: RequestPathError| Problem::invalid(at("path"), error.to_string());
                (path.parse().map_err(fault)?, None)
            }
            (None, Some(url)) => {
                if self.port.is_some() {
                    return Err(Problem::invalid(at("port"), "the url has the port"));
                }
                let (path, target) = split_url(url).map_err(|fault| Problem::invalid(at("url"), fault))?;
                (path, Some(target))
            }
            (None, None) => (RequestPath::default(), None),
        };
        let method = match self.method.as_deref() {
            None | Some("GET") => HttpMethod::Get,
            Some("HEAD") => HttpMethod::Head,
            Some(_) => return Err(Problem::invalid(at("method"), "a method is `GET` or `HEAD`")),
        };
        let expect_status = self.expect_status.as_deref().map(str::parse::<StatusRanges>).transpose();
        let expect_status = expect_status.map_err(|error| Problem::invalid(at("expect_status"), error.to_string()))?;
        if let Some(text) = &self.expect_body {
            if method == HttpMethod::Head {
                return Err(Problem::invalid(at("expect_body"), "HEAD has no body to expect anything of"));
            }
            if text.is_empty() || text.len() > TEXT_OCTETS_MAX {
                return Err(Problem::invalid(at("expect_body"), "1 to 1,024 octets"));
            }
        }
        let headers = RequestHeaders::new(self.headers.map(|map| map.0).unwrap_or_default()).map_err(|error| {
            let name = error.name.map_or_else(String::new, |name| format!("/{}", escape_key(&name)));
            Problem::invalid(at("headers") + &name, error.detail)
        })?;
        Ok(HttpCheck {
            path,
            target,
            method,
            headers,
            expect_status: expect_status.unwrap_or_default(),
            expect_body: self.expect_body,
        })
    }
}

const URL_FORM: &str = "a url is `http://` with an IP address, perhaps a port, and a path; names are not looked up";

/// What a url asks for, and of whom.
fn split_url(url: &str) -> Result<(RequestPath, SocketAddr), String> {
    let rest = url.strip_prefix("http://").ok_or(URL_FORM)?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let host = authority.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(authority);
    let target = authority.parse().or_else(|_| host.parse().map(|ip| SocketAddr::new(ip, 80)));
    let path = path.parse().map_err(|error: RequestPathError| error.to_string())?;
    Ok((path, target.map_err(|_| URL_FORM)?))
}
