//! What a check is: how an instance is tested, how often, and when the opinion of it turns.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{Duration, HealthService, Label, ServerName};

/// A configured test of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSpec {
    /// Unique among the checks of its instance; the type unless it was given.
    pub name: Label,
    /// What a probe does.
    pub kind: CheckKind,
    /// From the start of one probe to the start of the next, or from one report to the next at most: 1 s to 1 h.
    pub interval: Duration,
    /// The same after a result that contradicts the standing opinion, until `rise` or `fall` decides: 50 ms to the
    /// interval.
    pub fast_interval: Duration,
    /// One deadline for connecting, asking and reading: 10 ms to 1 m, at most the interval.
    pub timeout: Duration,
    /// How many successes in a row turn critical into passing: 1 to 100.
    pub rise: u8,
    /// How many failures in a row turn passing into critical: 1 to 100.
    pub fall: u8,
    /// Which of these numbers its registration does not say; they are what the server has.
    pub unsaid: Unsaid,
    /// The port to probe; the instance's when there is none.
    pub port: Option<u16>,
}

/// Which of a check's numbers its registration leaves to others: the check has what the server has, unless its service's
/// settings say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsaid {
    /// [`CheckSpec::interval`].
    pub interval: bool,
    /// [`CheckSpec::fast_interval`].
    pub fast_interval: bool,
    /// [`CheckSpec::timeout`].
    pub timeout: bool,
    /// [`CheckSpec::rise`].
    pub rise: bool,
    /// [`CheckSpec::fall`].
    pub fall: bool,
}

impl CheckSpec {
    /// The fast interval of a check that names none: a tenth of its interval, at least 50 ms.
    pub fn usual_fast_interval(interval: Duration) -> Duration {
        Duration::from_millis(interval.as_millis() / 10).max(probe_bounds::FAST_INTERVAL_MIN).min(interval)
    }
}

/// Bounds of the numbers in a check.
pub mod probe_bounds {
    use super::Duration;
    /// Shortest and longest interval.
    pub const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
    /// Shortest fast interval; the longest is the interval.
    pub const FAST_INTERVAL_MIN: Duration = Duration::from_millis(50);
    /// Shortest and longest timeout.
    pub const TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
    /// Largest `rise` and `fall`.
    pub const THRESHOLD_MAX: u8 = 100;
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Opens a connection and closes it.
    Tcp {
        /// Whether a further connection stays open beside the probes, whose end has the instance probed at once.
        hold: bool,
    },
    /// Sends an HTTP/1.1 request and looks at the answer.
    Http(Box<HttpCheck>),
    /// The same over TLS.
    Https(Box<HttpsCheck>),
    /// Asks the standard health service of gRPC (`grpc.health.v1.Health/Check`), over HTTP/2 without TLS.
    Grpc(HealthService),
    /// Nothing: the service reports itself, at least once an interval.
    Ttl,
}

impl CheckKind {
    /// The `type` of the check in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Http(_) => "http",
            Self::Https(_) => "https",
            Self::Grpc(_) => "grpc",
            Self::Ttl => "ttl",
        }
    }

    /// The request, where it is one of HTTP.
    pub fn http(&self) -> Option<&HttpCheck> {
        match self {
            Self::Http(http) => Some(http),
            Self::Https(https) => Some(&https.http),
            Self::Tcp { .. } | Self::Grpc(_) | Self::Ttl => None,
        }
    }

    /// Whether a connection is held beside the probes.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Tcp { hold: true })
    }

    /// Whether it is found out by asking the instance, and not by waiting for what that says.
    pub fn is_probed(&self) -> bool {
        !matches!(self, Self::Ttl)
    }
}

/// The request of an HTTP check and what is expected of the answer. Redirects are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// What is asked for.
    pub path: RequestPath,
    /// Another address to ask than the instance's own; `--check-allow` decides whether that is possible.
    pub target: Option<SocketAddr>,
    /// GET or HEAD.
    pub method: HttpMethod,
    /// Further request headers.
    pub headers: RequestHeaders,
    /// Which statuses mean success.
    pub expect_status: StatusRanges,
    /// Text that the first 64 KiB of the body must contain.
    pub expect_body: Option<String>,
}

/// An HTTP check over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsCheck {
    /// The exchange.
    pub http: HttpCheck,
    /// Whether the certificate has to be one that is trusted, in force and the server's. Without this any will do.
    pub tls_verify: bool,
    /// The name that the server is asked for (RFC 6066 §3) and its certificate has to have; without one the certificate
    /// has to have the address.
    pub server_name: Option<ServerName>,
}

/// Path and query of a request, as they can stand in a request line: a check cannot make one request two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath(Box<str>);

/// A text that is no path of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPathError;

impl fmt::Display for RequestPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a path begins with `/` and is printable ASCII without space, `#`, `<`, `>`, quotation marks and backticks \
             (write those as %20 and so on), at most 1,024 octets",
        )
    }
}

impl std::error::Error for RequestPathError {}

impl RequestPath {
    const OCTETS_MAX: usize = 1024;

    /// The path and query as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RequestPath {
    fn default() -> Self {
        Self("/".into())
    }
}

impl FromStr for RequestPath {
    type Err = RequestPathError;
    fn from_str(text: &str) -> Result<Self, RequestPathError> {
        let is_possible = |b: u8| matches!(b, 0x21..=0x7e) && !matches!(b, b'"' | b'#' | b'<' | b'>' | b'`');
        let fits = text.starts_with('/') && text.len() <= Self::OCTETS_MAX && text.bytes().all(is_possible);
        if fits { Ok(Self(text.into())) } else { Err(RequestPathError) }
    }
}

impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Request headers that change neither whom a request is for nor where it ends, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeaders(Box<[(String, String)]>);

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeadersError {
    /// The name of the header at fault; none when there are too many.
    pub name: Option<String>,
    /// What to do about it.
    pub detail: &'static str,
}

impl RequestHeaders {
    const COUNT_MAX: usize = 16;
    const VALUE_OCTETS_MAX: usize = 1024;
    /// Say where a request goes and where it ends.
    const OF_THE_PROBE: [&str; 9] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
    ];

    /// Headers from names and values.
    ///
    /// # Errors
    /// The first header that HTTP cannot carry (RFC 9110 §5) or that is the probe's own.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, RequestHeadersError> {
        let pairs: Box<[(String, String)]> = pairs.into_iter().collect();
        if pairs.len() > Self::COUNT_MAX {
            return Err(RequestHeadersError { name: None, detail: "at most 16 headers" });
        }
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        for (name, value) in &pairs {
            let fault = |detail| Err(RequestHeadersError { name: Some(name.clone()), detail });
            if name.is_empty() || name.len() > Self::VALUE_OCTETS_MAX || !name.bytes().all(is_token) {
                return fault("not the name of a header");
            }
            if Self::OF_THE_PROBE.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                return fault("this header is the prober's own");
            }
            if value.len() > Self::VALUE_OCTETS_MAX || value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
                return fault("a value is at most 1,024 octets without line breaks or controls");
            }
        }
        Ok(Self(pairs))
    }

    /// The headers, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// The method of an HTTP check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// Asks for the whole answer.
    Get,
    /// Asks for the headers only.
    Head,
}

impl HttpMethod {
    /// The method as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// HTTP statuses that mean success, written `200-299` or `200,204,301-302`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(Vec<(u16, u16)>);

impl Default for StatusRanges {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl StatusRanges {
    const COUNT_MAX: usize = 16;

    /// Whether a status means success.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

/// A text that is not a list of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRangesError;

impl fmt::Display for StatusRangesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write statuses from 100 to 599 as \"200-299\" or \"200,204\", at most 16 of them")
    }
}

impl std::error::Error for StatusRangesError {}

impl FromStr for StatusRanges {
    type Err = StatusRangesError;
    fn from_str(text: &str) -> Result<Self, StatusRangesError> {
        let status = |text: &str| -> Result<u16, StatusRangesError> {
            let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            let status = text.parse().map_err(|_| StatusRangesError)?;
            if digits && (100..=599).contains(&status) { Ok(status) } else { Err(StatusRangesError) }
        };
        if text.split(',').count() > Self::COUNT_MAX {
            return Err(StatusRangesError);
        }
        let ranges = text
            .split(',')
            .map(|part| {
                let part = part.trim();
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                let (low, high) = (status(low)?, status(high)?);
                if low <= high { Ok((low, high)) } else { Err(StatusRangesError) }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self(ranges))
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (low, high)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            if low == high { write!(f, "{comma}{low}")? } else { write!(f, "{comma}{low}-{high}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_ranges() {
        let ranges: StatusRanges = "200-299, 304".parse().unwrap();
        assert!(ranges.contains(204) && ranges.contains(304) && !ranges.contains(302));
        assert_eq!(ranges.to_string(), "200-299,304");
        let many = ["200"; 17].join(",");
        for bad in ["", "2xx", "299-200", "99", "600", "200-", "+200", &many] {
            assert!(bad.parse::<StatusRanges>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_are_what_a_request_line_can_carry() {
        for good in ["/", "/healthz?deep=1", "/a%20b", "/{a}|", &format!("/{}", "a".repeat(1023))] {
            assert_eq!(good.parse::<RequestPath>().unwrap().as_str(), good);
        }
        let long = format!("/{}", "a".repeat(1024));
        for bad in
            ["", "healthz", "http://10.0.0.1/", "/a b", "/a\r\nX: y", "/\0", "/a#b", "/?\"", "*", "/ä", "/\x7f", &long]
        {
            assert!(bad.parse::<RequestPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn headers_cannot_make_one_request_two() {
        let headers = |name: &str, value: &str| RequestHeaders::new([(name.to_owned(), value.to_owned())]);
        assert!(headers("X-Token", "a b\tä").is_ok());
        for (name, value, fault) in [
            ("", "x", "not the name"),
            ("a b", "x", "not the name"),
            ("a\r\nb", "x", "not the name"),
            ("ä", "x", "not the name"),
            ("a", "x\r\nHost: y", "line breaks"),
            ("a", "\0", "line breaks"),
            ("a", "\x7f", "line breaks"),
            ("a", &"x".repeat(1025), "1,024 octets"),
            ("Host", "x", "prober's own"),
            ("content-length", "5", "prober's own"),
            ("Transfer-Encoding", "chunked", "prober's own"),
            ("connection", "keep-alive", "prober's own"),
        ] {
            let error = headers(name, value).unwrap_err();
            assert!(error.name.as_deref() == Some(name) && error.detail.contains(fault), "{error:?}");
        }
        let many = (0..17).map(|n| (format!("x-{n}"), String::new()));
        assert_eq!(RequestHeaders::new(many).unwrap_err().name, None);
    }
}
