//! The settings of a server: their names, what they take, and what holds when nothing is written.

/// Loopback, and the nets that no client beyond the own ones comes from: RFC 1918, 6598, 3927, 4193 and 4291.
const FORWARD_ALLOW: &str = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,\
                             169.254.0.0/16,fc00::/7,fe80::/10";

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described once, at its flag in args.rs")]
pub enum Key {
    Zone,
    Zones,
    Dns,
    Http,
    Data,
    Memory,
    Demo,
    NsAddress,
    Reverse,
    ServerId,
    ServerVersion,
    ExplainAllow,
    Forward,
    ForwardAllow,
    CheckAllow,
    CheckCa,
    Canary,
    Ttl,
    NameMemory,
    HistoryAge,
    HistoryEvents,
    UdpPayload,
    MaxInstancesPerService,
    Insecure,
    LogFormat,
    Log,
    Grace,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    Number,
    Switch,
    /// Repeatable, and taken apart at commas.
    List,
    /// Repeatable; commas within each are its own business.
    Texts,
}

impl Key {
    /// Every setting, in the order they are shown in.
    pub const ALL: [Self; 27] = [
        Self::Zone,
        Self::Zones,
        Self::Dns,
        Self::Http,
        Self::Data,
        Self::Memory,
        Self::Demo,
        Self::NsAddress,
        Self::Reverse,
        Self::ServerId,
        Self::ServerVersion,
        Self::ExplainAllow,
        Self::Forward,
        Self::ForwardAllow,
        Self::CheckAllow,
        Self::CheckCa,
        Self::Canary,
        Self::Ttl,
        Self::NameMemory,
        Self::HistoryAge,
        Self::HistoryEvents,
        Self::UdpPayload,
        Self::MaxInstancesPerService,
        Self::Insecure,
        Self::LogFormat,
        Self::Log,
        Self::Grace,
    ];

    /// Name in the file, what it takes, and the default as it would be written on the command line.
    const fn row(self) -> (&'static str, Takes, &'static str) {
        match self {
            Self::Zone => ("zone", Takes::Text, "svc.internal"),
            Self::Zones => ("zones", Takes::Text, ""),
            Self::Dns => ("dns", Takes::List, "127.0.0.1:8600"),
            Self::Http => ("http", Takes::List, "127.0.0.1:8500"),
            Self::Data => ("data", Takes::Text, ""),
            Self::Memory => ("memory", Takes::Switch, "false"),
            Self::Demo => ("demo", Takes::Switch, "false"),
            Self::NsAddress => ("ns_address", Takes::List, ""),
            Self::Reverse => ("reverse", Takes::List, ""),
            Self::ServerId => ("server_id", Takes::Text, ""),
            Self::ServerVersion => ("server_version", Takes::Text, ""),
            Self::ExplainAllow => ("explain_allow", Takes::List, "127.0.0.0/8,::1"),
            Self::Forward => ("forward", Takes::Texts, ""),
            Self::ForwardAllow => ("forward_allow", Takes::List, FORWARD_ALLOW),
            Self::CheckAllow => ("check_allow", Takes::List, ""),
            Self::CheckCa => ("check_ca", Takes::List, ""),
            Self::Canary => ("canary", Takes::List, ""),
            Self::Ttl => ("ttl", Takes::Text, "5s"),
            Self::NameMemory => ("name_memory", Takes::Text, "1h"),
            Self::HistoryAge => ("history_age", Takes::Text, "168h"),
            Self::HistoryEvents => ("history_events", Takes::Number, "1000000"),
            Self::UdpPayload => ("udp_payload", Takes::Number, "1232"),
            Self::MaxInstancesPerService => ("max_instances_per_service", Takes::Number, "1000"),
            Self::Insecure => ("insecure", Takes::Switch, "false"),
            Self::LogFormat => ("log_format", Takes::Text, "human"),
            Self::Log => ("log", Takes::Text, "info"),
            Self::Grace => ("grace", Takes::Text, "5s"),
        }
    }

    /// The name in the file: `name_memory`.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    pub(super) const fn takes(self) -> Takes {
        self.row().1
    }

    pub(super) const fn default(self) -> &'static str {
        self.row().2
    }

    /// The flag: `--name-memory`.
    pub(super) fn flag(self) -> String {
        format!("--{}", self.name().replace('_', "-"))
    }

    /// The variable of the environment: `ROLLCALL_NAME_MEMORY`.
    pub(super) fn variable(self) -> String {
        format!("ROLLCALL_{}", self.name().to_ascii_uppercase())
    }

    /// The setting of a name in the file.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The name that is most like a misspelt one.
    pub(super) fn nearest(name: &str) -> &'static str {
        let name = name.to_ascii_lowercase().replace('-', "_");
        let likeness = |key: &Self| strsim::jaro_winkler(&name, key.name());
        let nearest = Self::ALL.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        nearest.unwrap_or(Self::Zone).name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_one_rule_everywhere() {
        assert_eq!(Key::NameMemory.flag(), "--name-memory");
        assert_eq!(Key::NameMemory.variable(), "ROLLCALL_NAME_MEMORY");
        for key in Key::ALL {
            assert_eq!(Key::named(key.name()), Some(key));
        }
    }

    #[test]
    fn misspelt_names_are_recognised() {
        for (misspelt, meant) in [
            ("zome", "zone"),
            ("name-memory", "name_memory"),
            ("UdpPayload", "udp_payload"),
            ("max_instances", "max_instances_per_service"),
            ("logformat", "log_format"),
            ("check_allowed", "check_allow"),
            ("forwarders", "forward"),
        ] {
            assert_eq!(Key::nearest(misspelt), meant);
        }
    }
}
