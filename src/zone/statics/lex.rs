//! A master file taken apart (RFC 1035 §5.1): entries of tokens, each with the line it begins on.
//!
//! Octets, not characters: what a comment or a quoted text holds need not be UTF-8, and an escape names an octet.

use hickory_proto::rr::Name;

/// What is wrong, and on which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// One word of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// As it is written, without the quotes around it; escapes are still escapes.
    pub(super) raw: Vec<u8>,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
}

/// What stands on a line, or on several within parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: usize,
    /// Whether it begins with white space, so that its owner is the one before.
    pub(super) indented: bool,
    /// At least one.
    pub(super) tokens: Vec<Token>,
}

/// Reads entries.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    octets: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
        Self { octets, at: 0, line: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { line: self.line, reason: reason.into() })
    }

    /// The next entry that has anything in it.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Fault> {
        while self.peek().is_some() {
            let indented = matches!(self.peek(), Some(b' ' | b'\t'));
            let line = self.line;
            let tokens = self.tokens()?;
            if !tokens.is_empty() {
                return Ok(Some(Entry { line, indented, tokens }));
            }
        }
        Ok(None)
    }

    /// The tokens up to the end of the line that is not within parentheses.
    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        let mut tokens = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        loop {
            match self.peek() {
                None => {
                    return match open.first() {
                        None => Ok(tokens),
                        Some(line) => Err(Fault { line: *line, reason: "the parenthesis is not closed".into() }),
                    };
                }
                Some(b'\n') => {
                    self.at += 1;
                    self.line += 1;
                    if open.is_empty() {
                        return Ok(tokens);
                    }
                }
                Some(b' ' | b'\t' | b'\r' | 0x0c) => self.at += 1,
                Some(b';') => {
                    let rest = &self.octets[self.at..];
                    self.at += rest.iter().position(|octet| *octet == b'\n').unwrap_or(rest.len());
                }
                Some(b'(') => {
                    open.push(self.line);
                    self.at += 1;
                }
                Some(b')') => {
                    if open.pop().is_none() {
                        return self.fault("a parenthesis is closed that was not opened");
                    }
                    self.at += 1;
                }
                Some(b'"') => {
                    self.at += 1;
                    let raw = self.quoted()?;
                    tokens.push(Token { raw, quoted: true });
                }
                Some(_) => tokens.push(Token { raw: self.word()?, quoted: false }),
            }
        }
    }

    /// The rest of a quoted text, and its closing quote.
    fn quoted(&mut self) -> Result<Vec<u8>, Fault> {
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.octets[start..self.at - 1].to_vec());
                }
                Some(b'\\') if self.octets.get(self.at + 1).is_some_and(|octet| *octet != b'\n') => self.at += 2,
                None | Some(b'\n') => return self.fault("the quoted text does not end on its line"),
                Some(_) => self.at += 1,
            }
        }
    }

    /// A word without quotes, or `key="value"` as service parameters have it (RFC 9460 §2.1).
    fn word(&mut self) -> Result<Vec<u8>, Fault> {
        let start = self.at;
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0c | b';' | b'(' | b')' => break,
                b'"' if self.octets[self.at - 1] == b'=' => {
                    self.at += 1;
                    self.quoted()?;
                }
                b'"' => return self.fault("a quote within a word: write \\\" if it is meant"),
                b'\\' => match self.octets.get(self.at + 1) {
                    None | Some(b'\n') => return self.fault("a backslash ends the line"),
                    Some(_) => self.at += 2,
                },
                octet if octet.is_ascii_control() => {
                    return self.fault(format!("a control character, \\{octet:03}"));
                }
                _ => self.at += 1,
            }
        }
        Ok(self.octets[start..self.at].to_vec())
    }
}

/// One octet at the start of a text, with its escape undone, and the rest.
fn unescape(raw: &[u8]) -> Result<(u8, bool, &[u8]), String> {
    match raw {
        [b'\\', a @ b'0'..=b'9', rest @ ..] => match rest {
            [b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
                let value = [a, b, c].into_iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
                let octet = u8::try_from(value).map_err(|_| format!("\\{value} is more than an octet holds"))?;
                Ok((octet, true, rest))
            }
            _ => Err("an escaped octet has three digits, like \\046".into()),
        },
        [b'\\', octet, rest @ ..] => Ok((*octet, true, rest)),
        [b'\\'] => Err("a backslash escapes nothing".into()),
        [octet, rest @ ..] => Ok((*octet, false, rest)),
        [] => Err("a text ends too early".into()),
    }
}

impl Token {
    /// The word for a sentence.
    pub(super) fn shown(&self) -> String {
        self.raw.escape_ascii().to_string()
    }

    /// The octets that are meant.
    pub(super) fn octets(&self) -> Result<Vec<u8>, String> {
        let (mut octets, mut raw) = (Vec::with_capacity(self.raw.len()), &self.raw[..]);
        while !raw.is_empty() {
            let (octet, _, rest) = unescape(raw)?;
            octets.push(octet);
            raw = rest;
        }
        Ok(octets)
    }

    /// The octets that are meant, of a value that can only be text.
    pub(super) fn text(&self) -> Result<String, String> {
        String::from_utf8(self.octets()?).map_err(|_| format!("{} is not UTF-8", self.shown()))
    }

