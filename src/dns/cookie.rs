//! DNS cookies (RFC 7873) in the form that all servers share (RFC 9018).
//!
//! A client that returns our cookie has received a reply at its address before, so it is no victim of a forged source.
//! Nothing depends on that yet; a client that checks its own cookie is protected from forged replies.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// Octets of a client's cookie, and the bounds of a server's (RFC 7873 §4).
const CLIENT_OCTETS: usize = 8;
const SERVER_OCTETS: std::ops::RangeInclusive<usize> = 8..=32;
/// The version of RFC 9018 §4.1.
const VERSION: u8 = 1;

/// The cookie option of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientCookie([u8; CLIENT_OCTETS]);

impl ClientCookie {
    /// Reads the option's data; `None` is a length that calls for FORMERR (RFC 7873 §5.2.2).
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk::<CLIENT_OCTETS>()?;
        (server.is_empty() || SERVER_OCTETS.contains(&server.len())).then_some(Self(*client))
    }
}

/// Makes server cookies.
#[derive(Debug)]
pub(super) struct Cookies {
    secret: [u8; 16],
}

impl Cookies {
    /// Cookies of a fresh secret.
    pub(super) fn new() -> Self {
        Self { secret: rand::random() }
    }

    /// The option's data for a reply: the client's cookie, and ours for it at this second (RFC 9018 §4).
    pub(super) fn reply(&self, cookie: ClientCookie, client: IpAddr, second: u32) -> Vec<u8> {
        let mut data = Vec::with_capacity(CLIENT_OCTETS + 16);
        data.extend_from_slice(&cookie.0);
        data.extend_from_slice(&[VERSION, 0, 0, 0]);
        data.extend_from_slice(&second.to_be_bytes());
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(&data);
        match client.to_canonical() {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        data.extend_from_slice(&hasher.finish().to_le_bytes());
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn server_cookies_are_those_of_rfc_9018_appendix_a() {
        let secret = hex("e5e973e5a6b2a43f48e7dc849e37bfcf").try_into().unwrap();
        let client = ClientCookie::read(&hex("2464c4abcf10c957")).unwrap();
        let reply = Cookies { secret }.reply(client, "198.51.100.100".parse().unwrap(), 1_559_731_985);
        assert_eq!(reply, hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480"));
    }

    #[test]
    fn cookies_of_impossible_lengths_are_refused() {
        for octets in [0, 1, 7, 9, 15, 41, 200] {
            assert_eq!(ClientCookie::read(&vec![0; octets]), None, "{octets}");
        }
        for octets in [8, 16, 24, 40] {
            assert!(ClientCookie::read(&vec![0; octets]).is_some(), "{octets}");
        }
    }
}
