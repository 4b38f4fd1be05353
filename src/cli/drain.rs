//! `rollcall drain`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::show;
use super::table::Table;
use super::text::cell;
use crate::model::Duration;

/// Who is to leave without an error.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The service
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,

    /// The instance
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,

    /// Bring it back up by itself after this time
    #[arg(long, value_name = "TIME")]
    expires: Option<Duration>,

    /// Wait until no cache holds an answer with it any more
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl DrainArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.connection.client(environment)?;
        let expires = self.expires.map(|expires| expires.to_string());
        let drained = client.drain(&self.service, &self.id, expires.as_deref(), self.wait).await?;
        Ok(show(out, self.connection.output, &drained, |drained| {
            let mut table = Table::headed(&["ID", "SERVICE", "STATE", "SAFE TO STOP AT"]);
            table.push(["id", "service", "state", "safe_to_stop_at"].map(|field| cell(&drained[field])));
            table
        })?)
    }
}
