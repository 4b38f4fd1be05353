//! Asking on a terminal whether something that cannot be undone is meant.

use std::io::{self, BufRead, IsTerminal, Write};

use super::fault::Fault;

/// Asks a question that only `y` and `yes` answer; what is said without them is a fault. In a script nobody can be
/// asked, and `what` needs --yes.
pub(super) async fn ask(
    what: &str,
    question: impl AsyncFnOnce() -> Result<String, Fault>,
    otherwise: &str,
) -> Result<(), Fault> {
    if !io::stdin().is_terminal() {
        return Err(Fault::Usage(format!("{what} in a script needs --yes, because nobody can be asked")));
    }
    let question = question().await?;
    let mut answer = String::new();
    {
        let mut terminal = io::stderr().lock();
        write!(terminal, "{question} [y/N] ")?;
        terminal.flush()?;
        io::stdin().lock().read_line(&mut answer)?;
    }
    if is_yes(&answer) { Ok(()) } else { Err(Fault::Usage(otherwise.to_owned())) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes("YES\r\n"));
        assert!(!is_yes("\n") && !is_yes("") && !is_yes("no\n") && !is_yes("yesterday\n"));
    }
}
