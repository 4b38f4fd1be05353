//! From files to records: directives, owners, classes and lifetimes (RFC 1035 §5.1, RFC 2308 §4), and what may be read.
//!
//! Nothing outside of the folder is read, whatever a file includes or links to, and nothing beyond the bounds below.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use super::ZoneFileError;
use super::lex::{Entry, Fault, Lexer, Token};
use super::rdata;
use super::tree::{Place, StaticZone, Written};

/// Octets of one zone's file with all that it includes.
const OCTETS_MAX: usize = 16 << 20;
/// Records of one zone.
const RECORDS_MAX: usize = 500_000;
/// Files within files.
const INCLUDE_DEPTH_MAX: usize = 8;
/// Zone files of a folder.
pub(super) const FILES_MAX: usize = 10_000;
/// How the name of a zone file ends.
const SUFFIX: &str = ".zone";

/// The zone files of a folder, by name.
pub(super) fn zone_files(folder: &Path) -> Result<Vec<PathBuf>, ZoneFileError> {
    let fault = |error: std::io::Error| ZoneFileError::whole(folder, format!("the folder cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Editors hide their half-written copies behind a dot.
        if name.len() > SUFFIX.len() && name.ends_with(SUFFIX) && !name.starts_with('.') {
            files.push(entry.path());
        }
    }
    if files.len() > FILES_MAX {
        return Err(ZoneFileError::whole(folder, format!("more than {FILES_MAX} zone files")));
    }
    files.sort();
    Ok(files)
}

/// What changes when a file does, of the file and of a link that names it; `None` when there is none.
pub(super) type Stamp = Option<[(u64, u64, i64, i64); 2]>;

/// The stamp of a file now.
pub(super) fn stamp(path: &Path) -> Stamp {
    let of = |metadata: Metadata| (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Some([path.symlink_metadata().map(of).ok()?, path.metadata().map(of).ok()?])
}

/// Reads one zone, and notes which files were looked at. The file's name without `.zone` is the origin that it begins
/// with.
pub(super) fn read_zone(
    folder: &Path,
    path: &Path,
    live: &Name,
    looked_at: &mut BTreeMap<PathBuf, Stamp>,
) -> Result<StaticZone, ZoneFileError> {
    // Also when its name is at fault.
    looked_at.insert(path.to_path_buf(), stamp(path));
    let whole = |reason: String| ZoneFileError::whole(path, reason);
    let real = folder.canonicalize().map_err(|error| whole(format!("the folder cannot be read: {error}")))?;
    let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
    let origin = Token { raw: format!("{}.", stem.unwrap_or_default().trim_end_matches('.')).into(), quoted: false }
        .name(&Name::root())
        .map_err(|reason| whole(format!("the file's name without {SUFFIX} should be the zone's: {reason}")))?;
    let mut reading =
        Reading { folder, real, octets: 0, records: Vec::new(), default_ttl: None, last_ttl: None, looked_at };
    reading.read(path, origin, None, 0).map_err(|(file, fault)| ZoneFileError {
        file,
        line: (fault.line > 0).then_some(fault.line),
        reason: fault.reason,
    })?;
    let records = reading.records;
    let Some(first) = records.first() else { return Err(whole("there is no record in it".into())) };
    let soa = records.iter().find(|record| record.data.record_type() == RecordType::SOA);
    let zone = match soa {
        Some(soa) => soa.name.clone(),
        None if live.zone_of(&first.name) => live.clone(),
        None => {
            let reason = format!("{} is outside of {live}; a further zone needs an SOA record", first.name);
            return Err(first.place.fault(reason));
        }
    };
    if zone.is_root() {
        return Err(whole("the root zone is not served".into()));
    }
    let overlay = live.to_lowercase() == zone.to_lowercase();
    StaticZone::build(path, if overlay { live.clone() } else { zone }, overlay, records)
}

/// A file, and what is wrong in it; line 0 is the file as a whole.
type FileFault = (PathBuf, Fault);

/// What has been read of one zone.
struct Reading<'a> {
    folder: &'a Path,
    /// The folder without links.
    real: PathBuf,
    octets: usize,
    looked_at: &'a mut BTreeMap<PathBuf, Stamp>,
    records: Vec<Written>,
    /// As `$TTL` says.
    default_ttl: Option<u32>,
    /// As the record before says.
    last_ttl: Option<u32>,
}

impl Reading<'_> {
    /// The octets of a file within the folder.
    fn open(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        // Before it is read, so that a change meanwhile is seen next time.
        self.looked_at.insert(path.to_path_buf(), stamp(path));
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let real = path.canonicalize().map_err(unreadable)?;
        if !real.starts_with(&self.real) {
            return Err(format!("is a link that leads out of {}", self.folder.display()));
        }
        // Whatever else has a name may never end.
        if !real.metadata().map_err(unreadable)?.is_file() {
            return Err("is not a file".into());
        }
        let (mut octets, left) = (Vec::new(), OCTETS_MAX - self.octets);
        File::open(&real).and_then(|file| file.take(left as u64 + 1).read_to_end(&mut octets)).map_err(unreadable)?;
        if octets.len() > left {
            return Err(format!("makes the zone larger than {} MiB", OCTETS_MAX >> 20));
        }
        self.octets += octets.len();
        Ok(octets)
    }

    fn read(&mut self, path: &Path, mut origin: Name, mut owner: Option<Name>, depth: usize) -> Result<(), FileFault> {
        let at = |fault: Fault| (path.to_path_buf(), fault);
        let octets = self.open(path).map_err(|reason| at(Fault { line: 0, reason }))?;
        let file: Arc<Path> = path.into();
        let mut lexer = Lexer::new(&octets);
        while let Some(entry) = lexer.next_entry().map_err(at)? {
            let fault = |reason: String| at(Fault { line: entry.line, reason });
            let first = &entry.tokens[0];
            if first.raw.starts_with(b"$") && !first.quoted && !entry.indented {
                match &first.raw.to_ascii_uppercase()[..] {
                    b"$ORIGIN" => {
                        let [_, name] = &entry.tokens[..] else { return Err(fault("$ORIGIN takes one name".into())) };
                        origin = name.name(&origin).map_err(fault)?;
                    }
                    b"$TTL" => {
                        let [_, ttl] = &entry.tokens[..] else { return Err(fault("$TTL takes one time".into())) };
                        self.default_ttl = Some(ttl.ttl().map_err(fault)?);
                    }
                    b"$INCLUDE" => {
                        let (path, included) = self.include(path, &entry, &origin, depth).map_err(fault)?;
                        match self.read(&path, included, owner.clone(), depth + 1) {
                            // A file that cannot be read at all is the fault of the line that names it.
                            Err((of, Fault { line: 0, reason })) if of == path => {
                                return Err(fault(format!("{} {reason}", path.display())));
                            }
                            other => other?,
                        }
                    }
                    _ => return Err(fault(format!("there is no directive {}", first.shown()))),
                }
                continue;
            }
            let tokens = if entry.indented {
                &entry.tokens[..]
            } else {
                owner = Some(first.name(&origin).map_err(fault)?);
                &entry.tokens[1..]
            };
            let Some(name) = owner.clone() else { return Err(fault("no name comes before it".into())) };
            let (ttl, data) = self.record(tokens, &origin).map_err(fault)?;
            if self.records.len() == RECORDS_MAX {
                return Err(fault(format!("more than {RECORDS_MAX} records")));
            }
            let wire = rdata::wire(&data).map_err(fault)?;
            let place = Place { file: file.clone(), line: entry.line };
            self.records.push(Written { name, ttl, data, wire, place });
        }
        Ok(())
    }

    /// The path and the origin that an `$INCLUDE` means.
    fn include(&self, from: &Path, entry: &Entry, origin: &Name, depth: usize) -> Result<(PathBuf, Name), String> {
        let (file, origin) = match &entry.tokens[..] {
            [_, file] => (file.text()?, origin.clone()),
            [_, file, name] => (file.text()?, name.name(origin)?),
            _ => return Err("$INCLUDE takes a file, and a name if need be".into()),
        };
        if depth == INCLUDE_DEPTH_MAX {
            return Err(format!("files are included more than {INCLUDE_DEPTH_MAX} deep"));
        }
        let relative = Path::new(&file);
        let stays = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !stays || file.is_empty() || file.contains(char::is_control) {
            return Err(format!("{file:?} is not a path within {}", self.folder.display()));
        }
        Ok((from.parent().unwrap_or(self.folder).join(relative), origin))
    }

    /// `[TTL] [class] type data`, or with the first two swapped.
    fn record(&mut self, tokens: &[Token], origin: &Name) -> Result<(u32, RData), String> {
        let (mut ttl, mut class, mut rest) = (None, false, tokens);
        let record_type = loop {
            let [word, after @ ..] = rest else { return Err("the record has no type".into()) };
            rest = after;
            let upper = word.raw.to_ascii_uppercase();
            if ttl.is_none() && word.raw.first().is_some_and(u8::is_ascii_digit) {
                ttl = Some(word.ttl()?);
            } else if !class && matches!(&upper[..], b"IN" | b"CLASS1") {
                class = true;
            } else if matches!(&upper[..], b"CH" | b"HS" | b"CS" | b"ANY" | b"NONE") || upper.starts_with(b"CLASS") {
                return Err(format!("only the class IN is served, not {}", word.shown()));
            } else {
                break rdata::record_type(word)?;
            }
        };
        let data = rdata::parse(record_type, rest, origin)?;
        let of_soa = match &data {
            RData::SOA(soa) => Some(soa.minimum),
            _ => None,
        };
        let known = ttl.or(self.default_ttl).or(self.last_ttl).or(of_soa);
        let Some(known) = known else { return Err("no TTL is known here: begin the file with $TTL".into()) };
        self.last_ttl = Some(known);
        Ok((known, data))
    }
}
