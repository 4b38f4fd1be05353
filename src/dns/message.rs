//! What can be said of a message before it is parsed.

use hickory_proto::op::ResponseCode;

/// Octets of a header (RFC 1035 §4.1.1).
pub(super) const HEADER_OCTETS: usize = 12;
/// Octets of the smallest question and of the smallest record.
const QUESTION_OCTETS_MIN: usize = 5;
const RECORD_OCTETS_MIN: usize = 11;
/// Records that a question may bring along: an OPT, a signature, and room for what is not known yet. Each name in them
/// may be read through all that came before, so that many would cost the square of their number.
const RECORDS_MAX: usize = 16;
/// The type of an OPT record (RFC 6891 §6.1.2).
pub(super) const OPT_TYPE: u16 = 41;
/// The opcode of a query, which is the only one served.
const OPCODE_QUERY: u8 = 0;

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Triage {
    /// Nothing: it is no request, or there is nobody to answer.
    Drop,
    /// Say no.
    Refuse(ResponseCode),
    /// It has no question: only a cookie makes sense of that (RFC 7873 §5.4).
    Questionless,
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
    // One question in a message (RFC 9619). Its name has nothing to point at but the header, which the reply changes.
    let question_is_sound = count(4) == 1 && matches!(skip_name(message, HEADER_OCTETS), Some((_, false)));
    if count(4) == 0 && needed <= message.len() {
        return Triage::Questionless;
    }
    if question_is_sound && records <= RECORDS_MAX && needed <= message.len() {
        Triage::Parse
    } else {
        Triage::Refuse(ResponseCode::FormErr)
    }
}

/// Where the name at `at` ends, and whether it ends in a pointer, which is not followed.
fn skip_name(message: &[u8], mut at: usize) -> Option<(usize, bool)> {
    loop {
        match *message.get(at)? {
            0 => return Some((at + 1, false)),
            length if length & 0xc0 == 0xc0 => return Some((at + 2, true)),
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// The first OPT record in the additional section of a message that may not parse as a whole: its options, or as much
/// of them as there is. Time is linear in the length of the message.
pub(super) fn opt_options(message: &[u8]) -> Option<&[u8]> {
    let count = |at: usize| message.get(at..at + 2).map_or(0, |c| usize::from(u16::from_be_bytes([c[0], c[1]])));
    let mut at = HEADER_OCTETS;
    for _ in 0..count(4) {
        at = skip_name(message, at)?.0 + 4;
    }
    let before = count(6) + count(8);
    for position in 0..before + count(10) {
        let owner = at;
        at = skip_name(message, at)?.0;
        let fixed = message.get(at..at + 10)?;
        let end = at + 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        if position >= before && message[owner] == 0 && fixed[..2] == OPT_TYPE.to_be_bytes() {
            return message.get(at + 10..end.min(message.len()));
        }
        at = end;
    }
    None
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
    fn questions_have_plain_names() {
        for (name, plain) in [(&b"\x03web\0"[..], true), (b"\0", true), (b"\xc0\x0c", false), (b"\x01a\xc0\x00", false)]
        {
            let message = [&header([0, 0], [1, 0, 0, 0])[..], name, &[0, 1, 0, 1]].concat();
            assert_eq!(triage(&message, 9) == Triage::Parse, plain, "{name:?}");
        }
    }

    #[test]
    fn an_opt_is_found_in_the_additional_section_only() {
        let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 3, 1, 2, 3];
        let message = |counts| [&header([0, 0], counts)[..], &opt].concat();
        assert_eq!(opt_options(&message([0, 0, 0, 1])), Some(&[1, 2, 3][..]));
        assert_eq!(opt_options(&message([0, 0, 0, 1])[..24]), Some(&[1][..]));
        assert_eq!(opt_options(&message([0, 0, 1, 0])), None);
        assert_eq!(opt_options(&message([0, 0, 0, 1])[..22]), None);
        assert_eq!(opt_options(&message([9, 9, 9, 9])), None);
    }
}
