//! `rollcall services` and `rollcall get`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::show;
use super::table::Table;
use super::text::cell;
use crate::client::{ClientError, Page, Selection};

/// Which services.
#[derive(Debug, Args)]
pub(super) struct ServicesArgs {
    /// Only those under a group: payments has api.payments
    #[arg(long, value_name = "GROUP")]
    under: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Which instances.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The service
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,

    /// One instance; all when this is left out
    #[arg(value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = ["passing", "tag"])]
    id: Option<String>,

    /// Only those that DNS answers with
    #[arg(long)]
    passing: bool,

    /// Only those with this tag
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    tag: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// All pages of a list as one: the envelope of the first, the entries of all.
pub(super) async fn whole(
    list: &'static str,
    mut page: impl AsyncFnMut(Option<&str>) -> Result<Value, ClientError>,
) -> Result<Value, Fault> {
    let mut whole = page(None).await?;
    let mut entries = take_entries(&mut whole, list)?;
    while let Some(cursor) = whole["next"].as_str().map(str::to_owned) {
        let mut next = page(Some(&cursor)).await?;
        entries.append(&mut take_entries(&mut next, list)?);
        // A cursor that leads to itself would be followed for ever.
        let stuck = next["next"].as_str() == Some(&cursor);
        whole["next"] = if stuck { Value::Null } else { next["next"].take() };
    }
    whole[list] = entries.into();
    Ok(whole)
}

fn take_entries(page: &mut Value, list: &'static str) -> Result<Vec<Value>, Fault> {
    match page.get_mut(list).map(Value::take) {
        Some(Value::Array(entries)) => Ok(entries),
        _ => Err(Fault::Answer(list)),
    }
}

pub(super) fn entries<'a>(list: &'a Value, name: &str) -> &'a [Value] {
    list[name].as_array().map_or(&[], Vec::as_slice)
}

impl ServicesArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.connection.client(environment)?;
        let services = whole("services", async |cursor| {
            client.services(self.under.as_deref(), Page { limit: None, cursor }).await
        })
        .await?;
        Ok(show(out, self.connection.output, &services, |services| {
            let mut table = Table::headed(&["SERVICE", "INSTANCES", "ANSWERED"]);
            for service in entries(services, "services") {
                table.push(["name", "instances", "answered"].map(|field| cell(&service[field])));
            }
            table
        })?)
    }
}

impl GetArgs {
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.connection.client(environment)?;
        if let Some(id) = &self.id {
            let instance = client.instance(&self.service, id).await?;
            return Ok(show(out, self.connection.output, &instance, one_instance)?);
        }
        let selection = Selection { passing: self.passing, tag: self.tag.as_deref() };
        let instances = whole("instances", async |cursor| {
            client.instances(&self.service, selection, Page { limit: None, cursor }).await
        })
        .await?;
        Ok(show(out, self.connection.output, &instances, all_instances)?)
    }
}

fn all_instances(list: &Value) -> Table {
    let mut table = Table::headed(&[
        "ID",
        "ADDRESSES",
        "PORT",
        "STATE",
        "HEALTH",
        "ANSWERED",
        "LEASE ENDS",
        "TAGS",
        "WITHHELD BECAUSE",
    ]);
    for instance in entries(list, "instances") {
        let field = |name: &str| cell(&instance[name]);
        table.push([
            field("id"),
            field("addresses"),
            field("port"),
            field("state"),
            field("health"),
            field("answered"),
            cell(&instance["lease"]["expires_at"]),
            field("tags"),
            field("withheld_because"),
        ]);
    }
    table
}

fn one_instance(instance: &Value) -> Table {
    let mut table = Table::default();
    for (name, value) in instance.as_object().into_iter().flatten() {
        if name != "checks" {
            table.push([name, &cell(value)]);
        }
    }
    for check in entries(instance, "checks") {
        let name = format!("check {}", cell(check.get("name").unwrap_or(&check["type"])));
        let since = check["since"].as_str().map(|since| format!(" since {since}")).unwrap_or_default();
        let error = check["last_error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
        table.push([name, format!("{}{since}{error}", cell(&check["health"]))]);
    }
    table
}
