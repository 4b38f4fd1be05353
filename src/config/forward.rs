//! What `--forward` takes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::model::ZoneName;

const DNS_PORT: u16 = 53;
const FORM: &str =
    "an upstream is system or an IP address with or without a port, for one domain with DOMAIN= in front of it";

/// Where names of a domain are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRule {
    /// The domain; none for every name that no other rule takes.
    pub domain: Option<ZoneName>,
    /// In the order they are asked; not empty.
    pub upstreams: Vec<Upstream>,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// The name servers in /etc/resolv.conf when the server starts, but for itself.
    System,
    /// A server.
    Address(SocketAddr),
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for ForwardRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(f, "{}=", domain.as_str())?;
        }
        for (position, upstream) in self.upstreams.iter().enumerate() {
            write!(f, "{}{upstream}", if position > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// The rules of one text: `10.0.0.53,corp.example=10.1.1.1,10.1.1.2`. An item with a domain begins a rule, and those
/// without one that follow it belong to it.
pub(super) fn parse(text: &str) -> Result<Vec<ForwardRule>, String> {
    let mut rules: Vec<ForwardRule> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let upstream = match item.split_once('=') {
            Some((domain, upstream)) => {
                let domain = domain.trim();
                let name = domain.parse::<ZoneName>().map_err(|error| format!("the domain {domain:?}: {error}"))?;
                rules.push(ForwardRule { domain: Some(name), upstreams: Vec::new() });
                upstream.trim()
            }
            None => item,
        };
        if rules.is_empty() {
            rules.push(ForwardRule { domain: None, upstreams: Vec::new() });
        }
        let upstreams = &mut rules.last_mut().expect("one was pushed").upstreams;
        upstreams.push(self::upstream(upstream).ok_or(FORM)?);
    }
    Ok(rules)
}

fn upstream(text: &str) -> Option<Upstream> {
    if text.eq_ignore_ascii_case("system") {
        return Some(Upstream::System);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => SocketAddr::new(IpAddr::V6(bare.parse().ok()?), DNS_PORT),
        None => text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT))).ok()?,
    };
    let can_be_asked = !address.ip().is_unspecified() && !address.ip().is_multicast() && address.port() != 0;
    can_be_asked.then_some(Upstream::Address(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        parse(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_item_with_a_domain_begins_a_rule() {
        assert_eq!(shown("system"), ["system"]);
        assert_eq!(shown("10.0.0.53, [::1]:5353,::1,[::1]"), ["10.0.0.53:53,[::1]:5353,[::1]:53,[::1]:53"]);
        assert_eq!(shown("corp.example=10.1.1.1,10.1.1.2"), ["corp.example=10.1.1.1:53,10.1.1.2:53"]);
        assert_eq!(
            shown("10.0.0.53,Corp.example.=10.1.1.1:54,::2,10.in-addr.arpa=system"),
            ["10.0.0.53:53", "corp.example=10.1.1.1:54,[::2]:53", "10.in-addr.arpa=system"]
        );
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for bad in ["ns.example", "10.0.0.1:0", "0.0.0.0", "224.0.0.1", "corp.example=", "10.0.0.1:x", "[10.0.0.1]"] {
            assert_eq!(parse(bad), Err(FORM.to_owned()), "{bad}");
        }
        assert_eq!(parse("a..b=10.0.0.1").unwrap_err(), "the domain \"a..b\": a label is empty");
        assert!(parse("=10.0.0.1").is_err());
    }
}
