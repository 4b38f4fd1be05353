//! `rollcall watch`.

use std::io::{self, Write};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::Output;
use super::text::{cell, json_line, visible};
use crate::client::{Event, Followed, Watched};

/// What is watched.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The service; all when this and --under are left out
    #[arg(value_parser = NonEmptyStringValueParser::new(), conflicts_with = "under")]
    service: Option<String>,

    /// Services under a group: payments has api.payments
    #[arg(long, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    under: Option<String>,

    /// Begin after this position, as the id of an event says it, in place of what there is now
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    after: Option<String>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl WatchArgs {
    /// Prints changes until it is interrupted or the server says no. A lost connection is taken up where it ended.
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let watched = Watched { service: self.service.as_deref(), under: self.under.as_deref() };
        let mut follow = self.connection.client(environment)?.follow(watched, self.after.as_deref());
        follow.connect().await?;
        loop {
            if let Followed::Event(event) = follow.next().await? {
                show(out, self.connection.output, follow.last_id(), &event)?;
                out.flush()?;
            }
        }
    }
}

/// Prints an event: as one line of JSON, or as a line for each instance.
fn show(out: &mut dyn Write, output: Output, id: Option<&str>, event: &Event) -> io::Result<()> {
    let Ok(mut data) = serde_json::from_str::<Value>(&event.data) else { return Ok(()) };
    match output {
        Output::Json => {
            if let Value::Object(fields) = &mut data {
                fields.insert("event".to_owned(), json!(event.name));
                fields.insert("id".to_owned(), json!(id));
            }
            writeln!(out, "{}", json_line(&data))
        }
        Output::Table => {
            let revision = cell(&data["revision"]);
            let list = |name: &str| data[name].as_array().cloned().unwrap_or_default();
            match event.name.as_str() {
                "snapshot" => list("instances").iter().try_for_each(|instance| row(out, &revision, "is", instance)),
                "change" => list("changes").iter().chain(&list("services")).try_for_each(|change| {
                    let known = if change["instance"].is_null() { change } else { &change["instance"] };
                    row(out, &revision, &cell(&change["kind"]), known)
                }),
                name => writeln!(out, "{revision:>8}  {}", visible(name)),
            }
        }
    }
}

/// One instance on one line: where it is and whether it is in answers, while it is there. Or a service as a whole, with
/// what is said of its guard.
fn row(out: &mut dyn Write, revision: &str, kind: &str, instance: &Value) -> io::Result<()> {
    let service = cell(&instance["service"]);
    let name = if instance["id"].is_null() { service } else { format!("{}.{service}", cell(&instance["id"])) };
    let standing = match (&instance["answered"], instance["withheld_because"].as_str()) {
        _ if instance["guard"].is_object() => cell(&instance["guard"]["evidence"]),
        (Value::Null, _) => String::new(),
        (_, Some(why)) => format!("withheld: {why}"),
        _ => "answered".to_owned(),
    };
    let place = match &instance["addresses"] {
        Value::Null => String::new(),
        addresses => format!("{} {}", cell(addresses), cell(&instance["port"])),
    };
    let line = format!("{revision:>8}  {kind:<12}  {name:<24}  {place:<20}  {standing}");
    writeln!(out, "{}", visible(line.trim_end()))
}
