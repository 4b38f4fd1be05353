//! A group of changes as the write-ahead log has it: which records to put where, and which are to go.
//!
//! A frame is the revision that it leads to in 8 octets, and entries up to its end. An entry is an octet that says what
//! follows, and then:
//!
//! | octet | entry |
//! |---|---|
//! | 1, 2 | an instance: its key; 1 has a record, 2 is gone |
//! | 3, 4 | a service, likewise |
//! | 5, 6 | a lease: its number in 8 octets; 5 has a record, 6 is gone |
//! | 7 | an event: revision in 8 octets, which change of it in 4, a record |
//! | 8 | events up to a time, in milliseconds since 1970 in 8 octets, are not here because later ones push them out at once |
//! | 9 | until when answers of services that nobody knows any more may be in caches: milliseconds since 1970 in 8 octets, and seconds in 2 |
//!
//! A key is its length in 2 octets and as much UTF-8, a record its length in 4 and its octets; the most significant octet
//! comes first. The records are those of the tables, so to apply a frame nothing has to be understood.

use std::time::Duration;

use super::event_record;
use crate::model::{Revision, Timestamp, Ttl};
use crate::registry::{End, Trail};
use crate::store::group::Group;
use crate::store::history::{Keep, superfluous};
use crate::store::record::{self, instance_key};
use crate::store::service_record;
use crate::store::unknown::Unknown;

/// Octets of a frame before its entries.
const HEAD: usize = 8;

/// One thing that a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// The record of an instance, or that it is gone.
    Instance(&'a str, Option<&'a [u8]>),
    /// The record of a service, or that it is gone.
    Service(&'a str, Option<&'a [u8]>),
    /// The record of a lease, or that it is gone.
    Lease(u64, Option<&'a [u8]>),
    /// What has happened.
    Event((u64, u32), &'a [u8]),
    /// Events up to a time are missing.
    Since(u64),
    /// Until when answers of services that nobody knows any more may be in caches.
    Forgotten(End),
}

/// The octets of one group, and how many events are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    octets: Vec<u8>,
    events: usize,
}

impl Frame {
    /// What a group says.
    pub(super) fn of(group: &Group, unknown: &Unknown, keep: Keep) -> Self {
        let mut frame = Self::leading_to(group.revision);
        for ((service, id), instance) in &group.instances {
            let key = instance_key(service.as_str(), id.as_str());
            let record = instance.as_ref();
            let record = record.map(|instance| record::write_instance(instance, unknown.instances.get(&key)));
            frame.put(Entry::Instance(&key, record.as_deref()));
        }
        for (name, remains) in &group.services {
            let name = name.as_str();
            let record = remains.as_ref();
            let record = record.map(|remains| service_record::write(remains, unknown.services.get(name)));
            frame.put(Entry::Service(name, record.as_deref()));
        }
        for (id, ttl) in &group.leases {
            let id = id.number();
            let record = ttl.map(|ttl| record::write_lease(ttl, unknown.leases.get(&id)));
            frame.put(Entry::Lease(id, record.as_deref()));
        }
        if let Some(end) = group.forgotten {
            frame.put(Entry::Forgotten(end));
        }
        frame.put_trail(&group.trail, keep);
        // It stays in memory until the tables have it, and there may be many.
        frame.octets.shrink_to_fit();
        frame
    }

    /// What has happened, and nothing else.
    pub(super) fn of_trail(revision: Revision, trail: &Trail, keep: Keep) -> Self {
        let mut frame = Self::leading_to(revision);
        frame.put_trail(trail, keep);
        frame
    }

    fn leading_to(revision: Revision) -> Self {
        let mut octets = Vec::with_capacity(512);
        octets.extend(revision.0.to_be_bytes());
        Self { octets, events: 0 }
    }

    /// What the log holds, or why it is no frame.
    pub(super) fn read(octets: &[u8]) -> Result<Self, String> {
        let mut rest = octets.get(HEAD..).ok_or("it has no revision")?;
        while !rest.is_empty() {
            take(&mut rest).ok_or_else(|| format!("it makes no sense {} octets before its end", rest.len()))?;
        }
        let mut frame = Self { octets: octets.to_vec(), events: 0 };
        frame.events = frame.events().count();
        Ok(frame)
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Octets of memory that it takes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.octets.capacity()
    }

