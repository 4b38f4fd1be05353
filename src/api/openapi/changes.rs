//! Calls that make many changes, or tell of them.

use serde_json::json;

use super::super::batch::{BatchBody, BatchShape};
use super::super::events::{EventCursor, EventsShape, Moment};
use super::super::form;
use super::super::history::HistoryShape;
use super::super::kind::Kind;
use super::super::paging::{LIMIT_DEFAULT, Limit};
use super::super::waiting::{PollWait, PositionForm};
use super::super::watch::{LastEventId, WatchEvent};
use super::{CHANGES, Operation};

pub(in super::super) fn batch() -> Operation {
    let text = "Register, deregister and renew many, all or none
A batch is one revision: everybody sees all of it or none. When an operation is refused nothing changes, and `pointer` \
names it. `results` are in the order of the operations.";
    Operation::new("batch", CHANGES, text)
        .body::<BatchBody>(vec![(
            "one of each",
            json!({ "operations": [
                { "op": "register", "service": "web", "id": "w1", "address": "10.0.0.7", "port": 8080 },
                { "op": "deregister", "service": "web", "id": "w0" },
                { "op": "renew", "service": "api", "id": "a1" },
                { "op": "renew", "lease": "61c9ab1de0e04a3d" },
            ] }),
        )])
        .answers::<BatchShape<'_>>(200, "All is done.")
        .refuses(404, &[Kind::NoInstance])
        .refuses(409, &[Kind::NameTaken, Kind::LeaseGone, Kind::LeaseNotShared, Kind::NoOwnLease])
        .refuses(409, &[Kind::StaleGeneration, Kind::Superseded])
        .refuses(410, &[Kind::LeaseGone])
        .refuses(412, &[Kind::PreconditionFailed])
        .refuses(422, &[Kind::InvalidName])
        .refuses(507, &[Kind::ServiceFull, Kind::RegistryFull])
}

pub(in super::super) fn watch() -> Operation {
    let text = "Watch changes as they happen
Server-Sent Events, whose `data` is JSON on one line; the schema is that of one of them. Without a start, with one of another store, or when more has happened than is kept, `reset` and `snapshot` come first. Every `change` is one revision, \
with `id: <store>-<revision>` to come back to. Silence is broken every 15 s by a comment, which may carry an `id` too.";
    Operation::new("watch", CHANGES, text)
        .query::<form::ServiceName>("service", "Only of this service.")
        .query::<form::ServiceName>("under", "Only of this group: `payments` has `api.payments`. Excludes `service`.")
        .query::<PositionForm>("after", "The revision, or the id of an event, after which to begin.")
        .header::<LastEventId>(
            "Last-Event-ID",
            "The id of the last event that was heard, in place of `after`. What no event had as its id is as none.",
        )
        .answers_as::<WatchEvent>(200, "A stream that ends with the server, or with `lagged`.", "text/event-stream")
        .refuses(422, &[Kind::InvalidName])
        .refuses(503, &[Kind::TooManyWaiting])
}

pub(in super::super) fn list_events() -> Operation {
    let text = "List what has happened
Who changed from what to what, when and why; newest first. A page may be short, or even empty, and not the last.";
    Operation::new("listEvents", CHANGES, text)
        .query::<form::ServiceName>("service", "Only of this service.")
        .query::<form::ServiceName>("under", "Only of this group: `payments` has `api.payments`. Excludes `service`.")
        .query::<form::DnsLabel>("id", "Only of instances with this id.")
        .query::<Moment>("since", "Only what happened at this time or later.")
        .query::<Moment>("until", "Only what happened at this time or before.")
        .query::<Limit>("limit", "Entries of a page.")
        .default(LIMIT_DEFAULT)
        .query::<EventCursor>("cursor", "`next` of the page before. Nothing is waited for then.")
        .query::<PositionForm>("after", "Only what happened after this revision, or this id of an event.")
        .query::<PollWait>("wait", "For how long to wait for a change of an instance after that revision.")
        .default("0s")
        .answers::<EventsShape<'_>>(200, "A page of events.")
        .refuses(422, &[Kind::InvalidName])
        .refuses(503, &[Kind::TooManyWaiting])
}

pub(in super::super) fn history() -> Operation {
    let text = "Who was there at a time
From the registry as it is now, the events since that time are taken back one by one.";
    Operation::new("getHistory", CHANGES, text)
        .required_query::<form::ServiceName>("service", "The service.")
        .required_query::<Moment>("at", "A time that has passed.")
        .answers::<HistoryShape<'_>>(200, "The instances as they were.")
        .refuses(410, &[Kind::BeyondHistory])
        .refuses(422, &[Kind::InvalidName])
}
