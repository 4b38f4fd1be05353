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

/// Who leaves.
#[derive(Debug, Args)]
pub(super) struct DeregisterArgs {
    /// The service
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,

    /// The instance; --all takes every one
    #[arg(value_parser = NonEmptyStringValueParser::new(), conflicts_with = "all")]
    id: Option<String>,

    /// Every instance of the service
    #[arg(long)]
    all: bool,

    /// Do not ask whether --all is meant
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
        if self.id.is_none() && !self.all {
            let service = &self.service;
            return Err(Fault::Usage(format!("which instance of {service}? Give its id, or --all for every one")));
        }
        let client = self.connection.client(environment)?;
        let left = match &self.id {
            Some(id) => {
                client.deregister(&self.service, id).await?;
                json!({"deregistered": 1})
            }
            None => {
                if !self.yes {
                    self.ask()?;
                }
                client.deregister_all(&self.service).await?
            }
        };
        Ok(show(out, self.connection.output, &left, |left| {
            let mut table = Table::headed(&["SERVICE", "DEREGISTERED"]);
            table.push([&self.service, self.id.as_ref().unwrap_or(&cell(&left["deregistered"]))]);
            table
        })?)
    }

    fn ask(&self) -> Result<(), Fault> {
        if !io::stdin().is_terminal() {
            return Err(Fault::Usage("--all in a script needs --yes, because nobody can be asked".to_owned()));
        }
        let mut terminal = io::stderr().lock();
        write!(terminal, "Deregister every instance of {}? [y/N] ", visible(&self.service))?;
        terminal.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if is_yes(&answer) { Ok(()) } else { Err(Fault::Usage("nothing was deregistered".to_owned())) }
    }
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