    /// How many events are in it.
    pub(super) fn count(&self) -> usize {
        self.events
    }

    /// The position of the history that it leads to.
    pub(super) fn revision(&self) -> u64 {
        self.octets.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets))
    }

    /// What it says, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = &self.octets[HEAD..];
        std::iter::from_fn(move || take(&mut rest))
    }

    /// The events in it, in order.
    pub(super) fn events(&self) -> impl Iterator<Item = ((u64, u32), &[u8])> {
        self.entries().filter_map(|entry| match entry {
            Entry::Event(key, record) => Some((key, record)),
            _ => None,
        })
    }

    fn put_trail(&mut self, trail: &Trail, keep: Keep) {
        let skipped = superfluous(keep, trail);
        let Ok(()) = trail.try_each(skipped, |event| {
            let record = event_record::write_event(&event);
            self.put(Entry::Event((event.at.revision.0, event.at.change), &record));
            Ok::<_, std::convert::Infallible>(())
        });
        if let Some(time) = trail.time().filter(|_| skipped > 0) {
            self.put(Entry::Since(time.as_millis()));
        }
    }

    fn put(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Instance(key, record) => self.put_named(1, key, record),
            Entry::Service(key, record) => self.put_named(3, key, record),
            Entry::Lease(id, record) => {
                self.octets.push(if record.is_some() { 5 } else { 6 });
                self.octets.extend(id.to_be_bytes());
                self.put_record(record);
            }
            Entry::Event((revision, change), record) => {
                self.events += 1;
                self.octets.push(7);
                self.octets.extend(revision.to_be_bytes());
                self.octets.extend(change.to_be_bytes());
                self.put_record(Some(record));
            }
            Entry::Since(millis) => {
                self.octets.push(8);
                self.octets.extend(millis.to_be_bytes());
            }
            Entry::Forgotten(end) => {
                self.octets.push(9);
                self.octets.extend(end.until.as_millis().to_be_bytes());
                self.octets.extend((end.span.secs() as u16).to_be_bytes());
            }
        }
    }

    fn put_named(&mut self, octet: u8, key: &str, record: Option<&[u8]>) {
        self.octets.push(if record.is_some() { octet } else { octet + 1 });
        // Two names and a slash.
        self.octets.extend((key.len() as u16).to_be_bytes());
        self.octets.extend(key.as_bytes());
        self.put_record(record);
    }

    fn put_record(&mut self, record: Option<&[u8]>) {
        if let Some(record) = record {
            // What one instance may say of itself fits many times.
            self.octets.extend((record.len() as u32).to_be_bytes());
            self.octets.extend(record);
        }
    }
}

/// The next entry; none at the end, or where it makes no sense.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let [kind] = array(rest)?;
    Some(match kind {
        1 => Entry::Instance(key(rest)?, Some(record(rest)?)),
        2 => Entry::Instance(key(rest)?, None),
        3 => Entry::Service(key(rest)?, Some(record(rest)?)),
        4 => Entry::Service(key(rest)?, None),
        5 => Entry::Lease(u64::from_be_bytes(array(rest)?), Some(record(rest)?)),
        6 => Entry::Lease(u64::from_be_bytes(array(rest)?), None),
        7 => {
            let at = (u64::from_be_bytes(array(rest)?), u32::from_be_bytes(array(rest)?));
            Entry::Event(at, record(rest)?)
        }
        8 => Entry::Since(u64::from_be_bytes(array(rest)?)),
        9 => {
            let until = Timestamp::from_millis(u64::from_be_bytes(array(rest)?));
            let span = Ttl::spanning(Duration::from_secs(u16::from_be_bytes(array(rest)?).into()));
            Entry::Forgotten(End { until, span })
        }
        _ => return None,
    })
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    octets(rest, N)?.try_into().ok()
}

fn octets<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn key<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_be_bytes(array(rest)?);
    std::str::from_utf8(octets(rest, length.into())?).ok()
}

fn record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(array(rest)?);
    octets(rest, usize::try_from(length).ok()?)
}
