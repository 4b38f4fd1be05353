//! Owner names as bytes: lower case, without compression, on the stack.

use hickory_proto::rr::Name;

/// Octets of the longest name (RFC 1035 §2.3.4), with the root label.
const OCTETS_MAX: usize = 255;
/// Labels of the longest name, without the root label.
const LABELS_MAX: usize = 127;

/// A name in lower-case wire form without the root label, and where its labels start.
#[derive(Debug, Clone)]
pub(super) struct WireName {
    octets: [u8; OCTETS_MAX],
    /// Where each label's length octet stands; one more for the end.
    starts: [u8; LABELS_MAX + 1],
    labels: usize,
}

impl WireName {
    /// The lower-case form of a name (RFC 4343: ASCII letters only).
    pub(super) fn lower(name: &Name) -> Self {
        let mut wire = Self { octets: [0; OCTETS_MAX], starts: [0; LABELS_MAX + 1], labels: 0 };
        let mut at = 0;
        for label in name.iter() {
            wire.octets[at] = label.len() as u8;
            let text = &mut wire.octets[at + 1..=at + label.len()];
            text.copy_from_slice(label);
            text.make_ascii_lowercase();
            at += 1 + label.len();
            wire.labels += 1;
            wire.starts[wire.labels] = at as u8;
        }
        wire
    }

    /// The same of a name in wire form, with the root label and without pointers; none when it is no such name.
    pub(super) fn lower_octets(octets: &[u8]) -> Option<Self> {
        let mut wire = Self { octets: [0; OCTETS_MAX], starts: [0; LABELS_MAX + 1], labels: 0 };
        if octets.len() > OCTETS_MAX {
            return None;
        }
        wire.octets[..octets.len()].copy_from_slice(octets);
        // A length octet is below 64, which is no letter.
        wire.octets[..octets.len()].make_ascii_lowercase();
        let mut at = 0;
        loop {
            match *octets.get(at)? {
                0 => return (at + 1 == octets.len()).then_some(wire),
                length @ 1..=63 => at += 1 + usize::from(length),
                _ => return None,
            }
            wire.labels += 1;
            wire.starts[wire.labels] = at as u8;
        }
    }

    /// How many labels it has, without the root label.
    pub(super) fn labels(&self) -> usize {
        self.labels
    }

    /// Its wire form without the root label.
    pub(super) fn whole(&self) -> &[u8] {
        self.span(0, self.labels)
    }

    /// One label's text, counted from the left.
    pub(super) fn label(&self, position: usize) -> &[u8] {
        &self.span(position, position + 1)[1..]
    }

    /// The wire form of the labels from `first` up to `end`.
    pub(super) fn span(&self, first: usize, end: usize) -> &[u8] {
        &self.octets[usize::from(self.starts[first])..usize::from(self.starts[end])]
    }

    /// How many labels stand left of `origin`; `None` when the name is not at or below it.
    pub(super) fn labels_below(&self, origin: &Self) -> Option<usize> {
        let left = self.labels.checked_sub(origin.labels)?;
        (self.span(left, self.labels) == origin.span(0, origin.labels)).then_some(left)
    }
}

/// The wire form of dotted text that is known to be a lower-case name, without the root label.
pub(super) fn wire_key(dotted: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(dotted.len() + 1);
    for label in dotted.split('.') {
        key.push(label.len() as u8);
        key.extend_from_slice(label.as_bytes());
    }
    key
}

/// The key of the owner name one label to the right; empty at the apex.
pub(super) fn parent_key(key: &[u8]) -> &[u8] {
    key.first().and_then(|length| key.get(1 + usize::from(*length)..)).unwrap_or_default()
}

/// Octets of a name without compression, with the root label.
pub(super) fn wire_octets(name: &Name) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn names_are_cut_at_labels_and_folded() {
        let name = WireName::lower(&Name::from_str("I1.Web.SVC.internal.").unwrap());
        let origin = WireName::lower(&Name::from_str("svc.internal.").unwrap());
        assert_eq!(name.labels_below(&origin), Some(2));
        assert_eq!(origin.labels_below(&name), None);
        assert_eq!(name.label(0), b"i1");
        assert_eq!(name.span(0, 2), wire_key("i1.web"));
        assert_eq!(parent_key(name.span(0, 2)), wire_key("web"));
        assert_eq!(parent_key(&wire_key("web")), b"");
    }

    #[test]
    fn a_name_that_only_ends_in_the_same_letters_is_outside() {
        let origin = WireName::lower(&Name::from_str("svc.internal.").unwrap());
        let other = WireName::lower(&Name::from_str("web.xsvc.internal.").unwrap());
        assert_eq!(other.labels_below(&origin), None);
    }

    #[test]
    fn the_longest_names_fit() {
        let label = "a".repeat(63);
        let long = Name::from_labels([&label[..], &label, &label, &label[..61]].map(str::as_bytes)).unwrap();
        assert_eq!(WireName::lower(&long).label(3).len(), 61);
        let many = Name::from_labels([&b"a"[..]; 127]).unwrap();
        assert_eq!(WireName::lower(&many).label(126), b"a");
    }
}
