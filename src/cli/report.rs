//! `rollcall report`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::{Output, show};
use super::table::Table;
use super::text::cell;

/// What there is to say of an instance.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("said").required(true))]
pub(super) struct ReportArgs {
    /// The service
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,

    /// The instance
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,

    /// The name of its check of type ttl
    #[arg(value_parser = NonEmptyStringValueParser::new(), conflicts_with = "failed", required_unless_present = "failed")]
    check: Option<String>,

    /// The check passes
    #[arg(long, group = "said")]
    pass: bool,

    /// The check fails
    #[arg(long, group = "said")]
    fail: bool,

    /// Why, in a line
    #[arg(long, value_name = "TEXT", conflicts_with = "failed")]
    reason: Option<String>,

    /// What a client could not do with the instance, which is then probed at once
    #[arg(long, value_name = "TEXT", group = "said", value_parser = NonEmptyStringValueParser::new())]
    failed: Option<String>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl ReportArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.connection.client(environment)?;
        let (service, id, check) = (&self.service, &self.id, self.check.as_deref().unwrap_or_default());
        let reason = self.reason.as_deref();
        let heard = match &self.failed {
            Some(failed) => client.report_failed(service, id, failed).await?,
            None if self.pass => client.pass(service, id, check, reason).await?,
            None => client.fail(service, id, check, reason).await?,
        };
        if self.connection.output == Output::Table && heard["probed"] == false {
            let _ = writeln!(
                err,
                "heard, but not probed for it: it fails already, was probed just now, or has no check to probe"
            );
        }
        Ok(show(out, self.connection.output, &heard, |heard| match &self.failed {
            Some(_) => {
                let mut table = Table::headed(&["PROBED"]);
                table.push([cell(&heard["probed"])]);
                table
            }
            None => {
                let mut table = Table::headed(&["CHECK", "HEALTH", "REPORT BY"]);
                table.push(["name", "health", "report_by"].map(|field| cell(&heard["check"][field])));
                table
            }
        })?)
    }
}
