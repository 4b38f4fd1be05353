//! One running copy of a service: what it registered, and what is known of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{CheckSpec, Duration, InstanceId, InstanceLease, Label, Revision, ServiceName, Timestamp, Ttl};

/// How many of each an instance may have.
#[derive(Debug, Clone, Copy)]
pub struct InstanceLimits {
    /// Tags.
    pub tags: usize,
    /// Named ports.
    pub ports: usize,
    /// Checks.
    pub checks: usize,
    /// Octets of all metadata, keys, values and one `=` for each.
    pub meta_octets: usize,
}

/// How many of each an instance may have.
pub const INSTANCE_LIMITS: InstanceLimits = InstanceLimits { tags: 64, ports: 16, checks: 8, meta_octets: 4096 };

/// Where an instance listens: an address of either family or one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The one or two addresses of an instance.
    ///
    /// # Errors
    /// When there is none, two of one family, or one that nothing can listen on.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, &'static str> {
        let mut found = Self { v4: None, v6: None };
        for address in addresses {
            if address.is_unspecified() || address.is_multicast() || address == Ipv4Addr::BROADCAST {
                return Err("nothing listens on an unspecified, broadcast or multicast address");
            }
            let twice = match address {
                IpAddr::V4(v4) => found.v4.replace(v4).is_some(),
                IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                    return Err("write an IPv4-mapped address as the IPv4 address it stands for");
                }
                IpAddr::V6(v6) => found.v6.replace(v6).is_some(),
            };
            if twice {
                return Err("at most one address of each family");
            }
        }
        if found.v4.is_none() && found.v6.is_none() { Err("at least one address") } else { Ok(found) }
    }

    /// The IPv4 address.
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.v4
    }

    /// The IPv6 address.
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.v6
    }

    /// All of them, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// The address that checks go to: IPv4 when there is one.
    pub fn first(&self) -> IpAddr {
        self.iter().next().expect("an instance has at least one address")
    }
}

/// The protocol that an instance speaks, which is the second label of its RFC 2782 name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// `_tcp`
    Tcp,
    /// `_udp`
    Udp,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Key and value pairs that travel in TXT records (RFC 6763 §6), sorted by key.
///
/// They are kept as the record has them, `key=value` behind an octet with the length, because a registry has millions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta(Arc<[u8]>);

/// What is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaError {
    /// The key of the pair at fault; none when it is the whole.
    pub key: Option<String>,
    /// What to do about it.
    pub detail: &'static str,
}

impl Meta {
    /// Metadata from pairs with distinct keys.
    ///
    /// # Errors
    /// The first pair that RFC 6763 §6.4 or the limits refuse.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, MetaError> {
        let mut pairs: Vec<(String, String)> = pairs.into_iter().collect();
        pairs.sort();
        let fault = |key: &str, detail| Err(MetaError { key: Some(key.to_owned()), detail });
        let (mut octets, mut strings) = (0, Vec::new());
        for (position, (key, value)) in pairs.iter().enumerate() {
            if key.is_empty() {
                return fault(key, "a key is not empty (RFC 6763 §6.4)");
            }
            if !key.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b'=') {
                return fault(key, "a key is printable ASCII without `=` (RFC 6763 §6.4)");
            }
            // Keys differ by more than case, because readers of TXT records compare them without it.
            if pairs[..position].iter().any(|(other, _)| other.eq_ignore_ascii_case(key)) {
                return fault(key, "two keys differ at most in case (RFC 6763 §6.4)");
            }
            if key.len() + 1 + value.len() > 255 {
                return fault(key, "key, `=` and value are at most 255 octets together (RFC 6763 §6.1)");
            }
            octets += key.len() + 1 + value.len();
            if octets > INSTANCE_LIMITS.meta_octets {
                return Err(MetaError { key: None, detail: "all metadata is at most 4,096 octets" });
            }
            strings.push((key.len() + 1 + value.len()) as u8);
            strings.extend_from_slice(key.as_bytes());
            strings.push(b'=');
            strings.extend_from_slice(value.as_bytes());
        }
        Ok(if strings.is_empty() { Self::default() } else { Self(strings.into()) })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, following) = rest.split_first()?;
            let (pair, following) = following.split_at_checked(usize::from(*length))?;
            rest = following;
            std::str::from_utf8(pair).ok()?.split_once('=')
        })
    }
}

