//! The data of one record, from its words.
//!
//! Types that hold names are read here, because names may be relative and escapes mean octets. Those without names are
//! left to hickory-proto, which gets each word in quotes so that it finds the very text that was meant.

use std::fmt::Display;
use std::str::FromStr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, NULL, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, BinEncodable, BinEncoder, NameEncoding, Restrict};

use super::lex::Token;

/// The number of DS, which hickory-proto reads only with DNSSEC built in.
const DS: u16 = 43;

/// The type that a word names, if a zone file may have records of it.
pub(super) fn record_type(token: &Token) -> Result<RecordType, String> {
    let word = token.shown().to_ascii_uppercase();
    let by_number = word.strip_prefix("TYPE").and_then(|digits| digits.parse::<u16>().ok());
    let Some(record_type) = by_number.map(RecordType::from).or_else(|| RecordType::from_str(&word).ok()) else {
        return Err(format!(
            "{} is no type that is known: write it as TYPE and its number, and its data as \\# (RFC 3597)",
            token.shown()
        ));
    };
    match u16::from(record_type) {
        24 | 46 | 47 | 50 | 51 => Err(format!("{word} belongs to signed zones, which are not served")),
        39 => Err("DNAME is not served: write a CNAME for each name".into()),
        // RFC 6895 §3.1: questions and messages have these, zones do not.
        0 | 41 | 128..=255 => Err(format!("{word} is no type that a zone can hold")),
        _ => Ok(record_type),
    }
}

/// The words of a record's data, taken one after another.
struct Words<'a> {
    tokens: std::slice::Iter<'a, Token>,
    origin: &'a Name,
}

impl<'a> Words<'a> {
    fn next(&mut self, what: &str) -> Result<&'a Token, String> {
        self.tokens.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn name(&mut self, what: &str) -> Result<Name, String> {
        self.next(what)?.name(self.origin)
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, what: &str) -> Result<T, String> {
        let token = self.next(what)?;
        token.text()?.parse().map_err(|_| format!("{} is no {}", token.shown(), what.trim_start_matches("the ")))
    }

    /// Octets in hex, to the end; blanks between them mean nothing.
    fn hex(&mut self) -> Result<Vec<u8>, String> {
        let digits: Vec<u8> = self.tokens.by_ref().flat_map(|token| token.raw.iter().copied()).collect();
        let digit = |octet: u8| char::from(octet).to_digit(16).map(|digit| digit as u8);
        let octets = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        octets.collect::<Option<_>>().ok_or_else(|| "octets are pairs of hexadecimal digits".into())
    }

    fn end(&mut self) -> Result<(), String> {
        match self.tokens.next() {
            None => Ok(()),
            Some(token) => Err(format!("{} is more than the type takes", token.shown())),
        }
    }
}

/// Data of a type from its wire form.
fn from_wire(record_type: RecordType, octets: &[u8]) -> Result<RData, String> {
    let length = u16::try_from(octets.len()).map_err(|_| "the data is longer than 65535 octets".to_owned())?;
    RData::read(&mut BinDecoder::new(octets), record_type, Restrict::new(length))
        .map_err(|error| format!("the octets are no {record_type}: {error}"))
}

/// `\# length hex` (RFC 3597 §5).
fn generic(record_type: RecordType, words: &mut Words<'_>) -> Result<RData, String> {
    let length: usize = words.parse("the length after \\#")?;
    let octets = words.hex()?;
    if octets.len() != length {
        return Err(format!("\\# says {length} octets, and there are {}", octets.len()));
    }
    from_wire(record_type, &octets)
}

