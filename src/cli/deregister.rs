//! `rollcall deregister`.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::show;
use super::table::Table;
use super::text::{cell, visible};
use crate::client::Client;

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
                    ask("--under", async || how_many(&client, group).await).await?;
                }
                client.deregister_under(group).await?
            }
            (None, None) => {
                if !self.yes {
                    ask("--all", async || Ok(format!("every instance of {}", visible(service)))).await?;
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
    Ok(format!("{instances} instances of {} services under {}", services.len(), visible(group)))
}

/// Asks on a terminal whether what a flag would take is meant.
async fn ask(flag: &str, what: impl AsyncFnOnce() -> Result<String, Fault>) -> Result<(), Fault> {
    if !io::stdin().is_terminal() {
        return Err(Fault::Usage(format!("{flag} in a script needs --yes, because nobody can be asked")));
    }
    let what = what().await?;
    let mut answer = String::new();
    {
        let mut terminal = io::stderr().lock();
        write!(terminal, "Deregister {what}? [y/N] ")?;
        terminal.flush()?;
        io::stdin().lock().read_line(&mut answer)?;
    }
    if is_yes(&answer) { Ok(()) } else { Err(Fault::Usage("nothing was deregistered".to_owned())) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes("YES\r\n"));
        assert!(!is_yes("\n") && !is_yes("") && !is_yes("no\n") && !is_yes("yesterday\n"));
    }
}
