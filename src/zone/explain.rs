//! Why a question gets what it gets: in a few words for an extended error, at length for people.

use std::fmt::Write;
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};

use super::Zone;
use super::decide::{Answer, Decision, Detail, ExtendedError, Kind, Question, Said, selected};
use super::name::WireName;
use super::owner::{Owner, Pick};
use super::service::ServiceAnswers;
use crate::model::{Instance, Timestamp, Withheld};

/// Octets of an extended error's text.
const TEXT_OCTETS_MAX: usize = 200;
/// INFO-CODEs (RFC 8914 §4).
const OTHER: u16 = 0;
const NOT_READY: u16 = 14;

/// What became of one registered instance in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The instance.
    pub instance: Arc<Instance>,
    /// Whether it is in the answer.
    pub kept: bool,
    /// Why, in a sentence.
    pub because: String,
}

/// A decision at length.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// What the name means.
    pub meaning: String,
    /// The answer itself.
    pub answer: Answer,
    /// Every registered instance of the service that the name belongs to.
    pub instances: Vec<Judged>,
}

/// A text cut to what an extended error may hold.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_OCTETS_MAX {
        let mut end = TEXT_OCTETS_MAX - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// The time of day of a timestamp, with the zone.
fn time_of_day(timestamp: Timestamp) -> String {
    let text = timestamp.to_string();
    let time = text.split_once('T').map_or("", |(_, time)| time);
    format!("{}Z", time.split('.').next().unwrap_or_default())
}

/// Counts that anybody may know: `web: 3 registered, 0 passing`.
fn counts(service: &ServiceAnswers) -> String {
    format!("{}: {} registered, {} passing", service.name(), service.registered().len(), service.answered().len())
}

