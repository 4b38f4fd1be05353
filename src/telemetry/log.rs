//! Log lines: which are written, how they look, and that nobody waits for them.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;

use super::lines::Lines;

/// How long the end of the process waits for lines to be written.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Libraries whose information is about their own insides.
const QUIET_TARGETS: [&str; 2] = ["hickory_server", "hickory_proto"];

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people, in colour on a terminal.
    Human,
    /// One JSON object a line, with dotted fields.
    Json,
}

impl LogFormat {
    /// `human` or `json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("a log format is human or json"),
        }
    }
}

/// Which lines are written: `info`, or `info,rollcall::changes=debug`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFilter {
    written: String,
    targets: Targets,
}

impl LogFilter {
    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl FromStr for LogFilter {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a log filter is a level (off, error, warn, info, debug, trace) or target=level, with commas \
                            between, like info,rollcall::changes=debug";
        let mut overall = LevelFilter::INFO;
        let mut targets = Vec::new();
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            // A word alone is a level. tracing-subscriber would take a misspelt one for a target and write nothing.
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (Some(target.trim()), level.trim()),
                None => (None, directive),
            };
            let level: LevelFilter = level.parse().map_err(|_| FORM)?;
            match target {
                None => overall = level,
                Some("") => return Err(FORM),
                Some(target) => targets.push((target.to_owned(), level)),
            }
        }
        let quiet = QUIET_TARGETS.map(|target| (target, overall.min(LevelFilter::WARN)));
        let targets = Targets::new().with_default(overall).with_targets(quiet).with_targets(targets);
        Ok(Self { written: text.to_owned(), targets })
    }
}

/// Writes what still waits when the process ends.
#[derive(Debug)]
#[must_use = "lines that still wait are lost unless this lives until the end of the process"]
pub struct LogGuard {
    lines: Arc<Lines>,
}

impl LogGuard {
    /// Registers the count of lines that were dropped because stderr was too slow.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Log lines dropped because whoever reads stderr was too slow";
        registry.register("log_lines_dropped", help, self.lines.dropped().clone());
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.lines.flush(FLUSH_PATIENCE);
    }
}

/// Sends the `tracing` events of this process to stderr, for as long as it lives.
///
/// # Errors
/// When the writer's thread cannot be started, or events already go elsewhere.
pub fn init(format: LogFormat, filter: &LogFilter) -> io::Result<LogGuard> {
    let lines = Arc::new(Lines::default());
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::registry().with(filter.targets.clone()).with(layer(
        format,
        colour,
        LineWriter { lines: Arc::clone(&lines), format },
    ));
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    let queue = Arc::clone(&lines);
    // The thread ends with the process: there is no event after which nobody writes any more.
    std::thread::Builder::new().name("log-writer".into()).spawn(move || {
        loop {
            let untold = queue.write_waiting(&mut io::stderr());
            if untold > 0 {
                tracing::warn!(log.lines_dropped = untold, "log lines were dropped because stderr was too slow");
            }
        }
    })?;
    Ok(LogGuard { lines })
}

/// The layer that formats events and hands each to `writer` as one line.
fn layer<S>(format: LogFormat, colour: bool, writer: LineWriter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour).log_internal_errors(false);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        // The library escapes what moves a cursor but writes line feeds as they are, so that an error text that came
        // from the network could forge a line.
        LogFormat::Human => layer
            .compact()
            .fmt_fields(
                debug_fn(|writer, field, value| match field.name() {
                    "message" => write!(EscapingWriter(writer), "{value:?}"),
                    name => {
                        write!(writer, "{name}=")?;
                        write!(EscapingWriter(writer), "{value:?}")
                    }
                })
                .delimited(" "),
            )
            .boxed(),
    }
}

/// Passes text on with control characters escaped.
struct EscapingWriter<W>(W);

impl<W: fmt::Write> fmt::Write for EscapingWriter<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}

/// Takes one formatted event at a time.
#[derive(Debug, Clone)]
struct LineWriter {
    lines: Arc<Lines>,
    format: LogFormat,
}

impl io::Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(match self.format {
            LogFormat::Human => line.into(),
            LogFormat::Json => escape_json(line),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Escapes DEL and the C1 controls, which JSON allows in strings and some terminals obey.
fn escape_json(line: &[u8]) -> Box<[u8]> {
    // C1 controls are C2 80 to C2 9F in UTF-8.
    if !line.iter().any(|octet| matches!(octet, 0x7f | 0xc2)) {
        return line.into();
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in String::from_utf8_lossy(line).chars() {
        match c {
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped.into_bytes().into()
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// What the events of a function look like.
    fn written(format: LogFormat, filter: &str, events: impl FnOnce()) -> String {
        let lines = Arc::new(Lines::default());
        let filter: LogFilter = filter.parse().unwrap();
        let subscriber = tracing_subscriber::registry().with(filter.targets).with(layer(
            format,
            false,
            LineWriter { lines: Arc::clone(&lines), format },
        ));
        tracing::subscriber::with_default(subscriber, || {
            events();
            tracing::error!("the end");
        });
        let mut place = Vec::new();
        lines.write_waiting(&mut place);
        String::from_utf8(place).unwrap()
    }

    const HOSTILE: &str = "refused\n2026-01-01T00:00:00Z ERROR forged \u{1b}[2J\u{9b}31m\r\u{7f}";

    #[test]
    fn hostile_text_stays_on_its_line() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let text = written(format, "info", || {
                tracing::info!(probe.error = HOSTILE, "probe failed");
                tracing::info!(probe.error = %HOSTILE, "{HOSTILE}");
            });
            assert_eq!(text.lines().count(), 3, "{text:?}");
            assert!(text.lines().all(|line| !line.chars().any(char::is_control)), "{text:?}");
        }
    }

    #[test]
    fn json_lines_are_objects_with_dotted_fields() {
        let text = written(LogFormat::Json, "info", || {
            tracing::info!(target: "rollcall::changes", { service.name = "web", store.revision = 7 }, "registered");
        });
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["message"], "registered");
        assert_eq!(line["target"], "rollcall::changes");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["service.name"], "web");
        assert_eq!(line["store.revision"], 7);
    }

    #[test]
    fn human_lines_have_level_target_message_and_fields() {
        let text = written(LogFormat::Human, "info", || {
            tracing::info!(target: "rollcall::changes", { service.name = "web", store.revision = 7 }, "registered");
        });
        let line = text.lines().next().unwrap();
        assert!(line.ends_with("INFO rollcall::changes: registered service.name=\"web\" store.revision=7"), "{line}");
    }

    #[test]
    fn filters_choose_by_target_and_keep_libraries_quiet() {
        let filter: LogFilter = "info,rollcall::changes=debug".parse().unwrap();
        assert!(filter.targets.would_enable("rollcall::changes", &Level::DEBUG));
        assert!(!filter.targets.would_enable("rollcall::store", &Level::DEBUG));
        assert!(filter.targets.would_enable("rollcall::store", &Level::INFO));
        assert!(!filter.targets.would_enable("hickory_server::server", &Level::INFO));
        let filter: LogFilter = "error,hickory_proto=trace".parse().unwrap();
        assert!(!filter.targets.would_enable("hickory_server", &Level::WARN), "never more than asked for");
        assert!(filter.targets.would_enable("hickory_proto", &Level::TRACE));
    }

    #[test]
    fn misspelt_levels_are_refused() {
        for bad in ["debgu", "info,rollcall", "rollcall=loud", "=info"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
        assert_eq!("".parse::<LogFilter>().map(|filter| filter.targets.default_level()), Ok(Some(LevelFilter::INFO)));
    }
}
