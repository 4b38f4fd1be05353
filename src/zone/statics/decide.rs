//! What static names mean beside live ones, and where aliases lead.

use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use super::tree::Node;
use super::{Found, Side, StaticZone, Statics};
use crate::model::Transport;
use crate::registry::Service;
use crate::zone::name::WireName;
use crate::zone::owner::Owner;
use crate::zone::said::{Decision, Said};
use crate::zone::{NAME_SERVER, Zone};

/// Aliases that are followed for one question.
const ALIASES_MAX: usize = 8;
/// Names of which it is remembered that they are shadowed; more are not told of twice only because they are not told of.
const SHADOWED_MAX: usize = 1000;

/// An alias that was followed.
#[derive(Debug, Clone)]
pub(crate) struct Alias {
    pub(super) owner: Name,
    pub(super) ttl: u32,
    pub(crate) target: Name,
    pub(super) node: Arc<Node>,
}

/// The labels of dotted text, from the right.
fn labels_of(dotted: &str) -> impl Iterator<Item = &[u8]> + Clone {
    dotted.rsplit('.').map(str::as_bytes)
}

/// The labels of a name below its apex, from the right.
fn labels_from(name: &WireName, left: usize) -> impl Iterator<Item = &[u8]> {
    (0..left).rev().map(|at| name.label(at))
}

impl Zone {
    /// What a name means by the zone files, when they have anything to say about it.
    pub(in crate::zone) fn static_owner(&self, name: &WireName, record_type: RecordType) -> Option<Owner> {
        let statics = self.statics.load();
        if statics.is_empty() {
            return None;
        }
        let (side, left) = statics.side(name, 0, &self.wire_origin)?;
        if let Side::Further(zone) = &side
            && self.reverse.find(name).is_some_and(|(nearer, _)| zone.origin.num_labels() < nearer.num_labels())
        {
            return None;
        }
        // A zone's DS stand above it (RFC 4035 §3.1.4.1), if that is ours too.
        let above = if record_type == RecordType::DS && left == 0 && name.labels() > 0 {
            statics.side(name, 1, &self.wire_origin)
        } else {
            None
        };
        let exists = above.is_some();
        let owner = match above.unwrap_or((side, left)) {
            (Side::Further(zone), left) => {
                let found = zone.find(labels_from(name, left));
                Owner::Static(zone, found)
            }
            // Then nothing is said at all.
            (Side::Live, _) if !self.is_loaded() => return None,
            (Side::Live, left) => {
                let found = statics.overlay.as_ref().map(|zone| (zone, zone.find(labels_from(name, left))));
                match found {
                    // What the file does not say of the apex stays as it is.
                    Some((zone, Found::Here(node))) if left > 0 || says(&node, record_type) => {
                        Owner::Static(zone.clone(), Found::Here(node))
                    }
                    Some((zone, found @ Found::Cut(..))) => Owner::Static(zone.clone(), found),
                    Some((_, Found::Empty)) => exists_at_least(self.owner(name)),
                    _ if exists => self.owner(name),
                    _ => return None,
                }
            }
        };
        Some(if exists { exists_at_least(owner) } else { owner })
    }

    /// Follows the aliases that a question's name leads through.
    pub(in crate::zone) fn follow_aliases(&self, name: &Name, record_type: RecordType, first: Decision) -> Decision {
        let mut decision = first;
        let mut aliases: Vec<Alias> = Vec::new();
        while let (Said::Alias, Some((node, ttl, target))) = (&decision.said, alias_at(&decision.owner)) {
            let owner = aliases.last().map_or(name, |last| &last.target).clone();
            let in_circles = || aliases.iter().any(|alias| alias.owner.to_lowercase() == target.to_lowercase());
            let ends = if aliases.len() + 1 == ALIASES_MAX {
                Some("the aliases are too many to be followed")
            } else if owner.to_lowercase() == target.to_lowercase() || in_circles() {
                Some("the aliases lead in circles")
            } else {
                None
            };
            decision = match ends {
                Some(why) => Decision {
                    owner: Owner::Outside,
                    said: Said::Unfollowed(Some(why)),
                    stand_in: None,
                    aliases: Vec::new(),
                },
                None => self.decide_one(&target, record_type),
            };
            aliases.push(Alias { owner, ttl, target, node });
        }
        if !aliases.is_empty() && decision.said == Said::Refused {
            decision.said = Said::Unfollowed(None);
        }
        Decision { aliases, ..decision }
    }

    /// What a name in the live zone belongs to already, given as text below the apex; `None` when it is free.
    pub fn reserved(&self, relative: &str) -> Option<String> {
        if relative == NAME_SERVER {
            return Some("a host of the zone itself".to_owned());
        }
        let statics = self.statics.load();
        if statics.is_empty() {
            return None;
        }
        statics.taken(relative, self)
    }

    /// Serves other zone files, at once and as a whole.
    pub fn replace_statics(&self, statics: Statics) {
        let before = self.statics.swap(Arc::new(statics));
        let now = self.statics.load();
        let same = match (&before.overlay, &now.overlay) {
            (None, None) => true,
            (Some(before), Some(now)) => before.is_same(now),
            _ => false,
        };
        if same {
            return;
        }
        self.serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.shadowed.lock().clear();
        for service in self.index.services() {
            self.tell_shadowed(service.service());
        }
    }

    /// The zone files that are served.
    pub fn statics(&self) -> Arc<Statics> {
        self.statics.load_full()
    }

