//! From what a store keeps to lines.

use std::hash::Hasher;

use serde::Serialize;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::{Counts, FORMAT, Snapshot};
use crate::model::{Duration, Revision, ServiceName, StoreId, Timestamp, Ttl, ZoneName};
use crate::store::record::{self, instance_key};
use crate::store::service_record;

/// Octets after which lines are handed on.
const CHUNK_OCTETS: usize = 64 << 10;

#[derive(Serialize)]
struct Header<'a> {
    format: u64,
    zone: &'a str,
    store: &'a StoreId,
    revision: Revision,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Duration>,
}

#[derive(Serialize)]
struct End {
    end: Counts,
    checksum: String,
}

/// Where the lines are.
#[derive(Debug)]
enum Place {
    Header,
    /// So many leases are written.
    Leases(usize),
    /// So many instances of a service are written; of none when it is the first.
    Services(Option<ServiceName>, usize),
    Done,
}

/// The lines of a snapshot, some at a time.
#[derive(Debug)]
pub struct Lines {
    snapshot: Snapshot,
    zone: ZoneName,
    store: StoreId,
    at: Timestamp,
    place: Place,
    counts: Counts,
    checksum: SipHasher24,
}

impl Snapshot {
    /// The snapshot as lines; its first says where and when it was taken.
    pub fn into_lines(self, zone: ZoneName, store: StoreId, at: Timestamp) -> Lines {
        let (counts, checksum) = (Counts::default(), SipHasher24::new());
        Lines { snapshot: self, zone, store, at, place: Place::Header, counts, checksum }
    }
}

/// Adds a line of a thing with its record.
fn item(chunk: &mut Vec<u8>, kind: &str, key: &str, record: &[u8]) {
    let Some((form, json)) = record.split_first() else { return };
    // Keys are names and hexadecimal digits, which JSON writes as they are.
    chunk.extend_from_slice(format!("{{\"{kind}\":\"{key}\",\"form\":{},\"record\":", char::from(*form)).as_bytes());
    chunk.extend_from_slice(json);
    chunk.extend_from_slice(b"}\n");
}

fn line(chunk: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *chunk, value).expect("a line has text keys and is written to memory");
    chunk.push(b'\n');
}

impl Lines {
    /// Whole lines, some 64 KiB of them; none at the end.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK_OCTETS + (4 << 10));
        while chunk.len() < CHUNK_OCTETS {
            match std::mem::replace(&mut self.place, Place::Done) {
                Place::Header => {
                    let (zone, store, revision) = (self.zone.as_str(), &self.store, self.snapshot.revision());
                    let ttl = Some(self.snapshot.registry.longest_ttl()).filter(|ttl| *ttl != Ttl::USUAL);
                    let (time, ttl) = (self.at, ttl.map(Ttl::duration));
                    line(&mut chunk, &Header { format: FORMAT, zone, store, revision, time, ttl });
                    self.place = Place::Leases(0);
                }
                Place::Leases(written) => self.place = self.leases(&mut chunk, written),
                Place::Services(name, written) => match self.services(&mut chunk, name, written) {
                    Some(place) => self.place = place,
                    None => {
                        self.checksum.write(&chunk);
                        let checksum = format!("{:032x}", self.checksum.finish128().as_u128());
                        line(&mut chunk, &End { end: self.counts, checksum });
                        return Some(chunk);
                    }
                },
                Place::Done => return None,
            }
        }
        self.checksum.write(&chunk);
        Some(chunk)
    }

    fn leases(&mut self, chunk: &mut Vec<u8>, mut written: usize) -> Place {
        while let Some((id, ttl)) = self.snapshot.leases.get(written) {
            if chunk.len() >= CHUNK_OCTETS {
                return Place::Leases(written);
            }
            let record = record::write_lease(*ttl, self.snapshot.unknown.leases.get(&id.number()));
            item(chunk, "lease", &id.to_string(), &record);
            self.counts.leases += 1;
            written += 1;
        }
        // What the leases took is not needed for the rest of the way.
        self.snapshot.leases = Vec::new();
        Place::Services(None, 0)
    }

    /// Goes on behind so many instances of a service; the place that it came to, or none at the end.
    fn services(&mut self, chunk: &mut Vec<u8>, name: Option<ServiceName>, written: usize) -> Option<Place> {
        let Snapshot { registry, unknown, .. } = &self.snapshot;
        let begun = name.as_ref().and_then(|name| registry.service(name));
        let behind = begun.map_or(0, |_| written);
        for (position, service) in begun.into_iter().chain(registry.services_after(name.as_ref())).enumerate() {
            let name = service.name().as_str();
            let skipped = if position == 0 { behind } else { 0 };
            if position > 0 || begun.is_none() {
                let remains = service.remains();
                if !remains.is_empty() {
                    let record = service_record::write(&remains, unknown.services.get(name));
                    item(chunk, "service", name, &record);
                }
                self.counts.services += usize::from(!service.instances().is_empty());
            }
            for (n, instance) in service.instances().iter().enumerate().skip(skipped) {
                if chunk.len() >= CHUNK_OCTETS {
                    return Some(Place::Services(Some(service.name().clone()), n));
                }
                let key = instance_key(name, instance.id.as_str());
                item(chunk, "instance", &key, &record::write_instance(instance, unknown.instances.get(&key)));
                self.counts.instances += 1;
            }
            if chunk.len() >= CHUNK_OCTETS {
                return Some(Place::Services(Some(service.name().clone()), service.instances().len()));
            }
        }
        None
    }
}
