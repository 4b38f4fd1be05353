//! Which upstreams a name is asked of.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::upstream::Upstream;
use crate::model::ZoneName;

/// Where names of a domain are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The domain and what lies below it; none is every name that no other rule takes.
    pub domain: Option<ZoneName>,
    /// In the order they are asked; not empty.
    pub upstreams: Vec<SocketAddr>,
}

/// Upstreams by the domain they know, as lower-case wire names; the root is the rule for all others.
#[derive(Debug)]
pub(super) struct Rules {
    domains: HashMap<Box<[u8]>, Arc<[Arc<Upstream>]>>,
}

/// The name and every domain it lies in, the longest first, down to the root.
pub(super) fn domains_of(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |domain| match domain.first() {
        Some(&length) if length > 0 => domain.get(1 + usize::from(length)..),
        _ => None,
    })
}

impl Rules {
    /// Several rules of one domain are one; an upstream of several domains is one upstream.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut known: HashMap<SocketAddr, Arc<Upstream>> = HashMap::new();
        let mut domains: HashMap<Box<[u8]>, Vec<Arc<Upstream>>> = HashMap::new();
        for rule in rules {
            let mut domain = Vec::new();
            for label in rule.domain.iter().flat_map(ZoneName::labels) {
                domain.push(label.len() as u8);
                domain.extend_from_slice(label.as_bytes());
            }
            domain.push(0);
            let upstreams = domains.entry(domain.into()).or_default();
            for address in &rule.upstreams {
                let upstream = known.entry(*address).or_insert_with(|| Arc::new(Upstream::new(*address)));
                if !upstreams.iter().any(|other| Arc::ptr_eq(other, upstream)) {
                    upstreams.push(upstream.clone());
                }
            }
        }
        Self { domains: domains.into_iter().map(|(domain, upstreams)| (domain, upstreams.into())).collect() }
    }

    /// The upstreams of the longest domain that a lower-case wire name lies in, and whether the rule names a domain.
    pub(super) fn find(&self, name: &[u8]) -> Option<(Arc<[Arc<Upstream>]>, bool)> {
        let found = domains_of(name).find_map(|domain| Some((self.domains.get(domain)?, domain.len() > 1)));
        found.map(|(upstreams, named)| (upstreams.clone(), named))
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::super::wire::wire_name;
    use super::*;

    fn rule(domain: Option<&str>, upstreams: &[&str]) -> Rule {
        let upstreams = upstreams.iter().map(|address| address.parse().unwrap()).collect();
        Rule { domain: domain.map(|domain| domain.parse().unwrap()), upstreams }
    }

    fn found(rules: &Rules, name: &str) -> Vec<String> {
        let name = wire_name(&Name::from_ascii(name).unwrap().to_lowercase());
        let upstreams = rules.find(&name).map(|(upstreams, _)| upstreams);
        upstreams.iter().flat_map(|upstreams| upstreams.iter()).map(|u| u.address().to_string()).collect()
    }

    #[test]
    fn the_longest_domain_wins() {
        let rules = Rules::new(&[
            rule(None, &["10.0.0.53:53"]),
            rule(Some("example"), &["10.0.0.1:53"]),
            rule(Some("corp.example"), &["10.0.0.2:53"]),
        ]);
        for (name, upstream) in [
            ("corp.example.", "10.0.0.2:53"),
            ("www.CORP.example.", "10.0.0.2:53"),
            ("xcorp.example.", "10.0.0.1:53"),
            ("example.", "10.0.0.1:53"),
            ("example.org.", "10.0.0.53:53"),
            (".", "10.0.0.53:53"),
        ] {
            assert_eq!(found(&rules, name), [upstream], "{name}");
        }
    }

    #[test]
    fn without_a_rule_for_all_others_there_is_no_upstream() {
        let rules = Rules::new(&[rule(Some("corp.example"), &["10.0.0.2:53"])]);
        assert_eq!(found(&rules, "example."), [""; 0]);
        assert_eq!(found(&rules, "a.b.corp.example."), ["10.0.0.2:53"]);
    }

    #[test]
    fn rules_of_one_domain_are_one() {
        let rules = Rules::new(&[
            rule(Some("corp.example"), &["10.0.0.2:53", "10.0.0.3:53"]),
            rule(Some("corp.example"), &["10.0.0.2:53", "10.0.0.4:53"]),
        ]);
        assert_eq!(found(&rules, "corp.example."), ["10.0.0.2:53", "10.0.0.3:53", "10.0.0.4:53"]);
    }
}
