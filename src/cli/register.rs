//! `rollcall register`.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value;

use super::connection::ConnectionArgs;
use super::fault::Fault;
use super::instance::InstanceArgs;
use super::screen::{Output, show};
use super::table::Table;
use super::text::{cell, visible};
use crate::model::Duration;

/// What an instance says of itself.
#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    /// The service, like web or api.payments
    #[arg(value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new(),
          required_unless_present = "service_flag", conflicts_with = "service_flag")]
    service: Option<String>,

    /// The service, for those who prefer a flag
    #[arg(long = "service", id = "service_flag", value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    service_flag: Option<String>,

    /// Its name within the service; the server chooses one when this is left out
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,

    #[command(flatten)]
    instance: InstanceArgs,

    /// Leave unless renewed within this time, whole seconds, 2s to 24h [default: stays until deregistered]
    #[arg(long, value_name = "TIME", conflicts_with = "lease")]
    lease_ttl: Option<Duration>,

    /// Join a lease that several share
    #[arg(long, value_name = "ID")]
    lease: Option<String>,

    /// Wait until it is answered, at most this long; exit 1 and say why when it is not
    #[arg(long, value_name = "TIME")]
    wait: Option<Duration>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl RegisterArgs {
    fn body(&self) -> Result<Value, Fault> {
        let mut body = self.instance.body()?;
        body.extend(self.lease_ttl.map(|ttl| ("lease_ttl".to_owned(), Value::from(ttl.to_string()))));
        body.extend(self.lease.as_deref().map(|lease| ("lease".to_owned(), Value::from(lease))));
        Ok(Value::Object(body))
    }

    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), Fault> {
        let service = self.service.as_deref().or(self.service_flag.as_deref()).unwrap_or_default();
        let client = self.connection.client(environment)?;
        let (id, body) = (self.id.as_deref(), self.body()?);
        let instance = match self.wait {
            Some(wait) => client.register_and_wait(service, id, &body, wait.std()).await?,
            None => client.register(service, id, &body).await?,
        };
        show(out, self.connection.output, &instance, |instance| {
            let mut table = Table::headed(&["ID", "SERVICE", "DNS NAME", "REVISION", "HEALTH"]);
            table.push(["id", "service", "dns_name", "revision", "health"].map(|field| cell(&instance[field])));
            table
        })?;
        if let Some(wait) = self.wait {
            if instance["answered"] == true {
                return Ok(());
            }
            let (id, because) = (cell(&instance["id"]), cell(&instance["withheld_because"]));
            return Err(Fault::NotYet(format!(
                "{service}/{id} is registered, but not answered after {wait}: {because}"
            )));
        }
        if self.connection.output == Output::Table && instance["health"] == "unknown" {
            let (service, id) = (cell(&instance["service"]), cell(&instance["id"]));
            let mut checks = instance["checks"].as_array().into_iter().flatten();
            let hint = match checks.find(|check| check["health"] == "unknown" && check["type"] == "ttl") {
                Some(check) => {
                    let name = cell(&check["name"]);
                    format!("nobody has reported on it yet: `rollcall report {service} {id} {name} --pass`")
                }
                None => format!("its first probe is still running: `rollcall get {service} {id}` shows how it went"),
            };
            let _ = writeln!(err, "{}", visible(&hint));
        }
        Ok(())
    }
}
