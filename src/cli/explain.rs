//! `rollcall explain`.

use std::io::{self, Write};
use std::net::IpAddr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::Output;
use super::table::Table;
use super::text::{cell, json};
use crate::client::Asked;

/// Which question.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The name, with or without its final dot
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// The type of records [default: A]
    #[arg(value_name = "TYPE", value_parser = NonEmptyStringValueParser::new())]
    record_type: Option<String>,

    /// Whom DNS would answer; this machine, as the server sees it, when left out
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,

    /// As asked over TCP, where answers are not cut short
    #[arg(long)]
    tcp: bool,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl ExplainArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.client.map(|client| client.to_string());
        let question = Asked {
            name: &self.name,
            record_type: self.record_type.as_deref(),
            client: client.as_deref(),
            tcp: self.tcp,
        };
        let explanation = self.connection.client(environment)?.explain(question).await?;
        match self.connection.output {
            Output::Json => writeln!(out, "{}", json(&explanation))?,
            Output::Table => write_tables(out, &explanation)?,
        }
        Ok(())
    }
}

/// What is answered, and below it every instance of the service.
fn write_tables(out: &mut dyn Write, explanation: &Value) -> io::Result<()> {
    let question = &explanation["question"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut head = Table::default();
    let asked = ["name", "type"].map(|field| text(&question[field])).join(" ");
    head.push(["question", &format!("{asked} for {} over {}", text(&question["client"]), text(&question["protocol"]))]);
    head.push(["meaning", &cell(&explanation["meaning"])]);
    let flags = explanation["flags"].as_array().map_or(&[][..], Vec::as_slice);
    let reply: Vec<String> = std::iter::once(&explanation["rcode"]).chain(flags).map(text).collect();
    head.push(["reply", &reply.join(" ")]);
    if let Some(why) = explanation["extended_error"].as_object() {
        head.push(["because", &format!("{} (code {})", cell(&why["text"]), cell(&why["code"]))]);
    }
    for section in ["answer", "authority", "additional"] {
        for record in explanation[section].as_array().into_iter().flatten() {
            head.push([section, &cell(record)]);
        }
    }
    head.write(out)?;
    let instances = explanation["instances"].as_array().map_or(&[][..], Vec::as_slice);
    if instances.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::headed(&["ID", "KEPT", "BECAUSE"]);
    for instance in instances {
        let id = cell(&instance["id"]);
        // Of another service, which stands in.
        let id = if instance["service"].is_null() { id } else { format!("{}/{id}", cell(&instance["service"])) };
        table.push([id, cell(&instance["kept"]), cell(&instance["because"])]);
    }
    table.write(out)
}
