//! Where a check may aim, so that a registration cannot turn Rollcall against somebody else or against itself.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Settings;
use crate::model::{CheckSpec, Registration};

/// How long the addresses of this machine are believed.
const BELIEVED: std::time::Duration = std::time::Duration::from_secs(5);

/// Addresses beyond link-local that answer a cloud machine's questions about itself, credentials among them:
/// AWS and GCP over IPv6, Alibaba, Azure.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Why a check may not aim where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRefused {
    /// Neither an address of the instance nor in a net that was opened.
    Foreign(SocketAddr),
    /// One of Rollcall's own listeners.
    OwnListener(SocketAddr),
    /// Perhaps one of Rollcall's own listeners: the addresses of this machine could not be looked up.
    Unknown(SocketAddr),
    /// A link-local address or one of cloud metadata; no setting opens these.
    Metadata(SocketAddr),
    /// Nothing listens there: an unspecified, broadcast or multicast address, or port 0.
    NoListener(SocketAddr),
}

impl fmt::Display for TargetRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(target) => write!(
                f,
                "a check may only go to its instance's own address or into a net opened with --check-allow, \
                 and {target} is neither"
            ),
            Self::OwnListener(target) => {
                write!(f, "{target} is a listener of Rollcall itself; a check must go to the instance's own port")
            }
            Self::Unknown(target) => write!(
                f,
                "{target} may be a listener of Rollcall itself: this machine's addresses cannot be looked up; try again"
            ),
            Self::Metadata(target) => {
                write!(f, "no check may go to {target}: link-local and cloud metadata addresses are never probed")
            }
            Self::NoListener(target) => write!(f, "nothing can listen on {target}"),
        }
    }
}

impl std::error::Error for TargetRefused {}

/// The addresses of this machine, which come and go.
#[derive(Debug)]
struct Local {
    look_up: fn() -> io::Result<Vec<SocketAddr>>,
    found: Mutex<Option<(Instant, Vec<IpAddr>)>>,
}

impl Local {
    fn contains(&self, address: IpAddr) -> io::Result<bool> {
        let now = Instant::now();
        let mut found = self.found.lock();
        if found.as_ref().is_none_or(|(at, _)| now - *at >= BELIEVED) {
            let addresses = (self.look_up)()?.iter().map(|found| found.ip().to_canonical()).collect();
            *found = Some((now, addresses));
        }
        Ok(found.as_ref().is_some_and(|(_, addresses)| addresses.contains(&address)))
    }
}

/// The policy of where checks may aim. No names are resolved, because a check has addresses only. Nothing is looked up
/// but the addresses of this machine, and those only for a port on which Rollcall listens on all of them.
#[derive(Debug)]
pub struct Targets {
    allow: Vec<IpNet>,
    listeners: Vec<SocketAddr>,
    local: Local,
}

impl Targets {
    /// The policy that settings describe. Rollcall's listeners are part of it, so bind first.
    pub fn new(settings: &Settings) -> Self {
        let canonical = |listener: &SocketAddr| SocketAddr::new(listener.ip().to_canonical(), listener.port());
        Self {
            allow: settings.allow.clone(),
            listeners: settings.listeners.iter().map(canonical).collect(),
            local: Local { look_up: settings.local_addresses, found: Mutex::default() },
        }
    }

    /// Where probes of a check of this registration go: the first address of the instance, or the target that the
    /// check names.
    ///
    /// # Errors
    /// Why it may not go there.
    pub fn resolve(&self, registration: &Registration, check: &CheckSpec) -> Result<SocketAddr, TargetRefused> {
        let named = check.kind.http().and_then(|http| http.target);
        let own_port = check.port.unwrap_or(registration.port);
        let target = named.unwrap_or_else(|| SocketAddr::new(registration.addresses.first(), own_port));
        // An IPv4-mapped address reaches the IPv4 host, so it is judged as that.
        let target = SocketAddr::new(target.ip().to_canonical(), target.port());
        let address = target.ip();
        if target.port() == 0 || is_no_host(address) {
            Err(TargetRefused::NoListener(target))
        } else if is_metadata(address) {
            Err(TargetRefused::Metadata(target))
        } else if self.is_own_listener(target).map_err(|_| TargetRefused::Unknown(target))? {
            Err(TargetRefused::OwnListener(target))
        } else if registration.addresses.iter().any(|own| own == address)
            || self.allow.iter().any(|net| net.contains(&address))
        {
            Ok(target)
        } else {
            Err(TargetRefused::Foreign(target))
        }
    }

