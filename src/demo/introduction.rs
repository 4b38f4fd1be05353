//! What the terminal says at the start: what runs, and what to type.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use crate::model::ZoneName;

/// The text at the start of a demonstration.
pub(super) struct Introduction<'a> {
    pub(super) http: SocketAddr,
    pub(super) dns: SocketAddr,
    pub(super) zone: &'a ZoneName,
    /// The port that the unregistered service was meant to have, and the one it has.
    pub(super) wanted: u16,
    pub(super) port: u16,
}

impl fmt::Display for Introduction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, dns, zone, wanted, port } = self;
        let zone = zone.as_str();
        let dig = format!("  dig @{} -p {}", dns.ip(), dns.port());
        let curl_host = match http.ip() {
            ip if ip == Ipv4Addr::LOCALHOST => format!("localhost:{}", http.port()),
            _ => http.to_string(),
        };
        f.write_str(
            "Three services run in this process, registered over HTTP like anyone's:\n\
             \x20 web    w1  healthy\n\
             \x20 flaky  f1  fails and recovers every 20 s\n\
             \x20 batch  b1  on a lease that is renewed for one minute, then leaves\n\
             \n\
             Ask for them:\n",
        )?;
        writeln!(f, "{dig} _web._tcp.{zone} SRV")?;
        for service in ["web", "flaky", "batch"] {
            writeln!(f, "{dig} {service}.{zone}")?;
        }
        f.write_str("\n")?;
        if port != wanted {
            writeln!(f, "Port {wanted} is taken by another program, so the next one has port {port} instead.")?;
        }
        writeln!(f, "A fourth listens on 127.0.0.1:{port} and nobody has registered it. Do, and ask for it:")?;
        writeln!(
            f,
            "  curl -sX PUT {curl_host}/v1/services/hello/instances/i1 -H 'content-type: application/json' \\\n\
             \x20      -d '{{\"address\":\"127.0.0.1\",\"port\":{port},\"lease_ttl\":\"5m\",\
             \"checks\":[{{\"type\":\"http\",\"path\":\"/healthz\"}}]}}'"
        )?;
        writeln!(f, "{dig} _hello._tcp.{zone} SRV")?;
        writeln!(f, "{dig} hello.{zone}")?;
        f.write_str("It leaves after five minutes, because nobody renews its lease.\n")?;
        f.write_str("\nWhat changes is logged as it happens. Ctrl-C ends it.\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction(http: &str, port: u16) -> String {
        let zone = "svc.internal.".parse().unwrap();
        let dns = "127.0.0.1:8600".parse().unwrap();
        Introduction { http: http.parse().unwrap(), dns, zone: &zone, wanted: 8080, port }.to_string()
    }

    #[test]
    fn lines_to_type_are_those_of_the_readme() {
        let text = introduction("127.0.0.1:8500", 8080);
        for lines in [
            "  dig @127.0.0.1 -p 8600 _web._tcp.svc.internal SRV\n",
            "  dig @127.0.0.1 -p 8600 web.svc.internal\n",
            "  curl -sX PUT localhost:8500/v1/services/hello/instances/i1 -H 'content-type: application/json' \\\n       \
             -d '{\"address\":\"127.0.0.1\",\"port\":8080,\"lease_ttl\":\"5m\",\"checks\":[{\"type\":\"http\",\"path\":\"/healthz\"}]}'\n",
            "  dig @127.0.0.1 -p 8600 _hello._tcp.svc.internal SRV\n  dig @127.0.0.1 -p 8600 hello.svc.internal\n",
        ] {
            assert!(text.contains(lines), "{lines} in {text}");
        }
        assert!(!text.contains("taken"));
    }

    #[test]
    fn another_port_is_said_and_used() {
        let text = introduction("[::1]:9000", 40_123);
        assert!(text.contains("Port 8080 is taken by another program"), "{text}");
        assert!(text.contains("\"port\":40123,"), "{text}");
        assert!(text.contains("curl -sX PUT [::1]:9000/v1/"), "{text}");
    }
}
