//! `rollcall deregister`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::connection::ConnectionArgs;
use super::consent::ask;
use super::fault::Fault;
use super::screen::show;
use super::table::Table;
use super::text::{cell, visible};
use crate::client::Client;

const NOTHING: &str = "nothing was deregistered";

/// Who leaves.
#[derive(Debug, Args)]
pub(super) struct DeregisterArgs {
    /// The service
    #[arg(value_parser = NonEmptyStringValueParser::new(), required_unless_present = "under")]
    service: Option<String>,

    /// The instance; --all takes every one
    #[arg(value_parser = NonEmptyStringValueParser::new(), conflicts_with = "all")]
    id: Option<String>,

    /// Every instance of the service
    #[arg(long)]
    all: bool,

    /// Every instance of every service below a group: payments has api.payments
    #[arg(long, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new(),
          conflicts_with_all = ["service", "id", "all"])]
    under: Option<String>,

    /// Do not ask whether --all or --under is meant
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl DeregisterArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let service = self.service.as_deref().unwrap_or_default();
        if self.id.is_none() && !self.all && self.under.is_none() {
            return Err(Fault::Usage(format!("which instance of {service}? Give its id, or --all for every one")));
        }
        let client = self.connection.client(environment)?;
        let left = match (&self.id, &self.under) {
            (Some(id), _) => {
                client.deregister(service, id).await?;
                json!({"deregistered": 1})
            }
            (None, Some(group)) => {
                if !self.yes {
                    ask("--under", async || how_many(&client, group).await, NOTHING).await?;
                }
                client.deregister_under(group).await?
            }
            (None, None) => {
                if !self.yes {
                    let question = async || Ok(format!("Deregister every instance of {}?", visible(service)));
                    ask("--all", question, NOTHING).await?;
                }
                client.deregister_all(service).await?
            }
        };
        Ok(show(out, self.connection.output, &left, |left| {
            let (what, name) = self.under.as_deref().map_or(("SERVICE", service), |group| ("UNDER", group));
            let mut table = Table::headed(&[what, "DEREGISTERED"]);
            table.push([name, self.id.as_ref().unwrap_or(&cell(&left["deregistered"]))]);
            table
        })?)
    }
}

/// What a group's deregistration would take.
async fn how_many(client: &Client, group: &str) -> Result<String, Fault> {
    let services = client.services_under(group).await?;
    let instances: u64 = services.iter().map(|service| service.instances).sum();
    Ok(format!("Deregister {instances} instances of {} services under {}?", services.len(), visible(group)))
}