    /// Whether every check of a registration may aim where it does.
    ///
    /// # Errors
    /// The position of the first check that may not, and why.
    pub fn permit(&self, registration: &Registration) -> Result<(), (usize, TargetRefused)> {
        let probed = registration.checks.iter().enumerate().filter(|(_, check)| check.kind.is_probed());
        probed.into_iter().try_for_each(|(position, check)| {
            self.resolve(registration, check).map(drop).map_err(|refused| (position, refused))
        })
    }

    fn is_own_listener(&self, target: SocketAddr) -> io::Result<bool> {
        let mut everywhere = false;
        for listener in self.listeners.iter().filter(|listener| listener.port() == target.port()) {
            if listener.ip() == target.ip() {
                return Ok(true);
            }
            everywhere |= listener.ip().is_unspecified();
        }
        // An IPv6 wildcard may take IPv4 too, which the address alone does not show.
        Ok(everywhere && (target.ip().is_loopback() || self.local.contains(target.ip())?))
    }
}

/// Whether an address is none that a host has. The unspecified one would reach this machine.
fn is_no_host(address: IpAddr) -> bool {
    address.is_unspecified() || address.is_multicast() || address == Ipv4Addr::BROADCAST
}

fn is_metadata(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    link_local || METADATA.contains(&address) || behind_nat64(address).is_some_and(is_metadata)
}

