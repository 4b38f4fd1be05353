//! What a check calls its peer: the name in a certificate, the service that gRPC asks for.

use std::fmt;
use std::str::FromStr;

/// The name that a server is asked for in TLS (RFC 6066 §3), in lower case and without a final dot. It is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName(Box<str>);

/// A text that is no name of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerNameError;

impl fmt::Display for ServerNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a server name is labels of 1 to 63 letters, digits, hyphens and underscores, no hyphen at their ends, at \
             most 253 octets; it is no address, which is what a certificate has to have without a name",
        )
    }
}

impl std::error::Error for ServerNameError {}

impl ServerName {
    const OCTETS_MAX: usize = 253;
    const LABEL_OCTETS_MAX: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;
    fn from_str(text: &str) -> Result<Self, ServerNameError> {
        let is_label = |label: &str| {
            (1..=Self::LABEL_OCTETS_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // No top-level domain is a number, but an address ends with one.
        let ends_in_number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        let fits = text.len() <= Self::OCTETS_MAX && text.split('.').all(is_label) && !ends_in_number;
        if fits { Ok(Self(text.to_ascii_lowercase().into())) } else { Err(ServerNameError) }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The service whose health gRPC is asked for; the empty name means the server as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthService(Box<str>);

/// A text that is no name of a service of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthServiceError;

impl fmt::Display for HealthServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a service of gRPC is at most 255 printable ASCII characters without space, like `payments.v1.Api`")
    }
}

impl std::error::Error for HealthServiceError {}

impl HealthService {
    /// Octets of a name.
    pub const OCTETS_MAX: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HealthService {
    type Err = HealthServiceError;
    fn from_str(text: &str) -> Result<Self, HealthServiceError> {
        let fits = text.len() <= Self::OCTETS_MAX && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text.into())) } else { Err(HealthServiceError) }
    }
}

impl fmt::Display for HealthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_are_names_that_a_certificate_can_have() {
        let long = format!("{}.{}", "a".repeat(63), "b".repeat(63));
        for (text, name) in
            [("Web.Example", "web.example"), ("a_b.c-d", "a_b.c-d"), ("localhost", "localhost"), (&*long, &*long)]
        {
            assert_eq!(text.parse::<ServerName>().unwrap().as_str(), name);
        }
        let (label, name) = ("a".repeat(64), ["a"; 128].join("."));
        for bad in
            ["", ".", "web.", ".web", "a..b", "-a", "a-", "a b", "ä", "a\r\nb", "10.0.0.7", "::1", "*.a", &label, &name]
        {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn services_of_grpc_are_short_and_printable() {
        let long = "a".repeat(255);
        for good in ["", "payments.v1.Api", &long] {
            assert_eq!(good.parse::<HealthService>().unwrap().as_str(), good);
        }
        for bad in ["a b", "ä", "a\n", "\x7f", &format!("{long}a")] {
            assert!(bad.parse::<HealthService>().is_err(), "{bad:?}");
        }
    }
}