/// Where one process listens: nobody else can, unless both know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where it listens.
    pub addresses: Addresses,
    /// Its port, not 0.
    pub port: u16,
    /// What it speaks there.
    pub protocol: Transport,
}

impl Place {
    /// Whether two places have an address, the port and the protocol in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let meets = |address| other.addresses.iter().any(|theirs| theirs == address);
        (self.port, self.protocol) == (other.port, other.protocol) && self.addresses.iter().any(meets)
    }
}

/// What an instance said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Where it listens.
    pub addresses: Addresses,
    /// Its port, not 0.
    pub port: u16,
    /// What it speaks there.
    pub protocol: Transport,
    /// Further ports by name, sorted.
    pub ports: Arc<[(Label, u16)]>,
    /// SRV priority: lower is asked first (RFC 2782).
    pub priority: u16,
    /// SRV weight within a priority (RFC 2782).
    pub weight: u16,
    /// Labels that select it, sorted, distinct.
    pub tags: Arc<[Label]>,
    /// Metadata.
    pub meta: Meta,
    /// Lifetime of its records in caches, when it asks for another than the server's.
    pub ttl: Option<Ttl>,
    /// Whether HTTPS records are made for it (RFC 9460).
    pub https: bool,
    /// How it is tested; at most eight.
    pub checks: Arc<[CheckSpec]>,
    /// What to think of it before the first probe has ended.
    pub initial_health: Health,
    /// Remove it once it has been critical this long.
    pub evict_after: Option<Duration>,
    /// Grows with each start of the same instance.
    pub generation: Option<u64>,
    /// Whether others may register the same address and port.
    pub shared_address: bool,
}

impl Registration {
    /// Has what is the same in another in memory once for both: copies of a service mostly say the same of themselves.
    pub fn share_with(&mut self, other: &Self) {
        fn share<T: PartialEq + ?Sized>(own: &mut Arc<T>, other: &Arc<T>) {
            if **own == **other {
                *own = other.clone();
            }
        }
        share(&mut self.ports, &other.ports);
        share(&mut self.tags, &other.tags);
        share(&mut self.meta.0, &other.meta.0);
        share(&mut self.checks, &other.checks);
    }

    /// Whether health known for `other` says nothing of this: another place, or tested in another way.
    pub fn is_tested_like(&self, other: &Self) -> bool {
        self.addresses == other.addresses
            && self.port == other.port
            && self.protocol == other.protocol
            && self.checks == other.checks
    }

    /// Where it listens.
    pub fn place(&self) -> Place {
        Place { addresses: self.addresses, port: self.port, protocol: self.protocol }
    }

    /// Whether only one of the two can be real: they claim the same place, and neither says that it is shared.
    pub fn displaces(&self, other: &Self) -> bool {
        !self.shared_address && !other.shared_address && self.place().overlaps(&other.place())
    }

    /// The port of a name.
    pub fn named_port(&self, name: &str) -> Option<u16> {
        let position = self.ports.binary_search_by(|(label, _)| label.as_str().cmp(name)).ok()?;
        Some(self.ports[position].1)
    }

    /// Whether it carries a tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.binary_search_by(|label| label.as_str().cmp(tag)).is_ok()
    }
}

/// The standing opinion of an instance or of one of its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No probe has ended yet.
    Unknown,
    /// It works.
    Passing,
    /// It does not.
    Critical,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Passing => "passing",
            Self::Critical => "critical",
        })
    }
}

/// What an operator wants of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Answer with it.
    Up,
    /// Out of answers: it is about to stop.
    Draining,
    /// Out of answers: somebody works on it.
    Maintenance,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
        })
    }
}

/// What one check thinks of its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckState {
    /// The opinion.
    pub health: Health,
    /// Since when.
    pub since: Timestamp,
    /// Why the last probe failed, when the opinion is critical.
    pub last_error: Option<Arc<str>>,
}

/// Why a registered instance is not in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld<'a> {
    /// Its state is not `up`.
    State(State),
    /// A check is not passing: its name, its opinion, and the last error.
    Check(&'a Label, Health, Option<&'a str>),
    /// A check waits for the first report of the service itself.
    Unreported(&'a Label),
}

