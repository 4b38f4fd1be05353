//! The write-ahead log: frames one after the other in a file that never grows, each sure to be there once it is synced.
//!
//! ```text
//! half 0: header, frame, frame, …        half 1: header, frame, …
//! ```
//!
//! One half is written to its end while what stands in the other goes into the tables; then they change roles. A half is
//! begun anew by a header with a key of its own, in one sector, which makes all that stood in it worthless: no octets
//! that somebody registered can pass for a frame. A frame is its length in 4 octets, its number in 8, the SipHash-1-3 of
//! length, number and content under the half's key in 8, its content, and zeros up to a multiple of 64 octets. Numbers go
//! up by one from frame to frame.
//!
//! A frame that is not whole ends the log: the power went while it was written. Where a later frame is whole, it was not
//! the power, because a frame is only written once those before it are sure; that is damage, and refused.

use std::fmt;
use std::hash::Hasher;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use redb::StorageBackend;
use siphasher::sip::SipHasher13;

/// Octets of the file: as much as is written before the tables are, twice.
pub(super) const FILE_OCTETS: u64 = 16 << 20;
/// Octets of a half's header: what a disk writes as a whole.
const HEADER: u64 = 512;
const MAGIC: &[u8; 8] = b"rollwal\x01";
/// Octets of a frame before its content.
const FRAME_HEAD: usize = 4 + 8 + 8;
/// Frames begin at multiples of so many octets, which leaves few places to look at for one that should not be there.
const ALIGNMENT: usize = 64;

/// Octets that a frame with such content takes.
fn taken_by(content: usize) -> usize {
    (FRAME_HEAD + content).next_multiple_of(ALIGNMENT)
}

/// The store that a log belongs to, and the last frame that is in its tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    pub(super) store: u64,
    pub(super) applied: u64,
}

/// Why a log cannot be used.
#[derive(Debug)]
pub(super) enum WalError {
    /// What is wrong with it.
    Damaged(String),
    /// What the system says.
    Io(io::Error),
}

impl From<io::Error> for WalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn damaged(what: impl fmt::Display) -> WalError {
    WalError::Damaged(what.to_string())
}

/// What stands at the beginning of a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    store: u64,
    /// The number of its first frame.
    first: u64,
    /// Octets of the half, so that a file which was cut is no other file.
    half_octets: u64,
    key: [u8; 16],
}

impl Header {
    fn write(&self) -> [u8; HEADER as usize] {
        let mut octets = [0; HEADER as usize];
        octets[..8].copy_from_slice(MAGIC);
        octets[8..16].copy_from_slice(&self.store.to_be_bytes());
        octets[16..24].copy_from_slice(&self.first.to_be_bytes());
        octets[24..32].copy_from_slice(&self.half_octets.to_be_bytes());
        octets[32..48].copy_from_slice(&self.key);
        let sum = sum(&[0; 16], &octets[..48], &[]);
        octets[48..56].copy_from_slice(&sum.to_be_bytes());
        octets
    }

    /// The header of a half; none when it was never begun.
    fn read(octets: &[u8], half_octets: u64) -> Result<Option<Self>, WalError> {
        if octets.iter().all(|octet| *octet == 0) {
            return Ok(None);
        }
        let number = |at: usize| octets[at..].first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
        let key = octets[32..48].try_into().map_err(damaged)?;
        let header = Self { store: number(8), first: number(16), half_octets: number(24), key };
        if header.write() != octets {
            return Err(damaged("the head of a half is not whole"));
        }
        if header.half_octets != half_octets {
            return Err(damaged("its length is not what it was"));
        }
        Ok(Some(header))
    }
}

fn sum(key: &[u8; 16], head: &[u8], content: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(head);
    hasher.write(content);
    hasher.finish()
}

/// A frame at the beginning of octets, when it is whole and has one of these numbers: its number and its content.
fn frame<'a>(key: &[u8; 16], octets: &'a [u8], numbers: RangeInclusive<u64>) -> Option<(u64, &'a [u8])> {
    let (head, rest) = octets.split_at_checked(FRAME_HEAD)?;
    let number = u64::from_be_bytes(*head[4..].first_chunk()?);
    // Before anything is summed up: this is asked of every place behind the end of a log.
    if !numbers.contains(&number) {
        return None;
    }
    let length = usize::try_from(u32::from_be_bytes(*head.first_chunk()?)).ok()?;
    let content = rest.get(..length).filter(|content| !content.is_empty())?;
    let expected = u64::from_be_bytes(*head[12..].first_chunk()?);
    (sum(key, &head[..12], content) == expected).then_some((number, content))
}

type Frames = Vec<(u64, Vec<u8>)>;

/// The frames of a half, without its header, from its first on that is not in the tables, up to one that is not whole.
fn frames(header: &Header, mut rest: &[u8], applied: u64) -> Result<Frames, WalError> {
    let mut frames = Frames::new();
    let mut due = header.first;
    while let Some((number, content)) = frame(&header.key, rest, due..=due) {
        if number > applied {
            frames.push((number, content.to_vec()));
        }
        rest = rest.get(taken_by(content.len())..).unwrap_or_default();
        due += 1;
    }
    // What is in the tables may be overwritten in part: the power went before the half had its new header.
    let later = due.max(applied) + 1;
    let later = later..=later + header.half_octets;
    match (ALIGNMENT..rest.len())
        .step_by(ALIGNMENT)
        .find(|at| frame(&header.key, &rest[*at..], later.clone()).is_some())
    {
        Some(_) => Err(damaged(format!("frame {due} is not whole, and later ones are"))),
        None => Ok(frames),
    }
}