    /// The domain name that is meant: `@` and what does not end in a dot are relative to the origin.
    pub(super) fn name(&self, origin: &Name) -> Result<Name, String> {
        let fault = |reason: &str| format!("{} is no name: {reason}", self.shown());
        if self.raw == b"@" && !self.quoted {
            return Ok(origin.clone());
        }
        if self.raw == b"." {
            return Ok(Name::root());
        }
        let (mut labels, mut label, mut raw) = (Vec::new(), Vec::new(), &self.raw[..]);
        let mut absolute = false;
        while !raw.is_empty() {
            let (octet, escaped, rest) = unescape(raw).map_err(|reason| fault(&reason))?;
            raw = rest;
            if octet == b'.' && !escaped {
                if label.is_empty() {
                    return Err(fault("a label is empty"));
                }
                labels.push(std::mem::take(&mut label));
                absolute = raw.is_empty();
                continue;
            }
            if !octet.is_ascii() && !escaped {
                return Err(fault("it is not ASCII; write such names as xn--…"));
            }
            label.push(octet);
        }
        if !absolute {
            if label.is_empty() {
                return Err(fault("it is empty"));
            }
            labels.push(label);
            labels.extend(origin.iter().map(<[u8]>::to_vec));
        }
        if labels.iter().any(|label| label.len() > 63) {
            return Err(fault("a label is longer than 63 octets"));
        }
        if labels.iter().map(|label| label.len() + 1).sum::<usize>() + 1 > 255 {
            return Err(fault("it is longer than 255 octets"));
        }
        Name::from_labels(labels).map_err(|error| fault(&error.to_string()))
    }

    /// A lifetime: seconds, or numbers with units of s, m, h, d and w, at most 2^31 - 1 s (RFC 2181 §8).
    pub(super) fn ttl(&self) -> Result<u32, String> {
        let fault = || format!("{} is no time: write seconds, or numbers with s, m, h, d or w", self.shown());
        let text = std::str::from_utf8(&self.raw).map_err(|_| fault())?;
        if let Ok(seconds) = text.parse::<u32>()
            && text.bytes().all(|octet| octet.is_ascii_digit())
        {
            return if seconds <= i32::MAX as u32 { Ok(seconds) } else { Err(fault()) };
        }
        let (mut total, mut digits) = (0u64, 0..0);
        for (at, octet) in text.bytes().enumerate() {
            let unit = match octet.to_ascii_lowercase() {
                b'0'..=b'9' => {
                    digits.end = at + 1;
                    continue;
                }
                b's' => 1,
                b'm' => 60,
                b'h' => 3600,
                b'd' => 86_400,
                b'w' => 604_800,
                _ => return Err(fault()),
            };
            let number: u32 = text[digits.clone()].parse().map_err(|_| fault())?;
            total += u64::from(number) * unit;
            digits = at + 1..at + 1;
        }
        if text.is_empty() || !digits.is_empty() || total > i32::MAX as u64 {
            return Err(fault());
        }
        Ok(total as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn entries(text: &str) -> Result<Vec<Entry>, Fault> {
        let mut lexer = Lexer::new(text.as_bytes());
        std::iter::from_fn(|| lexer.next_entry().transpose()).collect()
    }

    fn words(text: &str) -> Vec<String> {
        entries(text).unwrap().iter().flat_map(|entry| entry.tokens.iter().map(Token::shown)).collect()
    }

    fn token(text: &str) -> Token {
        entries(text).unwrap().remove(0).tokens.remove(0)
    }

    #[test]
    fn lines_and_parentheses_make_entries() {
        let entries = entries("; first\r\n\na IN A 1.2.3.4 ; here\r\n  SOA (a ; (\n b\n ) c\nlast").unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.line, entry.indented, entry.tokens.len())).collect();
        assert_eq!(seen, [(3, false, 4), (4, true, 4), (7, false, 1)]);
    }

    #[test]
    fn quotes_and_escapes_hide_what_would_end_a_word() {
        assert_eq!(words(r#"a "b ; ( \" c" d\;e\ f alpn="h2,h3" """#).len(), 5);
        assert_eq!(token(r#""b\"\065\;""#).octets().unwrap(), b"b\"A;");
        assert!(token("\"\"").raw.is_empty());
    }

    #[test]
    fn faults_are_on_their_lines() {
        for (text, line, reason) in [
            ("a\nb ( c\n d\n", 2, "the parenthesis is not closed"),
            ("a )\n", 1, "a parenthesis is closed that was not opened"),
            ("a (\n\"b\n)", 2, "the quoted text does not end on its line"),
            ("a\nb\\", 2, "a backslash ends the line"),
            ("a\u{7}", 1, "a control character, \\007"),
            ("a\"b\"", 1, "a quote within a word: write \\\" if it is meant"),
        ] {
            assert_eq!(entries(text).unwrap_err(), Fault { line, reason: reason.into() }, "{text:?}");
        }
    }

    #[test]
    fn names_are_relative_unless_they_end_in_a_dot() {
        let origin = Name::from_str("example.com.").unwrap();
        let name = |text: &str| token(text).name(&origin).map(|name| name.to_ascii());
        assert_eq!(name("@").unwrap(), "example.com.");
        assert_eq!(name("www").unwrap(), "www.example.com.");
        assert_eq!(name("a.b.").unwrap(), "a.b.");
        assert_eq!(name(".").unwrap(), ".");
        assert_eq!(token("a\\.b").name(&origin).unwrap().num_labels(), 3);
        assert_eq!(token("a\\000\\255.").name(&origin).unwrap().iter().next().unwrap(), b"a\x00\xff");
        for bad in ["a..b", ".a", "b\u{fc}cher", "\\256", "\\12", &"a".repeat(64), &"a.".repeat(128), "\"\""] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("0", 0), ("3600", 3600), ("1h30m", 5400), ("1W2D", 777_600), ("5s", 5)] {
            assert_eq!(token(text).ttl(), Ok(seconds), "{text}");
        }
        for bad in ["h", "1h2", "-1", "+1", "2147483648", "1y", "9999999w", "IN"] {
            assert!(token(bad).ttl().is_err(), "{bad}");
        }
    }
}
