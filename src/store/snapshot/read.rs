//! From lines to what a store is to keep, as they come and no faster than they are judged.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::{Counts, FORMAT, Fault, Restorable, SnapshotError, bounds};
use crate::model::{Duration, Instance, InstanceId, Lease, LeaseId, Revision, ServiceName, Ttl};
use crate::registry::{Limits, Refusal, Registry, Remains};
use crate::store::record::{self, RecordError};
use crate::store::service_record;
use crate::store::unknown::Unknown;

/// Octets of one line. The longest are those of services that remember a thousand instances that are gone.
const LINE_OCTETS_MAX: usize = 1 << 20;

/// The least that a first line of any version says.
#[derive(Deserialize)]
struct Header {
    format: u64,
    #[serde(default)]
    revision: u64,
    ttl: Option<Duration>,
}

/// Any line but the first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    lease: Option<Cow<'a, str>>,
    #[serde(borrow)]
    service: Option<Cow<'a, str>>,
    #[serde(borrow)]
    instance: Option<Cow<'a, str>>,
    form: Option<u8>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    end: Option<Counts>,
    #[serde(borrow)]
    checksum: Option<Cow<'a, str>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Header,
    Leases,
    Services,
    Done,
}

/// A lease that the lines before have.
#[derive(Debug)]
struct Held {
    ttl: Duration,
    /// Whether an instance is on it, and whether it is its own.
    owner: Option<bool>,
}

/// Reads a snapshot from its lines, and judges it as a registration is judged, in place of what `before` has.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    before: Registry,
    part: Part,
    /// The line that has begun.
    line: Vec<u8>,
    number: u64,
    checksum: SipHasher24,
    held: HashMap<LeaseId, Held, foldhash::fast::RandomState>,
    found: Restorable,
    /// The line that the instances of the last service begin at.
    began: u64,
    /// Services to the right of the last that may yet have one to the left: positions among those found.
    right: Vec<usize>,
    configured: usize,
    remembered: usize,
}

fn malformed<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Malformed(reason.into()))
}

/// What a record says, or why it cannot be read.
fn read<T>(record: Result<T, RecordError>) -> Result<T, Fault> {
    record.map_err(|error| match error {
        RecordError::Future(form) => Fault::Malformed(format!("it is in form {form}, of a newer rollcall")),
        RecordError::Malformed(reason) => Fault::Malformed(reason),
    })
}

impl Reader {
    /// A reader of what is to stand in place of `before`.
    pub fn new(limits: Limits, before: Registry) -> Self {
        let found = Restorable {
            revision: Revision::default(),
            ttl: Ttl::USUAL,
            services: Vec::new(),
            leases: Vec::new(),
            unknown: Unknown::default(),
            counts: Counts::default(),
        };
        Self {
            limits,
            before,
            part: Part::Header,
            line: Vec::new(),
            number: 0,
            checksum: SipHasher24::new(),
            held: HashMap::default(),
            found,
            began: 0,
            right: Vec::new(),
            configured: 0,
            remembered: 0,
        }
    }