/// Types without names, through the other parser.
fn foreign(record_type: RecordType, words: &mut Words<'_>) -> Result<RData, String> {
    let is_svcb = matches!(record_type, RecordType::SVCB | RecordType::HTTPS);
    let mut text = String::new();
    for (position, token) in words.tokens.by_ref().enumerate() {
        let holds_name = matches!((record_type, position), (RecordType::NAPTR, 5)) || is_svcb && position == 1;
        let word = match () {
            () if holds_name => token.name(words.origin)?.to_ascii(),
            // It undoes the quotes and escapes of parameters itself.
            () if is_svcb => String::from_utf8(token.raw.clone()).map_err(|_| "not UTF-8".to_owned())?,
            () => token.text()?,
        };
        if word.chars().any(char::is_control) {
            return Err(format!("{} holds a control character", token.shown()));
        }
        text.push('"');
        text.extend(word.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])));
        text.push_str("\" ");
    }
    let mut data = RData::try_from_str(record_type, &text)
        .map_err(|error| format!("no {record_type}: {}", error.to_string().replace(char::is_control, " ")))?;
    let params = match &mut data {
        RData::SVCB(svcb) => Some(&mut svcb.svc_params),
        RData::HTTPS(https) => Some(&mut https.0.svc_params),
        _ => None,
    };
    if let Some(params) = params {
        // RFC 9460 §2.2: in ascending order, each once.
        params.sort_by_key(|(key, _)| u16::from(*key));
        if params.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("a parameter is given twice".into());
        }
    }
    Ok(data)
}

/// The data that a record's words mean.
pub(super) fn parse(record_type: RecordType, tokens: &[Token], origin: &Name) -> Result<RData, String> {
    let mut words = Words { tokens: tokens.iter(), origin };
    if tokens.first().is_some_and(|token| token.raw == b"\\#" && !token.quoted) {
        words.tokens.next();
        return generic(record_type, &mut words);
    }
    let data = match record_type {
        RecordType::A => RData::A(A(words.parse("the IPv4 address")?)),
        RecordType::AAAA => RData::AAAA(AAAA(words.parse("the IPv6 address")?)),
        RecordType::NS => RData::NS(NS(words.name("the name server")?)),
        RecordType::CNAME => RData::CNAME(CNAME(words.name("the name it stands for")?)),
        RecordType::PTR => RData::PTR(PTR(words.name("the name it points to")?)),
        RecordType::MX => {
            let preference = words.parse("the preference (0 to 65535)")?;
            RData::MX(MX::new(preference, words.name("the mail exchange")?))
        }
        RecordType::SRV => {
            let mut number = |what| words.parse::<u16>(what);
            let (priority, weight) = (number("the priority (0 to 65535)")?, number("the weight (0 to 65535)")?);
            let port = number("the port (0 to 65535)")?;
            RData::SRV(SRV::new(priority, weight, port, words.name("the target")?))
        }
        RecordType::SOA => {
            let (server, mailbox) = (words.name("the first name server")?, words.name("the mailbox")?);
            let serial = words.parse("the serial")?;
            let mut time = |what| words.next(what).and_then(Token::ttl);
            let (refresh, retry, expire) = (time("the refresh")?, time("the retry")?, time("the expire")?);
            let minimum = time("the minimum")?;
            RData::SOA(SOA::new(server, mailbox, serial, refresh as i32, retry as i32, expire as i32, minimum))
        }
        RecordType::TXT => {
            let texts: Vec<Vec<u8>> = words.tokens.by_ref().map(Token::octets).collect::<Result<_, _>>()?;
            if texts.is_empty() {
                return Err("the text is missing".into());
            }
            if texts.iter().any(|text| text.len() > 255) {
                return Err("a text is longer than 255 octets: write several in quotes".into());
            }
            RData::TXT(TXT::from_bytes(texts.iter().map(Vec::as_slice).collect()))
        }
        record_type if u16::from(record_type) == DS => {
            let mut octets = words.parse::<u16>("the key tag")?.to_be_bytes().to_vec();
            octets.push(words.parse("the algorithm number")?);
            octets.push(words.parse("the digest type")?);
            octets.extend(words.hex()?);
            RData::Unknown { code: record_type, rdata: NULL::with(octets) }
        }
        RecordType::Unknown(number) => return Err(format!("write the data of TYPE{number} as \\# (RFC 3597)")),
        record_type => foreign(record_type, &mut words)?,
    };
    words.end()?;
    Ok(data)
}

