//! What is said of an instance by others than probes: by the service itself, and by clients that could not reach it.

use std::fmt;
use std::sync::Arc;

use super::{InstanceId, Label, ProbeReport, Revision, ServiceName};

/// What somebody had to say, as it may stand in records, logs and on terminals: one line without control characters, cut
/// at [`Remark::OCTETS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark(Arc<str>);

impl Remark {
    /// Octets of a remark. What is longer ends with `…`.
    pub const OCTETS_MAX: usize = 160;

    /// A remark of a text; none of one in which nothing stands. What would move a cursor or turn the direction of
    /// writing is escaped as in Rust.
    pub fn new(text: &str) -> Option<Self> {
        const CUT: &str = "…";
        let text = text.trim();
        let (mut remark, mut cut_at) = (String::new(), 0);
        for letter in text.chars() {
            match letter {
                // Whoever has nothing to hide writes these.
                '"' | '\'' | '\\' => remark.push(letter),
                letter => remark.extend(letter.escape_debug()),
            }
            if remark.len() + CUT.len() <= Self::OCTETS_MAX {
                cut_at = remark.len();
            } else if remark.len() > Self::OCTETS_MAX {
                remark.truncate(cut_at);
                remark.push_str(CUT);
                break;
            }
        }
        (!remark.is_empty()).then(|| Self(remark.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a service says of itself, for a check that waits for that.
#[derive(Debug, Clone)]
pub struct SelfReport {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub id: InstanceId,
    /// The [`epoch`](super::Instance::epoch) that it is said of.
    pub epoch: Revision,
    /// The check.
    pub check: Label,
    /// Whether it is well.
    pub passed: bool,
    /// What else it says.
    pub remark: Option<Remark>,
    /// The position of the history at which the instance was seen.
    pub seen: Revision,
}

/// What a client says of an instance that it could not use.
#[derive(Debug, Clone)]
pub struct Hint {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub id: InstanceId,
    /// What failed.
    pub failed: Option<Remark>,
    /// The position of the history at which the instance was seen.
    pub seen: Revision,
}

/// What became of what a service says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// How the check has fared.
    pub report: ProbeReport,
    /// The position of the history that has what it led to.
    pub revision: Revision,
}

/// Why what was said counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unheard {
    /// Nobody looks after such a check here; perhaps no longer.
    Unknown,
    /// Too much is being said.
    Busy,
    /// It should have turned the opinion, which could not be kept.
    NotKept(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark(text: &str) -> Option<String> {
        Remark::new(text).map(|remark| remark.as_str().to_owned())
    }

    #[test]
    fn a_remark_is_one_line_that_no_terminal_obeys() {
        for (text, shown) in [
            ("disk full\n", "disk full"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("\u{202e}gnp.exe\u{2028}", "\\u{202e}gnp.exe"),
            ("<b>\"it's\"</b> C:\\x äöü 日本", "<b>\"it's\"</b> C:\\x äöü 日本"),
        ] {
            assert_eq!(remark(text).as_deref(), Some(shown), "{text:?}");
        }
        assert_eq!((remark(""), remark(" \n")), (None, None));
    }

    #[test]
    fn a_remark_is_cut_between_letters() {
        let max = Remark::OCTETS_MAX;
        assert_eq!(remark(&"x".repeat(max)).unwrap(), "x".repeat(max));
        assert_eq!(remark(&"x".repeat(max + 1)).unwrap(), format!("{}…", "x".repeat(max - 3)));
        for letter in ["日", "\x1b", "ä", "\u{10ffff}"] {
            let cut = remark(&letter.repeat(1_000_000 / letter.len())).unwrap();
            assert!(cut.ends_with('…') && cut.len() <= max && cut.len() > max - 16, "{cut}");
        }
    }
}