    /// Takes the next octets.
    ///
    /// # Errors
    /// The first line that cannot be restored. Nothing can be made of the reader then.
    pub fn take(&mut self, mut octets: &[u8]) -> Result<(), SnapshotError> {
        while let Some(end) = octets.iter().position(|octet| *octet == b'\n') {
            let (rest, next) = octets.split_at(end + 1);
            self.number += 1;
            if self.line.is_empty() {
                self.judge(rest)?;
            } else {
                self.line.extend_from_slice(rest);
                let line = std::mem::take(&mut self.line);
                self.judge(&line)?;
            }
            octets = next;
        }
        self.line.extend_from_slice(octets);
        if self.line.len() > LINE_OCTETS_MAX {
            self.number += 1;
            return self.at(malformed(format!("it has more than {LINE_OCTETS_MAX} octets")));
        }
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    /// Where the end is missing, or what there is behind it.
    pub fn finish(mut self) -> Result<Restorable, SnapshotError> {
        self.number += 1;
        if !self.line.is_empty() {
            return Err(self.fault("it is cut: a line ends with a line feed"));
        }
        if self.part != Part::Done {
            return Err(self.fault("the last line of a snapshot is missing: it was cut short"));
        }
        Ok(self.found)
    }

    fn fault(&self, reason: &str) -> SnapshotError {
        SnapshotError { line: self.number, fault: Fault::Malformed(reason.to_owned()) }
    }

    fn at<T>(&self, result: Result<T, Fault>) -> Result<T, SnapshotError> {
        result.map_err(|fault| SnapshotError { line: self.number, fault })
    }

    /// Judges a line, which ends with a line feed.
    fn judge(&mut self, octets: &[u8]) -> Result<(), SnapshotError> {
        if octets.len() > LINE_OCTETS_MAX {
            return self.at(malformed(format!("it has more than {LINE_OCTETS_MAX} octets")));
        }
        if self.part == Part::Header {
            let header = self.header(octets);
            (self.found.revision, self.found.ttl) = self.at(header)?;
            self.part = Part::Leases;
            self.checksum.write(octets);
            return Ok(());
        }
        let line: Result<Line<'_>, _> = serde_json::from_slice(octets);
        let line = self.at(line.map_err(|error| Fault::Malformed(format!("it is no line of a snapshot: {error}"))))?;
        let record = match (line.form, line.record) {
            (Some(form @ 1..=9), Some(record)) => [&[b'0' + form], record.get().as_bytes()].concat(),
            _ => Vec::new(),
        };
        let is_end = line.end.is_some();
        match (&line.lease, &line.service, &line.instance, line.end) {
            _ if self.part == Part::Done => self.at(malformed("there is more behind the last line"))?,
            (Some(id), None, None, None) => {
                let taken = self.lease(id, &record);
                self.at(taken)?;
            }
            (None, Some(name), None, None) => {
                self.begin(name)?;
                let taken = self.remains(name, &record);
                self.at(taken)?;
            }
            (None, None, Some(key), None) => {
                let named = key.split_once('/').ok_or_else(|| Fault::Malformed("an instance is service/id".to_owned()));
                let (service, id) = self.at(named)?;
                self.begin(service)?;
                let taken = self.instance(id, &record);
                self.at(taken)?;
            }
            (None, None, None, Some(counts)) => {
                self.complete()?;
                let ended = self.end(counts, line.checksum.as_deref().unwrap_or_default());
                self.at(ended)?;
            }
            _ => self.at(malformed("it is no lease, no service and no instance"))?,
        }
        if !is_end {
            self.checksum.write(octets);
        }
        Ok(())
    }

    fn header(&self, octets: &[u8]) -> Result<(Revision, Ttl), Fault> {
        match serde_json::from_slice::<Header>(octets) {
            Ok(Header { format: FORMAT, revision, ttl }) if revision < u64::MAX >> 1 => {
                let ttl = ttl.map(Ttl::new).transpose().map_err(|range| Fault::Malformed(range.to_owned()))?;
                Ok((Revision(revision), ttl.unwrap_or(Ttl::USUAL)))
            }
            Ok(Header { format: FORMAT, .. }) => malformed("its revision is beyond what any registry reaches"),
            Ok(Header { format, .. }) => malformed(format!("it is in format {format}, of another version of rollcall")),
            Err(_) => malformed("it is not the first line of a snapshot: `rollcall snapshot save` writes one"),
        }
    }

    fn lease(&mut self, id: &str, record: &[u8]) -> Result<(), Fault> {
        let id: LeaseId =
            id.parse().map_err(|error: crate::model::LeaseIdError| Fault::Malformed(error.to_string()))?;
        let is_next = self.part == Part::Leases && self.found.leases.last().is_none_or(|(last, _)| *last < id);
        if !is_next {
            return malformed("it is out of order");
        }
        if self.found.leases.len() >= self.limits.leases {
            return Err(Fault::Refused(Refusal::LeasesFull(self.limits.leases)));
        }
        let (ttl, foreign) = read(record::read_lease(record))?;
        Lease::check_ttl(ttl).map_err(|range| Fault::Malformed(range.to_owned()))?;
        if !foreign.is_empty() {
            self.found.unknown.leases.insert(id.number(), foreign);
        }
        self.found.leases.push((id, ttl));
        self.held.insert(id, Held { ttl, owner: None });
        self.found.counts.leases += 1;
        Ok(())
    }

    /// Goes on to a service, unless that is the last one already.
    fn begin(&mut self, name: &str) -> Result<(), SnapshotError> {
        if self.found.services.last().is_some_and(|(last, ..)| last.as_str() == name) {
            return Ok(());
        }
        self.complete()?;
        let parsed = name.parse::<ServiceName>().map_err(|error| Fault::Malformed(format!("service: {error}")));
        let parsed = self.at(parsed.and_then(|parsed| {
            if parsed.as_str() == name { Ok(parsed) } else { malformed("a service is written in lower case") }
        }))?;
        if self.found.services.last().is_some_and(|(last, ..)| *last >= parsed) {
            return self.at(malformed("it is out of order"));
        }
        while self.right.last().is_some_and(|right| !parsed.is_under(&self.found.services[*right].0)) {
            self.right.pop();
        }
        self.part = Part::Services;
        self.began = self.number;
        self.found.services.push((parsed, Vec::new(), Remains::default()));
        Ok(())
    }

    /// Judges the last service as a whole.
    fn complete(&mut self) -> Result<(), SnapshotError> {
        let Some((_, instances, _)) = self.found.services.last_mut() else { return Ok(()) };
        instances.shrink_to_fit();
        let Some((name, instances, _)) = self.found.services.last() else { return Ok(()) };
        let group = name.group();
        let right = self.right.last().map(|right| &self.found.services[*right]);
        let right = right.filter(|(right, ..)| Some(right) == group.as_ref());
        let right = right.map_or(&[][..], |(_, instances, _)| instances);
        self.before.judge_together(&self.limits, right, name, instances).map_err(|(position, refusal)| {
            SnapshotError { line: self.began + position as u64, fault: Fault::Refused(refusal) }
        })?;
        self.found.counts.services += usize::from(!instances.is_empty());
        self.right.push(self.found.services.len() - 1);
        Ok(())
    }

    fn remains(&mut self, key: &str, record: &[u8]) -> Result<(), Fault> {
        let (read_remains, foreign) = read(service_record::read(record))?;
        let Some((_, instances, remains)) = self.found.services.last_mut() else { return Ok(()) };
        if !instances.is_empty() || !remains.is_empty() {
            return malformed("it is out of order");
        }
        if read_remains.is_empty() {
            return malformed("it says nothing of the service");
        }
        self.configured += usize::from(read_remains.settings.is_some());
        if self.configured > self.limits.configured {
            return Err(Fault::Refused(Refusal::SettingsFull(self.limits.configured)));
        }
        self.remembered += read_remains.left.iter().flatten().count();
        if self.remembered > self.limits.remembered_names {
            let max = self.limits.remembered_names;
            return malformed(format!("more than {max} names are remembered, which is the most that may be"));
        }
        // The instances begin with the next line.
        self.began = self.number + 1;
        *remains = read_remains;
        if !foreign.is_empty() {
            self.found.unknown.services.insert(key.to_owned(), foreign);
        }
        Ok(())
    }

    fn instance(&mut self, id: &str, record: &[u8]) -> Result<(), Fault> {
        let Some((name, instances, _)) = self.found.services.last_mut() else { return Ok(()) };
        let parsed: InstanceId = id.parse().map_err(|error| Fault::Malformed(format!("id: {error}")))?;
        if parsed.as_str() != id {
            return malformed("an id is written in lower case");
        }
        if instances.last().is_some_and(|last| last.id >= parsed) {
            return malformed("it is out of order");
        }
        if instances.len() >= self.limits.instances_per_service {
            return Err(Fault::Refused(Refusal::ServiceFull(self.limits.instances_per_service)));
        }
        if self.found.counts.instances >= self.limits.instances {
            return Err(Fault::Refused(Refusal::RegistryFull(self.limits.instances)));
        }
        let (instance, foreign) = read(record::read_instance(name, parsed, record))?;
        bounds::check(&instance).map_err(Fault::Malformed)?;
        if instance.revision > self.found.revision || instance.epoch > instance.revision {
            return malformed("it has changed later than the snapshot was taken");
        }
        hold(&mut self.held, &instance)?;
        if !foreign.is_empty() {
            self.found.unknown.instances.insert(record::instance_key(name.as_str(), id), foreign);
        }
        instances.push(Arc::new(instance));
        self.found.counts.instances += 1;
        Ok(())
    }

    fn end(&mut self, counts: Counts, checksum: &str) -> Result<(), Fault> {
        if counts != self.found.counts {
            let Counts { services, instances, leases } = self.found.counts;
            return malformed(format!(
                "lines are missing: it ends with other counts than the {instances} instances, {services} services and \
                 {leases} leases before it"
            ));
        }
        if checksum != format!("{:032x}", self.checksum.finish128().as_u128()) {
            return malformed("the checksum is another: some line before it was changed");
        }
        self.part = Part::Done;
        Ok(())
    }
}

/// Notes that an instance is on its lease.
fn hold(held: &mut HashMap<LeaseId, Held, foldhash::fast::RandomState>, instance: &Instance) -> Result<(), Fault> {
    let Some(lease) = instance.lease else { return Ok(()) };
    let Some(held) = held.get_mut(&lease.id) else {
        return malformed(format!("no line before has its lease {}", lease.id));
    };
    if held.ttl != lease.ttl {
        return malformed(format!("its lease {} has another length", lease.id));
    }
    match (held.owner.replace(lease.own), lease.own) {
        (None, _) | (Some(false), false) => Ok(()),
        _ => malformed(format!("its lease {} is another instance's own", lease.id)),
    }
}
