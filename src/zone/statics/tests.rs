use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;
use tempfile::TempDir;

use super::Statics;
use crate::model::{Ttl, ZoneName};
use crate::registry::Registry;
use crate::zone::{Answer, Detail, Publisher, Question, Settings, Zone};

const SOA: &str = "$TTL 1h\n@ SOA ns h 1 1h 10m 1d 5m\n@ NS ns\nns A 192.0.2.53\n";

fn live() -> ZoneName {
    "svc.internal".parse().unwrap()
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Result<Statics, String> {
    let folder = folder(files);
    let prefix = format!("{}/", folder.path().display());
    Statics::load(folder.path(), &live()).map_err(|error| error.to_string().replace(&prefix, ""))
}

pub(in crate::zone) fn zone_with(files: &[(&str, &str)]) -> Arc<Zone> {
    let ttl = Ttl::new("5s".parse().unwrap()).unwrap();
    let mut publisher = Publisher::new(Settings { name: live(), ttl, name_server: vec![], reverse: vec![], serial: 7 });
    publisher.publish_all(&Registry::default());
    let zone = publisher.zone();
    zone.replace_statics(load(files).unwrap());
    zone
}

fn ask_within(zone: &Zone, name: &str, record_type: RecordType, room: usize) -> Answer {
    zone.answer(&Question {
        name: &Name::from_ascii(name).unwrap(),
        record_type,
        client: Ipv4Addr::LOCALHOST.into(),
        detail: Detail::Counts,
        room,
        last_resort: false,
        turn: 0,
    })
}

fn ask(zone: &Zone, name: &str, record_type: RecordType) -> Answer {
    ask_within(zone, name, record_type, 4096)
}

fn explain(zone: &Zone, name: &str) -> String {
    let name = Name::from_ascii(name).unwrap();
    let question = Question {
        name: &name,
        record_type: RecordType::A,
        client: Ipv4Addr::LOCALHOST.into(),
        detail: Detail::Counts,
        room: 4096,
        last_resort: false,
        turn: 0,
    };
    zone.explain(&question).meaning
}

#[test]
fn the_zone_file_of_the_source_tree_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/zones");
    let statics = Statics::load(path.as_ref(), &live()).unwrap();
    assert!(statics.zones().any(|(name, _)| name.to_ascii() == "svc.internal."));
}

#[test]
fn what_readme_shows_is_served() {
    let blocks = include_str!("../../../README.md").split("```").skip(1).step_by(2);
    let shown = blocks.into_iter().find(|block| block.starts_with("\n$TTL")).expect("README.md shows a zone file");
    let zone = zone_with(&[("svc.internal.zone", shown)]);
    assert_eq!(ask(&zone, "_postgres._tcp.svc.internal.", RecordType::SRV).additionals.len(), 1);
    assert_eq!(ask(&zone, "web.dc2.svc.internal.", RecordType::A).additionals.len(), 1);
}