/// What keeps instances out, for those who may know: `; i1: tcp refused 10.0.0.4:80 since 14:03:11Z`.
fn add_details(text: &mut String, instances: &[Arc<Instance>]) {
    for instance in instances {
        let Some(withheld) = instance.withheld() else { continue };
        let _ = match withheld {
            Withheld::State(state) => write!(text, "; {}: {state}", instance.id),
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

fn missing(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::A) => "none with an IPv4 address",
        Some(Kind::Aaaa) => "none with an IPv6 address",
        Some(Kind::Txt) => "none with metadata",
        Some(Kind::Https) => "none registered with https",
        Some(Kind::Srv | Kind::Ptr) | None => "no records of this type",
    }
}

fn kind_of(record_type: RecordType) -> Option<Kind> {
    match record_type {
        RecordType::A => Some(Kind::A),
        RecordType::AAAA => Some(Kind::Aaaa),
        RecordType::TXT => Some(Kind::Txt),
        RecordType::HTTPS => Some(Kind::Https),
        _ => None,
    }
}

impl Zone {
    /// The extended error of an answer that is negative or reduced, for a client that may have one.
    pub(super) fn explain_briefly(
        &self,
        decision: &Decision,
        question: &Question<'_>,
        answer: &Answer,
    ) -> Option<ExtendedError> {
        if question.detail == Detail::None {
            return None;
        }
        let text = match (&decision.said, &decision.owner) {
            (Said::NotLoaded, _) => {
                return Some(ExtendedError { code: NOT_READY, text: "the registry is still loading".into() });
            }
            (Said::Waiting, Owner::Selection(service, pick)) => {
                let mut text = counts(service);
                if let Pick::Tag(tag) = pick {
                    let _ = write!(text, " with tag {tag}");
                }
                if question.detail == Detail::Instances {
                    add_details(&mut text, service.registered());
                }
                text
            }
            (Said::NoData, Owner::Selection(service, _)) => {
                format!("{}, {}", counts(service), missing(kind_of(question.record_type)))
            }
            (Said::Absent, _) => {
                let second = Timestamp::now().as_millis() / 1000;
                match self.nearest_service(&WireName::lower(question.name), second) {
                    Some(near) => format!("no such service; did you mean {near}?"),
                    None => "no such service".to_owned(),
                }
            }
            (Said::OfInstances(_), Owner::Selection(service, _)) if answer.truncated => {
                format!("{}: {} of {} fit", service.name(), answer.answers.len(), service.answered().len())
            }
            _ => return None,
        };
        Some(ExtendedError { code: OTHER, text: cut(text) })
    }

    /// Explains what a question gets, with every instance that had a say in it.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let decision = self.decide(question.name, question.record_type);
        let answer = self.answer_decided(&decision, question);
        let instances = match &decision.owner {
            Owner::Selection(service, pick) => self.judge(service, pick, &decision.said, &answer),
            Owner::Instance(service, id) | Owner::Browsed(service, id) => service
                .instance(id)
                .map(|instance| Judged {
                    instance: instance.clone(),
                    kept: matches!(decision.said, Said::OfInstances(_)),
                    because: "the name is the instance's own, which is served whatever its health".to_owned(),
                })
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        Explanation { meaning: meaning(&decision.owner, question.name), answer, instances }
    }

    fn judge(&self, service: &ServiceAnswers, pick: &Pick, said: &Said, answer: &Answer) -> Vec<Judged> {
        let kind = match said {
            Said::OfInstances(kind) => Some(*kind),
            _ => None,
        };
        let chosen: Vec<&Arc<Instance>> = kind.map(|kind| selected(service, pick, kind).collect()).unwrap_or_default();
        let service_name = self.service_name(service);
        let judge = |instance: &Arc<Instance>| {
            let because = if let Some(withheld) = instance.withheld() {
                Err(format!("withheld: {withheld}"))
            } else if !pick.takes(instance) {
                Err(match pick {
                    Pick::Tag(tag) => format!("it does not have the tag {tag}"),
                    Pick::Port(_, port) => format!("it does not have the named port {port}"),
                    _ => format!("it is registered for {}", instance.registration.protocol.as_str()),
                })
            } else if kind.is_none_or(|kind| !kind.is_of(instance)) {
                Err("it has no record of this type".to_owned())
            } else if !chosen.iter().any(|other| other.id == instance.id) {
                Err(format!("instances with a lower priority value than {} are well", instance.registration.priority))
            } else if (answer.truncated || *pick == Pick::One) && !shown(answer, instance, &service_name) {
                Err("others were picked for this client".to_owned())
            } else {
                Ok("answered".to_owned())
            };
            Judged { instance: instance.clone(), kept: because.is_ok(), because: because.unwrap_or_else(|why| why) }
        };
        service.registered().iter().map(judge).collect()
    }
}

/// Whether a record of an answer is an instance's.
fn shown(answer: &Answer, instance: &Instance, service_name: &Name) -> bool {
    use hickory_proto::rr::RData;
    let target = service_name.prepend_label(instance.id.as_str()).unwrap_or_default();
    answer.answers.iter().any(|record| match &record.data {
        RData::A(a) => instance.registration.addresses.v4() == Some(a.0),
        RData::AAAA(a) => instance.registration.addresses.v6() == Some(a.0),
        RData::SRV(srv) => srv.target == target,
        RData::HTTPS(https) => https.0.target_name == target,
        RData::PTR(ptr) => ptr.0.iter().next() == Some(instance.id.as_str().as_bytes()),
        _ => true,
    })
}

/// What a name means, in a sentence.
fn meaning(owner: &Owner, name: &Name) -> String {
    match owner {
        Owner::Outside => format!("{name} is outside the zone"),
        Owner::Apex => "the zone itself".to_owned(),
        Owner::NameServer => "the zone's name server".to_owned(),
        Owner::Selection(service, pick) => match pick {
            Pick::All => format!("service {}", service.name()),
            Pick::Transport(transport) => format!("service {} over {}", service.name(), transport.as_str()),
            Pick::Port(transport, port) => {
                format!("port {port} of service {} over {}", service.name(), transport.as_str())
            }
            Pick::Tag(tag) => format!("instances of service {} with tag {tag}", service.name()),
            Pick::One => format!("any one instance of service {}", service.name()),
        },
        Owner::Instance(service, id) => format!("instance {id} of service {}", service.name()),
        Owner::Browsed(service, id) => format!("instance {id} of service {}, by DNS-SD", service.name()),
        Owner::ServiceTypes(_) => "the service types, for browsing".to_owned(),
        Owner::Reverse(origin, _) => format!("an address, in the reverse zone {origin}"),
        Owner::Empty => "no name of its own, but names lie below it".to_owned(),
        Owner::Absent => "nothing: no such name, and nothing below it".to_owned(),
    }
}
