//! Names that DNS can carry: labels, service names, instance ids, the zone.
//!
//! All are letters, digits and hyphens (RFC 952, RFC 1123 §2.1), folded to lower case by ASCII rules only
//! (RFC 4343): a Kelvin sign is not a `k`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ecow::EcoString;

/// Longest label in octets (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;
/// Longest name in octets of wire form, with the root (RFC 1035 §2.3.4).
pub(super) const NAME_OCTETS_MAX: usize = 255;

/// Why a text is not a name that DNS can carry, and the nearest one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    reason: &'static str,
    nearest: Option<String>,
}

impl NameError {
    /// The nearest name that would be accepted, when there is one.
    pub fn nearest(&self) -> Option<&str> {
        self.nearest.as_deref()
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; the nearest name that fits is {nearest:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NameError {}

fn check_label(text: &str, octets_max: usize) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("a label is empty");
    }
    if text.len() > octets_max {
        return Err(if octets_max == LABEL_OCTETS_MAX {
            "a label is longer than 63 octets"
        } else {
            "the label is longer than 62 octets (an underscore goes in front of it in DNS)"
        });
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err("only letters, digits and hyphens are possible in a label");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("a label cannot begin or end with a hyphen");
    }
    Ok(())
}

/// The nearest label: other characters become hyphens, the ends are trimmed, the length is cut.
fn nearest_label(text: &str, octets_max: usize) -> Option<String> {
    let mut label = String::with_capacity(text.len().min(octets_max));
    for c in text.chars() {
        if label.len() == octets_max {
            break;
        }
        match c {
            c if c.is_ascii_alphanumeric() => label.push(c.to_ascii_lowercase()),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    label.truncate(label.trim_end_matches('-').len());
    (!label.is_empty()).then_some(label)
}

/// One label of letters, digits and hyphens, lower case, 1 to 63 octets: an id, a tag, the name of a port or check.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(EcoString);

/// The name of an instance within its service.
pub type InstanceId = Label;

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A label that gets an underscore in front of it in DNS, so it is at most 62 octets long.
    ///
    /// # Errors
    /// As for parsing, with the smaller limit.
    pub fn parse_underscored(text: &str) -> Result<Self, NameError> {
        Self::parse_bounded(text, LABEL_OCTETS_MAX - 1)
    }

    fn parse_bounded(text: &str, octets_max: usize) -> Result<Self, NameError> {
        match check_label(text, octets_max) {
            Ok(()) if text.bytes().any(|b| b.is_ascii_uppercase()) => Ok(Self(text.to_ascii_lowercase().into())),
            Ok(()) => Ok(Self(text.into())),
            Err(reason) => Err(NameError { reason, nearest: nearest_label(text, octets_max) }),
        }
    }
}

impl FromStr for Label {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse_bounded(text, LABEL_OCTETS_MAX)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::borrow::Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of a service relative to the zone: one or more labels, the group to the right (`api.payments`).
///
/// Ordered as names are in a zone, label by label from the right (RFC 4034 §6.1), so that a group and all below it
/// stand together.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServiceName(EcoString);

impl ServiceName {
    /// The name as text, `api.payments`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// The leftmost label: the service within its group.
    pub fn first(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// Everything right of the leftmost label, when the name has more than one.
    pub fn group(&self) -> Option<Self> {
        self.0.split_once('.').map(|(_, group)| Self(group.into()))
    }

    /// Whether this name lies strictly below `group`.
    pub fn is_under(&self, group: &Self) -> bool {
        self.0.strip_suffix(&*group.0).is_some_and(|left| left.ends_with('.'))
    }

    /// Octets of the name in wire form, without the root label.
    pub fn wire_octets(&self) -> usize {
        self.0.len() + 1
    }
}

impl FromStr for ServiceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let fault = text
            .split('.')
            .enumerate()
            .find_map(|(position, label)| check_label(label, LABEL_OCTETS_MAX - usize::from(position == 0)).err());
        let fault = fault.or((text.len() > NAME_OCTETS_MAX - 2).then_some("the name is longer than 253 octets"));
        match fault {
            None if text.bytes().any(|b| b.is_ascii_uppercase()) => Ok(Self(text.to_ascii_lowercase().into())),
            None => Ok(Self(text.into())),
            Some(reason) => {
                let labels: Vec<String> = text
                    .split('.')
                    .enumerate()
                    .take(NAME_OCTETS_MAX)
                    .filter_map(|(position, label)| nearest_label(label, LABEL_OCTETS_MAX - usize::from(position == 0)))
                    .collect();
                let nearest = labels.join(".");
                let nearest = (!nearest.is_empty() && nearest.len() <= NAME_OCTETS_MAX - 2).then_some(nearest);
                Err(NameError { reason, nearest })
            }
        }
    }
}

impl Ord for ServiceName {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        let common = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
        let (a_left, b_left) = (&a[..a.len() - common], &b[..b.len() - common]);
        match (a_left.last(), b_left.last()) {
            (None, None) => return Ordering::Equal,
            (None, Some(b'.')) => return Ordering::Less,
            (Some(b'.'), None) => return Ordering::Greater,
            _ => {}
        }
        // Up to a dot in what they have in common their labels are the same; the next one to the left is not.
        let end = a[a_left.len()..].iter().position(|octet| *octet == b'.').unwrap_or(common);
        let start = |left: &[u8]| left.iter().rposition(|octet| *octet == b'.').map_or(0, |dot| dot + 1);
        a[start(a_left)..a_left.len() + end].cmp(&b[start(b_left)..b_left.len() + end])
    }
}

impl PartialOrd for ServiceName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The zone whose names are live, lower case, without the final dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneName(Arc<str>);

impl ZoneName {
    /// The zone as text, without the final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Octets of the name in wire form, with the root label.
    pub fn wire_octets(&self) -> usize {
        self.0.len() + 2
    }

