//! Where the API is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, header};
use serde_json::Value;

use super::ClientError;

const DEFAULT_PORT: u16 = 8500;

/// Why a client cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// No address was given.
    None,
    /// It asks for TLS, which this client does not speak.
    Tls(String),
    /// It is not `host:port` or `http://host:port`.
    Form(String),
    /// The token holds characters that a header cannot carry.
    Token,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no address of a server was given: write host:port"),
            Self::Tls(text) => write!(f, "{text:?} asks for TLS, which is not supported: write http://host:port"),
            Self::Form(text) => {
                write!(f, "{text:?} is not the address of a server: write host:port or http://host:port")
            }
            Self::Token => f.write_str("the token holds characters that an HTTP header cannot carry"),
        }
    }
}

impl std::error::Error for AddressError {}

/// A request on its way.
pub(super) type Outgoing = Request<Full<Bytes>>;

/// One address of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Host and port as they are dialled.
    host: String,
    port: u16,
    /// Host and port as a `Host` header writes them.
    authority: String,
}

impl Target {
    pub(super) fn dial(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn request(
        &self,
        method: &Method,
        path_and_query: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Outgoing, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json, application/problem+json")
            .header(header::USER_AGENT, concat!("rollcall/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(body)).map_err(|error| ClientError::Request { detail: error.to_string() })
    }
}

impl FromStr for Target {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        if text.starts_with("https://") {
            return Err(AddressError::Tls(text.to_owned()));
        }
        let place = text.trim().strip_prefix("http://").unwrap_or(text.trim());
        let place = place.strip_suffix('/').unwrap_or(place);
        let port = |digits: &str| match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            _ => Err(form()),
        };
        let (host, port) = if let Ok(address) = place.parse::<Ipv6Addr>() {
            (address.to_string(), DEFAULT_PORT)
        } else if let Some((host, rest)) = place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let address: Ipv6Addr = host.parse().map_err(|_| form())?;
            match rest.strip_prefix(':') {
                Some(digits) => (address.to_string(), port(digits)?),
                None if rest.is_empty() => (address.to_string(), DEFAULT_PORT),
                None => return Err(form()),
            }
        } else {
            match place.split_once(':') {
                // `:8500` is how listeners are written; the nearest of all their addresses is this machine.
                Some(("", digits)) => ("127.0.0.1".to_owned(), port(digits)?),
                Some((host, digits)) => (host.to_owned(), port(digits)?),
                None => (place.to_owned(), DEFAULT_PORT),
            }
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if host.is_empty() || !(is_address || is_name) {
            return Err(form());
        }
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { host, port, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_an_optional_port() {
        for (text, authority) in [
            ("localhost:8500", "localhost:8500"),
            ("http://10.0.0.1:80/", "10.0.0.1:80"),
            ("node-1.example", "node-1.example:8500"),
            (":9000", "127.0.0.1:9000"),
            ("[::1]:8500", "[::1]:8500"),
            ("http://[::1]", "[::1]:8500"),
            ("::1", "[::1]:8500"),
        ] {
            assert_eq!(text.parse::<Target>().map(|target| target.authority), Ok(authority.to_owned()), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in
            ["", ":", "host:", "host:0", "host:+1", "host:65536", "host:1/path", "user@host", "[::1", "[x]:1", "a b"]
        {
            assert_eq!(bad.parse::<Target>(), Err(AddressError::Form(bad.to_owned())), "{bad:?}");
        }
        assert!(matches!("https://host".parse::<Target>(), Err(AddressError::Tls(_))));
    }
}