/// The wire form of data, without compression.
pub(super) fn wire(data: &RData) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).map_err(|error| format!("the data cannot be encoded: {error}"))?;
    if octets.len() > usize::from(u16::MAX) {
        return Err("the data is longer than 65535 octets".into());
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::super::lex::Lexer;
    use super::*;

    fn read(line: &str) -> Result<RData, String> {
        let entry = Lexer::new(line.as_bytes()).next_entry().unwrap().unwrap();
        let origin = Name::from_str("example.com.").unwrap();
        parse(record_type(&entry.tokens[0])?, &entry.tokens[1..], &origin)
    }

    #[test]
    fn records_of_every_kind_are_read() {
        for (line, shown) in [
            ("A 192.0.2.1", "192.0.2.1"),
            ("aaaa 2001:db8::1", "2001:db8::1"),
            ("NS ns", "ns.example.com."),
            ("CNAME .", "."),
            ("MX 10 mail.example.org.", "10 mail.example.org."),
            ("SRV 0 1 80 @", "0 1 80 example.com."),
            ("SOA ns h\\.m 1 1h 10m 1d 5", "ns.example.com. h\\.m.example.com. 1 3600 600 86400 5"),
            ("CAA 0 issue \"ca.example.net; a=b\"", "0 issue \"ca.example.net; a=b\""),
            ("HTTPS 1 . port=8443 alpn=\"h2,h3\"", "1 . alpn=h2,h3, port=8443"),
            ("TYPE1 \\# 4 0A 000001", "10.0.0.1"),
            ("NAPTR 1 2 \"s\" \"http+I2R\" \"\" _http._tcp", "1 2 \"s\" \"http+I2R\" \"\" _http._tcp.example.com."),
        ] {
            let data = read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(data.to_string().trim().trim_end_matches(','), shown, "{line}");
        }
        assert_eq!(wire(&read("TXT \"a b\" \\255").unwrap()).unwrap(), b"\x03a b\x01\xff");
        assert_eq!(wire(&read("TYPE65280 \\# 3 abcdef").unwrap()).unwrap(), b"\xab\xcd\xef");
        assert_eq!(wire(&read("DS 1 13 2 AB cd").unwrap()).unwrap(), b"\x00\x01\x0d\x02\xab\xcd");
        for line in
            ["SSHFP 1 1 dd465c09cfa51fb45020cc83316fff21b9ec74ac", "TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b9"]
        {
            assert!(wire(&read(line).unwrap()).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_says_why() {
        for (line, reason) in [
            ("A 192.0.2", "192.0.2 is no IPv4 address"),
            ("A ::1", "::1 is no IPv4 address"),
            ("A", "the IPv4 address is missing"),
            ("A 192.0.2.1 x", "x is more than the type takes"),
            ("MX mail 10", "mail is no preference (0 to 65535)"),
            ("SRV 0 0 65536 a", "65536 is no port (0 to 65535)"),
            ("TXT", "the text is missing"),
            ("TYPE1 \\# 4 0a0000", "\\# says 4 octets, and there are 3"),
            ("TYPE65280 \\# 1 a", "octets are pairs of hexadecimal digits"),
            ("TYPE65280 1", "write the data of TYPE65280 as \\# (RFC 3597)"),
            ("DNAME x", "DNAME is not served: write a CNAME for each name"),
            ("RRSIG x", "RRSIG belongs to signed zones, which are not served"),
            ("ANY x", "ANY is no type that a zone can hold"),
        ] {
            assert_eq!(read(line).unwrap_err(), reason, "{line}");
        }
        assert!(read("LOC 1 2").unwrap_err().starts_with("LOC is no type that is known"));
        assert!(read("HTTPS 1 . port=1 port=2").is_err());
        assert!(read("TYPE1 \\# 3 0a0000").unwrap_err().starts_with("the octets are no A"));
        assert!(read(&format!("TXT {}", "a".repeat(256))).is_err());
    }
}