#[test]
fn faults_name_file_line_and_reason() {
    let beside = |text: &str| load(&[("svc.internal.zone", text)]).unwrap_err();
    for (text, error) in [
        ("$TTL 1h\n\nhost A 192.0.2\n", "line 3: 192.0.2 is no IPv4 address"),
        ("host A 192.0.2.1\n", "line 1: no TTL is known here: begin the file with $TTL"),
        (" A 192.0.2.1\n", "line 1: no name comes before it"),
        ("$TTL 1h\nhost\n", "line 2: the record has no type"),
        ("$TTL 1h\nhost CH A 192.0.2.1\n", "line 2: only the class IN is served, not CH"),
        ("$TTL 1h\nhost 1h 2h A 192.0.2.1\n", "line 2: 2h is no type that is known"),
        ("$TTL 1y\n", "line 1: 1y is no time: write seconds, or numbers with s, m, h, d or w"),
        ("$ORIGIN\n", "line 1: $ORIGIN takes one name"),
        ("$GENERATE 1-2 a A 10.0.0.$\n", "line 1: there is no directive $GENERATE"),
        (
            "$TTL 1h\nhost.example.com. A 192.0.2.1\n",
            "line 2: host.example.com. is outside of svc.internal.; a further \
          zone needs an SOA record",
        ),
        (
            "$TTL 1h\na A 192.0.2.1\nhost.example.com. A 192.0.2.1\n",
            "line 3: host.example.com. is outside of \
          svc.internal.; a further zone is a file of its own, with an SOA",
        ),
        ("$TTL 1h\n@ CNAME a\n", "line 2: svc.internal. is a zone, which cannot be an alias"),
        (
            "$TTL 1h\na CNAME b\na A 192.0.2.1\n",
            "line 2: a.svc.internal. is an alias and has other records too \
          (RFC 1034 §3.6.2)",
        ),
        ("$TTL 1h\na CNAME b\na CNAME c\n", "line 3: a second CNAME of a.svc.internal."),
        ("$TTL 1h\n@ SOA a b 1 1 1 1 1\n@ SOA a b 2 1 1 1 1\n", "line 3: a second SOA of svc.internal."),
        ("$TTL 1h\n@ SOA a b 1 1 1 1 1\na SOA a b 2 1 1 1 1\n", "line 3: a second SOA, of another name"),
        ("$TTL 1h\n*.a A 192.0.2.1\n", "line 2: a wildcard beside live names"),
        ("$TTL 1h\ni1._web._tcp SRV 0 0 1 a\n", "line 2: what lies under _tcp and _udp belongs to live services"),
        ("", "there is no record in it"),
    ] {
        let found = beside(text);
        let place = if error.starts_with("line") { "svc.internal.zone, " } else { "svc.internal.zone: " };
        assert!(found.starts_with(&format!("{place}{error}")), "{text:?}: {found}");
    }
    let alone = |text: &str| load(&[("example.com.zone", text)]).unwrap_err();
    assert_eq!(alone("$TTL 1h\n@ SOA a b 1 1 1 1 1\n"), "example.com.zone: example.com. has no NS record");
    assert_eq!(
        alone(&format!("{SOA}*.a NS b\n")),
        "example.com.zone, line 5: a wildcard cannot be delegated (RFC 4592 §4.2)"
    );
    assert_eq!(alone(". 1 SOA a b 1 1 1 1 1\n. 1 NS a\n"), "example.com.zone: the root zone is not served");
    assert_eq!(
        load(&[("a.zone", &format!("$ORIGIN b.\n{SOA}")), ("b.zone", SOA)]).unwrap_err(),
        "b.zone: the zone b. is in a.zone already"
    );
    assert!(load(&[("a b.zone", SOA)]).is_ok() && load(&[("a..b.zone", SOA)]).is_err());
}

#[test]
fn files_are_included_from_the_folder_only() {
    let parts = ("parts/hosts", "a A 192.0.2.1\n$ORIGIN elsewhere.\n");
    let files =
        [("svc.internal.zone", "$TTL 1h\n$INCLUDE parts/hosts\nb A 192.0.2.2\n$INCLUDE parts/hosts sub\n"), parts];
    let zone = zone_with(&files);
    for name in ["a.svc.internal.", "b.svc.internal.", "a.sub.svc.internal."] {
        assert_eq!(ask(&zone, name, RecordType::A).answers.len(), 1, "{name}");
    }
    assert!(
        explain(&zone, "a.svc.internal.").ends_with("/parts/hosts, line 1"),
        "{}",
        explain(&zone, "a.svc.internal.")
    );

    let including =
        |what: &str| load(&[("svc.internal.zone", &format!("$TTL 1h\n$INCLUDE {what}\n")), parts]).unwrap_err();
    for escape in ["/etc/passwd", "../passwd", "parts/../../passwd", "\"\""] {
        let error = including(escape);
        assert!(
            error.starts_with("svc.internal.zone, line 2: ") && error.contains(" is not a path within "),
            "{error}"
        );
    }
    let missing = including("nothing");
    assert!(missing.starts_with("svc.internal.zone, line 2: nothing cannot be read"), "{missing}");
    assert!(including("parts").ends_with("parts is not a file"), "{}", including("parts"));
    assert!(including("svc.internal.zone").contains("more than 8 deep"));
    let bad = load(&[("svc.internal.zone", "$TTL 1h\n$INCLUDE bad\n"), ("bad", "\na A b\n")]).unwrap_err();
    assert_eq!(bad, "bad, line 2: b is no IPv4 address");
}

#[test]
fn links_lead_nowhere_else() {
    let outside = folder(&[("hosts", "a A 192.0.2.1\n"), ("b.zone", SOA)]);
    let inside = folder(&[("svc.internal.zone", "$TTL 1h\n$INCLUDE hosts\n"), ("data/c", SOA)]);
    let link = |from: &std::path::Path, to: &str| std::os::unix::fs::symlink(from, inside.path().join(to)).unwrap();
    link(&outside.path().join("hosts"), "hosts");
    let error = Statics::load(inside.path(), &live()).unwrap_err();
    assert_eq!(error.line, Some(2));
    assert!(error.reason.contains("is a link that leads out of"), "{error}");
    fs::remove_file(inside.path().join("hosts")).unwrap();
    fs::write(inside.path().join("hosts"), "a A 192.0.2.1\n").unwrap();
    // As Kubernetes mounts a ConfigMap: every file is a link to one within.
    link("data/c".as_ref(), "c.zone");
    assert_eq!(Statics::load(inside.path(), &live()).unwrap().zones().count(), 2);
    link(&outside.path().join("b.zone"), "b.zone");
    assert!(Statics::load(inside.path(), &live()).unwrap_err().reason.contains("leads out of"));
}

