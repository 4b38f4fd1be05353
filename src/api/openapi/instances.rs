//! Calls about instances.

use serde_json::{Value, json};

use super::super::kind::Kind;
use super::super::leases::RenewedShape;
use super::super::registration::{AmendmentBody, RegistrationBody};
use super::super::reports::{HintBody, HintedShape, ReportBody, ReportedShape};
use super::super::shape::{DrainedShape, InstanceShape};
use super::super::wait::{AnsweredWait, DrainBody};
use super::{INSTANCES, Operation};

fn registrations() -> Vec<(&'static str, Value)> {
    vec![
        ("smallest", json!({ "address": "10.0.0.7", "port": 8080 })),
        (
            "checked",
            json!({
                "address": "10.0.0.7", "port": 8080, "lease_ttl": "15s", "tags": ["primary"],
                "meta": { "version": "1.4.2" }, "ports": { "metrics": 9090 },
                "checks": [{ "type": "http", "path": "/healthz", "interval": "5s", "timeout": "1s", "fall": 3 }],
            }),
        ),
    ]
}

/// What holds for both ways to register.
fn registers(operation: Operation) -> Operation {
    operation
        .query::<AnsweredWait>(
            "wait",
            "Answer once DNS answers with the instance, or at the end of this time with 202.",
        )
        .preconditions()
        .body::<RegistrationBody>(registrations())
        .refuses(409, &[Kind::NameTaken, Kind::LeaseGone, Kind::LeaseNotShared, Kind::Superseded])
        .refuses(409, &[Kind::StaleGeneration, Kind::ChangedMeanwhile])
        .refuses(422, &[Kind::InvalidName])
        .refuses(503, &[Kind::TooManyWaiting])
        .refuses(507, &[Kind::ServiceFull, Kind::RegistryFull])
}

pub(in super::super) fn register_instance() -> Operation {
    let text = "Register or replace an instance
The same body again only renews the lease of its own; another replaces the instance. Either way it keeps its `state`. An \
instance with checks is in answers once its first probe has passed, which runs at once.";
    registers(Operation::new("registerInstance", INSTANCES, text).of_instance())
        .answers::<InstanceShape<'_>>(200, "It was registered before.")
        .instance_follows()
        .answers::<InstanceShape<'_>>(201, "It is new.")
        .instance_follows()
        .answers::<InstanceShape<'_>>(202, "It is registered, and not answered at the end of the wait.")
        .instance_follows()
}

pub(in super::super) fn register_instance_anew() -> Operation {
    let text = "Register an instance under an id that the server chooses
Whoever sends it twice has registered twice, unless address and port are the same: then the second supersedes the first.";
    registers(Operation::new("registerNewInstance", INSTANCES, text).of_service())
        .answers::<InstanceShape<'_>>(201, "It is registered.")
        .instance_follows()
        .with_header("Location", "Location")
        .answers::<InstanceShape<'_>>(202, "It is registered, and not answered at the end of the wait.")
        .instance_follows()
        .with_header("Location", "Location")
}

pub(in super::super) fn get_instance() -> Operation {
    Operation::new("getInstance", INSTANCES, "Look at an instance")
        .of_instance()
        .answers::<InstanceShape<'_>>(200, "The instance.")
        .instance_follows()
        .refuses(404, &[Kind::NoInstance])
}

pub(in super::super) fn amend_instance() -> Operation {
    Operation::new("amendInstance", INSTANCES, "Change state, weight, tags or metadata of an instance")
        .of_instance()
        .preconditions()
        .body::<AmendmentBody>(vec![
            ("maintenance", json!({ "state": "maintenance", "expires": "1h" })),
            ("weight", json!({ "weight": 10 })),
        ])
        .answers::<InstanceShape<'_>>(200, "The instance as it is now.")
        .instance_follows()
        .refuses(404, &[Kind::NoInstance])
        .refuses(409, &[Kind::NameTaken])
        .refuses(422, &[Kind::InvalidName])
}

pub(in super::super) fn deregister_instance() -> Operation {
    Operation::new("deregisterInstance", INSTANCES, "Deregister an instance")
        .of_instance()
        .preconditions()
        .answers_nothing(204, "It has left.")
        .refuses(404, &[Kind::NoInstance])
}

pub(in super::super) fn drain_instance() -> Operation {
    let text = "Take an instance out of answers
It keeps its lease and checks. `safe_to_stop_at` is when the last cache has let go of it; draining again does not move it.";
    Operation::new("drainInstance", INSTANCES, text)
        .of_instance()
        .query::<bool>("wait", "Answer only when it is safe to stop the instance.")
        .default(false)
        .preconditions()
        .optional_body::<DrainBody>(vec![("for a while", json!({ "expires": "10m" }))])
        .answers::<DrainedShape<'_>>(200, "It is out of answers; after a wait, out of caches too.")
        .instance_follows()
        .refuses(404, &[Kind::NoInstance])
        .refuses(409, &[Kind::ChangedMeanwhile])
        .refuses(503, &[Kind::TooManyWaiting])
}

pub(in super::super) fn report_instance() -> Operation {
    let text = "Report that an instance could not be used
For clients: what is probed of it and passing is probed at once, and confirmed as any failure is. Nobody is taken out \
by hearsay, and one report of a fast interval has it probed; the others are counted.";
    Operation::new("reportInstance", INSTANCES, text)
        .of_instance()
        .body::<HintBody>(vec![("refused", json!({ "failed": "connect refused" }))])
        .answers::<HintedShape>(202, "It was heard.")
        .refuses(404, &[Kind::NoInstance])
        .refuses(409, &[Kind::ChangedMeanwhile])
}

/// What holds for both reports.
fn reports(operation: Operation) -> Operation {
    operation
        .of_check()
        .optional_body::<ReportBody>(vec![("with a reason", json!({ "reason": "disk full" }))])
        .answers::<ReportedShape<'_>>(200, "It counts. The opinion that then stands is in the answer.")
        .refuses(404, &[Kind::NoInstance, Kind::NoCheck])
        .refuses(409, &[Kind::ProbedCheck, Kind::ChangedMeanwhile])
}

pub(in super::super) fn pass_check() -> Operation {
    let text = "Report that an instance is well
For a check of type `ttl`: the service says so itself, at least once an `interval`, and after `rise` reports in a row it is \
passing. Nothing is written unless the opinion turns.";
    reports(Operation::new("passCheck", INSTANCES, text))
}

pub(in super::super) fn fail_check() -> Operation {
    let text = "Report that an instance fails
For a check of type `ttl`: after `fall` reports in a row, or intervals without one, it is critical. `fall` is 1 unless the \
registration says otherwise, so one report is enough.";
    reports(Operation::new("failCheck", INSTANCES, text))
}

pub(in super::super) fn renew_instance() -> Operation {
    let text = "Renew the lease of an instance's own
That is the one from `lease_ttl`. On 404 and 410 register again.";
    Operation::new("renewInstance", INSTANCES, text)
        .of_instance()
        .answers::<RenewedShape>(200, "It lives for another term.")
        .refuses(404, &[Kind::NoInstance])
        .refuses(409, &[Kind::NoOwnLease])
        .refuses(410, &[Kind::LeaseGone])
}
