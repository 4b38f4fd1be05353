//! `rollcall status`.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::show;
use super::table::Table;
use super::text::cell;

/// Of which server.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl StatusArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let status = self.connection.client(environment)?.status().await?;
        Ok(show(out, self.connection.output, &status, |status| {
            let mut table = Table::default();
            flatten("", status, &mut table);
            table
        })?)
    }
}

/// A row for every field, whatever a server of another version says; fields of objects with dotted names.
fn flatten(prefix: &str, value: &Value, table: &mut Table) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let dot = if prefix.is_empty() { "" } else { "." };
            for (name, value) in fields {
                flatten(&format!("{prefix}{dot}{name}"), value, table);
            }
        }
        value => table.push([prefix, &cell(value)]),
    }
}
