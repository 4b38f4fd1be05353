//! `rollcall services` and `rollcall get`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::screen::{Output, show};
use super::table::Table;
use super::text::{cell, visible};
use crate::client::{Asked, Client, Selection};

/// Which services.
#[derive(Debug, Args)]
pub(super) struct ServicesArgs {
    /// Only those under a group: payments has api.payments
    #[arg(long, value_name = "GROUP")]
    under: Option<String>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
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
    pub(super) connection: ConnectionArgs,
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
        let services = client.every_service(self.under.as_deref()).await?;
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
        err: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.connection.client(environment)?;
        if let Some(id) = &self.id {
            let instance = client.instance(&self.service, id).await?;
            return Ok(show(out, self.connection.output, &instance, one_instance)?);
        }
        let selection = Selection { passing: self.passing, tag: self.tag.as_deref() };
        let instances = client.every_instance(&self.service, selection).await?;
        if self.connection.output == Output::Table && entries(&instances, "instances").is_empty() {
            // A table of nobody would say less.
            let _ = writeln!(err, "{}", visible(&self.nobody(&client).await));
            return Ok(());
        }
        if self.connection.output == Output::Table && !instances["guard"].is_null() {
            let field = |name: &str| cell(&instances["guard"][name]);
            let (since, evidence, held) = (field("since"), field("evidence"), field("held"));
            // What is listed may not be how it is.
            let _ = writeln!(err, "{}", visible(&format!("kept as it was at {since}: {evidence}; silent: {held}")));
        }
        Ok(show(out, self.connection.output, &instances, all_instances)?)
    }

    /// Why the list is empty.
    async fn nobody(&self, client: &Client) -> String {
        let service = &self.service;
        let asked = [self.passing.then(|| "--passing".to_owned()), self.tag.as_ref().map(|tag| format!("--tag {tag}"))];
        let asked: Vec<String> = asked.into_iter().flatten().collect();
        if !asked.is_empty() {
            return format!("nobody is registered as {service} whom {} selects", asked.join(" "));
        }
        match near(client, service).await {
            Some(near) => format!("nobody is registered as {service}; did you mean {near}?"),
            None => format!("nobody is registered as {service}"),
        }
    }
}

/// The service that was meant, if the server has an idea; a failure to find out is none.
async fn near(client: &Client, service: &str) -> Option<String> {
    let status = client.status().await.ok()?;
    let zone = status["zone"].as_str()?.trim_end_matches('.');
    if let Some(service) = service.trim_end_matches('.').strip_suffix(zone).and_then(|rest| rest.strip_suffix('.')) {
        return Some(service.to_owned());
    }
    let name = format!("{service}.{zone}");
    let explanation = client.explain(Asked { name: &name, ..Asked::default() }).await.ok()?;
    let (_, near) = explanation["extended_error"]["text"].as_str()?.split_once("did you mean ")?;
    Some(near.trim_end_matches('?').to_owned())
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

/// What probes of a check have found out beyond its opinion.
fn probing(check: &Value) -> String {
    let said = |name: &str| cell(&check[name]);
    let mut said = format!("turned {}x, flapped {}x, rise {}", said("transitions"), said("flaps"), said("rise_needed"));
    let latency = &check["latency_us"];
    if let (Some(p50), Some(p99)) = (latency["p50"].as_u64(), latency["p99"].as_u64()) {
        said += &format!(", probes took {p50} µs, p99 {p99} µs");
    }
    match (check["last_probe_at"].as_str(), check["report_by"].as_str()) {
        (Some(at), None) => said += &format!(", the last ended {at}"),
        (at, Some(by)) => {
            let before = at.map(|at| format!(", reported {at}")).unwrap_or_default();
            said += &format!("{before}, to be reported by {by}");
        }
        (None, None) => {}
    }
    visible(&said).into_owned()
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
        if !check["transitions"].is_null() {
            table.push([String::new(), probing(check)]);
        }
    }
    table
}
