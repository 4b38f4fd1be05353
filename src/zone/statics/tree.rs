//! One zone of a file: its names in the order of RFC 4034 §6.1, and what stands at each.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, RecordType};

use super::ZoneFileError;
use crate::zone::name::WireName;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) file: Arc<Path>,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file.display(), self.line)
    }
}

impl Place {
    pub(super) fn fault(&self, reason: impl Into<String>) -> ZoneFileError {
        ZoneFileError { file: self.file.to_path_buf(), line: Some(self.line), reason: reason.into() }
    }
}

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: Name,
    pub(super) ttl: u32,
    pub(super) data: RData,
    pub(super) wire: Vec<u8>,
    pub(super) place: Place,
}

/// The records of one name and type. Not empty.
#[derive(Debug, PartialEq)]
pub(crate) struct Rrset {
    pub(crate) record_type: RecordType,
    pub(crate) ttl: u32,
    /// With the octets that each takes without compression.
    pub(crate) data: Vec<(RData, usize)>,
}

/// What stands at a name. Not empty.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: Name,
    pub(crate) place: Place,
    sets: Vec<Rrset>,
}

impl Node {
    pub(crate) fn set(&self, record_type: RecordType) -> Option<&Rrset> {
        self.sets.iter().find(|set| set.record_type == record_type)
    }

    /// The one RRset that stands for all (RFC 8482 §4.1).
    pub(crate) fn any(&self) -> &Rrset {
        self.set(RecordType::SOA).unwrap_or(&self.sets[0])
    }
}

/// What a zone has for a name within it.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Records at the name itself.
    Here(Arc<Node>),
    /// Records of a wildcard (RFC 4592).
    Wildcard(Arc<Node>),
    /// A delegation: of this very name, or of one above it.
    Cut(Arc<Node>, bool),
    /// Nothing, but names lie below it.
    Empty,
    /// Neither itself nor anything below it exists.
    Absent,
}

/// The names of one zone. Immutable.
#[derive(Debug)]
pub(crate) struct StaticZone {
    pub(crate) origin: Name,
    pub(super) wire_origin: WireName,
    /// The file that it comes from.
    pub(crate) file: PathBuf,
    /// Whether its names stand beside live ones.
    pub(super) overlay: bool,
    nodes: BTreeMap<Box<[u8]>, Arc<Node>>,
}

/// Adds a label to a key. Keys order as names do, label by label from the right, and the key of a name begins with
/// those of all names above it: labels are closed by 0, and octets that could be taken for that are marked with 1.
fn extend_key(key: &mut Vec<u8>, label: &[u8]) {
    for octet in label {
        if *octet <= 1 {
            key.push(1);
        }
        key.push(octet.to_ascii_lowercase());
    }
    key.push(0);
}

/// Whether a name within the live zone may be static, or what it belongs to: `_web._tcp` may, as a whole service.
fn check_beside_live(labels: &[&[u8]]) -> Result<(), &'static str> {
    if labels.contains(&&b"*"[..]) {
        return Err("a wildcard beside live names would answer for services that come later: write each name, or \
                    another zone");
    }
    let is_transport = |label: &&[u8]| matches!(&**label, b"_tcp" | b"_udp");
    match labels.iter().position(is_transport) {
        None => Ok(()),
        Some(1) if labels[0].starts_with(b"_") && labels[0] != b"_dns-sd" && !labels[2..].iter().any(is_transport) => {
            Ok(())
        }
        Some(_) => Err("what lies under _tcp and _udp belongs to live services, but for whole names such as \
                        _postgres._tcp"),
    }
}

