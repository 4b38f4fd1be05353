//! Static names: what zone files say (RFC 1035 §5), beside the live names and in zones of their own.
//!
//! ```text
//! folder ──file──▶ lex, rdata ──▶ records ──tree──▶ StaticZone ─┬─▶ overlay: beside the live zone's names
//!            ▲                                                   └─▶ further zones, by origin
//!            └── reload: on SIGHUP, and when a file has changed ──▶ Zone::replace_statics (one swap)
//! ```
//!
//! The zone of a file is the owner of its SOA. A file without an SOA belongs to the live zone. One zone is one file,
//! with what that includes.

// What is read.
mod file;
mod lex;
mod rdata;
// What there is, and what is said of it.
pub(super) mod decide;
mod fill;
mod tree;
// How it changes.
mod reload;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::Name;

pub(super) use decide::Alias;
pub use reload::Reloader;
pub(super) use tree::{Found, StaticZone};

use super::name::WireName;
use crate::model::ZoneName;
use file::Stamp;

/// Why a zone file is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFileError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, counted from 1, unless it is the file as a whole.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub reason: String,
}

impl ZoneFileError {
    fn whole(file: &Path, reason: String) -> Self {
        Self { file: file.to_path_buf(), line: None, reason }
    }
}

impl fmt::Display for ZoneFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.file.display(), self.reason),
            None => write!(f, "{}: {}", self.file.display(), self.reason),
        }
    }
}

impl std::error::Error for ZoneFileError {}

/// Everything that the files of a folder say. Immutable.
#[derive(Debug, Default)]
pub struct Statics {
    /// By file.
    zones: Vec<Arc<StaticZone>>,
    overlay: Option<Arc<StaticZone>>,
    /// All but the overlay, by lower-case wire name.
    further: HashMap<Box<[u8]>, Arc<StaticZone>>,
    /// Whether one of those lies within the live zone.
    within_live: bool,
    /// Every file that was read or looked for; `None` when the folder could not be listed.
    looked_at: Option<BTreeMap<PathBuf, Stamp>>,
}

/// The zone that speaks for a name.
enum Side {
    Live,
    Further(Arc<StaticZone>),
}

impl Statics {
    /// Reads every `*.zone` file of a folder, for a server whose live zone is `live`.
    ///
    /// # Errors
    /// The first file that cannot be served.
    pub fn load(folder: &Path, live: &ZoneName) -> Result<Self, ZoneFileError> {
        let (statics, mut errors) = Self::default().reload(folder, live);
        if errors.is_empty() { Ok(statics) } else { Err(errors.swap_remove(0)) }
    }

    /// Reads every file anew. Of one that cannot be served, what was served stays; what has no file any more goes.
    pub fn reload(&self, folder: &Path, live: &ZoneName) -> (Self, Vec<ZoneFileError>) {
        let live = live_name(live);
        let files = match file::zone_files(folder) {
            Ok(files) => files,
            Err(error) => return (Self::of(self.zones.clone(), &live, None), vec![error]),
        };
        let (mut errors, mut looked_at) = (Vec::new(), BTreeMap::new());
        let mut zones: Vec<Arc<StaticZone>> = Vec::new();
        for path in files {
            let read = file::read_zone(folder, &path, &live, &mut looked_at).and_then(|zone| {
                let same = |other: &&Arc<StaticZone>| other.origin.to_lowercase() == zone.origin.to_lowercase();
                match zones.iter().find(same) {
                    None => Ok(Arc::new(zone)),
                    Some(other) => {
                        let reason = format!("the zone {} is in {} already", zone.origin, other.file.display());
                        Err(ZoneFileError::whole(&path, reason))
                    }
                }
            });
            match read {
                Ok(zone) => zones.push(zone),
                Err(error) => {
                    errors.push(error);
                    let kept = self.zones.iter().find(|zone| zone.file == path);
                    zones.extend(
                        kept.filter(|kept| !zones.iter().any(|z| z.wire_origin.whole() == kept.wire_origin.whole()))
                            .cloned(),
                    );
                }
            }
        }
        (Self::of(zones, &live, Some(looked_at)), errors)
    }

    fn of(zones: Vec<Arc<StaticZone>>, live: &Name, looked_at: Option<BTreeMap<PathBuf, Stamp>>) -> Self {
        let overlay = zones.iter().find(|zone| zone.overlay).cloned();
        let of_own = zones.iter().filter(|zone| !zone.overlay);
        let further = of_own.map(|zone| (zone.wire_origin.whole().into(), zone.clone())).collect();
        let within_live = zones.iter().any(|zone| !zone.overlay && live.zone_of(&zone.origin));
        Self { overlay, further, within_live, looked_at, zones }
    }

    /// Whether reading the folder anew may find something else: of the files that count, one has changed, come or gone.
    fn is_stale(&self, folder: &Path) -> bool {
        match (file::zone_files(folder), &self.looked_at) {
            (Err(_), looked_at) => looked_at.is_some(),
            (Ok(_), None) => true,
            (Ok(files), Some(looked_at)) => {
                files.iter().any(|file| !looked_at.contains_key(file))
                    || looked_at.iter().any(|(file, before)| file::stamp(file) != *before)
            }
        }
    }

    /// What stands beside the live names.
    pub(super) fn overlay(&self) -> Option<&StaticZone> {
        self.overlay.as_deref()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// The names of the zones, with the file of each.
    pub fn zones(&self) -> impl Iterator<Item = (&Name, &Path)> {
        self.zones.iter().map(|zone| (&zone.origin, zone.file.as_path()))
    }

    /// The zone that speaks for a name without its first `skip` labels: the one with the longest origin.
    fn side(&self, name: &WireName, skip: usize, live: &WireName) -> Option<(Side, usize)> {
        (skip..=name.labels()).find_map(|at| {
            let origin = name.span(at, name.labels());
            if origin == live.whole() {
                return Some((Side::Live, at));
            }
            self.further.get(origin).map(|zone| (Side::Further(zone.clone()), at))
        })
    }
}

/// The name of the live zone.
pub(super) fn live_name(live: &ZoneName) -> Name {
    Name::from_labels(live.labels().map(str::as_bytes)).expect("a zone name is a valid name of at most 200 octets")
}
