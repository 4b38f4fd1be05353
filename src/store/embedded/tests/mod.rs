//! The file: what survives a power cut and a full disk, what is refused, and that the first form can be read.

mod disk;
mod format;
mod full;
mod lives;
mod power;
mod random;
mod snapshot;
mod wal;

use std::sync::Arc;
use std::time::Duration as StdDuration;

use self::disk::Disk;
use super::journal::Redb;
use super::load::{self, LoadError};
use super::wal::Anchor;
use super::{Embedded, events, schema};
use crate::model::{
    Addresses, CheckKind, CheckSpec, Duration, Health, Label, LeaseId, Meta, Registration, Revision, ServiceSettings,
    State, Timestamp, Transport, Ttl, Unsaid,
};
use crate::registry::{
    Amendment, Command, Expiry, IdChoice, LeaseWish, Limits, Observation, Outcome, Precondition, Register, Registry,
    Scope,
};
use crate::store::journal::Restored;
use crate::store::local::Local;
use crate::store::snapshot::{Reader, Replaced, Restorable, SnapshotError};
use crate::store::unknown::Unknown;
use crate::store::{CommitError, Committed, Followed, Keep, Settings, Store};

fn settings() -> Settings {
    let limits = Limits {
        instances_per_service: 1000,
        instances: 10_000,
        leases: 10_000,
        remembered_names: 100,
        configured: 100,
        zone_octets: 14,
        reserved: Default::default(),
    };
    let history = Keep { age: StdDuration::from_secs(24 * 3600), events: 10_000 };
    Settings { limits, ttl: Ttl::USUAL, name_memory: StdDuration::from_secs(3600), history, guard: Default::default() }
}

/// Octets of the log in tests, each half of which holds a few groups.
const LOG_OCTETS: usize = 8 << 10;
/// Octets of a log that is not filled.
const LONG_LOG_OCTETS: usize = 1 << 20;

/// A disk with an empty registry on it.
fn founded() -> Disk {
    let disk = Disk::default();
    let database = schema::builder().create_with_backend(disk.tables()).unwrap();
    schema::found(&database).unwrap();
    drop(database);
    disk
}

/// An empty registry, and a log that a few groups fill.
fn founded_briefly() -> Disk {
    let disk = founded();
    drop(disk.log(LOG_OCTETS));
    disk
}

/// What a disk holds.
fn read(disk: &Disk) -> Result<Restored, LoadError> {
    Ok(load(disk)?.1)
}

fn load(disk: &Disk) -> Result<(redb::Database, Restored, Unknown), LoadError> {
    let (database, _, mut restored) = load_all(disk)?;
    let unknown = std::mem::take(&mut restored.unknown);
    Ok((database, restored, unknown))
}

fn load_all(disk: &Disk) -> Result<(redb::Database, Anchor, Restored), LoadError> {
    let mut builder = schema::builder();
    builder.set_check_integrity_on_open(true);
    let database = builder.create_with_backend(disk.tables())?;
    let standing = load::standing(&database)?;
    let anchor = load::recover(&database, &disk.log(LONG_LOG_OCTETS), standing, settings().history)?;
    let restored = load::load(&database)?;
    Ok((database, anchor, restored))
}

/// What writes to a disk, and what was on it.
fn journal(disk: &Disk) -> (Redb, Restored) {
    let (database, anchor, mut restored) = load_all(disk).unwrap();
    let log = Arc::new(disk.log(LONG_LOG_OCTETS));
    let wal = load::begin(&database, log, &mut restored, anchor, settings().ttl).unwrap();
    let disk = disk.clone();
    let reopen = move || schema::builder().create_with_backend(disk.tables()).map_err(|error| error.to_string());
    let revision = restored.registry.revision();
    (Redb::new(wal, database, Box::new(reopen), revision, settings().history).unwrap(), restored)
}

/// The engine on a disk.
fn serve(disk: &Disk) -> Embedded {
    let (journal, restored) = journal(disk);
    Local::start(restored, settings(), journal)
}

/// The lines of all that a store keeps.
async fn saved(store: &dyn Store) -> String {
    let zone = "svc.internal".parse().unwrap();
    let at = Timestamp::from_millis(1_764_000_000_000);
    let mut lines = store.snapshot().await.unwrap().into_lines(zone, store.id(), at);
    let octets: Vec<u8> = std::iter::from_fn(|| lines.next_chunk()).flatten().collect();
    String::from_utf8(octets).unwrap()
}

