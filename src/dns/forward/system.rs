//! The name servers that the system has been told, and which of them are we.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const DNS_PORT: u16 = 53;

/// The name servers of a `resolv.conf`, in its order. Lines that name none are none of ours.
pub fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        if let Some(address) = words.next().and_then(address)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

/// An address as resolv.conf(5) has it: `fe80::1%eth0` names the interface of a link-local one, and an address that
/// is none means this machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, scope) = match text.split_once('%') {
        Some((ip, interface)) => {
            let named = || nix::net::if_::if_nametoindex(interface).ok();
            (ip, interface.parse().ok().or_else(named)?)
        }
        None => (text, 0),
    };
    Some(match ip.parse::<IpAddr>().ok()? {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => (Ipv4Addr::LOCALHOST, DNS_PORT).into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => (Ipv6Addr::LOCALHOST, DNS_PORT).into(),
        IpAddr::V4(v4) => (v4, DNS_PORT).into(),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, DNS_PORT, 0, scope).into(),
    })
}

/// Whether an upstream is one of our own listeners, given the addresses of this machine for those on all of them.
pub fn is_own(upstream: SocketAddr, listeners: &[SocketAddr], local: &[IpAddr]) -> bool {
    let ip = upstream.ip().to_canonical();
    listeners.iter().any(|listener| {
        let of_family = listener.is_ipv4() == ip.is_ipv4();
        let on_all = listener.ip().is_unspecified() && of_family && (ip.is_loopback() || local.contains(&ip));
        listener.port() == upstream.port() && (listener.ip() == ip || on_all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn name_servers_are_read_as_the_resolver_reads_them() {
        let text = "# nameserver 10.0.0.1\nsearch example.org\n nameserver\t10.0.0.2 # a comment\nnameserver ::1\n\
                    nameserver 10.0.0.2\nnameserver\nnameserver ns.example\noptions edns0\nnameservers 10.0.0.3\n\
                    nameserver fe80::1%7\nnameserver 0.0.0.0\nnameserver fe80::2%no-such-interface\n";
        let expected = addresses(&["10.0.0.2:53", "[::1]:53", "[fe80::1%7]:53", "127.0.0.1:53"]);
        assert_eq!(nameservers(text), expected);
    }

    #[test]
    fn our_own_listeners_are_recognised() {
        let local = ["192.0.2.7", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        let is_own =
            |upstream: &str, listeners: &[&str]| is_own(upstream.parse().unwrap(), &addresses(listeners), &local);
        assert!(is_own("127.0.0.1:53", &["127.0.0.1:53"]));
        assert!(is_own("[::ffff:127.0.0.1]:53", &["127.0.0.1:53"]));
        assert!(is_own("192.0.2.7:53", &["0.0.0.0:53", "[::]:53"]));
        assert!(is_own("127.0.0.53:53", &["0.0.0.0:53"]), "all of 127.0.0.0/8 is this machine");
        assert!(!is_own("127.0.0.53:53", &["127.0.0.1:53"]), "systemd-resolved is another server");
        assert!(!is_own("127.0.0.1:5353", &["127.0.0.1:53"]));
        assert!(!is_own("192.0.2.7:53", &["[::]:53"]));
        assert!(!is_own("192.0.2.8:53", &["0.0.0.0:53"]));
    }
}
