//! EDNS options (RFC 6891 §6.1.2): what a request asks for, and what the reply says to it.

use std::net::IpAddr;
use std::time::Duration;

use super::Protocol;
use super::cookie::{ClientCookie, Cookies};
use crate::zone::ExtendedError;

/// Option codes.
const NSID: u16 = 3;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const EXTENDED_ERROR: u16 = 15;

/// The smallest reply that every client takes over UDP (RFC 1035 §4.2.1).
pub(super) const UDP_OCTETS_MIN: u16 = 512;

/// The most octets of a reply over UDP: what the client takes, if it says so, and no more than `own` (RFC 6891 §6.2.5).
pub(super) fn udp_limit(asked: Option<u16>, own: u16) -> u16 {
    asked.map_or(UDP_OCTETS_MIN, |asked| asked.min(own).max(UDP_OCTETS_MIN))
}

/// Options that cannot be: the request gets FORMERR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What the options of a request ask for. Options that nobody knows are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Asked {
    pub(super) cookie: Option<ClientCookie>,
    nsid: bool,
    keepalive: bool,
}

impl Asked {
    /// Reads the data of an OPT record.
    ///
    /// # Errors
    /// When lengths do not add up, or a cookie has none that it may have (RFC 7873 §5.2.2).
    pub(super) fn read(mut options: &[u8]) -> Result<Self, Malformed> {
        let mut asked = Self::default();
        while let [code_high, code_low, high, low, rest @ ..] = options {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (data, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
            match u16::from_be_bytes([*code_high, *code_low]) {
                // Of several cookies the first counts (RFC 7873 §5.2).
                COOKIE if asked.cookie.is_none() => asked.cookie = Some(ClientCookie::read(data).ok_or(Malformed)?),
                NSID => asked.nsid = true,
                KEEPALIVE => asked.keepalive = true,
                _ => {}
            }
            options = rest;
        }
        if options.is_empty() { Ok(asked) } else { Err(Malformed) }
    }
}

/// What this server says in options.
#[derive(Debug)]
pub(super) struct Manners {
    /// How long TCP connections may be idle (RFC 7828).
    pub(super) idle: Duration,
    /// What NSID says, unless it is empty (RFC 5001).
    pub(super) server_id: String,
    pub(super) cookies: Cookies,
}

impl Manners {
    /// The options of the reply to a request, `second` being the time since 1970.
    pub(super) fn reply(&self, asked: Asked, client: IpAddr, protocol: Protocol, second: u32) -> Vec<u8> {
        let mut options = Vec::new();
        if let Some(cookie) = asked.cookie {
            add(&mut options, COOKIE, &self.cookies.reply(cookie, client, second));
        }
        if asked.nsid && !self.server_id.is_empty() {
            add(&mut options, NSID, self.server_id.as_bytes());
        }
        // Over UDP there is nothing to keep alive, and the option is not looked at (RFC 7828 §3.2.1).
        if asked.keepalive && protocol == Protocol::Tcp {
            let units_of_100_ms = u16::try_from(self.idle.as_millis() / 100).unwrap_or(u16::MAX);
            add(&mut options, KEEPALIVE, &units_of_100_ms.to_be_bytes());
        }
        options
    }
}

/// The options that were written, one by one.
pub(super) fn split(mut options: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [code_high, code_low, high, low, rest @ ..] = options else { return None };
        let (data, rest) = rest.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
        options = rest;
        Some((u16::from_be_bytes([*code_high, *code_low]), data))
    })
}

/// Adds an option.
fn add(options: &mut Vec<u8>, code: u16, data: &[u8]) {
    options.extend(code.to_be_bytes());
    options.extend((data.len() as u16).to_be_bytes());
    options.extend_from_slice(data);
}

/// Octets that an extended error takes as an option.
pub(super) fn error_octets(error: &ExtendedError) -> usize {
    4 + 2 + error.text.len()
}

/// Adds an extended error (RFC 8914 §2).
pub(super) fn add_error(options: &mut Vec<u8>, error: &ExtendedError) {
    let mut data = error.code.to_be_bytes().to_vec();
    data.extend_from_slice(error.text.as_bytes());
    add(options, EXTENDED_ERROR, &data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manners() -> Manners {
        Manners { idle: Duration::from_secs(10), server_id: "n1".into(), cookies: Cookies::new() }
    }

    #[test]
    fn options_that_do_not_add_up_are_malformed() {
        for options in [&[0][..], &[0, 10, 0], &[0, 65, 0, 1], &[0, 10, 0, 3, 1, 2, 3]] {
            assert_eq!(Asked::read(options), Err(Malformed), "{options:?}");
        }
        assert_eq!(Asked::read(&[]), Ok(Asked::default()));
        assert_eq!(
            Asked::read(&[0, 65, 0, 1, 9, 255, 254, 0, 0]),
            Ok(Asked::default()),
            "unknown ones are passed over"
        );
    }

    #[test]
    fn only_what_was_asked_for_is_said() {
        let reply = |options: &[u8], protocol| {
            manners().reply(Asked::read(options).unwrap(), [127, 0, 0, 1].into(), protocol, 0)
        };
        assert_eq!(reply(&[], Protocol::Tcp), b"");
        assert_eq!(reply(&[0, 3, 0, 0], Protocol::Udp), b"\0\x03\0\x02n1");
        assert_eq!(reply(&[0, 11, 0, 0], Protocol::Tcp), [0, 11, 0, 2, 0, 100]);
        assert_eq!(reply(&[0, 11, 0, 0], Protocol::Udp), b"");
        assert_eq!(reply(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], Protocol::Udp).len(), 4 + 24);
    }
}