    /// The fully qualified name of something in the zone, with the final dot.
    pub fn qualify(&self, relative: impl fmt::Display) -> String {
        format!("{relative}.{}.", self.0)
    }
}

impl FromStr for ZoneName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        // Unlike hosts and services, a zone may carry underscores: `_consul.example` is somebody's subtree.
        let fault = text.split('.').find_map(|label| check_label(label.strip_prefix('_').unwrap_or(label), 62).err());
        match fault.or((text.len() > 200).then_some("a zone of more than 200 octets leaves no room for names")) {
            None => Ok(Self(text.to_ascii_lowercase().into())),
            Some(reason) => Err(NameError { reason, nearest: None }),
        }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.0)
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(super) use serde_as_text;
serde_as_text!(Label, ServiceName, ZoneName);

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(text: &str) -> Option<String> {
        text.parse::<ServiceName>().unwrap_err().nearest().map(str::to_owned)
    }

    #[test]
    fn service_names_are_ldh_labels_folded_to_lower_case() {
        assert_eq!("Web".parse::<ServiceName>().unwrap().as_str(), "web");
        assert_eq!("api.Payments".parse::<ServiceName>().unwrap().as_str(), "api.payments");
        assert!("xn--bcher-kva".parse::<ServiceName>().is_ok());
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            "-a",
            "a-",
            "_x",
            "a b",
            "*",
            "\u{1f600}",
            "a\0",
            "../x",
            "a\nb",
            "web.",
            "\u{212a}",
        ] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn first_label_leaves_room_for_the_underscore() {
        assert!("a".repeat(62).parse::<ServiceName>().is_ok());
        assert!("a".repeat(63).parse::<ServiceName>().is_err());
        assert!(format!("a.{}", "b".repeat(63)).parse::<ServiceName>().is_ok());
        assert!(format!("a.{}", "b".repeat(64)).parse::<ServiceName>().is_err());
    }

    #[test]
    fn nearest_name_replaces_what_dns_cannot_carry() {
        assert_eq!(nearest("my_service").as_deref(), Some("my-service"));
        assert_eq!(nearest("  Über service! ").as_deref(), Some("ber-service"));
        assert_eq!(nearest("a..b").as_deref(), Some("a.b"));
        assert_eq!(nearest("***"), None);
        let long = "x".repeat(500);
        assert_eq!(nearest(&long).map(|n| n.len()), Some(62));
    }

    #[test]
    fn order_is_by_labels_from_the_right() {
        let texts =
            ["a", "b", "ab", "a-b", "web", "xweb", "a.b", "b.a", "a.a", "a-b.a", "x.a-b", "x.a.b", "a.x.b", "ba.b"];
        let names = texts.map(|text| text.parse::<ServiceName>().unwrap());
        for a in &names {
            for b in &names {
                assert_eq!(a.cmp(b), a.labels().rev().cmp(b.labels().rev()), "{a} and {b}");
            }
        }
    }

    #[test]
    fn groups_stand_together_in_order() {
        let mut names: Vec<ServiceName> = ["web", "api.payments", "payments", "z.api.payments", "pay", "db.payments"]
            .map(|n| n.parse().unwrap())
            .into();
        names.sort();
        let sorted: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
        assert_eq!(sorted, ["pay", "payments", "api.payments", "z.api.payments", "db.payments", "web"]);
    }

    #[test]
    fn under_means_strictly_below_on_a_label_boundary() {
        let group: ServiceName = "payments".parse().unwrap();
        assert!("api.payments".parse::<ServiceName>().unwrap().is_under(&group));
        assert!(!"payments".parse::<ServiceName>().unwrap().is_under(&group));
        assert!(!"xpayments".parse::<ServiceName>().unwrap().is_under(&group));
    }

    #[test]
    fn zone_takes_a_final_dot_or_none() {
        assert_eq!("SVC.internal.".parse::<ZoneName>().unwrap().to_string(), "svc.internal.");
        assert_eq!("svc.internal".parse::<ZoneName>().unwrap().as_str(), "svc.internal");
        for bad in ["", ".", "a..b", "svc internal"] {
            assert!(bad.parse::<ZoneName>().is_err(), "{bad:?}");
        }
    }
}