#[test]
fn a_file_is_not_read_beyond_its_bound() {
    let large = format!("{SOA}; {}\n", "x".repeat(16 << 20));
    assert_eq!(load(&[("a.zone", &large)]).unwrap_err(), "a.zone: makes the zone larger than 16 MiB");
    let half = format!("; {}\n", "x".repeat(9 << 20));
    let error = load(&[("a.zone", &format!("{SOA}$INCLUDE h\n$INCLUDE h\n")), ("h", &half)]).unwrap_err();
    assert!(error.starts_with("a.zone, line 6: ") && error.ends_with("larger than 16 MiB"), "{error}");
}

#[test]
fn a_bad_file_keeps_its_zone_and_a_missing_one_loses_it() {
    let folder = folder(&[("a.zone", SOA), ("b.zone", SOA)]);
    let first = Statics::load(folder.path(), &live()).unwrap();
    fs::write(folder.path().join("a.zone"), "@ A x").unwrap();
    fs::remove_file(folder.path().join("b.zone")).unwrap();
    let (second, errors) = first.reload(folder.path(), &live());
    assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [Some(1)]);
    assert_eq!(second.zones().map(|(name, _)| name.to_ascii()).collect::<Vec<_>>(), ["a."]);
    fs::remove_dir_all(folder.path()).unwrap();
    let (third, errors) = second.reload(folder.path(), &live());
    assert_eq!((third.zones().count(), errors.len()), (1, 1), "a folder that cannot be read takes nothing away");
}

#[test]
fn answers_are_sized_and_glue_is_missed() {
    let many: String = (0..100).map(|n| format!("many A 192.0.2.{n}\n")).collect();
    let cut = "sub NS ns1.sub\nsub NS ns.example.org.\nns1.sub A 192.0.2.1\nns1.sub AAAA 2001:db8::1\nmx MX 1 ns\n";
    let zone = zone_with(&[("example.com.zone", &format!("{SOA}{many}{cut}"))]);
    let all = ask(&zone, "many.example.com.", RecordType::A);
    assert_eq!((all.answers.len(), all.truncated), (100, false));
    let some = ask_within(&zone, "many.example.com.", RecordType::A, 10 * 16 + 15);
    assert_eq!((some.answers.len(), some.truncated), (10, true));

    let referral = |room| ask_within(&zone, "a.sub.example.com.", RecordType::A, room);
    let whole = referral(4096);
    assert_eq!((whole.authorities.len(), whole.additionals.len(), whole.truncated), (2, 2, false));
    assert!(!whole.authoritative && whole.answers.is_empty());
    let without_glue = referral(100);
    assert_eq!((without_glue.authorities.len(), without_glue.truncated), (2, true), "RFC 9471");
    assert_eq!((referral(20).authorities.len(), referral(20).truncated), (0, true));

    // An address that only saves a question may be missing.
    let mx = ask_within(&zone, "mx.example.com.", RecordType::MX, 40);
    assert_eq!((mx.answers.len(), mx.additionals.len(), mx.truncated), (1, 0, false));
    assert_eq!(ask(&zone, "mx.example.com.", RecordType::MX).additionals.len(), 1);
}

#[test]
fn explanations_name_the_file() {
    let zone = zone_with(&[
        ("svc.internal.zone", "$TTL 1h\nhost A 192.0.2.1\nalias CNAME host\ndc2 NS ns.example.org.\nloop CNAME loop\n"),
        ("example.com.zone", &format!("{SOA}*.w A 192.0.2.1\n")),
    ]);
    let ends = |name: &str, end: &str| {
        let meaning = explain(&zone, name);
        assert!(meaning.ends_with(end), "{meaning}");
    };
    ends("host.svc.internal.", "/svc.internal.zone, line 2");
    ends("x.w.example.com.", "/example.com.zone, line 5, by the wildcard *.w.example.com.");
    ends("x.example.com.", "/example.com.zone, and nothing below it");
    assert!(explain(&zone, "host.svc.internal.").starts_with("static name from /"));
    assert!(explain(&zone, "alias.svc.internal.").starts_with("alias of host.svc.internal. (static name from /"));
    assert!(explain(&zone, "a.dc2.svc.internal.").starts_with("below dc2.svc.internal., which is delegated"));
    let circles = ask(&zone, "loop.svc.internal.", RecordType::A);
    assert_eq!((circles.rcode, circles.answers.len()), (ResponseCode::NoError, 1));
    assert_eq!(circles.extended_error.unwrap().text, "the aliases lead in circles");
}

