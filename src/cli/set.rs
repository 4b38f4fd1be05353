//! `rollcall set`.

use std::io::Write;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::instance::{Pair, object};
use super::screen::show;
use super::table::Table;
use super::text::cell;
use crate::model::Duration;

/// What changes of a registered instance.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true))]
pub(super) struct SetArgs {
    /// The service
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,

    /// The instance
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,

    /// up, or out of answers: draining before it stops, maintenance while it is worked on
    #[arg(long, group = "changes", value_parser = ["up", "draining", "maintenance"])]
    state: Option<String>,

    /// Back up by itself after this time, with --state draining or maintenance
    #[arg(long, value_name = "TIME", requires = "state")]
    expires: Option<Duration>,

    /// SRV weight among equal priorities, 0 to 65535
    #[arg(long, group = "changes", value_name = "N")]
    weight: Option<u16>,

    /// A label that selects it, repeatable; takes the place of all it has, '' for none
    #[arg(long = "tag", group = "changes", value_name = "TAG", value_delimiter = ',')]
    tags: Vec<String>,

    /// Metadata, repeatable; takes the place of all it has, '' for none
    #[arg(long, group = "changes", value_name = "KEY=VALUE")]
    meta: Vec<String>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl SetArgs {
    /// The body of the change: what was not said stays as it is.
    fn body(&self) -> Result<Value, Fault> {
        let filled =
            |texts: &[String]| -> Vec<String> { texts.iter().filter(|text| !text.is_empty()).cloned().collect() };
        let meta = || -> Result<Value, Fault> {
            let pairs =
                filled(&self.meta).iter().map(|text| text.parse::<Pair<String>>()).collect::<Result<Vec<_>, _>>();
            let pairs = pairs.map_err(|error| Fault::Usage(format!("--meta: {error}")))?;
            Ok(object("--meta", &pairs)?.unwrap_or_else(|| json!({})))
        };
        let fields = [
            ("state", self.state.as_deref().map(Value::from)),
            ("expires", self.expires.map(|expires| json!(expires.to_string()))),
            ("weight", self.weight.map(Value::from)),
            ("tags", (!self.tags.is_empty()).then(|| json!(filled(&self.tags)))),
            ("meta", if self.meta.is_empty() { None } else { Some(meta()?) }),
        ];
        Ok(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }

    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let body = self.body()?;
        let instance = self.connection.client(environment)?.amend(&self.service, &self.id, &body).await?;
        Ok(show(out, self.connection.output, &instance, |instance| {
            let mut table = Table::headed(&["ID", "SERVICE", "STATE", "WEIGHT", "TAGS", "META", "ANSWERED"]);
            let fields = ["id", "service", "state", "weight", "tags", "meta", "answered"];
            table.push(fields.map(|field| cell(&instance[field])));
            table
        })?)
    }
}