/// What lines come to for a store, taken in pieces of a size.
async fn readable(store: &dyn Store, lines: &str, size: usize) -> Result<Restorable, SnapshotError> {
    let mut reader = Reader::new(store.limits().clone(), snapshot(store).await);
    lines.as_bytes().chunks(size).try_for_each(|octets| reader.take(octets))?;
    reader.finish()
}

async fn restore(store: &dyn Store, lines: &str) -> Replaced {
    store.restore(readable(store, lines, 4096).await.unwrap()).await.unwrap()
}

async fn snapshot(store: &dyn Store) -> Registry {
    match store.watch(None).next().await {
        Some(Followed::Reset(snapshot)) => snapshot,
        other => panic!("{other:?}"),
    }
}

/// All that a registry says of instances and services, as text to compare.
fn described(registry: &Registry) -> String {
    let services = registry
        .services_after(None)
        .map(|service| format!("{} {:?} {:#?}\n", service.name().as_str(), service.remains(), service.instances()));
    format!("{}: {}", registry.revision(), services.collect::<String>())
}

fn registration(last: u8) -> Registration {
    Registration {
        addresses: Addresses::new([[10, 0, 0, last].into()]).unwrap(),
        port: 80,
        protocol: Transport::Tcp,
        ports: Arc::default(),
        priority: 0,
        weight: 1,
        tags: Arc::default(),
        meta: Meta::default(),
        ttl: None,
        https: false,
        checks: [].into(),
        initial_health: Health::Unknown,
        evict_after: None,
        generation: None,
        shared_address: false,
    }
}

fn checked(last: u8) -> Registration {
    let check = CheckSpec {
        name: "tcp".parse().unwrap(),
        kind: CheckKind::Tcp { hold: false },
        interval: Duration::from_secs(5),
        fast_interval: Duration::from_millis(500),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 3,
        unsaid: Unsaid { interval: true, fast_interval: true, timeout: true, rise: true, fall: true },
        port: None,
    };
    Registration { checks: [check].into(), ..registration(last) }
}

fn register(service: &str, id: &str, registration: Registration, lease: LeaseWish) -> Command {
    Command::Register(Box::new(Register {
        service: service.parse().unwrap(),
        id: IdChoice::Given(id.parse().unwrap()),
        registration,
        lease,
        precondition: Precondition::None,
    }))
}

fn put(service: &str, id: &str) -> Command {
    // All of them at one address: none is to supersede another.
    register(service, id, Registration { shared_address: true, ..registration(1) }, LeaseWish::None)
}

fn deregister(service: &str, id: &str) -> Command {
    Command::Deregister { service: service.parse().unwrap(), id: id.parse().unwrap(), precondition: Precondition::None }
}

fn amend(service: &str, id: &str, state: State) -> Command {
    Command::Amend(Box::new(Amendment {
        service: service.parse().unwrap(),
        id: id.parse().unwrap(),
        precondition: Precondition::None,
        state: Some(state),
        expiry: Expiry::Kept,
        weight: None,
        tags: Some([Label::parse_underscored("primary").unwrap()].into()),
        meta: None,
    }))
}

fn observe(service: &str, id: &str, epoch: Revision, health: Health) -> Command {
    Command::Observe(Box::new(Observation {
        service: service.parse().unwrap(),
        id: id.parse().unwrap(),
        epoch,
        check: "tcp".parse().unwrap(),
        health,
        error: (health == Health::Critical).then(|| "refused".into()),
        at: Timestamp::from_millis(1_764_000_000_000),
    }))
}

fn configure(service: &str, seconds: u64) -> Command {
    let ttl = Some(Ttl::new(Duration::from_secs(seconds)).unwrap());
    Command::Configure {
        service: service.parse().unwrap(),
        settings: Some(ServiceSettings { ttl, ..ServiceSettings::default() }),
    }
}

fn granted(committed: &Committed) -> LeaseId {
    match &committed.outcome {
        Outcome::Granted(lease) => lease.id,
        Outcome::Registered { instance, .. } => instance.lease.unwrap().id,
        other => panic!("{other:?}"),
    }
}

fn all_of(service: &str) -> Command {
    Command::DeregisterAll(Scope::Service(service.parse().unwrap()))
}

async fn unavailable(store: &dyn Store, command: Command) -> String {
    match store.commit(command).await {
        Err(CommitError::Unavailable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}
