//! Why an answer is negative or reduced, in the few words of an extended error (RFC 8914).

use std::fmt::Write;
use std::sync::Arc;

use hickory_proto::rr::RecordType;

use super::Zone;
use super::kind::{Kind, Pick, kinds_of};
use super::name::WireName;
use super::owner::{Owner, transport_of};
use super::question::{Answer, Detail, ExtendedError, Question, TEXT_OCTETS_MAX, cut, time_of_day};
use super::said::{Decision, Said};
use super::service::ServiceAnswers;
use super::statics::Found;
use crate::model::{Instance, Timestamp, Withheld};

/// INFO-CODEs (RFC 8914 §4).
const OTHER: u16 = 0;
const NOT_READY: u16 = 14;
const NOT_AUTHORITATIVE: u16 = 20;

/// Counts that anybody may know: `web: 3 registered, 0 passing`.
fn counts(service: &ServiceAnswers, pick: &Pick) -> String {
    let among = match pick {
        Pick::All | Pick::One => {
            let (registered, passing) = (service.registered().len(), service.service().answered());
            return format!("{}: {registered} registered, {passing} passing", service.name());
        }
        Pick::Transport(transport) => format!("over {}", transport.as_str()),
        Pick::Port(transport, port) => format!("with port {port} over {}", transport.as_str()),
        Pick::Tag(tag) => format!("with tag {tag}"),
    };
    let registered = service.registered().iter().filter(|instance| pick.takes(instance)).count();
    let passing = service.registered().iter().filter(|i| i.answered() && pick.takes(i)).count();
    format!("{}: {registered} registered {among}, {passing} passing", service.name())
}

/// What keeps instances out, for those who may know: `; i1: tcp refused 10.0.0.4:80 since 14:03:11Z`.
fn add_details<'a>(text: &mut String, instances: impl Iterator<Item = &'a Arc<Instance>>) {
    for instance in instances {
        let Some(withheld) = instance.withheld() else { continue };
        let _ = match withheld {
            Withheld::State(state) => write!(text, "; {}: {state}", instance.id),
            Withheld::Unreported(check) => {
                write!(text, "; {}: {check} not reported since {}", instance.id, time_of_day(instance.health_since))
            }
            Withheld::Check(check, health, error) => {
                let since = time_of_day(instance.health_since);
                match error {
                    Some(error) => write!(text, "; {}: {check} {error} since {since}", instance.id),
                    None => write!(text, "; {}: {check} {health} since {since}", instance.id),
                }
            }
        };
        if text.len() > TEXT_OCTETS_MAX {
            return;
        }
    }
}

/// What an instance without a record of a kind does not have.
pub(super) fn lack(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::A) => "IPv4 address",
        Some(Kind::Aaaa) => "IPv6 address",
        Some(Kind::Txt) => "metadata",
        Some(Kind::Https) => "registration with https",
        Some(Kind::Srv | Kind::Ptr) | None => "record of this type",
    }
}

/// The same at the name of one instance, which has no other kinds.
pub(super) fn lack_of_instance(record_type: RecordType) -> &'static str {
    lack(Kind::of(record_type).filter(|kind| matches!(kind, Kind::A | Kind::Aaaa | Kind::Txt)))
}

/// Why a name that selects instances, some of them answered, has no record of a type.
fn nothing_of_type(service: &ServiceAnswers, pick: &Pick, record_type: RecordType) -> String {
    let counts = counts(service, pick);
    let Some(kind) = Kind::of(record_type).filter(|kind| kinds_of(pick).contains(kind)) else {
        return format!("{counts}, no records of this type here");
    };
    let (lack, article) = (lack(Some(kind)), if kind == Kind::Txt { "" } else { "an " });
    match kind {
        Kind::Https => format!("{counts}, none registered with https"),
        // Those with it have a higher priority value than others that are well.
        _ if service.answered().any(|i| pick.takes(i) && kind.is_of(i)) => {
            format!("{counts}, none of lowest priority with {article}{lack}")
        }
        _ => format!("{counts}, none with {article}{lack}"),
    }
}

