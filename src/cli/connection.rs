//! What every command of a client takes.

use clap::Args;

use super::fault::Fault;
use super::screen::Output;
use crate::client::{Client, DEFAULT_ADDRESS};

/// Which server.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Addresses of the HTTP API; the first that answers is used [env: ROLLCALL_HTTP_ADDR] [default: 127.0.0.1:8500]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    http: Vec<String>,
}

/// Which server, and the form of the result.
#[derive(Debug, Args)]
pub(super) struct ConnectionArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// The form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

impl ConnectionArgs {
    /// A client of the server.
    pub(super) fn client(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Client, Fault> {
        self.server.client(environment)
    }
}

impl ServerArgs {
    /// A client of the server, with the token of `ROLLCALL_TOKEN`: a flag would show it to everyone in `ps`.
    pub(super) fn client(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Client, Fault> {
        let variable = environment("ROLLCALL_HTTP_ADDR").unwrap_or_default();
        let addresses = |texts: &mut dyn Iterator<Item = &str>| -> Vec<String> {
            texts.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
        };
        let flags = addresses(&mut self.http.iter().map(String::as_str));
        let mut chosen = if flags.is_empty() { addresses(&mut variable.split(',')) } else { flags };
        if chosen.is_empty() {
            chosen.push(DEFAULT_ADDRESS.to_owned());
        }
        let token = environment("ROLLCALL_TOKEN").filter(|token| !token.is_empty());
        Ok(Client::new(&chosen, token.as_deref())?)
    }
}
