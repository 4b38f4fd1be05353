//! `rollcall history`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::list::entries;
use super::moment::Moment;
use super::screen::{Output, show};
use super::table::Table;
use super::text::{cell, visible};
use crate::client::Happened;
use crate::model::Timestamp;

/// What of the past.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// The service; all when this and --under are left out
    #[arg(value_parser = NonEmptyStringValueParser::new(), conflicts_with = "under")]
    service: Option<String>,

    /// Services under a group: payments has api.payments
    #[arg(long, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    under: Option<String>,

    /// Only what happened to one id
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,

    /// Who was there at a time, and in DNS: 14:03, 14:03:11 (the last such time, UTC), 2026-11-24T14:03:00Z, or 10m ago
    #[arg(long, value_name = "TIME", requires = "service", conflicts_with_all = ["id", "since", "until", "limit"])]
    at: Option<Moment>,

    /// Only what happened from a time on, written like --at
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,

    /// Only what happened up to a time, written like --at
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,

    /// How many events at most, the latest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl HistoryArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.connection.client(environment)?;
        let now = Timestamp::now();
        if let (Some(at), Some(service)) = (self.at, &self.service) {
            let stood = client.history(service, &at.at(now).to_string()).await?;
            if self.connection.output == Output::Table {
                writeln!(out, "{} at {} (UTC)", visible(service), visible(&cell(&stood["at"])))?;
                if entries(&stood, "instances").is_empty() {
                    return Ok(writeln!(out, "nobody was registered")?);
                }
            }
            return Ok(show(out, self.connection.output, &stood, then)?);
        }
        let since = self.since.map(|since| since.at(now).to_string());
        let until = self.until.map(|until| until.at(now).to_string());
        let happened = Happened {
            service: self.service.as_deref(),
            under: self.under.as_deref(),
            id: self.id.as_deref(),
            since: since.as_deref(),
            until: until.as_deref(),
        };
        let events = client.latest_events(happened, self.limit as usize).await?;
        if self.connection.output == Output::Table && entries(&events, "events").is_empty() {
            // A table of nothing would say less.
            let begins = visible(events["begins"].as_str().unwrap_or("the beginning")).into_owned();
            let _ = writeln!(err, "nothing of this has happened; the journal tells of what was since {begins}");
            return Ok(());
        }
        Ok(show(out, self.connection.output, &events, |events| self.table(events))?)
    }

    /// In the order they happened: the latest is where the eye is.
    fn table(&self, events: &Value) -> Table {
        let one = self.service.is_some();
        let headings = ["TIME (UTC)", "SERVICE", "ID", "FROM", "TO", "REASON", "ACTOR"];
        let fields = ["time", "service", "id", "from", "to", "reason", "actor"];
        let shown = |position: &usize| !(one && *position == 1);
        let columns: Vec<usize> = (0..headings.len()).filter(shown).collect();
        let mut table = Table::headed(&columns.iter().map(|column| headings[*column]).collect::<Vec<_>>());
        for event in entries(events, "events").iter().rev() {
            // What settings say is long, and would push the columns of all others apart.
            let whole = event["kind"] == "configured";
            table.push(columns.iter().map(|column| match fields[*column] {
                "from" | "to" if whole => "-".to_owned(),
                "reason" if whole => {
                    format!("{}: {} -> {}", cell(&event["reason"]), cell(&event["from"]), cell(&event["to"]))
                }
                field => cell(&event[field]),
            }));
        }
        table
    }
}

fn then(stood: &Value) -> Table {
    let mut table = Table::headed(&["ID", "ADDRESSES", "PORT", "STOOD", "ANSWERED", "WITHHELD BECAUSE"]);
    for instance in entries(stood, "instances") {
        let fields = ["id", "addresses", "port", "standing", "answered", "withheld_because"];
        table.push(fields.map(|field| cell(&instance[field])));
    }
    table
}
