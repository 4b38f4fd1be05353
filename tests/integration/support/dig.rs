//! `dig` and its kin: asking with them, and reading what they print.

use std::net::SocketAddr;
use std::process::Command;

/// What they say when a reply is not quite right. Asking for recursion is their default and no fault of the reply.
const COMPLAINTS: [&str; 8] =
    ["warning", "unexpected", "mismatch", "bad packet", "communications error", "extra", "malformed", "timed out"];
const NO_COMPLAINT: &str = ";; WARNING: recursion requested but not available";

/// A reply as the program showed it; a record is one line with single blanks.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: String,
    pub(crate) flags: Vec<String>,
    pub(crate) answer: Vec<String>,
    pub(crate) authority: Vec<String>,
    pub(crate) additional: Vec<String>,
    /// Everything it printed.
    pub(crate) text: String,
}

/// Asks `server` through `program`, which has to be content with the reply.
pub(crate) fn ask(program: Command, server: SocketAddr, words: &[&str]) -> Reply {
    try_ask(program, server, words).unwrap_or_else(|problem| panic!("{words:?} at {server}: {problem}"))
}

pub(crate) fn try_ask(mut program: Command, server: SocketAddr, words: &[&str]) -> Result<Reply, String> {
    program.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]).args(words);
    let output = program.output().unwrap_or_else(|error| panic!("{program:?} cannot be started: {error}"));
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let complains = |line: &str| {
        let lower = line.to_lowercase();
        line != NO_COMPLAINT && COMPLAINTS.iter().any(|complaint| lower.contains(complaint))
    };
    // Records begin with their name, everything the program has to say with a semicolon.
    match text.lines().find(|line| line.starts_with(';') && complains(line)) {
        None if output.status.success() => Ok(Reply::read(text)),
        None => Err(format!("{}:\n{text}", output.status)),
        Some(complaint) => Err(format!("it complains: {complaint}\n{text}")),
    }
}

impl Reply {
    fn read(text: String) -> Self {
        let mut reply = Self::default();
        let mut section = "";
        for line in text.lines() {
            if let Some((_, status)) = line.split_once("status: ") {
                reply.status = status.chars().take_while(char::is_ascii_alphanumeric).collect();
            } else if let Some(flags) = line.strip_prefix(";; flags:").or_else(|| line.strip_prefix(";; Flags:")) {
                let flags = flags.split(';').next().unwrap_or_default();
                reply.flags = flags.split_whitespace().map(str::to_owned).collect();
            } else if let Some(heading) = line.strip_prefix(";; ").and_then(|line| line.strip_suffix(" SECTION:")) {
                section = heading;
            } else if !line.starts_with(';') && !line.trim().is_empty() {
                let record = line.split_whitespace().collect::<Vec<_>>().join(" ");
                match section {
                    "ANSWER" => reply.answer.push(record),
                    "AUTHORITY" => reply.authority.push(record),
                    "ADDITIONAL" => reply.additional.push(record),
                    _ => panic!("a record outside of the sections: {record}\n{text}"),
                }
            }
        }
        reply.text = text;
        reply
    }

    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|set| set == flag)
    }

    /// Holds the answer to these data, without name, TTL, class and type: a cache in between counts TTLs down.
    pub(crate) fn assert_data(&self, expected: &[&str]) {
        let data: Vec<String> =
            self.answer.iter().map(|record| record.split(' ').skip(4).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(data, expected, "{}", self.text);
    }
}
