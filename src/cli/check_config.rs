//! `rollcall check-config`.

use std::io::Write;

use clap::Args;
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::screen::{Output, show};
use super::table::Table;
use super::text::cell;
use crate::check::Trust;
use crate::config::{Config, Key, ServeArgs, Spec};
use crate::zone::Statics;

/// The flags of `serve`.
#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    #[command(flatten)]
    serve: ServeArgs,

    /// The form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl CheckConfigArgs {
    pub(super) fn run(&self, environment: &dyn Fn(&str) -> Option<String>, out: &mut dyn Write) -> Result<(), Fault> {
        let usage = |error: crate::config::ConfigError| Fault::Usage(error.to_string());
        let spec = Spec::load(&self.serve, environment).map_err(usage)?;
        let config = Config::resolve(&spec).map_err(usage)?;
        if let Some(folder) = &config.zones {
            Statics::load(folder, &config.zone).map_err(|error| Fault::Usage(error.to_string()))?;
        }
        Trust::load(&config.check_ca).map_err(|error| Fault::Usage(error.to_string()))?;
        let settings: Map<String, Value> = Key::ALL
            .into_iter()
            .map(|key| {
                // The demonstration brings memory with it, so it is where that value comes from.
                let source = if key == Key::Memory && config.demo { Key::Demo } else { key };
                let from = spec.origin(source).to_string();
                (key.name().to_owned(), json!({"value": config.value(key), "from": from}))
            })
            .collect();
        Ok(show(out, self.output, &Value::Object(settings), |settings| {
            let mut table = Table::headed(&["SETTING", "VALUE", "FROM"]);
            for key in Key::ALL {
                let setting = &settings[key.name()];
                table.push([key.name(), &cell(&setting["value"]), &cell(&setting["from"])]);
            }
            table
        })?)
    }
}