    /// Says, once, which names of a service do not answer because a static one does.
    pub(in crate::zone) fn tell_shadowed(&self, service: &Service) {
        let statics = self.statics.load();
        if statics.is_empty() || service.instances().is_empty() {
            return;
        }
        let name = service.name().as_str();
        let (first, group) = name.split_once('.').map_or((name, None), |(first, group)| (first, Some(group)));
        let rfc2782 = |transport: Transport| match group {
            Some(group) => format!("_{first}._{}.{group}", transport.as_str()),
            None => format!("_{first}._{}", transport.as_str()),
        };
        let used = Transport::ALL.into_iter().filter(|transport| service.uses(*transport));
        let mut names: Vec<String> = used.map(rfc2782).collect();
        // Nearly always there is nothing there, and then no name of an instance has to be looked up.
        let touched = |zone: &Arc<StaticZone>| zone.touches(labels_of(name));
        if statics.overlay.as_ref().is_some_and(touched) || statics.within_live {
            names.push(name.to_owned());
            for instance in service.instances() {
                names.push(format!("{}.{name}", instance.id));
                names.extend(instance.registration.tags.iter().map(|tag| format!("{tag}.{name}")));
            }
        }
        for name in names {
            let Some(by) = statics.taken(&name, self) else { continue };
            let mut shadowed = self.shadowed.lock();
            if shadowed.len() < SHADOWED_MAX && shadowed.insert(name.clone()) {
                tracing::warn!(
                    service.name = %service.name(),
                    dns.name = %name,
                    "the service's name {name} does not answer: it is {by}, which wins"
                );
            }
        }
    }
}

impl Statics {
    /// What a name below the live zone's apex belongs to.
    fn taken(&self, relative: &str, zone: &Zone) -> Option<String> {
        let beside = self.overlay.as_ref().and_then(|overlay| match overlay.find(labels_of(relative)) {
            Found::Here(node) => Some(format!("a static name ({})", node.place)),
            Found::Cut(node, _) => Some(format!("part of {}, which is delegated ({})", node.name, node.place)),
            _ => None,
        });
        beside.or_else(|| {
            // A further zone may lie within the live one.
            let (mut zone_key, live) = (Vec::new(), zone.wire_origin.whole());
            let labels: Vec<&[u8]> = relative.split('.').map(str::as_bytes).collect();
            (0..labels.len()).filter(|_| self.within_live).find_map(|at| {
                zone_key.clear();
                for label in &labels[at..] {
                    zone_key.push(label.len() as u8);
                    zone_key.extend_from_slice(label);
                }
                zone_key.extend_from_slice(live);
                let further = self.further.get(&zone_key[..])?;
                Some(format!("part of the zone {} ({})", further.origin, further.file.display()))
            })
        })
    }
}

/// Whether a file's apex has something to say to a question.
fn says(apex: &Node, record_type: RecordType) -> bool {
    match record_type {
        RecordType::ANY => apex.set(RecordType::SOA).is_some(),
        record_type => apex.set(record_type).is_some(),
    }
}

/// The meaning of a name that exists, whatever else is known of it.
fn exists_at_least(owner: Owner) -> Owner {
    match owner {
        Owner::Absent => Owner::Empty,
        Owner::Static(zone, Found::Absent) => Owner::Static(zone, Found::Empty),
        owner => owner,
    }
}

/// The alias that stands at a name.
fn alias_at(owner: &Owner) -> Option<(Arc<Node>, u32, Name)> {
    let Owner::Static(_, Found::Here(node) | Found::Wildcard(node)) = owner else { return None };
    let set = node.set(RecordType::CNAME)?;
    match &set.data[..] {
        [(RData::CNAME(target), _), ..] => Some((node.clone(), set.ttl, target.0.clone())),
        _ => None,
    }
}

/// What is said of a static name.
pub(in crate::zone) fn say_static(found: &Found, record_type: RecordType) -> Said {
    match found {
        Found::Here(node) | Found::Wildcard(node) => match record_type {
            RecordType::ANY => Said::OfFile(node.any().record_type),
            record_type if node.set(record_type).is_some() => Said::OfFile(record_type),
            _ if node.set(RecordType::CNAME).is_some() => Said::Alias,
            _ => Said::NoData,
        },
        // Of the two sides of a delegation only DS stand on this one.
        Found::Cut(node, true) if record_type == RecordType::DS => match node.set(RecordType::DS) {
            Some(_) => Said::OfFile(RecordType::DS),
            None => Said::NoData,
        },
        Found::Cut(..) => Said::Referred,
        Found::Empty => Said::NoData,
        Found::Absent => Said::Absent,
    }
}

impl Decision {
    /// The name that was decided in the end: the question's, or where its aliases lead.
    pub(in crate::zone) fn name<'a>(&'a self, asked: &'a Name) -> &'a Name {
        self.aliases.last().map_or(asked, |alias| &alias.target)
    }
}

/// What a static name means, in a sentence.
pub(in crate::zone) fn meaning(zone: &StaticZone, found: &Found) -> String {
    let file = zone.file.display();
    match found {
        Found::Here(node) => format!("static name from {}", node.place),
        Found::Wildcard(node) => format!("static name from {}, by the wildcard {}", node.place, node.name),
        Found::Cut(node, true) => format!("delegated to another server by {}", node.place),
        Found::Cut(node, false) => {
            format!("below {}, which is delegated to another server by {}", node.name, node.place)
        }
        Found::Empty => format!("no name of its own, but names lie below it, in {file}"),
        Found::Absent => format!("nothing: no such name in {file}, and nothing below it"),
    }
}

/// Where aliases lead, before what is there.
pub(in crate::zone) fn meaning_of_aliases(aliases: &[Alias]) -> String {
    let shown = |alias: &Alias| format!("alias of {} (static name from {}), ", alias.target, alias.node.place);
    aliases.iter().map(shown).collect()
}
