use std::io::Write;
use std::path::PathBuf;

use clap::{Args, FromArgMatches};

use super::*;

fn args(flags: &[&str]) -> ServeArgs {
    let command = ServeArgs::augment_args(clap::Command::new("serve").no_binary_name(true));
    ServeArgs::from_arg_matches(&command.try_get_matches_from(flags).unwrap()).unwrap()
}

fn load_with(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variable = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
    Config::load(&args(flags), &variable)
}

fn load(flags: &[&str]) -> Result<Config, ConfigError> {
    load_with(flags, &[])
}

fn refusal(flags: &[&str]) -> String {
    load(flags).unwrap_err().to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = load(&["--memory"]).unwrap();
    let expected = Config {
        zone: "svc.internal".parse().unwrap(),
        zones: None,
        dns: addresses(&["127.0.0.1:8600"]),
        http: addresses(&["127.0.0.1:8500"]),
        engine: Engine::Memory,
        demo: false,
        ns_addresses: vec![],
        reverse: vec![],
        server_id: String::new(),
        server_version: String::new(),
        explain_allow: ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).into(),
        forward: vec![],
        forward_allow: nets(&[
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ]),
        check_allow: vec![],
        check_ca: vec![],
        canaries: vec![],
        ttl: Ttl::new(Duration::from_secs(5)).unwrap(),
        name_memory: Duration::from_secs(3600),
        history_age: Duration::from_secs(168 * 3600),
        history_events: 1_000_000,
        udp_payload: 1232,
        instances_per_service_max: 1000,
        insecure: false,
        log_format: LogFormat::Human,
        log_filter: "info".parse().unwrap(),
        grace: std::time::Duration::from_secs(5),
    };
    assert_eq!(config, expected);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = file("memory = true\nttl = \"1s\"\nzone = \"file.example\"\nudp_payload = 600\n");
    let path = file.path().to_str().unwrap();
    let environment = [("ROLLCALL_TTL", "2s"), ("ROLLCALL_ZONE", "environment.example."), ("ROLLCALL_CONFIG", path)];
    let config = load_with(&["--ttl", "3s"], &environment).unwrap();
    assert_eq!(config.ttl.secs(), 3);
    assert_eq!(config.zone.as_str(), "environment.example");
    assert_eq!(config.udp_payload, 600);
    assert_eq!(config.name_memory, Duration::from_secs(3600));
}

#[test]
fn origins_are_known() {
    let file = file("\nttl = \"1s\"\n");
    let flags = args(&["--zone", "a.example", "--config", file.path().to_str().unwrap()]);
    let spec = Spec::load(&flags, &|name| (name == "ROLLCALL_DNS").then(|| "::1".to_owned())).unwrap();
    assert_eq!(spec.origin(Key::Zone).to_string(), "--zone");
    assert_eq!(spec.origin(Key::Dns).to_string(), "ROLLCALL_DNS");
    assert_eq!(spec.origin(Key::Ttl).to_string(), format!("{}, line 2: ttl", file.path().display()));
    assert_eq!(spec.origin(Key::Http), Origin::Default(Key::Http));
}

#[test]
fn lists_repeat_and_take_commas() {
    let config = load(&["--memory", "--dns", "127.0.0.1,[::1]:53", "--dns", ":54", "--dns", "127.0.0.1:8600"]).unwrap();
    assert_eq!(config.dns, addresses(&["127.0.0.1:8600", "[::1]:53", "0.0.0.0:54", "[::]:54"]));
    let config = load_with(&["--memory"], &[("ROLLCALL_CHECK_ALLOW", "10.1.2.3/8, fd00::1")]).unwrap();
    let nets: Vec<IpNet> = ["10.0.0.0/8", "fd00::1/128"].map(|net| net.parse().unwrap()).into();
    assert_eq!(config.check_allow, nets);
}

#[test]
fn rules_of_forwarding_keep_to_the_flag_they_are_in() {
    let shown = |flags: &[&str], environment: &[(&str, &str)]| -> Vec<String> {
        let config = load_with(&[&["--memory"], flags].concat(), environment).unwrap();
        config.forward.iter().map(ToString::to_string).collect()
    };
    let corp = "corp.example=10.1.1.1:53,10.1.1.2:53";
    assert_eq!(shown(&["--forward", "corp.example=10.1.1.1,10.1.1.2", "--forward", "system"], &[]), [corp, "system"]);
    let environment = [("ROLLCALL_FORWARD", "10.0.0.53,corp.example=10.1.1.1,10.1.1.2")];
    assert_eq!(shown(&[], &environment), ["10.0.0.53:53", corp]);
    assert_eq!(shown(&["--forward", ""], &environment), [""; 0]);
    let file = file("forward = [\"corp.example=10.1.1.1,10.1.1.2\", \"10.0.0.53\"]\n");
    assert_eq!(shown(&["--config", file.path().to_str().unwrap()], &[]), [corp, "10.0.0.53:53"]);
}