impl StaticZone {
    /// A zone of what a file holds. It needs an SOA and NS of its own unless it is the live one's.
    pub(super) fn build(
        file: &Path,
        origin: Name,
        overlay: bool,
        records: Vec<Written>,
    ) -> Result<Self, ZoneFileError> {
        let wire_origin = WireName::lower(&origin);
        let mut keyed = Vec::with_capacity(records.len());
        for record in records {
            let wire = WireName::lower(&record.name);
            let Some(left) = wire.labels_below(&wire_origin) else {
                let more = if overlay { "; a further zone is a file of its own, with an SOA" } else { "" };
                return Err(record.place.fault(format!("{} is outside of {origin}{more}", record.name)));
            };
            let labels: Vec<&[u8]> = (0..left).map(|at| wire.label(at)).collect();
            if overlay {
                check_beside_live(&labels).map_err(|reason| record.place.fault(reason))?;
            }
            if labels.first() == Some(&&b"*"[..]) && record.data.record_type() == RecordType::NS {
                return Err(record.place.fault("a wildcard cannot be delegated (RFC 4592 §4.2)"));
            }
            let mut key = Vec::new();
            labels.iter().rev().for_each(|label| extend_key(&mut key, label));
            keyed.push((key.into_boxed_slice(), record));
        }
        keyed.sort_by(|(a, x), (b, y)| (a, x.data.record_type()).cmp(&(b, y.data.record_type())));
        let mut nodes: BTreeMap<Box<[u8]>, Arc<Node>> = BTreeMap::new();
        let mut keyed = keyed.into_iter().peekable();
        while let Some((key, first)) = keyed.next() {
            let mut node = Node { name: first.name.clone(), place: first.place.clone(), sets: Vec::new() };
            let mut seen = HashSet::new();
            let mut next = Some(first);
            while let Some(record) = next {
                add(&mut node, record, &mut seen, key.is_empty())?;
                next = keyed.next_if(|(other, _)| *other == key).map(|(_, record)| record);
            }
            nodes.insert(key, Arc::new(node));
        }
        let zone = Self { origin, wire_origin, file: file.to_path_buf(), overlay, nodes };
        if !overlay && zone.apex().is_none_or(|apex| apex.set(RecordType::NS).is_none()) {
            let reason = format!("{} has no NS record", zone.origin);
            return Err(ZoneFileError { file: zone.file, line: None, reason });
        }
        Ok(zone)
    }

    pub(crate) fn apex(&self) -> Option<&Arc<Node>> {
        self.nodes.get(&[][..])
    }

    /// The SOA, how long a denial may be believed (RFC 2308 §5), and the octets of its data.
    pub(crate) fn soa(&self) -> Option<(&SOA, u32, usize)> {
        let set = self.apex()?.set(RecordType::SOA)?;
        match &set.data[..] {
            [(RData::SOA(soa), octets), ..] => Some((soa, set.ttl.min(soa.minimum), *octets)),
            _ => None,
        }
    }

    /// Whether another zone says the same in the same places.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.nodes == other.nodes
    }

    fn has_below(&self, key: &[u8]) -> bool {
        let below = (Bound::Included(key), Bound::Unbounded);
        self.nodes.range::<[u8], _>(below).next().is_some_and(|(found, _)| found.starts_with(key))
    }

    /// What there is for a name that is given as its labels below the apex, from the right.
    pub(super) fn find<'a>(&self, labels: impl Iterator<Item = &'a [u8]>) -> Found {
        let mut labels = labels.peekable();
        let mut key = Vec::new();
        if labels.peek().is_none() {
            return self.apex().map_or(Found::Empty, |apex| Found::Here(apex.clone()));
        }
        while let Some(label) = labels.next() {
            let above = key.len();
            extend_key(&mut key, label);
            let is_last = labels.peek().is_none();
            match self.nodes.get(&key[..]) {
                Some(node) if node.set(RecordType::NS).is_some() => return Found::Cut(node.clone(), is_last),
                Some(node) if is_last => return Found::Here(node.clone()),
                Some(_) => {}
                None if !self.has_below(&key) => {
                    // The name above is the closest encloser (RFC 4592 §3.3.1).
                    key.truncate(above);
                    extend_key(&mut key, b"*");
                    return self.nodes.get(&key[..]).map_or(Found::Absent, |node| Found::Wildcard(node.clone()));
                }
                None => {}
            }
        }
        Found::Empty
    }

    /// The records of a very name, also below a delegation, where they are glue.
    pub(crate) fn glue(&self, name: &Name) -> Option<&Arc<Node>> {
        let wire = WireName::lower(name);
        let left = wire.labels_below(&self.wire_origin)?;
        let mut key = Vec::new();
        (0..left).rev().for_each(|at| extend_key(&mut key, wire.label(at)));
        self.nodes.get(&key[..])
    }

    /// Whether anything stands at or below a name, or delegates it.
    pub(super) fn touches<'a>(&self, labels: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        let mut key = Vec::new();
        labels.clone().for_each(|label| extend_key(&mut key, label));
        self.has_below(&key) || matches!(self.find(labels), Found::Cut(..))
    }
}

