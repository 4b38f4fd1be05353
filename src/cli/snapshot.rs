//! `rollcall snapshot save` and `rollcall snapshot restore`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::connection::ConnectionArgs;
use super::consent::ask;
use super::fault::Fault;
use super::screen::{Output, show};
use super::table::Table;
use super::text::{cell, json_line, visible};
use crate::client::{Client, Download};

/// Octets that the last line of a snapshot has at most.
const LAST_OCTETS: usize = 4 << 10;
/// Stands for stdin and stdout.
const DASH: &str = "-";

/// Save or restore.
#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Write all that a server keeps to a file, while it goes on
    Save {
        /// The file, which is replaced when the snapshot is whole; - for stdout
        file: PathBuf,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Put a snapshot in place of all that a server keeps, while it goes on
    Restore {
        /// The file; - for stdin
        file: PathBuf,

        /// Do not ask whether it is meant
        #[arg(long)]
        yes: bool,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

impl SnapshotArgs {
    pub(super) fn output(&self) -> Output {
        match &self.deed {
            Deed::Save { connection, .. } | Deed::Restore { connection, .. } => connection.output,
        }
    }

    pub(super) async fn run(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), Fault> {
        match &self.deed {
            Deed::Save { file, connection } => {
                let mut download = connection.client(environment)?.snapshot().await?;
                if file.as_os_str() == DASH {
                    let saved = copy(&mut download, out).await?;
                    out.flush()?;
                    // What is on stdout is the snapshot.
                    let told = match connection.output {
                        Output::Json => writeln!(err, "{}", json_line(&saved)),
                        Output::Table => saved_table(&saved).write(err),
                    };
                    return Ok(told?);
                }
                let mut saved = save(&mut download, file).await?;
                saved["file"] = json!(file.to_string_lossy());
                Ok(show(out, connection.output, &saved, saved_table)?)
            }
            Deed::Restore { file, yes, connection } => {
                let client = connection.client(environment)?;
                let restored = if file.as_os_str() == DASH {
                    if !yes {
                        return Err(Fault::Usage(
                            "restoring from stdin needs --yes, because nobody can be asked".to_owned(),
                        ));
                    }
                    client.restore(io::stdin()).await?
                } else {
                    let mut lines = File::open(file).map_err(|error| at(file, &error))?;
                    let what = summary_of(&mut lines, file)?;
                    if !yes {
                        let question = async || question(&client, &what).await;
                        ask("restoring", question, "nothing was restored").await?;
                    }
                    client.restore(lines).await?
                };
                Ok(show(out, connection.output, &restored, restored_table)?)
            }
        }
    }
}

fn at(file: &Path, error: &io::Error) -> Fault {
    Fault::Usage(format!("{}: {error}", file.display()))
}

/// How much a restore would replace, and by what.
async fn question(client: &Client, what: &Value) -> Result<String, Fault> {
    let status = client.status().await?;
    let text = |value: &Value| visible(&cell(value)).into_owned();
    Ok(format!(
        "Replace all of {} ({} instances of {} services) by the {} instances of {} services that {} had at {}?",
        text(&status["zone"]),
        text(&status["instances"]),
        text(&status["services"]),
        text(&what["instances"]),
        text(&what["services"]),
        text(&what["zone"]),
        text(&what["time"]),
    ))
}

/// The first and the last octets of a stream that passes.
#[derive(Debug, Default)]
struct Ends {
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Ends {
    fn take(&mut self, octets: &[u8]) {
        if self.first.len() < LAST_OCTETS {
            let room = LAST_OCTETS - self.first.len();
            self.first.extend_from_slice(&octets[..octets.len().min(room)]);
        }
        self.last.extend_from_slice(&octets[octets.len().saturating_sub(LAST_OCTETS)..]);
        let surplus = self.last.len().saturating_sub(LAST_OCTETS);
        self.last.drain(..surplus);
    }

    /// What the first and the last line say; none when either is not that of a snapshot.
    fn summary(&self) -> Option<Value> {
        let first = self.first.split(|octet| *octet == b'\n').next()?;
        let last = self.last.strip_suffix(b"\n")?.rsplit(|octet| *octet == b'\n').next()?;
        let mut summary: Value = serde_json::from_slice(first).ok()?;
        let end: Value = serde_json::from_slice(last).ok()?;
        summary.get("format")?;
        let (summary_fields, counts) = (summary.as_object_mut()?, end.get("end")?.as_object()?.clone());
        summary_fields.extend(counts);
        Some(summary)
    }
}

/// What a file says of itself. It is at its beginning afterwards.
fn summary_of(lines: &mut File, file: &Path) -> Result<Value, Fault> {
    let read = |lines: &mut File| -> io::Result<Ends> {
        let mut ends = Ends::default();
        BufReader::new(&mut *lines).take(LAST_OCTETS as u64).read_until(b'\n', &mut ends.first)?;
        let octets = lines.seek(SeekFrom::End(0))?;
        lines.seek(SeekFrom::Start(octets.saturating_sub(LAST_OCTETS as u64)))?;
        lines.take(LAST_OCTETS as u64).read_to_end(&mut ends.last)?;
        lines.rewind()?;
        Ok(ends)
    };
    let ends = read(lines).map_err(|error| at(file, &error))?;
    let advice = "it is no whole snapshot: the first or the last line of one is missing";
    ends.summary().ok_or_else(|| Fault::Usage(format!("{}: {advice}", file.display())))
}

/// Copies a snapshot, and returns what it says of itself.
async fn copy(download: &mut Download, to: &mut dyn Write) -> Result<Value, Fault> {
    let mut ends = Ends::default();
    while let Some(octets) = download.next().await? {
        ends.take(&octets);
        to.write_all(&octets)?;
    }
    ends.summary().ok_or_else(|| download.cut_short().into())
}

/// Writes a snapshot to a file, which is there as a whole or as it was.
async fn save(download: &mut Download, file: &Path) -> Result<Value, Fault> {
    let name = file.file_name().ok_or_else(|| Fault::Usage(format!("{} names no file", file.display())))?;
    let mut part = name.to_owned();
    part.push(".part");
    let part = file.with_file_name(part);
    let written = async {
        // What services say of themselves, and headers of checks, are not for everybody.
        let mut options = OpenOptions::new();
        let made = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
        let mut to = made.map_err(|error| at(&part, &error))?;
        let saved = copy(download, &mut to).await?;
        to.sync_all()?;
        fs::rename(&part, file).map_err(|error| at(file, &error))?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(saved)
    };
    let written = written.await;
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

fn saved_table(saved: &Value) -> Table {
    let mut table = Table::headed(&["ZONE", "REVISION", "SERVICES", "INSTANCES", "LEASES"]);
    let cells = ["zone", "revision", "services", "instances", "leases"].map(|field| cell(&saved[field]));
    table.push(cells.each_ref().map(String::as_str));
    table
}

fn restored_table(restored: &Value) -> Table {
    let mut table = Table::headed(&["", "REPLACED", "RESTORED"]);
    for what in ["services", "instances", "leases"] {
        table.push([what, &cell(&restored["replaced"][what]), &cell(&restored["restored"][what])]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_at_its_ends_what_it_is() {
        let text = "{\"format\":1,\"zone\":\"a\"}\n{\"lease\":1}\n{\"end\":{\"instances\":3},\"checksum\":\"x\"}\n";
        for size in [1, 7, 4096] {
            let mut ends = Ends::default();
            text.as_bytes().chunks(size).for_each(|octets| ends.take(octets));
            assert_eq!(ends.summary(), Some(json!({"format": 1, "zone": "a", "instances": 3})), "{size}");
        }
        for cut in [0, 10, 30, text.len() - 1] {
            let mut ends = Ends::default();
            ends.take(&text.as_bytes()[..cut]);
            assert_eq!(ends.summary(), None, "{cut}");
        }
        let mut ends = Ends::default();
        ends.take(&vec![b'x'; 3 * LAST_OCTETS]);
        assert_eq!((ends.first.len(), ends.last.len()), (LAST_OCTETS, LAST_OCTETS));
    }
}
