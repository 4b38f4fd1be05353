//! The one place where it is decided what a question gets.
//!
//! A [`Decision`] knows what the name means and what is said of it, but holds no records yet: the records (`fill`), the
//! extended error and the explanation (`explain`) are all made from it, so that they cannot disagree.

use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};

use super::Zone;
use super::kind::{Kind, Pick, kinds_of};
use super::name::WireName;
use super::owner::Owner;
use super::reverse::Reversed;
use super::said::{Decision, Said};
use super::service::ServiceAnswers;
use super::statics::decide::say_static;

impl Zone {
    /// Decides a question.
    pub fn decide(&self, name: &Name, record_type: RecordType) -> Decision {
        self.follow_aliases(name, record_type, self.decide_one(name, record_type))
    }

    /// Decides a question whose name may turn out to be an alias.
    pub(super) fn decide_one(&self, name: &Name, record_type: RecordType) -> Decision {
        let wire = WireName::lower(name);
        let owner = self.static_owner(&wire, record_type).unwrap_or_else(|| self.owner(&wire));
        let said = match owner {
            Owner::Outside => Said::Refused,
            Owner::Static(..) => self.say(&owner, record_type),
            _ if !self.is_loaded() => Said::NotLoaded,
            _ => self.say(&owner, record_type),
        };
        if let (Said::Waiting, Owner::Selection(service, pick)) = (&said, &owner)
            && let Some((other, said)) = self.stand_in(service, pick, record_type)
        {
            return Decision { owner, said, stand_in: Some(other), aliases: Vec::new() };
        }
        Decision { owner, said, stand_in: None, aliases: Vec::new() }
    }

    /// What the fallback of a service has for a name of it, when the service has nobody to answer with. One step: the
    /// fallback of a fallback is not asked, so there are no circles.
    fn stand_in(
        &self,
        service: &ServiceAnswers,
        pick: &Pick,
        record_type: RecordType,
    ) -> Option<(Arc<ServiceAnswers>, Said)> {
        let fallback = service.fallback().filter(|_| service.answered().len() == 0)?;
        // Tags and named ports select by what this service's own registrations say.
        if !matches!(pick, Pick::All | Pick::Transport(_) | Pick::One) {
            return None;
        }
        let other = self.service_at(&fallback.key)?;
        // Names of DNS-SD instances would be those of this service.
        let has = |kind| kind != Kind::Ptr && has(&other, pick, kind);
        match say_kind(kinds_of(pick), record_type, has) {
            said @ Said::OfInstances(_) => Some((other, said)),
            _ => None,
        }
    }

    fn say(&self, owner: &Owner, record_type: RecordType) -> Said {
        let any = record_type == RecordType::ANY;
        match owner {
            Owner::Outside => Said::Refused,
            Owner::Absent => Said::Absent,
            Owner::Empty => Said::NoData,
            Owner::Reverse(_, found) => match (found, record_type) {
                (Reversed::Apex, RecordType::SOA | RecordType::ANY) => Said::OfZone(RecordType::SOA),
                (Reversed::Apex, RecordType::NS) => Said::OfZone(RecordType::NS),
                (Reversed::Address(_), RecordType::PTR | RecordType::ANY) => Said::Pointers,
                (Reversed::Absent, _) => Said::Absent,
                _ => Said::NoData,
            },
            Owner::Static(_, found) => say_static(found, record_type),
            Owner::Apex => match record_type {
                RecordType::SOA | RecordType::NS => Said::OfZone(record_type),
                RecordType::ANY => Said::OfZone(RecordType::SOA),
                _ => Said::NoData,
            },
            Owner::NameServer => {
                let addresses = &self.settings.name_server;
                let of = |record_type| {
                    (record_type, addresses.iter().any(|a| a.is_ipv4() == (record_type == RecordType::A)))
                };
                let wanted = [of(RecordType::A), of(RecordType::AAAA)];
                match wanted.iter().find(|(of, some)| *some && (any || *of == record_type)) {
                    Some((of, _)) => Said::OfZone(*of),
                    None => Said::NoData,
                }
            }
            Owner::ServiceTypes(group) => {
                let ptr = any || record_type == RecordType::PTR;
                if ptr && self.browse.has_types(group) { Said::ServiceTypes } else { Said::NoData }
            }
            Owner::Selection(service, pick) => {
                if !service.answered().any(|instance| pick.takes(instance)) {
                    return Said::Waiting;
                }
                say_kind(kinds_of(pick), record_type, |kind| has(service, pick, kind))
            }
            Owner::Instance(service, id) => {
                let kinds = [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Txt];
                say_kind(&kinds, record_type, |kind| service.instance(id).is_some_and(|i| kind.is_of(i)))
            }
            // A TXT record is always there, empty if need be (RFC 6763 §6.1).
            Owner::Browsed(..) => say_kind(&[Kind::Srv, Kind::Txt], record_type, |_| true),
        }
    }
}

/// Whether a name that selects instances of a service has records of a kind.
fn has(service: &ServiceAnswers, pick: &Pick, kind: Kind) -> bool {
    match service.totals(pick, kind) {
        Some(totals) => totals.count > 0,
        None => service.selected(pick, kind).any(|i| kind.is_of(i)),
    }
}

/// Says the kind that is asked for, if the name has records of it. After all of them is answered with one (RFC 8482).
fn say_kind(kinds: &[Kind], record_type: RecordType, exists: impl Fn(Kind) -> bool) -> Said {
    let wanted = match record_type {
        RecordType::ANY => kinds.iter().copied().find(|kind| exists(*kind)),
        record_type => Kind::of(record_type).filter(|kind| kinds.contains(kind) && exists(*kind)),
    };
    wanted.map_or(Said::NoData, Said::OfInstances)
}
