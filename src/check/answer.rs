//! What an HTTP/1 peer answers, as it comes in (RFC 9112).
//!
//! A peer may send anything: no more than [`ANSWER_OCTETS_MAX`] octets of it are looked at, and each of them once.

use super::dialogue::ANSWER_OCTETS_MAX;

/// Fields of the header section.
const FIELDS_MAX: usize = 128;

/// Why what comes is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is none of HTTP/1.
    NotHttp,
    /// The header section does not fit.
    HeadTooLarge,
    /// It ended too early.
    CutShort,
}

/// The status line, and how the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    body: Framing,
}

/// How the length of a body is known (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// An answer as far as it has come. Pure: octets are arguments.
#[derive(Debug, Default)]
pub(super) struct Answer {
    octets: Vec<u8>,
    /// Octets of those that were looked at for the end of the header section.
    searched: usize,
    /// Where the header section begins, after others that were only informational.
    begins: usize,
    head: Option<Head>,
    /// Where the body begins.
    body_at: usize,
    chunks: Chunks,
    ended: bool,
}

impl Answer {
    /// How many octets more are looked at.
    pub(super) fn room(&self) -> usize {
        ANSWER_OCTETS_MAX - self.octets.len()
    }

    /// Takes what has come, which is no more than there is [`Self::room`] for; the head once it is there. `to_head`
    /// says that HEAD was asked.
    ///
    /// # Errors
    /// Why there will be none.
    pub(super) fn take(&mut self, octets: &[u8], to_head: bool) -> Result<Option<Head>, Fault> {
        self.octets.extend_from_slice(octets);
        while self.head.is_none() {
            let begin = self.octets[self.begins..].iter().zip(b"HTTP/1.");
            if begin.into_iter().any(|(found, expected)| found != expected) {
                return Err(Fault::NotHttp);
            }
            let Some(end) = self.end_of_head() else {
                return if self.room() == 0 { Err(Fault::HeadTooLarge) } else { Ok(None) };
            };
            let head = parse(&self.octets[self.begins..end], to_head)?;
            self.begins = end;
            self.searched = end;
            // Informational ones come before the answer (RFC 9110 §15.2), except for the one that ends HTTP.
            if !(100..200).contains(&head.status) || head.status == 101 {
                self.head = Some(head);
                self.body_at = end;
            }
        }
        if self.head.is_some_and(|head| head.body == Framing::Chunked) {
            self.chunks.go_on(&self.octets[self.body_at..])?;
        }
        Ok(self.head)
    }

    /// Takes the end of what the peer has to say.
    ///
    /// # Errors
    /// Why that is too early.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.ended = true;
        match self.head {
            // Something else than HTTP often says less than a header section has.
            None if self.octets.len() > self.begins => match parse(&self.octets[self.begins..], false) {
                Err(Fault::CutShort) | Ok(_) => Err(Fault::CutShort),
                Err(fault) => Err(fault),
            },
            None => Err(Fault::CutShort),
            Some(_) => Ok(()),
        }
    }

    /// The whole body, or as much as there is room for; none while it is still to come.
    ///
    /// # Errors
    /// It ended too early, or its chunks are none.
    pub(super) fn body(&self) -> Result<Option<Vec<u8>>, Fault> {
        let Some(head) = self.head else { return Ok(None) };
        let come = &self.octets[self.body_at..];
        let full = self.room() == 0;
        match head.body {
            Framing::Length(length) => match usize::try_from(length) {
                Ok(length) if come.len() >= length => Ok(Some(come[..length].to_vec())),
                _ if full => Ok(Some(come.to_vec())),
                _ if self.ended => Err(Fault::CutShort),
                _ => Ok(None),
            },
            Framing::UntilClose => Ok((self.ended || full).then(|| come.to_vec())),
            Framing::Chunked if self.chunks.part == Part::Whole || full => Ok(Some(self.chunks.data.clone())),
            Framing::Chunked if self.ended => Err(Fault::CutShort),
            Framing::Chunked => Ok(None),
        }
    }

    /// Where the header section ends: after an empty line.
    fn end_of_head(&mut self) -> Option<usize> {
        let from = self.searched.max(self.begins);
        for at in from..self.octets.len() {
            let line = &self.octets[self.begins..at];
            if self.octets[at] == b'\n' && (line.ends_with(b"\n") || line.ends_with(b"\n\r")) {
                return Some(at + 1);
            }
        }
        self.searched = self.octets.len();
        None
    }
}

fn parse(octets: &[u8], to_head: bool) -> Result<Head, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(octets) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Fault::CutShort),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeadTooLarge),
        Err(_) => return Err(Fault::NotHttp),
    }
    let status = response.code.filter(|code| (100..1000).contains(code)).ok_or(Fault::NotHttp)?;
    let values = |name: &'static str| {
        response.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    };
    let body = if to_head || matches!(status, 100..200 | 204 | 304) {
        Framing::Length(0)
    } else if let Some(last) = values("transfer-encoding").next_back() {
        let last = last.rsplit(|octet| *octet == b',').next().unwrap_or_default();
        if last.trim_ascii().eq_ignore_ascii_case(b"chunked") { Framing::Chunked } else { Framing::UntilClose }
    } else {
        let mut lengths = values("content-length").flat_map(|value| value.split(|octet| *octet == b','));
        match lengths.next().map(<[u8]>::trim_ascii) {
            None => Framing::UntilClose,
            Some(first) if lengths.all(|other| other.trim_ascii() == first) => {
                Framing::Length(length(first).ok_or(Fault::NotHttp)?)
            }
            Some(_) => return Err(Fault::NotHttp),
        }
    };
    Ok(Head { status, body })
}

