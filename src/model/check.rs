//! What a check is: how an instance is tested, how often, and when the opinion of it turns.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{Duration, Label};

/// A configured test of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSpec {
    /// Unique among the checks of its instance; the type unless it was given.
    pub name: Label,
    /// What a probe does.
    pub kind: CheckKind,
    /// From the start of one probe to the start of the next: 1 s to 1 h.
    pub interval: Duration,
    /// One deadline for connecting, asking and reading: 10 ms to 1 m, at most the interval.
    pub timeout: Duration,
    /// How many successes in a row turn critical into passing: 1 to 100.
    pub rise: u8,
    /// How many failures in a row turn passing into critical: 1 to 100.
    pub fall: u8,
    /// The port to probe; the instance's when there is none.
    pub port: Option<u16>,
}

/// Bounds of the numbers in a check.
pub mod probe_bounds {
    use super::Duration;
    /// Shortest and longest interval.
    pub const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
    /// Shortest and longest timeout.
    pub const TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
    /// Largest `rise` and `fall`.
    pub const THRESHOLD_MAX: u8 = 100;
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Opens a connection and closes it.
    Tcp,
    /// Sends an HTTP/1.1 request and looks at the answer.
    Http(Box<HttpCheck>),
}

impl CheckKind {
    /// The `type` of the check in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
        }
    }
}

/// The request of an HTTP check and what is expected of the answer. Redirects are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Another address to ask than the instance's own; `--check-allow` decides whether that is possible.
    pub target: Option<SocketAddr>,
    /// GET or HEAD.
    pub method: HttpMethod,
    /// Further request headers, in the order given.
    pub headers: Vec<(String, String)>,
    /// Which statuses mean success.
    pub expect_status: StatusRanges,
    /// Text that the first 64 KiB of the body must contain.
    pub expect_body: Option<String>,
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
        f.write_str("write statuses from 100 to 599 as \"200-299\" or \"200,204\"")
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
        let ranges = text
            .split(',')
            .take(16)
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
        for bad in ["", "2xx", "299-200", "99", "600", "200-", "+200"] {
            assert!(bad.parse::<StatusRanges>().is_err(), "{bad:?}");
        }
    }
}
