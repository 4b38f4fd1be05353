//! `rollcall renew`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::show;
use super::table::Table;
use super::text::cell;

/// Whose lease.
#[derive(Debug, Args)]
pub(super) struct RenewArgs {
    /// The service
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,

    /// The instance
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl RenewArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let renewed = self.connection.client(environment)?.renew(&self.service, &self.id).await?;
        Ok(show(out, self.connection.output, &renewed, |renewed| {
            let mut table = Table::headed(&["LEASE", "TTL", "EXPIRES AT"]);
            table.push(["id", "ttl", "expires_at"].map(|field| cell(&renewed["lease"][field])));
            table
        })?)
    }
}
