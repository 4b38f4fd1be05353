//! `rollcall run`: a program as an instance of a service.
//!
//! ```text
//! would it be taken? ─▶ start ─▶ it listens ─▶ register ─▶ keep ── SIGTERM ─▶ drain ─▶ SIGTERM ─▶ grace ─▶ SIGKILL
//!         │ no: exit 1                                                                    │
//!                              its end, whenever it comes ─────────────────────────────────┴▶ deregister, exit
//! ```

mod child;
mod course;
mod listening;
mod signals;

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::connection::ServerArgs;
use super::fault::Fault;
use super::instance::InstanceArgs;
use super::text::visible;
use crate::client::{Client, ClientError, Limits, Registration};
use crate::model::{Duration, Lease, Timestamp};
use child::Child;
pub(super) use child::tied;
use course::Course;
use signals::Signals;

/// The longest label of DNS.
const LABEL_OCTETS_MAX: usize = 63;

/// How long the program waits for a server that takes its time to say whether it would be taken.
const REHEARSAL_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// A program, and what it is registered as.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The service, like web or api.payments
    #[arg(long, value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    service: String,

    /// Its name within the service, the same after a restart [default: this machine's name and the port, HOST-PORT]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,

    #[command(flatten)]
    instance: InstanceArgs,

    /// Leave unless renewed within this time, which is done here; whole seconds, 2s to 24h
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = lease_ttl)]
    lease_ttl: Duration,

    /// How long to wait until the program listens and is answered, before only a warning says that it is not; 0s registers
    /// at once
    #[arg(long, value_name = "TIME", default_value = "10s")]
    wait: Duration,

    /// How long a drain may take before the program is stopped all the same; 0s does not drain
    #[arg(long, value_name = "TIME", default_value = "30s")]
    drain_max: Duration,

    /// How long the program has to end after SIGTERM before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s")]
    grace: Duration,

    #[command(flatten)]
    server: ServerArgs,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn lease_ttl(text: &str) -> Result<Duration, String> {
    let ttl = text.parse::<Duration>().map_err(|error| error.to_string())?;
    Lease::check_ttl(ttl).map_err(str::to_owned)
}

/// This machine's name and the port as a label of DNS: nobody else of the service has both, and a restart has them again.
fn default_id(host: &str, port: u16) -> String {
    let end = format!("-{port}");
    let host = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let host: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let host = host.trim_matches('-');
    let host = &host[..host.len().min(LABEL_OCTETS_MAX - end.len())];
    let host = host.trim_end_matches('-');
    format!("{}{end}", if host.is_empty() { "host" } else { host })
}

/// A sentence among what the program says.
fn say(err: &mut dyn Write, sentence: &str) {
    // In one piece, because the program writes there too. If nobody listens any more it goes on all the same.
    let _ = err.write_all(format!("rollcall: {}\n", visible(sentence)).as_bytes());
}

impl RunArgs {
    fn registration(&self) -> Result<Registration, Fault> {
        let id = self.id.clone().unwrap_or_else(|| {
            let host = nix::unistd::gethostname().unwrap_or_default();
            default_id(&host.to_string_lossy(), self.instance.port())
        });
        let mut body = self.instance.body()?;
        body.insert("lease_ttl".to_owned(), Value::from(self.lease_ttl.to_string()));
        // A restart under the same id takes the place of this one, and not the other way round.
        body.entry("generation").or_insert_with(|| json!(Timestamp::now().as_millis() / 1000));
        Ok(Registration::from_body(&self.service, id, body))
    }

    /// Runs the program; its end is ours.
    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        err: &mut dyn Write,
    ) -> Result<(), Fault> {
        let client = self.server.client(environment)?;
        let registration = self.registration()?;
        let is_first_process = std::process::id() == 1;
        let mut signals = Signals::listen(is_first_process)?;
        tokio::select! {
            rehearsed = rehearse(&client, &registration, err) => rehearsed?,
            code = told_to_end(&mut signals) => return Err(Fault::Ended(code)),
        }
        let variables = [("ROLLCALL_SERVICE", registration.service()), ("ROLLCALL_ID", registration.id())];
        let child = match Child::start(&self.command, &variables) {
            Ok(child) => child,
            Err((sentence, code)) => {
                say(err, &sentence);
                return Err(Fault::Ended(code));
            }
        };
        match Course::new(self, client, registration, child, signals).run(err).await? {
            0 => Ok(()),
            code => Err(Fault::Ended(code)),
        }
    }
}

/// Finds out whether the registration would be taken. A server that is not there may be later, and the program need not
/// wait for it.
async fn rehearse(client: &Client, registration: &Registration, err: &mut dyn Write) -> Result<(), Fault> {
    let limits = Limits { response_timeout: REHEARSAL_TIME_MAX, ..Limits::default() };
    match client.clone().with_limits(limits).rehearse(registration).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_temporary() => {
            say(err, &format!("the program is started without being registered, which is tried again: {error}"));
            Ok(())
        }
        // A server that cannot be asked this.
        Err(ClientError::Refused(problem)) if matches!(problem.status, 404 | 405) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The exit code of whoever is told to end before there is anything to end.
async fn told_to_end(signals: &mut Signals) -> u8 {
    loop {
        match signals.next().await {
            Signal::SIGINT => return 130,
            Signal::SIGTERM => return 143,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_labels_whatever_the_machine_is_called() {
        for (host, id) in [
            ("web-1", "web-1-8080"),
            ("Web_1.example.org", "web-1-8080"),
            ("-odd-", "odd-8080"),
            ("", "host-8080"),
            ("é", "host-8080"),
            (&"x".repeat(64), &format!("{}-8080", "x".repeat(58))),
        ] {
            assert_eq!(default_id(host, 8080), id, "{host}");
            assert!(default_id(host, 8080).parse::<crate::model::Label>().is_ok());
        }
    }
}
