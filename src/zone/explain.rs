//! Why a question gets what it gets, at length for people.

use std::collections::HashSet;
use std::sync::Arc;

use hickory_proto::rr::{Name, RData};

use super::Zone;
use super::brief::{lack, lack_of_instance};
use super::fill::Maker;
use super::kind::{Kind, Pick, kinds_of};
use super::owner::Owner;
use super::question::{Answer, Question};
use super::said::{Decision, Said};
use super::service::ServiceAnswers;
use super::statics::decide::{meaning as meaning_of_static, meaning_of_aliases};
use crate::model::{Instance, Withheld};

/// What became of one registered instance in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The instance.
    pub instance: Arc<Instance>,
    /// Whether it is in the answer.
    pub kept: bool,
    /// Why, in a sentence.
    pub because: String,
    /// Whether it stands in for those of another service.
    pub stands_in: bool,
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

/// Why a service's names do not answer with an instance, and since when.
fn withheld(instance: &Instance) -> Option<String> {
    instance.withheld().map(|withheld| match withheld {
        Withheld::State(_) => format!("withheld: {withheld}"),
        Withheld::Check(..) | Withheld::Unreported(_) => {
            format!("withheld: {withheld}, since {}", instance.health_since)
        }
    })
}

impl Zone {
    /// Explains what a question gets, with every instance of the service that the name belongs to.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let decision = self.decide(question.name, question.record_type);
        let answer = self.answer_decided(&decision, question);
        // Instances are judged by the name that they are answered under.
        let reached = &Question { name: decision.name(question.name), ..*question };
        let instances = match &decision.owner {
            Owner::Selection(service, pick) => {
                let mut judged = self.judge(service, pick, reached, &decision.said, &answer);
                if let Some(other) = &decision.stand_in {
                    let others = self.judge(other, pick, reached, &decision.said, &answer);
                    judged.extend(others.into_iter().map(|judged| Judged { stands_in: true, ..judged }));
                }
                judged
            }
            Owner::Instance(service, id) | Owner::Browsed(service, id) => judge_one(service, id, &decision, reached),
            _ => Vec::new(),
        };
        let mut meaning = meaning_of_aliases(&decision.aliases) + &meaning(&decision, decision.name(question.name));
        if let Some(other) = &decision.stand_in {
            meaning += &format!("; it has nobody to answer with, so its fallback {} stands in", other.name());
        }
        Explanation { meaning, answer, instances }
    }

    fn judge(
        &self,
        service: &ServiceAnswers,
        pick: &Pick,
        question: &Question<'_>,
        said: &Said,
        answer: &Answer,
    ) -> Vec<Judged> {
        let kind = match said {
            Said::OfInstances(kind) => Some(*kind),
            _ => Kind::of(question.record_type).filter(|kind| kinds_of(pick).contains(kind)),
        };
        let lowest = kind
            .filter(|kind| matches!(kind, Kind::A | Kind::Aaaa))
            .and_then(|kind| service.selected(pick, kind).next())
            .map(|instance| instance.registration.priority);
        let maker = Maker::new(self, question, service, pick.clone());
        let given: HashSet<&RData> = answer.answers.iter().map(|record| &record.data).collect();
        let held = service.service().guarded().map_or(&[][..], |guarded| &guarded.held);
        let evidence = service.service().guarded().map_or("", |guarded| &guarded.evidence);
        let judge = |instance: &Arc<Instance>| {
            let registration = &instance.registration;
            let why = withheld(instance);
            let refused = if let Some(why) = why.clone().filter(|_| !service.answers(instance)) {
                Some(why)
            } else if !pick.takes(instance) {
                Some(match pick {
                    Pick::Tag(tag) => format!("it does not have the tag {tag}"),
                    Pick::Port(transport, port) if registration.protocol == *transport => {
                        format!("it does not have the named port {port}")
                    }
                    _ => format!("it is registered for {}", registration.protocol.as_str()),
                })
            } else if lowest.is_some_and(|lowest| registration.priority > lowest) {
                Some(format!("instances with a lower priority value than {} are well", registration.priority))
            } else {
                match kind.filter(|kind| kind.is_of(instance)) {
                    None => Some(format!("it has no {}", lack(kind))),
                    Some(kind) if !given.contains(&maker.data(kind, instance)) => {
                        Some("others were picked for this client".to_owned())
                    }
                    Some(_) => None,
                }
            };
            let kept = refused.is_none();
            let answered = || match why {
                Some(why) => {
                    format!("answered, as all are that are critical: {}", why.trim_start_matches("withheld: "))
                }
                None if held.contains(&instance.id) => format!("answered, though silent, and kept: {evidence}"),
                None => "answered".to_owned(),
            };
            let because = refused.unwrap_or_else(answered);
            Judged { instance: instance.clone(), kept, because, stands_in: false }
        };
        service.registered().iter().map(judge).collect()
    }
}

/// The instances of a service in the answer to a name that is one instance's own.
fn judge_one(service: &ServiceAnswers, id: &str, decision: &Decision, question: &Question<'_>) -> Vec<Judged> {
    let judge = |instance: &Arc<Instance>| {
        let own = instance.id.as_str() == id;
        let kept = own && matches!(decision.said, Said::OfInstances(_));
        let because = if !own {
            format!("the name is that of instance {id}")
        } else if !kept {
            format!("it has no {}", lack_of_instance(question.record_type))
        } else if let Some(why) = withheld(instance) {
            format!("the name is its own, which is served whatever its health; elsewhere {why}")
        } else {
            "the name is its own, which is served whatever its health".to_owned()
        };
        Judged { instance: instance.clone(), kept, because, stands_in: false }
    };
    service.registered().iter().map(judge).collect()
}

/// What a name means, in a few words.
fn meaning(decision: &Decision, name: &Name) -> String {
    if decision.said == Said::NotLoaded {
        return "not known yet: the registry is still loading".to_owned();
    }
    match &decision.owner {
        Owner::Outside => format!("{name} is outside the zone"),
        Owner::Static(zone, found) => meaning_of_static(zone, found),
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
