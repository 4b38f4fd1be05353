//! Records as lines of a zone file (RFC 1035 §5, RFC 9460 §2.1), so that any tool can read them back.

use std::fmt::Write;

use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamValue};
use hickory_proto::rr::{RData, Record};

/// A record as one line of a zone file, with single spaces.
pub fn record_text(record: &Record) -> String {
    let head = format!("{} {} {} {}", record.name, record.ttl, record.dns_class, record.record_type());
    match &record.data {
        RData::TXT(txt) => txt.txt_data.iter().fold(head, |line, string| line + " \"" + &escaped(string, b"") + "\""),
        RData::HTTPS(https) => format!("{head} {}", service_binding(&https.0)),
        data => format!("{head} {data}"),
    }
}

/// Text between quotes: what is not printable, and `"` and `\`, as `\DDD` or with a backslash.
fn escaped(octets: &[u8], also: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            0x20..=0x7e if !also.contains(octet) => text.push(char::from(*octet)),
            octet => {
                let _ = write!(text, "\\{octet:03}");
            }
        }
    }
    text
}

fn service_binding(binding: &SVCB) -> String {
    let mut text = format!("{} {}", binding.svc_priority, binding.target_name);
    let listed = |items: Vec<String>| items.join(",");
    for (key, value) in &binding.svc_params {
        let value = match value {
            // A backslash is escaped twice: within the list, and within the value (RFC 9460 §A.1).
            SvcParamValue::Alpn(alpn) => {
                listed(alpn.0.iter().map(|id| escaped(id.replace('\\', "\\\\").as_bytes(), b" ;()")).collect())
            }
            SvcParamValue::Ipv4Hint(hint) => listed(hint.0.iter().map(ToString::to_string).collect()),
            SvcParamValue::Ipv6Hint(hint) => listed(hint.0.iter().map(ToString::to_string).collect()),
            value => value.to_string(),
        };
        let _ = write!(text, " {key}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::svcb::{Alpn, SvcParamKey};
    use hickory_proto::rr::rdata::{HTTPS, TXT};

    use super::*;

    fn line(data: RData) -> String {
        record_text(&Record::from_rdata(Name::from_str("web.svc.internal.").unwrap(), 5, data))
    }

    #[test]
    fn strings_stand_in_quotes_and_can_be_told_apart() {
        let txt = TXT::from_bytes(vec![b"a=x y", b"b=\"\\", "c=ä".as_bytes(), b""]);
        let expected = r#"web.svc.internal. 5 IN TXT "a=x y" "b=\"\\" "c=\195\164" """#;
        assert_eq!(line(RData::TXT(txt)), expected);
    }

    #[test]
    fn parameters_are_lists_without_a_last_comma() {
        let alpn = SvcParamValue::Alpn(Alpn(vec!["h2".to_owned(), "h 3".to_owned(), "\\".to_owned()]));
        let target = Name::from_str("i1.web.svc.internal.").unwrap();
        let https =
            HTTPS(SVCB::new(1, target, vec![(SvcParamKey::Alpn, alpn), (SvcParamKey::Port, SvcParamValue::Port(443))]));
        let expected = r"web.svc.internal. 5 IN HTTPS 1 i1.web.svc.internal. alpn=h2,h\0323,\\\\ port=443";
        assert_eq!(line(RData::HTTPS(https)), expected);
    }
}
