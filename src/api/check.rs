//! From the body of a check to a check.

use std::net::SocketAddr;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cadence::CadenceBody;
use super::extract::{UniqueMap, escape_key};
use super::form;
use super::problem::Problem;
use super::values::port;
use crate::model::{
    Cadence, CheckKind, CheckSpec, HealthService, HttpCheck, HttpMethod, HttpsCheck, Label, RequestHeaders,
    RequestPath, RequestPathError, ServerName, StatusRanges, Unsaid,
};

/// Octets of the text that a body must contain.
const TEXT_OCTETS_MAX: usize = 1024;

/// How an instance is tested. Which fields there may be depends on the type. `interval`, `fast_interval`, `timeout`, `rise`
/// and `fall` that are left out are as the settings of the service have them, else as the server does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CheckSpec", transform = one_of_each_type)]
pub(super) struct CheckBody {
    /// Its name among the checks of the instance; its type when left out.
    #[schemars(with = "Option<form::DnsLabel>")]
    name: Option<String>,
    r#type: String,
    #[schemars(with = "Option<form::Interval>")]
    interval: Option<String>,
    #[schemars(with = "Option<form::FastInterval>")]
    fast_interval: Option<String>,
    #[schemars(with = "Option<form::Timeout>")]
    timeout: Option<String>,
    /// How many successes in a row turn critical into passing; else 1.
    #[schemars(with = "Option<form::Threshold>")]
    rise: Option<i64>,
    /// How many failures in a row turn passing into critical; else 3, and 1 for type `ttl`.
    #[schemars(with = "Option<form::Threshold>")]
    fall: Option<i64>,
    /// The port to probe; the instance's when left out.
    #[schemars(with = "Option<form::Port>")]
    port: Option<i64>,
    /// Whether one connection stays open beside the probes; false when left out. When the peer ends it, the instance is
    /// probed at once, and two refusals `fast_interval` apart take it out, whatever `fall` is.
    hold: Option<bool>,
    #[schemars(with = "Option<form::RequestPath>")]
    path: Option<String>,
    /// Whom to ask for what, in place of `port` and `path`. Nets other than the instance's own address have to be
    /// opened with `--check-allow`. Names are not looked up.
    #[schemars(with = "Option<form::ProbeUrl>")]
    url: Option<String>,
    #[schemars(with = "Option<form::ProbeMethod>")]
    method: Option<String>,
    #[schemars(with = "Option<form::ProbeHeaders>")]
    headers: Option<UniqueMap<String>>,
    #[schemars(with = "Option<form::Statuses>")]
    expect_status: Option<String>,
    #[schemars(with = "Option<form::ExpectedText>")]
    expect_body: Option<String>,
    /// Whether the certificate has to be one that the server trusts, in force, and for the name or address that is probed;
    /// true when left out. Without it any certificate will do.
    tls_verify: Option<bool>,
    #[schemars(with = "Option<form::ServerName>")]
    server_name: Option<String>,
    #[schemars(with = "Option<form::HealthService>")]
    service: Option<String>,
}

/// Fields that only checks by HTTP have, with or without TLS.
const OF_HTTP: [&str; 6] = ["path", "url", "method", "headers", "expect_status", "expect_body"];
/// Those that only checks by TCP have.
const OF_TCP: [&str; 1] = ["hold"];
/// Those that only checks by TLS have.
const OF_TLS: [&str; 2] = ["tls_verify", "server_name"];
/// Those that only checks by gRPC have.
const OF_GRPC: [&str; 1] = ["service"];

/// Fields that only checks have which are probed.
const OF_PROBES: [&str; 3] = ["fast_interval", "timeout", "port"];

/// Makes of all fields that a check may have a choice between its types.
fn one_of_each_type(schema: &mut Schema) {
    let fields = schema.remove("properties").unwrap_or_default();
    let of_type = |name: &str, title: &str, has: &dyn Fn(&str) -> bool, not: Value| {
        let mut of_type = json!({
            "title": title, "type": "object", "properties": {}, "required": ["type"], "additionalProperties": false,
        });
        let all = fields.as_object().into_iter().flatten().filter(|(field, _)| has(field));
        of_type["properties"] = all.map(|(field, form)| (field.clone(), form.clone())).collect();
        of_type["properties"]["type"] = json!({ "type": "string", "const": name });
        if !not.is_null() {
            of_type["not"] = not;
        }
        of_type
    };
    let mut of_head = form::both("method", "expect_body");
    of_head["properties"]["method"] = json!({ "const": "HEAD" });
    let not = json!({ "anyOf": [form::both("path", "url"), form::both("port", "url"), of_head] });
    let has = |of: &'static [&'static [&'static str]]| {
        move |field: &str| {
            let special = OF_HTTP.iter().chain(&OF_TCP).chain(&OF_TLS).chain(&OF_GRPC).any(|one| *one == field);
            !special || of.iter().any(|of| of.contains(&field))
        }
    };
    let tcp = of_type("tcp", "CheckByTcp", &has(&[&OF_TCP]), Value::Null);
    let http = of_type("http", "CheckByHttp", &has(&[&OF_HTTP]), not.clone());
    let mut https = of_type("https", "CheckByHttps", &has(&[&OF_HTTP, &OF_TLS]), not);
    let url = form::probe_url("https").to_value();
    for word in ["format", "pattern", "examples"] {
        https["properties"]["url"][word] = url[word].clone();
    }
    let grpc = of_type("grpc", "CheckByGrpc", &has(&[&OF_GRPC]), Value::Null);
    let is_ttl = |field: &str| has(&[])(field) && !OF_PROBES.contains(&field);
    let ttl = of_type("ttl", "CheckByTtl", &is_ttl, Value::Null);
    schema.remove("type");
    schema.remove("required");
    schema.remove("additionalProperties");
    schema.insert("oneOf".into(), json!([tcp, http, https, grpc, ttl]));
}

