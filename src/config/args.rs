//! The flags of `serve`.
//!
//! Values stay text here, so that a flag, a variable and a key of the file are judged by the same code and refused
//! with the same sentence. For the same reason the environment is not read by clap: it is a layer of its own, below
//! the flags and above the file.

use std::path::PathBuf;

use super::key::{Key, Takes};
use super::spec::{Origin, Spec, Written};

/// The flags of `serve`; lists are repeatable and take commas.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ServeArgs {
    /// The zone whose names are live; a final dot makes no difference
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,

    /// A folder of zone files, *.zone: names beside the live ones, and further zones
    #[arg(long, value_name = "DIR")]
    pub zones: Option<String>,

    /// Where DNS listens, UDP and TCP: an IP address with or without a port, localhost, or :PORT for all addresses
    #[arg(long, value_name = "ADDR")]
    pub dns: Vec<String>,

    /// Where the HTTP API listens, written like --dns; beyond loopback only with --insecure
    #[arg(long, value_name = "ADDR")]
    pub http: Vec<String>,

    /// The directory that keeps the registry; without one, where the system keeps such things ($STATE_DIRECTORY,
    /// /var/lib/rollcall for root, ~/.local/state/rollcall)
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,

    /// Keep nothing on disk, whatever --data says
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub memory: Option<String>,

    /// Run small services to look at, registered like anyone's; implies --memory
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub demo: Option<String>,

    /// Addresses of this server in the zone's NS target; without any, those that --dns names
    #[arg(long, value_name = "IP")]
    pub ns_address: Vec<String>,

    /// Nets whose addresses are answered with names, in reverse zones of their own
    #[arg(long, value_name = "NET")]
    pub reverse: Vec<String>,

    /// A name of this server for those who ask which one answers (NSID, id.server)
    #[arg(long, value_name = "TEXT")]
    pub server_id: Option<String>,

    /// What version.bind says; without it the question is refused
    #[arg(long, value_name = "TEXT")]
    pub server_version: Option<String>,
    /// Nets whose DNS clients learn which instance fails with what; others learn counts
    #[arg(long, value_name = "NET")]
    pub explain_allow: Vec<String>,

    /// Who is asked about names of others: system (the name servers in /etc/resolv.conf) or IP addresses; for one domain
    /// DOMAIN=ADDR and further addresses after commas
    #[arg(long, value_name = "[DOMAIN=]ADDR")]
    pub forward: Vec<String>,

    /// Nets whose questions are forwarded
    #[arg(long, value_name = "NET")]
    pub forward_allow: Vec<String>,

    /// Nets that checks may aim at, besides their instance's own address
    #[arg(long, value_name = "NET")]
    pub check_allow: Vec<String>,

    /// Files of PEM with certificates of authorities that https checks trust, besides those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub check_ca: Vec<String>,

    /// Addresses that are well as long as the network is, such as a gateway: their silence speaks against this server
    #[arg(long, value_name = "ADDR:PORT")]
    pub canary: Vec<String>,

    /// How long answers may be cached, 0s to 1h
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,

    /// How long the name of a service that has gone is still known, 0s to 168h
    #[arg(long, value_name = "TIME")]
    pub name_memory: Option<String>,

    /// How long it is known what has happened, 1m to 8760h
    #[arg(long, value_name = "TIME")]
    pub history_age: Option<String>,

    /// How many events are kept of what has happened, 0 to 10000000; with --memory at most 100000
    #[arg(long, value_name = "N")]
    pub history_events: Option<String>,

    /// The largest UDP message to send, 512 to 4096 octets
    #[arg(long, value_name = "OCTETS")]
    pub udp_payload: Option<String>,

    /// How many instances one service may have
    #[arg(long, value_name = "N")]
    pub max_instances_per_service: Option<String>,

    /// Let HTTP listen beyond loopback although anyone who reaches it can change what DNS answers
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure: Option<String>,

    /// How log lines look on stderr: human or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Which log lines are written: a level, or target=level, with commas between
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// How long a shutdown waits for requests that are under way, 0s to 10m
    #[arg(long, value_name = "TIME")]
    pub grace: Option<String>,

    /// A TOML file with the same settings, names written with underscores [env: ROLLCALL_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ServeArgs {
    /// What was written on the command line.
    pub(super) fn spec(&self) -> Spec {
        let one = |value: &Option<String>| value.clone().map(|value| vec![value]);
        let many = |values: &Vec<String>| (!values.is_empty()).then(|| values.clone());
        let mut spec = Spec::default();
        for key in Key::ALL {
            let values = match key {
                Key::Zone => one(&self.zone),
                Key::Zones => one(&self.zones),
                Key::Dns => many(&self.dns),
                Key::Http => many(&self.http),
                Key::Data => one(&self.data),
                Key::Memory => one(&self.memory),
                Key::Demo => one(&self.demo),
                Key::NsAddress => many(&self.ns_address),
                Key::Reverse => many(&self.reverse),
                Key::ServerId => one(&self.server_id),
                Key::ServerVersion => one(&self.server_version),
                Key::ExplainAllow => many(&self.explain_allow),
                Key::Forward => many(&self.forward),
                Key::ForwardAllow => many(&self.forward_allow),
                Key::CheckAllow => many(&self.check_allow),
                Key::CheckCa => many(&self.check_ca),
                Key::Canary => many(&self.canary),
                Key::Ttl => one(&self.ttl),
                Key::NameMemory => one(&self.name_memory),
                Key::HistoryAge => one(&self.history_age),
                Key::HistoryEvents => one(&self.history_events),
                Key::UdpPayload => one(&self.udp_payload),
                Key::MaxInstancesPerService => one(&self.max_instances_per_service),
                Key::Insecure => one(&self.insecure),
                Key::LogFormat => one(&self.log_format),
                Key::Log => one(&self.log),
                Key::Grace => one(&self.grace),
            };
            if let Some(values) = values {
                spec.insert(key, Written::new(Origin::Flag(key), values));
            }
        }
        spec
    }

    /// Adds to the help of each of these flags the variable that says the same, and the default.
    pub fn describe(command: clap::Command) -> clap::Command {
        command.mut_args(|flag| {
            let Some(key) = Key::named(flag.get_id().as_str()) else { return flag };
            let about = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let default = match (key.takes(), key.default()) {
                (Takes::Switch, _) | (_, "") => String::new(),
                (_, default) => format!(" [default: {default}]"),
            };
            flag.help(format!("{about} [env: {}]{default}", key.variable()))
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn every_key_is_a_flag_and_its_help_names_the_variable_and_the_default() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let mut command = ServeArgs::describe(command);
        let flags: Vec<String> =
            command.get_arguments().filter_map(|flag| flag.get_long().map(|long| format!("--{long}"))).collect();
        let mut expected: Vec<String> = Key::ALL.into_iter().map(Key::flag).collect();
        expected.push("--config".to_owned());
        assert_eq!(flags, expected);
        let help = command.render_help().to_string();
        for key in Key::ALL {
            assert!(help.contains(&format!("[env: {}]", key.variable())), "{key:?}");
        }
        assert!(help.contains("[default: svc.internal]"), "{help}");
    }
}