/// Adds a record to its name, unless the two cannot be together.
fn add(node: &mut Node, record: Written, seen: &mut HashSet<Vec<u8>>, at_apex: bool) -> Result<(), ZoneFileError> {
    let Written { name, ttl, data, wire, place } = record;
    let record_type = data.record_type();
    let octets = wire.len();
    if record_type == RecordType::SOA && !at_apex {
        return Err(place.fault("a second SOA, of another name"));
    }
    if record_type == RecordType::CNAME && at_apex {
        return Err(place.fault(format!("{name} is a zone, which cannot be an alias")));
    }
    if let Some(set) = node.sets.last_mut().filter(|set| set.record_type == record_type) {
        // Said twice is said once (RFC 2181 §5), and one RRset has one TTL (§5.2).
        set.ttl = set.ttl.min(ttl);
        if !seen.insert(wire) {
            return Ok(());
        }
        if matches!(record_type, RecordType::SOA | RecordType::CNAME) {
            return Err(place.fault(format!("a second {record_type} of {name}")));
        }
        set.data.push((data, octets));
        return Ok(());
    }
    let is_alias = |record_type| record_type == RecordType::CNAME;
    if !node.sets.is_empty() && (is_alias(record_type) || node.set(RecordType::CNAME).is_some()) {
        return Err(place.fault(format!("{name} is an alias and has other records too (RFC 1034 §3.6.2)")));
    }
    seen.clear();
    seen.insert(wire);
    node.sets.push(Rrset { record_type, ttl, data: vec![(data, octets)] });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn key(name: &str) -> Vec<u8> {
        let mut key = Vec::new();
        let name = Name::from_str(name).unwrap();
        name.iter().rev().for_each(|label| extend_key(&mut key, label));
        key
    }

    #[test]
    fn keys_order_as_names_do() {
        // The example of RFC 4034 §6.1.
        let names = ["example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.", "z.example."];
        let keys: Vec<Vec<u8>> = names.iter().map(|name| key(name)).collect();
        assert!(keys.is_sorted());
        let [mut a, mut b, mut c] = [const { Vec::new() }; 3];
        extend_key(&mut a, b"\x00");
        extend_key(&mut b, b"\x01");
        extend_key(&mut c, b"\x02");
        assert!(a < b && b < c && !b.starts_with(&a));
    }

    #[test]
    fn whole_services_may_stand_beside_live_names() {
        let check = |labels: &[&str]| {
            check_beside_live(&labels.iter().map(|label| label.as_bytes()).collect::<Vec<_>>()).is_ok()
        };
        assert!(check(&["_postgres", "_tcp"]) && check(&["_a", "_udp", "group"]) && check(&["host"]) && check(&[]));
        for bad in [&["_tcp"][..], &["i1", "_a", "_tcp"], &["_dns-sd", "_udp"], &["a", "_tcp"], &["*"], &["*", "a"]] {
            assert!(!check(bad), "{bad:?}");
        }
    }
}