#[test]
fn a_rule_for_our_own_names_is_refused() {
    for domain in ["svc.internal", "dc2.SVC.internal."] {
        let error = refusal(&["--memory", "--forward", &format!("{domain}=10.0.0.1")]);
        assert!(error.contains("names of svc.internal are answered here and never forwarded"), "{error}");
    }
    for domain in ["internal", "xsvc.internal"] {
        assert!(load(&["--memory", "--forward", &format!("{domain}=10.0.0.1")]).is_ok(), "{domain}");
    }
}

#[test]
fn an_empty_flag_empties_a_list_of_the_file() {
    let file = file("check_allow = [\"10.0.0.0/8\"]\n");
    let path = file.path().to_str().unwrap();
    assert_eq!(load(&["--memory", "--config", path, "--check-allow", ""]).unwrap().check_allow, []);
    assert_eq!(load(&["--memory", "--explain-allow", ""]).unwrap().explain_allow, [], "nobody, if that is wanted");
    assert_eq!(refusal(&["--memory", "--dns", ""]), "--dns \"\": at least one address is needed");
}

#[test]
fn switches_of_the_environment_are_words_or_digits() {
    for text in ["true", "1", "yes", "TRUE"] {
        assert!(load_with(&[], &[("ROLLCALL_MEMORY", text)]).is_ok(), "{text}");
    }
    for text in ["false", "0", "no", ""] {
        assert!(load_with(&["--memory"], &[("ROLLCALL_DEMO", text)]).is_ok_and(|config| !config.demo), "{text:?}");
    }
    let error = load_with(&[], &[("ROLLCALL_MEMORY", "on")]).unwrap_err().to_string();
    assert_eq!(error, "ROLLCALL_MEMORY \"on\": a switch is true or false (or 1 or 0, yes or no)");
    let config = load_with(&["--memory=false", "--data=/srv/r"], &[("ROLLCALL_MEMORY", "true")]).unwrap();
    assert_ne!(config.engine, Engine::Memory, "a flag can say no");
}

#[test]
fn what_kubernetes_says_of_a_service_called_rollcall_is_not_ours() {
    let environment = [("ROLLCALL_PORT", "tcp://10.0.0.1:8500"), ("ROLLCALL_SERVICE_HOST", "10.0.0.1")];
    assert!(load_with(&["--memory"], &environment).is_ok());
}

#[test]
fn a_demonstration_implies_memory() {
    let file = file("memory = false\n");
    let config = load(&["--demo", "--config", file.path().to_str().unwrap()]).unwrap();
    assert!(config.demo);
    assert_eq!(config.engine, Engine::Memory);
    assert_eq!(config.value(Key::Memory), true);
}

#[test]
fn the_registry_is_kept_where_it_is_said_or_where_the_platform_keeps_state() {
    assert_eq!(load(&["--data", "/srv/r"]).unwrap().engine, Engine::Embedded("/srv/r".into()));
    assert_eq!(load(&["--data", "/srv/r"]).unwrap().value(Key::Data), "/srv/r");
    assert_eq!(load(&["--data", "/srv/r", "--memory"]).unwrap().engine, Engine::Memory);
    let of_service = load_with(&[], &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]).unwrap();
    assert_eq!(of_service.engine, Engine::Embedded("/var/lib/a".into()));
    let named = load_with(&["--data", "/srv/r"], &[("STATE_DIRECTORY", "/x")]).unwrap();
    assert_eq!(named.value(Key::Data), "/srv/r");
}

#[test]
fn state_directories_are_those_of_the_platform() {
    let directory = |variables: &[(&str, &str)], is_root| {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        spec::state_directory(&variable, is_root).map(|path| path.display().to_string())
    };
    let (home, xdg) = (("HOME", "/home/a"), ("XDG_STATE_HOME", "/s"));
    for (variables, is_root, expected) in [
        (&[home, xdg][..], true, Some("/var/lib/rollcall")),
        (&[home, xdg], false, Some("/s/rollcall")),
        (&[home], false, Some("/home/a/.local/state/rollcall")),
        (&[home, ("XDG_STATE_HOME", "relative")], false, Some("/home/a/.local/state/rollcall")),
        (&[home, ("STATE_DIRECTORY", "/var/lib/private/rollcall")], true, Some("/var/lib/private/rollcall")),
        (&[], false, None),
    ] {
        assert_eq!(directory(variables, is_root).as_deref(), expected, "{variables:?}");
    }
    let nowhere = Config::resolve(&Spec::default()).unwrap_err().to_string();
    assert!(nowhere.contains("--data") && nowhere.contains("--memory"), "{nowhere}");
}

