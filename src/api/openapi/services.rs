//! Calls about services and groups.

use serde_json::json;

use super::super::form;
use super::super::kind::Kind;
use super::super::paging::{Cursor, LIMIT_DEFAULT, Limit};
use super::super::services::{DeregisteredShape, HealthFilter, InstancesShape, ServicesShape};
use super::super::settings::{SettingsBody, SettingsShape};
use super::super::waiting::{PollWait, PositionForm};
use super::{Operation, SERVICES};

/// What every list takes.
fn pages(operation: Operation) -> Operation {
    operation
        .query::<Limit>("limit", "Entries of a page.")
        .default(LIMIT_DEFAULT)
        .query::<Cursor>("cursor", "`next` of the page before. Excludes `after`.")
        .query::<PositionForm>(
            "after",
            "With `wait`: answer at the first change after this revision, or this id of an event, that touches the list.",
        )
        .query::<PollWait>("wait", "For how long to wait for that change.")
        .default("0s")
        .refuses(410, &[Kind::CursorGone])
        .refuses(503, &[Kind::TooManyWaiting])
}

pub(in super::super) fn list_services() -> Operation {
    pages(Operation::new("listServices", SERVICES, "List services"))
        .query::<form::ServiceName>("under", "Only those of this group: `payments` has `api.payments`.")
        .answers::<ServicesShape<'_>>(200, "A page of services that have instances.")
        .refuses(422, &[Kind::InvalidName])
}

pub(in super::super) fn list_instances() -> Operation {
    let text = "List the instances of a service
A service that nobody knows has none, so that one can wait for it.";
    pages(Operation::new("listInstances", SERVICES, text).of_service())
        .query::<HealthFilter>("health", "`passing` lists those that are in answers.")
        .default("any")
        .queries::<form::DnsLabel>("tag", "Only those with this tag, and with each other that is given.")
        .answers::<InstancesShape<'_>>(200, "A page of instances.")
}

pub(in super::super) fn deregister_group() -> Operation {
    Operation::new("deregisterGroup", SERVICES, "Deregister all instances of a group")
        .required_query::<form::ServiceName>("under", "The group: `payments` has `api.payments`.")
        .answers::<DeregisteredShape>(200, "How many have left.")
        .refuses(422, &[Kind::InvalidName])
}

pub(in super::super) fn deregister_service() -> Operation {
    Operation::new("deregisterService", SERVICES, "Deregister all instances of a service")
        .of_service()
        .answers::<DeregisteredShape>(200, "How many have left.")
}

pub(in super::super) fn get_settings() -> Operation {
    Operation::new("getSettings", SERVICES, "Look at the settings of a service")
        .of_service()
        .answers::<SettingsShape<'_>>(200, "What holds.")
        .refuses(404, &[Kind::NoSettings])
}

pub(in super::super) fn put_settings() -> Operation {
    let text = "Set what holds for a service
Settings outlive instances, and can be set before there are any.";
    Operation::new("putSettings", SERVICES, text)
        .of_service()
        .body::<SettingsBody>(vec![
            ("long", json!({ "ttl": "30s" })),
            ("often checked", json!({ "check_defaults": { "interval": "1s", "fall": 2 } })),
        ])
        .answers::<SettingsShape<'_>>(200, "It holds in place of what was set before.")
        .answers::<SettingsShape<'_>>(201, "It holds; nothing was set before.")
        .refuses(507, &[Kind::RegistryFull])
}

pub(in super::super) fn delete_settings() -> Operation {
    Operation::new("deleteSettings", SERVICES, "Go back to what the server has for a service")
        .of_service()
        .answers_nothing(204, "The server's own settings hold.")
        .refuses(404, &[Kind::NoSettings])
}