impl fmt::Display for Withheld<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(f, "state is {state}"),
            Self::Unreported(name) => write!(f, "check {name} was not reported on yet"),
            Self::Check(name, Health::Unknown, _) => write!(f, "no probe of check {name} has ended yet"),
            Self::Check(name, health, None) => write!(f, "check {name} is {health}"),
            Self::Check(name, health, Some(error)) => write!(f, "check {name} is {health}: {error}"),
        }
    }
}

/// One running copy of a service, as the registry knows it. Immutable: a change makes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The service it is a copy of.
    pub service: ServiceName,
    /// Its name within the service.
    pub id: InstanceId,
    /// What it said of itself.
    pub registration: Registration,
    /// What it said of itself, where an operator has changed that since. Saying the same again undoes no change.
    pub amended_from: Option<Arc<Registration>>,
    /// The lease it is on.
    pub lease: Option<InstanceLease>,
    /// What an operator wants of it.
    pub state: State,
    /// When it goes back to `up` by itself.
    pub state_until: Option<Timestamp>,
    /// What each check thinks of it, in the order of the checks.
    pub checks: Box<[CheckState]>,
    /// When its health last turned.
    pub health_since: Timestamp,
    /// When it came.
    pub registered_at: Timestamp,
    /// Its own last change.
    pub revision: Revision,
    /// The revision at which its health was last forgotten, because it moved or is tested in another way. An
    /// observation says which one it was made under, so that a late probe of the old place counts for nothing.
    pub epoch: Revision,
}

impl Instance {
    /// What it said of itself when it last registered.
    pub fn registered_as(&self) -> &Registration {
        self.amended_from.as_deref().unwrap_or(&self.registration)
    }

    /// The opinion of all checks: critical beats unknown beats passing; passing without checks.
    pub fn health(&self) -> Health {
        let has = |health| self.checks.iter().any(|check| check.health == health);
        if has(Health::Critical) {
            Health::Critical
        } else if has(Health::Unknown) {
            Health::Unknown
        } else {
            Health::Passing
        }
    }

    /// Whether it is in answers. Its lease is alive, or it would not be here.
    pub fn answered(&self) -> bool {
        self.withheld().is_none()
    }

    /// Why it is not in answers.
    pub fn withheld(&self) -> Option<Withheld<'_>> {
        if self.state != State::Up {
            return Some(Withheld::State(self.state));
        }
        let worst = self.health();
        if worst == Health::Passing {
            return None;
        }
        let mut checks = self.registration.checks.iter().zip(&self.checks);
        checks.find(|(_, state)| state.health == worst).map(|(spec, state)| match worst {
            Health::Unknown if !spec.kind.is_probed() => Withheld::Unreported(&spec.name),
            _ => Withheld::Check(&spec.name, worst, state.last_error.as_deref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_one_of_each_family_that_something_can_listen_on() {
        let addresses = |texts: &[&str]| Addresses::new(texts.iter().map(|t| t.parse().unwrap()));
        assert!(addresses(&["10.0.0.7", "fd00::7"]).is_ok());
        for bad in [
            &[][..],
            &["10.0.0.7", "10.0.0.8"],
            &["0.0.0.0"],
            &["::"],
            &["255.255.255.255"],
            &["224.0.0.1"],
            &["ff02::1"],
            &["::ffff:192.0.2.1"],
        ] {
            assert!(addresses(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn metadata_is_what_txt_records_can_carry() {
        let meta = |pairs: &[(&str, &str)]| Meta::new(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        let pairs = [("empty", ""), ("equation", "a=b"), ("umlaut", "ä"), ("version", "1.4.2")];
        let found = meta(&[pairs[3], pairs[1], pairs[0], pairs[2]]).unwrap();
        assert!(found.iter().eq(pairs), "{found:?}");
        assert!(meta(&[]).unwrap().is_empty());
        assert_eq!(meta(&[("", "x")]).unwrap_err().key.as_deref(), Some(""));
        for bad in [&[("a=b", "x")][..], &[("tab\t", "x")], &[("A", "1"), ("a", "2")]] {
            assert!(meta(bad).is_err(), "{bad:?}");
        }
        let value = "x".repeat(253);
        assert!(meta(&[("a", &value)]).is_ok());
        assert!(meta(&[("aa", &value)]).is_err());
        let many: Vec<(String, String)> = (0..17).map(|n| (format!("k{n:02}"), "x".repeat(251))).collect();
        assert_eq!(Meta::new(many).unwrap_err().key, None);
    }
}
