//! What can be said of a message before it is parsed, and replies to messages that cannot be.

use hickory_proto::op::ResponseCode;

/// Octets of a header (RFC 1035 §4.1.1).
pub(super) const HEADER_OCTETS: usize = 12;
/// Octets of the smallest question and of the smallest record.
const QUESTION_OCTETS_MIN: usize = 5;
const RECORD_OCTETS_MIN: usize = 11;
/// The opcode of a query, which is the only one served.
const OPCODE_QUERY: u8 = 0;

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Triage {
    /// Nothing: it is no request, or there is nobody to answer.
    Drop,
    /// Say no.
    Refuse(ResponseCode),
    /// Parse it.
    Parse,
}

/// Looks at a message without allocating: a header that promises more than the message holds is refused here, before
/// anything is made in proportion to it.
pub(super) fn triage(message: &[u8], source_port: u16) -> Triage {
    let Some(header) = message.first_chunk::<HEADER_OCTETS>() else { return Triage::Drop };
    let is_response = header[2] & 0x80 != 0;
    if is_response || source_port == 0 {
        return Triage::Drop;
    }
    if (header[2] >> 3) & 0x0f != OPCODE_QUERY {
        return Triage::Refuse(ResponseCode::NotImp);
    }
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let records = count(6) + count(8) + count(10);
    let needed = HEADER_OCTETS + count(4) * QUESTION_OCTETS_MIN + records * RECORD_OCTETS_MIN;
    // One question in a message, no more (RFC 9619).
    if count(4) > 1 || needed > message.len() { Triage::Refuse(ResponseCode::FormErr) } else { Triage::Parse }
}

/// A reply of a header alone, with the OPT record when the request had one (RFC 6891 §7).
pub(super) fn error_reply(message: &[u8], rcode: ResponseCode, opt: Option<&[u8]>) -> Vec<u8> {
    let mut reply = vec![0; HEADER_OCTETS];
    reply[..2].copy_from_slice(&message[..2]);
    // QR, the request's opcode, and its RD (RFC 1035 §4.1.1).
    reply[2] = 0x80 | (message[2] & 0x79);
    reply[3] = rcode.low() & 0x0f;
    if let Some(opt) = opt {
        reply[11] = 1;
        reply.extend_from_slice(opt);
    }
    reply
}

/// The OPT record of a reply that carries no options (RFC 6891 §6.1.2).
pub(super) fn bare_opt(udp_payload: u16) -> [u8; 11] {
    let [high, low] = udp_payload.to_be_bytes();
    [0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]
}

/// Where the name at `at` ends; names in requests that we read this way are not followed through pointers.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// Whether a message that may not parse as a whole has an OPT record somewhere. Time is linear in its length.
pub(super) fn has_opt(message: &[u8]) -> bool {
    let count = |at: usize| message.get(at..at + 2).map_or(0, |c| usize::from(u16::from_be_bytes([c[0], c[1]])));
    let find = || -> Option<bool> {
        let mut at = HEADER_OCTETS;
        for _ in 0..count(4) {
            at = skip_name(message, at)? + 4;
        }
        for _ in 0..count(6) + count(8) + count(10) {
            let owner = at;
            at = skip_name(message, at)?;
            let fixed = message.get(at..at + 10)?;
            if message[owner] == 0 && fixed[..2] == [0, 41] {
                return Some(true);
            }
            at += 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        }
        Some(false)
    };
    find().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: [u8; 2], counts: [u16; 4]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, flags[0], flags[1]];
        message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        message
    }

    #[test]
    fn responses_fragments_and_port_zero_are_dropped() {
        assert_eq!(triage(&[0; 11], 1024), Triage::Drop);
        assert_eq!(triage(&header([0x80, 0], [0; 4]), 1024), Triage::Drop);
        assert_eq!(triage(&header([0, 0], [0; 4]), 0), Triage::Drop);
    }

    #[test]
    fn counts_that_the_message_cannot_hold_are_refused_unparsed() {
        for counts in [[65_535; 4], [1, 0, 0, 0], [0, 65_535, 0, 0], [2, 0, 0, 0]] {
            assert_eq!(triage(&header([0, 0], counts), 1024), Triage::Refuse(ResponseCode::FormErr), "{counts:?}");
        }
    }

    #[test]
    fn other_opcodes_are_not_implemented() {
        for opcode in 1..16u8 {
            assert_eq!(triage(&header([opcode << 3, 0], [0; 4]), 9), Triage::Refuse(ResponseCode::NotImp));
        }
    }

    #[test]
    fn error_replies_keep_id_opcode_and_rd_only() {
        let request = header([0x79 | 0x06, 0xff], [1, 2, 3, 4]);
        let reply = error_reply(&request, ResponseCode::NotImp, Some(&bare_opt(1232)));
        assert_eq!(reply[..12], [0xab, 0xcd, 0xf9, 4, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(has_opt(&reply));
        assert!(!has_opt(&request));
    }
}