#[test]
fn http_beyond_loopback_must_be_meant() {
    assert_eq!(
        refusal(&["--memory", "--http", "127.0.0.1,10.0.0.1:80"]),
        "--http \"127.0.0.1,10.0.0.1:80\": anyone who reaches 10.0.0.1:80 could change what DNS answers: listen on \
         127.0.0.1, or add --insecure if that is meant"
    );
    for exposed in [":8500", "0.0.0.0", "::", "[::ffff:10.0.0.1]:80"] {
        assert!(load(&["--memory", "--http", exposed]).is_err(), "{exposed}");
        assert!(load(&["--memory", "--insecure", "--http", exposed]).is_ok(), "{exposed}");
    }
    for loopback in ["127.9.9.9", "::1", "localhost", "[::ffff:127.0.0.1]:80"] {
        assert!(load(&["--memory", "--http", loopback]).is_ok(), "{loopback}");
    }
}

#[test]
fn dns_and_http_cannot_share_a_port() {
    let error = refusal(&["--memory", "--dns", "127.0.0.1:53", "--http", "127.0.0.1:53"]);
    assert_eq!(
        error,
        "--http \"127.0.0.1:53\": 127.0.0.1:53 is also an address of DNS, which needs its TCP port: choose another"
    );
    assert!(load(&["--memory", "--dns", "127.0.0.1:0", "--http", "127.0.0.1:0"]).is_ok(), "0 is any free port");
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    for (flag, text, sentence) in [
        ("--ttl", "2h", "a ttl is whole seconds from 0s to 1h"),
        ("--ttl", "1500ms", "a ttl is whole seconds from 0s to 1h"),
        ("--ttl", "5", "not a duration: write whole numbers with a unit of ms, s, m or h, like 5s or 1m30s"),
        ("--name-memory", "169h", "at most 168h"),
        ("--history-age", "30s", "1m to 8760h"),
        ("--history-events", "10000001", "a whole number from 0 to 10000000"),
        ("--udp-payload", "511", "a whole number from 512 to 4096"),
        ("--udp-payload", "4097", "a whole number from 512 to 4096"),
        ("--udp-payload", "many", "a whole number from 512 to 4096"),
        ("--max-instances-per-service", "0", "a whole number from 1 to 2000000"),
        ("--log-format", "xml", "a log format is human or json"),
        ("--grace", "11m", "at most 10m"),
        ("--zone", "a..b", "a label is empty"),
        ("--zones", "/nonexistent", "there is no such folder"),
        ("--ns-address", "0.0.0.0", "an address of the name server is an IP address that others can reach"),
        ("--canary", "10.0.0.1", "a canary is an IP address and a TCP port, like 10.0.0.1:22"),
        ("--canary", "gateway:22", "a canary is an IP address and a TCP port, like 10.0.0.1:22"),
        ("--check-ca", "/nonexistent", "there is no such file"),
        ("--check-allow", "10/8", "a net is an IP address with or without a prefix length, like 10.0.0.0/8"),
        (
            "--forward",
            "10.0.0.1,ns.example",
            "an upstream is system or an IP address with or without a port, for one domain with DOMAIN= in front of it",
        ),
        ("--forward-allow", "private", "a net is an IP address with or without a prefix length, like 10.0.0.0/8"),
        (
            "--dns",
            "example.org",
            "an address to listen on is an IP address with or without a port, localhost, or :PORT for all addresses",
        ),
    ] {
        assert_eq!(refusal(&["--memory", flag, text]), format!("{flag} {text:?}: {sentence}"));
    }
    assert!(refusal(&["--memory", "--log", "debgu"]).starts_with("--log \"debgu\": a log filter is a level"));
}

#[test]
fn bad_values_of_the_file_are_refused_with_file_and_line() {
    let file = file("memory = true\nudp_payload = 100\n");
    let path = file.path().to_str().unwrap();
    assert_eq!(
        refusal(&["--config", path]),
        format!("{path}, line 2: udp_payload \"100\": a whole number from 512 to 4096")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let error = refusal(&["--config", "/nonexistent/rollcall.toml"]);
    assert!(error.starts_with("--config: /nonexistent/rollcall.toml cannot be read: "), "{error}");
    let error = load_with(&[], &[("ROLLCALL_CONFIG", "/nonexistent")]).unwrap_err().to_string();
    assert!(error.starts_with("ROLLCALL_CONFIG: /nonexistent cannot be read: "), "{error}");
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/rollcall.toml");
    let flags = args(&["--config", path.to_str().unwrap()]);
    let spec = Spec::load(&flags, &|_| None).unwrap();
    assert_eq!(Config::resolve(&spec).unwrap(), load(&[]).unwrap());
    let in_file = |key: Key| matches!(spec.origin(key), Origin::File { .. });
    assert_eq!(Key::ALL.into_iter().filter(|key| !in_file(*key)).collect::<Vec<_>>(), []);
}