fn length(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

/// Octets of a line that says how long a chunk is, with whatever else may stand there.
const CHUNK_LINE_MAX: usize = 256;

/// What comes next in a chunked body (RFC 9112 §7.1). What follows the last chunk is nobody's business.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    Data(u64),
    End,
    Whole,
}

/// A chunked body as far as it has come.
#[derive(Debug, Default)]
struct Chunks {
    part: Part,
    at: usize,
    data: Vec<u8>,
}

impl Chunks {
    /// Goes on in a body of which more has come.
    fn go_on(&mut self, body: &[u8]) -> Result<(), Fault> {
        loop {
            let come = &body[self.at..];
            match self.part {
                Part::Size => match httparse::parse_chunk_size(come) {
                    Ok(httparse::Status::Complete((octets, length))) => {
                        self.at += octets;
                        self.part = if length == 0 { Part::Whole } else { Part::Data(length) };
                    }
                    Ok(httparse::Status::Partial) if come.len() <= CHUNK_LINE_MAX => return Ok(()),
                    _ => return Err(Fault::NotHttp),
                },
                Part::Data(length) => {
                    let data = &come[..come.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
                    self.data.extend_from_slice(data);
                    self.at += data.len();
                    match length - data.len() as u64 {
                        0 => self.part = Part::End,
                        left => {
                            self.part = Part::Data(left);
                            return Ok(());
                        }
                    }
                }
                Part::End => match come {
                    [b'\r', b'\n', ..] => {
                        self.at += 2;
                        self.part = Part::Size;
                    }
                    [] | [b'\r'] => return Ok(()),
                    _ => return Err(Fault::NotHttp),
                },
                Part::Whole => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an answer that comes in pieces of so many octets: its status and its body.
    fn in_pieces(text: &str, octets: usize, to_head: bool) -> Result<(u16, Option<String>), Fault> {
        let mut answer = Answer::default();
        let mut head = None;
        for piece in text.as_bytes().chunks(octets) {
            let piece = &piece[..piece.len().min(answer.room())];
            head = answer.take(piece, to_head)?;
        }
        answer.end()?;
        let body = answer.body()?.map(|body| String::from_utf8(body).unwrap());
        Ok((head.unwrap().status, body))
    }

    #[test]
    fn answers_are_the_same_however_they_come() {
        let body = |text: &str| Ok((200, Some(text.to_owned())));
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nfit", body("fit")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\ncontent-length: 3\r\n\r\nfitter", body("fit")),
            ("HTTP/1.0 200\r\n\r\nfit", body("fit")),
            ("HTTP/1.1 200 OK\nx: y\n\nfit", body("fit")),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", body("")),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nI a\r\n5;x=y\r\nm fit\r\n0\r\n\r\n",
                body("I am fit"),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\ncontent-length: 9\r\n\r\n1\r\nx\r\n0\r\n",
                body("x"),
            ),
            ("HTTP/1.1 204 None\r\ncontent-length: 3\r\n\r\n", Ok((204, Some(String::new())))),
            ("HTTP/1.1 101 Other\r\n\r\n", Ok((101, Some(String::new())))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfit", Err(Fault::CutShort)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nfit", Err(Fault::NotHttp)),
            ("HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nfit", Err(Fault::NotHttp)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nfitter", Err(Fault::NotHttp)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", Err(Fault::NotHttp)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nfit", Err(Fault::CutShort)),
            ("HTTP/1.1 200 OK\r\nx: y\r\n", Err(Fault::CutShort)),
            ("HTTP/1.1 2x0 OK\r\n\r\n", Err(Fault::NotHttp)),
            ("HTTP/2 200 OK\r\n\r\n", Err(Fault::NotHttp)),
            ("", Err(Fault::CutShort)),
        ] {
            for octets in [1, 2, 3, 7, 1000] {
                assert_eq!(in_pieces(text, octets, false), expected, "{octets}: {text:?}");
            }
        }
        let to_head = in_pieces("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", 5, true);
        assert_eq!(to_head, Ok((200, Some(String::new()))));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        for framing in ["", "content-length: 99999999999\r\n", "transfer-encoding: chunked\r\n"] {
            let endless = format!("HTTP/1.1 200 OK\r\n{framing}\r\n{}", "8\r\nagain an\r\n".repeat(10_000));
            let (status, body) = in_pieces(&endless, 1_000, false).unwrap();
            let body = body.unwrap();
            assert!(status == 200 && body.contains("again an") && body.len() < ANSWER_OCTETS_MAX, "{framing}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(ANSWER_OCTETS_MAX));
        assert_eq!(in_pieces(&endless, 1_000, false), Err(Fault::HeadTooLarge));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert_eq!(in_pieces(&many, 1_000, false), Err(Fault::HeadTooLarge));
        let informational = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
        assert_eq!(in_pieces(&informational, 1_000, false), Err(Fault::HeadTooLarge));
    }

    #[test]
    fn each_octet_costs_the_same_even_of_a_peer_that_sends_one_at_a_time() {
        let mut answer = Answer::default();
        answer.take(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n", false).unwrap();
        while answer.room() > 0 {
            answer.take(b"\n", false).unwrap();
            assert_eq!(answer.chunks.at, answer.octets.len() - answer.body_at, "all of it is done with");
        }
        let mut answer = Answer::default();
        while answer.room() > 1 {
            answer.take(if answer.octets.len() < 9 { &b"HTTP/1.1 "[..] } else { b"\r" }, false).unwrap();
            assert_eq!(answer.searched, answer.octets.len());
        }
    }
}
