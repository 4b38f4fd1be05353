//! Addresses to listen on, as people write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The socket addresses that a text stands for.
///
/// `:PORT` is every address of both families. `localhost` is 127.0.0.1 alone: a machine without IPv6 has no `::1` to
/// bind, and whoever wants both writes both.
pub(super) fn parse(text: &str, default_port: u16) -> Result<Vec<SocketAddr>, &'static str> {
    const FORM: &str =
        "an address to listen on is an IP address with or without a port, localhost, or :PORT for all addresses";
    let port = |digits: &str| match digits.parse::<u16>() {
        Ok(port) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err("a port is a number from 0 to 65535"),
    };
    if let Some(digits) = text.strip_prefix(':').filter(|rest| !rest.contains(':')) {
        let port = port(digits)?;
        return Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]);
    }
    if let Some(rest) = text.strip_prefix("localhost") {
        let port = match rest.strip_prefix(':') {
            Some(digits) => port(digits)?,
            None if rest.is_empty() => default_port,
            None => return Err(FORM),
        };
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: Result<IpAddr, _> = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6),
        None => text.parse(),
    };
    address.map(|address| vec![(address, default_port).into()]).map_err(|_| FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_hosts_may_be_left_out() {
        for (text, expected) in [
            ("127.0.0.1", &["127.0.0.1:8600"][..]),
            ("127.0.0.1:53", &["127.0.0.1:53"]),
            ("::1", &["[::1]:8600"]),
            ("[::1]", &["[::1]:8600"]),
            ("[::1]:53", &["[::1]:53"]),
            ("localhost", &["127.0.0.1:8600"]),
            ("localhost:53", &["127.0.0.1:53"]),
            (":53", &["0.0.0.0:53", "[::]:53"]),
            ("::", &["[::]:8600"]),
            ("127.0.0.1:0", &["127.0.0.1:0"]),
        ] {
            let expected: Vec<SocketAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(parse(text, 8600), Ok(expected), "{text}");
        }
    }

    #[test]
    fn names_and_nonsense_are_refused() {
        for bad in [
            "",
            "example.org",
            "localhost4",
            "localhost:",
            ":",
            ":x",
            "1.2.3",
            "[::1",
            "1.2.3.4:65536",
            ":+1",
            "[1.2.3.4]",
        ] {
            assert!(parse(bad, 8600).is_err(), "{bad:?}");
        }
    }
}