#[test]
fn chains_of_aliases_end() {
    let chain: String = (0..20).map(|n| format!("a{n} CNAME a{}\n", n + 1)).collect();
    let zone = zone_with(&[("example.com.zone", &format!("{SOA}{chain}a20 A 192.0.2.1\n"))]);
    let long = ask(&zone, "a0.example.com.", RecordType::A);
    assert_eq!((long.answers.len(), long.rcode), (8, ResponseCode::NoError));
    let short = ask(&zone, "a13.example.com.", RecordType::A);
    assert_eq!(short.answers.len(), 8, "seven aliases and an address");
    let owners: Vec<String> = short.answers.iter().map(|record| record.name.to_ascii()).collect();
    assert_eq!(owners.last().unwrap(), "a20.example.com.");
    assert_eq!(ask(&zone, "a0.example.com.", RecordType::CNAME).answers.len(), 1);
}

#[test]
fn the_serial_moves_when_the_live_zone_changes() {
    let zone = zone_with(&[]);
    let before = zone.serial();
    zone.replace_statics(load(&[("example.com.zone", SOA)]).unwrap());
    assert_eq!(zone.serial(), before);
    zone.replace_statics(load(&[("svc.internal.zone", "a 5 A 192.0.2.1\n")]).unwrap());
    assert_eq!(zone.serial(), before + 1);
}

#[test]
fn types_without_a_name_are_answered() {
    let zone = zone_with(&[("svc.internal.zone", "odd 5 TYPE65280 \\# 2 ABCD\nodd 5 A 192.0.2.1\n")]);
    let odd = ask(&zone, "odd.svc.internal.", RecordType::Unknown(65280));
    assert_eq!((odd.answers.len(), odd.answers[0].ttl), (1, 5));
    assert_eq!(ask(&zone, "odd.svc.internal.", RecordType::Unknown(65281)).authorities.len(), 1);
    let denied = ask(&zone, "x.odd.svc.internal.", RecordType::A);
    assert_eq!(denied.rcode, ResponseCode::NXDomain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a file holds, it is served or refused with a sentence of one line.
    #[test]
    fn no_file_is_too_odd(lines in prop::collection::vec(line(), 1..4)) {
        let folder = folder(&[("svc.internal.zone", "")]);
        fs::write(folder.path().join("svc.internal.zone"), lines.concat()).unwrap();
        if let Err(error) = Statics::load(folder.path(), &live()) {
            prop_assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    }
}

/// Lines that are nearly right, and some that are far from it.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let owner =
        prop::sample::select(vec!["a 5 ", "@ 5 ", " ", "b.c 1h IN ", "$ORIGIN ", "$TTL ", "$INCLUDE ", "a ( 5 ", ""]);
    let of = prop::sample::select(vec![
        "A",
        "AAAA",
        "NS",
        "MX",
        "TXT",
        "SOA",
        "CNAME",
        "SRV",
        "CAA",
        "HTTPS",
        "SVCB",
        "NAPTR",
        "SSHFP",
        "TLSA",
        "CERT",
        "TYPE1",
        "TYPE64",
        "TYPE250",
        "CSYNC",
        "OPENPGPKEY",
        "SMIMEA",
        "HINFO",
        "DS",
        "PTR",
        "DNSKEY",
        "ANAME",
        "CDS",
    ]);
    let word = prop::sample::select(vec![
        "@",
        ".",
        "a",
        "*",
        "1h",
        "5",
        "0",
        "65536",
        "-1",
        "\\#",
        "4",
        "0a000001",
        "10.0.0.1",
        "::1",
        "\"q\"",
        "\"",
        ")",
        ";",
        "\\",
        "\\300",
        "\\000",
        "alpn=h2",
        "key1=\"x\"",
        "mandatory=alpn",
        "port=1",
        "ipv4hint=",
        "ech=\"\"",
        "ü",
        "issue",
        "AAA=",
        "IN",
        "http+I2R",
        "U",
        "!^.*$!x!",
        "svc.internal.zone",
        "",
    ]);
    let words = (owner, of, prop::collection::vec(word, 0..8))
        .prop_map(|(owner, of, words)| format!("{owner}{of} {}\n", words.join(" ")).into_bytes());
    prop_oneof![12 => words, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}