/// The IPv4 address that a NAT64 translator makes of an address (RFC 6052 §2.1).
fn behind_nat64(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] = v6.octets() else { return None };
    Some(IpAddr::from([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;
    use crate::check::support::{grpc_check, http_check, https_check, registration, tcp_check};

    fn targets(allow: &[&str], listeners: &[&str], local_addresses: fn() -> io::Result<Vec<SocketAddr>>) -> Targets {
        Targets::new(&Settings {
            allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
            listeners: listeners.iter().map(|listener| listener.parse().unwrap()).collect(),
            local_addresses,
            ..Settings::default()
        })
    }

    fn none() -> io::Result<Vec<SocketAddr>> {
        Ok(Vec::new())
    }

    fn two() -> io::Result<Vec<SocketAddr>> {
        Ok(["10.0.0.5:0", "[2001:db8::5]:0"].map(|address| address.parse().unwrap()).into())
    }

    /// What becomes of an HTTP check of an instance at `own` that names `target`.
    fn http_to(targets: &Targets, own: &str, target: &str) -> Result<SocketAddr, TargetRefused> {
        let check = http_check(|http| http.target = Some(target.parse().unwrap()));
        targets.resolve(&registration(own.parse().unwrap(), []), &check)
    }

    #[test]
    fn check_goes_to_its_instance_at_any_port() {
        let targets = targets(&[], &["127.0.0.1:8500"], none);
        let own = "10.0.0.7:8080".parse().unwrap();
        let mut check = tcp_check();
        assert_eq!(targets.resolve(&registration(own, []), &check), Ok(own));
        check.port = Some(9090);
        assert_eq!(targets.resolve(&registration(own, []), &check).unwrap().port(), 9090);
        assert!(http_to(&targets, "10.0.0.7:8080", "10.0.0.7:22").is_ok());
        assert!(http_to(&targets, "127.0.0.1:8080", "127.0.0.1:8081").is_ok(), "a local instance is one, too");
    }

    #[test]
    fn foreign_targets_need_an_open_net() {
        let targets = targets(&["192.0.2.0/24", "2001:db8::/32"], &[], none);
        let own = "10.0.0.7:8080";
        assert!(http_to(&targets, own, "192.0.2.9:80").is_ok());
        assert!(http_to(&targets, own, "[2001:db8::1]:80").is_ok());
        assert!(http_to(&targets, own, "[::ffff:192.0.2.9]:80").is_ok());
        for foreign in ["10.0.0.8:8080", "127.0.0.1:80", "[::1]:80", "198.51.100.1:80", "[::ffff:127.0.0.1]:80"] {
            assert!(matches!(http_to(&targets, own, foreign), Err(TargetRefused::Foreign(_))), "{foreign}");
        }
    }

    #[test]
    fn every_kind_is_held_to_the_same() {
        let targets = targets(&[], &["127.0.0.1:8500"], none);
        let aim = |check: CheckSpec| targets.resolve(&registration("127.0.0.1:443".parse().unwrap(), []), &check);
        let https = |target: &str| https_check(|https| https.http.target = Some(target.parse().unwrap()));
        assert!(aim(https("127.0.0.1:8443")).is_ok());
        assert!(matches!(aim(https("10.0.0.8:443")), Err(TargetRefused::Foreign(_))));
        assert!(matches!(aim(https("169.254.169.254:443")), Err(TargetRefused::Metadata(_))));
        for check in [https_check(|_| ()), grpc_check(""), tcp_check()] {
            let own = CheckSpec { port: Some(8500), ..check };
            assert!(matches!(aim(own), Err(TargetRefused::OwnListener(_))));
        }
    }

    #[test]
    fn own_listeners_are_never_probed() {
        let everything = ["0.0.0.0/0", "::/0"];
        let bound = targets(&everything, &["127.0.0.1:8500", "[::1]:8600"], none);
        let wildcard = targets(&everything, &["[::]:8500", "0.0.0.0:8600"], two);
        for (targets, target, own) in [
            (&bound, "127.0.0.1:8500", true),
            (&bound, "[::ffff:127.0.0.1]:8500", true),
            (&bound, "[::1]:8600", true),
            (&bound, "127.0.0.1:8600", false),
            (&wildcard, "127.0.0.1:8500", true),
            (&wildcard, "127.9.9.9:8600", true),
            (&wildcard, "[::1]:8500", true),
            (&wildcard, "10.0.0.5:8500", true),
            (&wildcard, "[2001:db8::5]:8500", true),
            (&wildcard, "10.0.0.6:8500", false),
            (&wildcard, "10.0.0.5:8501", false),
        ] {
            // As a named target of another instance, and as the registered address of an instance itself.
            let address = target.parse::<SocketAddr>().unwrap();
            let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
            let registered = targets.resolve(&registration(canonical, []), &tcp_check());
            for result in [http_to(targets, "198.51.100.1:80", target), registered] {
                assert_eq!(matches!(result, Err(TargetRefused::OwnListener(_))), own, "{target}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_comes_later_is_our_own_as_well() {
        static CAME: AtomicBool = AtomicBool::new(false);
        let later = || if CAME.load(Relaxed) { two() } else { none() };
        let targets = targets(&[], &["0.0.0.0:8500"], later);
        let aim = || targets.resolve(&registration("10.0.0.5:8500".parse().unwrap(), []), &tcp_check());
        assert!(aim().is_ok());
        CAME.store(true, Relaxed);
        tokio::time::advance(BELIEVED).await;
        assert!(matches!(aim(), Err(TargetRefused::OwnListener(_))));
    }

    #[test]
    fn addresses_that_cannot_be_looked_up_are_needed_for_wildcards_only() {
        let unknown = || Err(io::Error::from_raw_os_error(24));
        let targets = targets(&[], &["0.0.0.0:8500", "127.0.0.1:8600"], unknown);
        let aim = |target: &str| targets.resolve(&registration(target.parse().unwrap(), []), &tcp_check());
        assert!(matches!(aim("10.0.0.5:8500"), Err(TargetRefused::Unknown(_))));
        assert!(matches!(aim("127.0.0.2:8500"), Err(TargetRefused::OwnListener(_))));
        assert!(aim("10.0.0.5:8600").is_ok() && aim("10.0.0.5:80").is_ok());
    }

    #[test]
    fn metadata_and_link_local_are_refused_even_when_open_or_registered() {
        let targets = targets(&["0.0.0.0/0", "::/0"], &[], none);
        for target in [
            "169.254.169.254:80",
            "169.254.170.2:80",
            "[fe80::1]:80",
            "[febf::1]:80",
            "[fd00:ec2::254]:80",
            "[fd20:ce::254]:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "100.100.100.200:80",
        ] {
            let refused = http_to(&targets, "10.0.0.7:80", target);
            assert!(matches!(refused, Err(TargetRefused::Metadata(_))), "{target}");
        }
        let itself = registration("169.254.1.1:80".parse().unwrap(), []);
        assert!(matches!(targets.resolve(&itself, &tcp_check()), Err(TargetRefused::Metadata(_))));
    }

    #[test]
    fn addresses_of_no_host_are_refused() {
        let targets = targets(&["0.0.0.0/0", "::/0"], &["127.0.0.1:8500"], none);
        for target in ["0.0.0.0:8500", "[::]:8500", "[::ffff:0.0.0.0]:80", "224.0.0.1:80", "255.255.255.255:80"] {
            let refused = http_to(&targets, "10.0.0.7:80", target);
            assert!(matches!(refused, Err(TargetRefused::NoListener(_))), "{target}");
        }
        assert!(matches!(http_to(&targets, "10.0.0.7:80", "10.0.0.7:0"), Err(TargetRefused::NoListener(_))));
    }

    #[test]
    fn permit_names_the_check_at_fault_and_says_what_to_do() {
        let targets = targets(&[], &["127.0.0.1:8500"], none);
        let foreign = http_check(|http| http.target = Some("10.0.0.9:80".parse().unwrap()));
        let registration = registration("10.0.0.7:8080".parse().unwrap(), [tcp_check(), foreign]);
        let (position, refused) = targets.permit(&registration).unwrap_err();
        assert_eq!(position, 1);
        assert!(refused.to_string().contains("--check-allow"), "{refused}");
        assert!(refused.to_string().len() <= 200);
    }
}