impl Zone {
    /// The extended error of an answer that is negative or reduced, for a client that may have one; `wanted` records
    /// would be in the answer if there were room.
    pub(super) fn explain_briefly(
        &self,
        decision: &Decision,
        question: &Question<'_>,
        answer: &Answer,
        wanted: usize,
    ) -> Option<ExtendedError> {
        if question.detail == Detail::None {
            return None;
        }
        let (code, text) = match (&decision.said, &decision.owner) {
            (Said::NotLoaded, _) => (NOT_READY, "the registry is still loading".to_owned()),
            (Said::Unfollowed(Some(why)), _) => (OTHER, (*why).to_owned()),
            (Said::Absent, Owner::Static(zone, _)) => (OTHER, format!("no such name in {}", zone.origin)),
            (Said::Refused, _) if !self.statics.load().is_empty() => {
                (NOT_AUTHORITATIVE, "no zone of it is served here".to_owned())
            }
            (Said::Refused, _) => (NOT_AUTHORITATIVE, format!("only {} is served here", self.origin())),
            (Said::Absent, _) => (OTHER, self.absence(&WireName::lower(decision.name(question.name)))),
            (Said::Waiting, Owner::Selection(service, pick)) => {
                let mut text = counts(service, pick) + &self.no_stand_in(service);
                if question.detail == Detail::Instances {
                    add_details(&mut text, service.registered().iter().filter(|instance| pick.takes(instance)));
                }
                (OTHER, text)
            }
            (Said::NoData, owner) => (OTHER, self.no_data(owner, question.record_type)),
            (Said::OfInstances(_), Owner::Selection(service, _)) if answer.truncated => {
                let from = decision.stand_in.as_ref().unwrap_or(service);
                (OTHER, format!("{}: {} of {wanted} fit", from.name(), answer.answers.len()))
            }
            (Said::OfInstances(_), Owner::Selection(service, _)) => {
                let notice = match &decision.stand_in {
                    Some(_) => service.fallback().map(|fallback| &fallback.notice),
                    None => service.notice(),
                };
                return notice.map(|notice| notice.error(question.detail));
            }
            (Said::ServiceTypes, _) if answer.truncated => {
                (OTHER, format!("{} service types fit, and there are more", answer.answers.len()))
            }
            _ => return None,
        };
        Some(ExtendedError { code, text: cut(text) })
    }

    /// Why no other service stands in for one that has a fallback.
    fn no_stand_in(&self, service: &ServiceAnswers) -> String {
        let Some(fallback) = service.fallback().filter(|_| service.answered().len() == 0) else { return String::new() };
        let why = match self.service_at(&fallback.key) {
            None => "is not registered",
            Some(other) if other.answered().len() == 0 => "has nobody either",
            Some(_) => "has nothing for this name",
        };
        format!("; its fallback {} {why}", fallback.name)
    }

    /// Why a name that exists has no record of a type.
    fn no_data(&self, owner: &Owner, record_type: RecordType) -> String {
        match owner {
            Owner::Selection(service, pick) => nothing_of_type(service, pick, record_type),
            Owner::Instance(service, id) => {
                format!("instance {id} of {} has no {}", service.name(), lack_of_instance(record_type))
            }
            Owner::Browsed(..) => "a name of DNS-SD has SRV and TXT records".to_owned(),
            Owner::ServiceTypes(_) if record_type == RecordType::PTR => "no services in this group".to_owned(),
            Owner::ServiceTypes(_) => "the list of service types has PTR records".to_owned(),
            Owner::Static(_, Found::Empty) => "no records here, but names lie below".to_owned(),
            Owner::Empty => "no records here, but names lie below".to_owned(),
            _ => "no records of this type here".to_owned(),
        }
    }

    /// Why a name does not exist: what there is of a service that the rest of it names, or one that it may have meant.
    fn absence(&self, name: &WireName) -> String {
        let left = name.labels_below(&self.wire_origin).unwrap_or_default();
        let underscored = (0..left.min(3)).find_map(|at| transport_of(name.label(at)).map(|transport| (at, transport)));
        // `_web._udp` and `i1._web._udp` name a service, and those below them something of it.
        let named = underscored.and_then(|(at, transport)| {
            let label = name.label(at.checked_sub(1)?).strip_prefix(b"_")?;
            let key = [&[label.len() as u8][..], label, name.span(at + 1, left)].concat();
            Some((self.service_at(&key)?, transport))
        });
        if let Some((service, transport)) = &named
            && !service.knows(*transport)
        {
            return format!("{} is not registered over {}", service.name(), transport.as_str());
        }
        let second = Timestamp::now().as_millis() / 1000;
        if let Some(near) = self.nearest_service(name, second) {
            return format!("no such service; did you mean {near}?");
        }
        if let Some((service, _)) = named {
            return format!("{} has no instance {}", service.name(), shown(name.label(0)));
        }
        let Some((at, service)) = (1..left).find_map(|at| Some((at, self.service_at(name.span(at, left))?))) else {
            return "no such service".to_owned();
        };
        let service = service.name();
        match underscored {
            None if at == 1 => format!("{service} has no instance or tag {}", shown(name.label(0))),
            Some((1, transport)) if at == 2 && name.label(0).starts_with(b"_") => {
                format!("{service} has no port {} over {}", shown(&name.label(0)[1..]), transport.as_str())
            }
            _ => format!("{service} has no such name below it"),
        }
    }
}

/// A label that was asked for, if it can be shown as it is.
fn shown(label: &[u8]) -> &str {
    let text = std::str::from_utf8(label).unwrap_or_default();
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if fits { text } else { "of that name" }
}
