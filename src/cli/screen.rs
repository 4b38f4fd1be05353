//! Where a command's result goes, and in which form.

use std::io::{self, Write};

use serde_json::Value;

use super::table::Table;
use super::text;

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// Aligned columns.
    Table,
    /// What the server answered.
    Json,
}

/// Prints a result: as it came, or as the table that `table` makes of it.
pub(super) fn show(
    out: &mut dyn Write,
    output: Output,
    value: &Value,
    table: impl FnOnce(&Value) -> Table,
) -> io::Result<()> {
    match output {
        Output::Json => writeln!(out, "{}", text::json(value)),
        Output::Table => table(value).write(out),
    }
}