impl CheckBody {
    /// The check that stands at a position of the list.
    pub(super) fn into_spec(self, position: usize) -> Result<CheckSpec, Problem> {
        let at = |field: &str| format!("/checks/{position}/{field}");
        let usual = Cadence::usual(self.r#type != "ttl");
        let own = CadenceBody {
            interval: self.interval.as_deref(),
            fast_interval: self.fast_interval.as_deref(),
            timeout: self.timeout.as_deref(),
            rise: self.rise,
            fall: self.fall,
        };
        let own = own.understand(Some(usual.interval), &at)?;
        let interval = own.interval.unwrap_or(usual.interval);
        let name = self.name.as_deref().unwrap_or(&self.r#type);
        Ok(CheckSpec {
            name: name
                .parse::<Label>()
                .map_err(|error| Problem::invalid_name("name of a check", &error).at(at("name")))?,
            interval,
            fast_interval: own.fast_interval.unwrap_or_else(|| CheckSpec::usual_fast_interval(interval)),
            timeout: own.timeout.unwrap_or(usual.timeout),
            rise: own.rise.unwrap_or(usual.rise),
            fall: own.fall.unwrap_or(usual.fall),
            unsaid: Unsaid {
                interval: own.interval.is_none(),
                fast_interval: own.fast_interval.is_none(),
                timeout: own.timeout.is_none(),
                rise: own.rise.is_none(),
                fall: own.fall.is_none(),
            },
            port: self.port.map(|number| port(number, &at("port"))).transpose()?,
            kind: self.kind(&at)?,
        })
    }

    fn kind(self, at: &dyn Fn(&str) -> String) -> Result<CheckKind, Problem> {
        let [path, url, method, headers, expect_status, expect_body] = OF_HTTP;
        let of_http = [
            (path, self.path.is_some()),
            (url, self.url.is_some()),
            (method, self.method.is_some()),
            (headers, self.headers.is_some()),
            (expect_status, self.expect_status.is_some()),
            (expect_body, self.expect_body.is_some()),
        ];
        let [tls_verify, server_name] = OF_TLS;
        let of_tls = [(tls_verify, self.tls_verify.is_some()), (server_name, self.server_name.is_some())];
        let of_grpc = OF_GRPC.map(|service| (service, self.service.is_some()));
        let [fast_interval, timeout, port] = OF_PROBES;
        let of_probes = [
            (fast_interval, self.fast_interval.is_some()),
            (timeout, self.timeout.is_some()),
            (port, self.port.is_some()),
        ];
        let foreign = |of: &[&[(&str, bool)]]| match of.iter().copied().flatten().find(|(_, given)| *given) {
            Some((field, _)) => Err(Problem::invalid(at(field), format!("a check of this type has no {field}"))),
            None => Ok(()),
        };
        if self.hold.is_some() && matches!(self.r#type.as_str(), "http" | "https" | "grpc" | "ttl") {
            let detail = "only a check of type tcp holds a connection; give the instance one of those as well";
            return Err(Problem::invalid(at("hold"), detail));
        }
        match self.r#type.as_str() {
            "tcp" => {
                foreign(&[&of_http, &of_tls, &of_grpc])?;
                Ok(CheckKind::Tcp { hold: self.hold.unwrap_or(false) })
            }
            "http" => {
                foreign(&[&of_tls, &of_grpc])?;
                self.http("http", at).map(|http| CheckKind::Http(Box::new(http)))
            }
            "https" => {
                foreign(&[&of_grpc])?;
                let server_name = self.server_name.as_deref().map(str::parse::<ServerName>).transpose();
                let server_name =
                    server_name.map_err(|error| Problem::invalid(at("server_name"), error.to_string()))?;
                let tls_verify = self.tls_verify.unwrap_or(true);
                let http = self.http("https", at)?;
                Ok(CheckKind::Https(Box::new(HttpsCheck { http, tls_verify, server_name })))
            }
            "grpc" => {
                foreign(&[&of_http, &of_tls])?;
                let service = self.service.as_deref().unwrap_or_default().parse::<HealthService>();
                service.map(CheckKind::Grpc).map_err(|error| Problem::invalid(at("service"), error.to_string()))
            }
            "ttl" => foreign(&[&of_http, &of_tls, &of_grpc, &of_probes]).map(|()| CheckKind::Ttl),
            _ => Err(Problem::invalid(at("type"), "a type is `tcp`, `http`, `https`, `grpc` or `ttl`")),
        }
    }

    fn http(self, scheme: &str, at: &dyn Fn(&str) -> String) -> Result<HttpCheck, Problem> {
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
                let (path, target) = split_url(scheme, url).map_err(|fault| Problem::invalid(at("url"), fault))?;
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

/// What a url of a scheme asks for, and of whom.
fn split_url(scheme: &str, url: &str) -> Result<(RequestPath, SocketAddr), String> {
    let fault =
        || format!("a url is `{scheme}://` with an IP address, perhaps a port, and a path; names are not looked up");
    let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(fault)?;
    let usual_port = if scheme == "https" { 443 } else { 80 };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let host = authority.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(authority);
    let target = authority.parse().or_else(|_| host.parse().map(|ip| SocketAddr::new(ip, usual_port)));
    let path = path.parse().map_err(|error: RequestPathError| error.to_string())?;
    Ok((path, target.map_err(|_| fault())?))
}