/// The halves that were begun: where each is, and its header.
pub(super) fn halves(file: &dyn StorageBackend, store: u64) -> Result<Vec<(u64, Header)>, WalError> {
    let half_octets = file.len()? / 2;
    if half_octets <= HEADER {
        return Err(damaged("it is cut short"));
    }
    let mut halves = Vec::new();
    for at in [0, half_octets] {
        let mut octets = [0; HEADER as usize];
        file.read(at, &mut octets)?;
        let Some(header) = Header::read(&octets, half_octets)? else { continue };
        if header.store != store {
            return Err(damaged("it belongs to another store"));
        }
        halves.push((at, header));
    }
    Ok(halves)
}

/// The contents of the frames that are not in the tables yet, in order.
pub(super) fn read(file: &dyn StorageBackend, anchor: Anchor) -> Result<Vec<Vec<u8>>, WalError> {
    let Anchor { store, applied } = anchor;
    let mut read = Vec::new();
    for (at, header) in halves(file, store)? {
        let mut octets = vec![0; usize::try_from(header.half_octets - HEADER).map_err(damaged)?];
        file.read(at + HEADER, &mut octets)?;
        read.push((header.first, frames(&header, &octets, applied)?));
    }
    read.sort_by_key(|(first, _)| *first);
    // A frame that could not be made sure of may stand at the end of the older half. It came again in the other.
    if let [(_, older), (first, _)] = read.as_mut_slice() {
        older.retain(|(number, _)| number < first);
    }
    let newest = read.last().map_or(0, |(first, _)| *first);
    let mut due = applied + 1;
    let mut contents = Vec::new();
    for (number, content) in read.into_iter().flat_map(|(_, frames)| frames) {
        if number == due {
            contents.push(content);
            due += 1;
        }
    }
    if newest > due { Err(damaged(format!("frame {due} is missing"))) } else { Ok(contents) }
}

/// A log that is written.
#[derive(Debug)]
pub(super) struct Wal {
    file: Arc<dyn StorageBackend>,
    half_octets: u64,
    store: u64,
    /// The number of the last frame that is sure.
    last: u64,
    /// The half that is written to; none after a frame that went another way.
    active: Option<Active>,
    /// The half to begin next, and the last frame that stood in it.
    next: (u64, u64),
}

#[derive(Debug)]
struct Active {
    half: u64,
    key: [u8; 16],
    /// Octets of the half that are taken.
    taken: u64,
}

/// Where a frame can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Behind the last one.
    Here,
    /// Into the other half, once the tables have all up to a frame.
    Other(u64),
    /// Nowhere: it is larger than a half.
    Nowhere,
}

impl Wal {
    /// A log that goes on after a frame, which all in it that counts leads up to and which the tables have.
    ///
    /// What else is in it counts no more: a frame that was refused and could not be taken back before the end, or those
    /// that came after the tables at hand, which are a copy that was put back.
    pub(super) fn begin(file: Arc<dyn StorageBackend>, anchor: Anchor) -> io::Result<Self> {
        let half_octets = file.len()? / 2;
        let Anchor { store, applied } = anchor;
        let header = Header { store, first: applied + 1, half_octets, key: rand::random() };
        file.write(0, &header.write())?;
        file.write(half_octets, &[0; HEADER as usize])?;
        file.sync_data()?;
        let active = Some(Active { half: 0, key: header.key, taken: HEADER });
        Ok(Self { file, half_octets, store, last: applied, active, next: (1, applied) })
    }

    /// The number of the last frame that is sure.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Where a frame with such content can go.
    pub(super) fn room(&self, content: usize) -> Room {
        let octets = taken_by(content) as u64;
        match &self.active {
            Some(active) if active.taken + octets <= self.half_octets => Room::Here,
            _ if HEADER + octets > self.half_octets => Room::Nowhere,
            _ => Room::Other(self.next.1),
        }
    }

    /// Writes a frame where there is room for it, and makes sure of it. Its number.
    ///
    /// After an error it may be there or not; the next one takes its number and its place.
    pub(super) fn append(&mut self, content: &[u8]) -> io::Result<u64> {
        let number = self.last + 1;
        let is_here = self.room(content.len()) == Room::Here;
        // A half that was begun and may not have been stays the next one, or its number would be in both.
        let active = self.active.take();
        let (half, key, at) = match active.filter(|_| is_here) {
            Some(active) => (active.half, active.key, active.taken),
            None => (self.next.0, rand::random(), 0),
        };
        let mut octets = Vec::with_capacity(HEADER as usize + FRAME_HEAD + content.len());
        if !is_here {
            let header = Header { store: self.store, first: number, half_octets: self.half_octets, key };
            octets.extend(header.write());
        }
        let head = octets.len();
        octets.extend((content.len() as u32).to_be_bytes());
        octets.extend(number.to_be_bytes());
        let sum = sum(&key, &octets[head..], content);
        octets.extend(sum.to_be_bytes());
        octets.extend(content);
        octets.resize(octets.len().next_multiple_of(ALIGNMENT), 0);
        if is_here {
            // After an error here, the next frame may take this place.
            self.active = Some(Active { half, key, taken: at });
        }
        self.file.write(half * self.half_octets + at, &octets)?;
        self.file.sync_data()?;
        if !is_here {
            self.next = (1 - half, self.last);
        }
        self.active = Some(Active { half, key, taken: at + octets.len() as u64 });
        self.last = number;
        Ok(number)
    }

    /// Counts a frame that went into the tables by itself, with all before it. Its number.
    pub(super) fn pass(&mut self) -> u64 {
        self.last += 1;
        // Numbers within a half leave none out.
        if let Some(active) = self.active.take() {
            self.next = (1 - active.half, self.last);
        }
        self.next.1 = self.last;
        self.last
    }
}
