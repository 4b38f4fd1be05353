//! The engine that keeps the registry in a directory: restarts, the directory itself, and files that are no good.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollcall::model::{
    Addresses, Guarded, Health, LeaseId, Meta, Registration, Revision, ServiceSettings, State, Timestamp, Transport,
    Ttl,
};
use rollcall::registry::{
    Amendment, Command, Expiry, IdChoice, LeaseWish, Observation, Outcome, Precondition, Refusal, Register, Registry,
    Scope,
};
use rollcall::store::{CommitError, Embedded, Followed, OpenError, Store};

use super::support::world::store_settings;

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, store_settings()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(dir: &Path) -> OpenError {
    match Embedded::open(dir, store_settings()) {
        Err(error) => error,
        Ok(store) => panic!("opened: {store:?}"),
    }
}

fn register(service: &str, id: &str, lease: LeaseWish) -> Command {
    Command::Register(Box::new(Register {
        service: service.parse().unwrap(),
        id: IdChoice::Given(id.parse().unwrap()),
        registration: Registration {
            addresses: Addresses::new([[10, 0, 0, 1].into()]).unwrap(),
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
            // None is to supersede another.
            shared_address: true,
        },
        lease,
        precondition: Precondition::None,
    }))
}

async fn commit(store: &dyn Store, command: Command) -> Revision {
    store.commit(command).await.unwrap().revision
}

async fn own_lease(store: &dyn Store, service: &str, id: &str, seconds: u64) -> LeaseId {
    let ttl = rollcall::model::Duration::from_secs(seconds);
    match store.commit(register(service, id, LeaseWish::Own(ttl))).await.unwrap().outcome {
        Outcome::Registered { instance, .. } => instance.lease.unwrap().id,
        other => panic!("{other:?}"),
    }
}

async fn followed(store: &dyn Store, after: Option<Revision>) -> Followed {
    store.watch(after).next().await.unwrap()
}

async fn snapshot(store: &dyn Store) -> Registry {
    match followed(store, None).await {
        Followed::Reset(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

/// Services, what remains of them, and instances.
fn described(registry: &Registry) -> String {
    let service = |service: &std::sync::Arc<rollcall::registry::Service>| {
        format!("{:?} {:?} {:?}\n", service.name(), service.remains(), service.instances())
    };
    registry.services_after(None).map(service).collect()
}

#[tokio::test(start_paused = true)]
async fn a_restart_changes_nothing_but_the_terms_of_leases() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, register("web", "i1", LeaseWish::None)).await;
    let lease = own_lease(&store, "web", "i2", 10).await;
    let idle = commit(&store, Command::Grant { ttl: rollcall::model::Duration::from_secs(10) }).await;
    let ttl = Some(Ttl::new(rollcall::model::Duration::from_secs(7)).unwrap());
    let settings = ServiceSettings { ttl, ..ServiceSettings::default() };
    commit(&store, Command::Configure { service: "quiet".parse().unwrap(), settings: Some(settings) }).await;
    commit(&store, register("gone", "i1", LeaseWish::None)).await;
    let last = commit(&store, Command::DeregisterAll(Scope::Service("gone".parse().unwrap()))).await;
    let (before, id, serial) = (snapshot(&store).await, store.id(), store.serial_base());
    assert!(idle < last);
    tokio::time::sleep(Duration::from_secs(8)).await;
    store.close().await;
    drop(store);

    let store = open(dir.path());
    let after = snapshot(&store).await;
    assert_eq!(described(&after), described(&before));
    assert_eq!((after.revision(), &store.id()), (last, &id));
    assert!(store.serial_base() > serial);
    assert_eq!((after.instances(), after.answered(), after.configured()), (2, 2, 1));

    // A full term from when it can be renewed, not what was left of the last.
    tokio::time::sleep(Duration::from_secs(20)).await;
    store.serving();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(store.lease(lease).is_some());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(store.lease(lease).is_none());
    assert_eq!(snapshot(&store).await.instances(), 1);
    let next = commit(&store, register("web", "i3", LeaseWish::None)).await;
    assert!(next > last);
}

#[tokio::test(start_paused = true)]
async fn ghosts_and_what_instances_wait_for_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let alone = |id: &str, evict_after: Option<u64>| {
        let Command::Register(mut register) = register("web", id, LeaseWish::None) else { unreachable!() };
        register.registration.shared_address = false;
        register.registration.evict_after = evict_after.map(rollcall::model::Duration::from_secs);
        register.registration.port = if evict_after.is_some() { 81 } else { 80 };
        Command::Register(register)
    };
    let drain = Command::Amend(Box::new(Amendment {
        service: "web".parse().unwrap(),
        id: "new".parse().unwrap(),
        precondition: Precondition::None,
        state: Some(State::Draining),
        expiry: Expiry::After(rollcall::model::Duration::from_secs(60)),
        weight: None,
        tags: None,
        meta: None,
    }));
    // All in one group, of which the batch is a part.
    let batch = Command::Batch(vec![alone("old", None), alone("new", None), drain]);
    commit(&store, batch).await;
    let Command::Register(mut critical) = alone("sick", Some(30)) else { unreachable!() };
    critical.registration.checks = [super::store::check("tcp")].into();
    let sick = commit(&store, Command::Register(critical)).await;
    let observation = Observation {
        service: "web".parse().unwrap(),
        id: "sick".parse().unwrap(),
        epoch: sick,
        check: "tcp".parse().unwrap(),
        health: Health::Critical,
        error: None,
        at: rollcall::model::Timestamp::now(),
    };
    commit(&store, Command::Observe(Box::new(observation))).await;
    let before = snapshot(&store).await;
    store.close().await;
    drop(store);

    let store = open(dir.path());
    store.serving();
    let after = snapshot(&store).await;
    assert_eq!(described(&after), described(&before));
    let web = after.service(&"web".parse().unwrap()).unwrap();
    assert!(web.superseded(&"old".parse().unwrap()).is_some());
    assert!(web.instance("new").unwrap().state_until.is_some());
    assert!(matches!(
        store.commit(alone("old", None)).await.unwrap_err(),
        CommitError::Refused(Refusal::Superseded { .. })
    ));
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(snapshot(&store).await.instances(), 2, "patience begins anew");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(snapshot(&store).await.instances(), 1);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let registry = snapshot(&store).await;
    assert_eq!(registry.instance(&"web".parse().unwrap(), "new").unwrap().state, State::Up, "the drain is over");
}

#[tokio::test(start_paused = true)]
async fn a_guard_ends_with_the_process_and_its_revision_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, register("web", "i1", LeaseWish::None)).await;
    let guarded = Guarded {
        since: Timestamp::from_millis(0),
        until: Timestamp::from_millis(1),
        evidence: "".into(),
        held: Box::default(),
    };
    let last = commit(&store, Command::Guard { service: "web".parse().unwrap(), guarded: Some(guarded) }).await;
    assert_eq!(snapshot(&store).await.guarded().len(), 1);
    store.close().await;
    drop(store);
    let after = snapshot(&open(dir.path())).await;
    assert_eq!((after.revision(), after.guarded().len()), (last, 0));
}

#[tokio::test(start_paused = true)]
async fn a_follower_from_before_a_restart_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = commit(&store, register("web", "i1", LeaseWish::None)).await;
    let second = commit(&store, register("web", "i2", LeaseWish::None)).await;
    store.close().await;
    drop(store);

    let store = open(dir.path());
    assert!(matches!(followed(&store, Some(first)).await, Followed::Reset(snapshot) if snapshot.instances() == 2));
    let mut watch = store.watch(Some(second));
    let third = commit(&store, register("web", "i3", LeaseWish::None)).await;
    match watch.next().await.unwrap() {
        Followed::Batches(batches, _) => assert_eq!(batches.last().unwrap().revision, third),
        other => panic!("nothing was missed, so nothing is said twice: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut watch = store.watch(None);
    assert!(watch.next().await.is_some());
    store.close().await;
    store.close().await;
    assert!(watch.next().await.is_none());
    assert!(store.commit(register("web", "i1", LeaseWish::None)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/b");
    let store = open(&dir);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let modes = ["rollcall.redb", "rollcall.wal"].map(|name| mode(&dir.join(name)));
    assert_eq!((mode(&dir), modes), (0o700, [0o600, 0o600]));
    let error = refusal(&dir);
    assert!(matches!(error, OpenError::InUse(_)) && error.to_string().contains("another rollcall"), "{error}");
    store.close().await;
    open(&dir);
}

#[tokio::test(start_paused = true)]
async fn a_first_start_that_was_cut_short_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rollcall.redb.new"), "half a").unwrap();
    open(dir.path()).close().await;
    assert!(!dir.path().join("rollcall.redb.new").exists());
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = refusal(&file.path().join("data"));
    let sentence = error.to_string();
    assert!(matches!(error, OpenError::Directory { .. }), "{sentence}");
    assert!(sentence.contains(file.path().to_str().unwrap()) && sentence.contains("--data"), "{sentence}");
}

/// A directory with a registry of some size, and its file.
async fn written() -> (tempfile::TempDir, Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..60 {
        commit(&store, register(&format!("s{}", n % 7), &format!("i{n}"), LeaseWish::None)).await;
    }
    own_lease(&store, "web", "i1", 60).await;
    let registry = described(&snapshot(&store).await);
    store.close().await;
    let octets = fs::read(dir.path().join("rollcall.redb")).unwrap();
    (dir, octets, registry)
}

/// A file that is refused stays as it is, and the sentence names it.
fn assert_refused(dir: &Path, octets: &[u8], what: &str) {
    let file = dir.join("rollcall.redb");
    fs::write(&file, octets).unwrap();
    let error = refusal(dir);
    let sentence = error.to_string();
    assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {sentence}");
    assert!(
        sentence.starts_with(file.to_str().unwrap()) && sentence.contains("move it away, and "),
        "{what}: {sentence}"
    );
    assert!(fs::read(&file).unwrap() == octets, "{what}: the file was changed");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let (dir, octets, _) = written().await;
    assert_refused(dir.path(), &[], "zero length");
    assert_refused(dir.path(), b"not a store", "a few octets of text");
    assert_refused(dir.path(), &vec![0; octets.len()], "zeros");
    let noise: Vec<u8> = (0..octets.len() as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_refused(dir.path(), &noise, "noise");
    for length in [1, 100, 4096, 8192, octets.len() / 2, octets.len() - 4096, octets.len() - 1] {
        assert_refused(dir.path(), &octets[..length], &format!("cut to {length}"));
    }
}

#[tokio::test(start_paused = true)]
async fn octets_that_turn_are_noticed_or_do_no_harm() {
    let (dir, octets, registry) = written().await;
    let file = dir.path().join("rollcall.redb");
    let (mut refused, mut opened) = (0, 0);
    for position in (0..octets.len()).step_by(127) {
        let mut damaged = octets.clone();
        damaged[position] ^= 0xff;
        fs::write(&file, &damaged).unwrap();
        match Embedded::open(dir.path(), store_settings()) {
            Ok(store) => {
                assert_eq!(described(&snapshot(&store).await), registry, "octet {position}");
                store.close().await;
                opened += 1;
            }
            Err(error) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "octet {position}: {error}");
                assert!(fs::read(&file).unwrap() == damaged, "octet {position}: the file was changed");
                refused += 1;
            }
        }
    }
    assert!(refused > 50 && opened > 50, "{refused} refused, {opened} opened");
}

/// What a directory holds when the power goes now.
fn cut_off(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["rollcall.redb", "rollcall.wal"] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[tokio::test(start_paused = true)]
async fn what_only_the_log_has_is_there_after_a_power_cut_and_not_without_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..20 {
        commit(&store, register("web", &format!("i{n}"), LeaseWish::None)).await;
    }
    let registry = described(&snapshot(&store).await);
    let cut = cut_off(dir.path());
    let again = open(cut.path());
    assert_eq!(described(&snapshot(&again).await), registry);
    again.close().await;

    let cut = cut_off(dir.path());
    let log = cut.path().join("rollcall.wal");
    let octets = fs::read(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let error = refusal(cut.path());
    let sentence = error.to_string();
    assert!(matches!(error, OpenError::Missing { .. }), "{sentence}");
    assert!(sentence.starts_with(log.to_str().unwrap()) && sentence.contains("put it back"), "{sentence}");
    for length in [0, 100, octets.len() / 2, octets.len() - 1] {
        fs::write(&log, &octets[..length]).unwrap();
        let error = refusal(cut.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "cut to {length}: {error}");
    }
    let mut damaged = octets.clone();
    damaged[600] ^= 0xff;
    fs::write(&log, &damaged).unwrap();
    let error = refusal(cut.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(fs::read(&log).unwrap() == damaged, "it was changed");
    fs::write(&log, &octets).unwrap();
    assert_eq!(described(&snapshot(&open(cut.path())).await), registry, "put back");

    // After an orderly end the tables have everything.
    store.close().await;
    fs::remove_file(dir.path().join("rollcall.wal")).unwrap();
    assert_eq!(described(&snapshot(&open(dir.path())).await), registry);
}

#[tokio::test(start_paused = true)]
async fn the_log_of_another_store_is_refused() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        let store = open(dir.path());
        commit(&store, register("web", "i1", LeaseWish::None)).await;
        store.close().await;
    }
    fs::copy(dirs[0].path().join("rollcall.wal"), dirs[1].path().join("rollcall.wal")).unwrap();
    let error = refusal(dirs[1].path());
    let sentence = error.to_string();
    assert!(sentence.contains("it belongs to another store") && sentence.contains("without it"), "{sentence}");
    fs::remove_file(dirs[1].path().join("rollcall.wal")).unwrap();
    assert_eq!(snapshot(&open(dirs[1].path())).await.instances(), 1, "as it says");
}

#[tokio::test(start_paused = true)]
async fn what_a_sentence_says_to_move_away_makes_room_for_an_empty_registry() {
    for (damaged, other) in [("rollcall.redb", "rollcall.wal"), ("rollcall.wal", "rollcall.redb")] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        commit(&store, register("web", "i1", LeaseWish::None)).await;
        let cut = cut_off(dir.path());
        let [damaged, other] = [damaged, other].map(|name| cut.path().join(name));
        fs::write(&damaged, "nothing of this").unwrap();
        let error = refusal(cut.path());
        let sentence = error.to_string();
        assert!(matches!(error, OpenError::Damaged { .. }) && sentence.contains("empty registry"), "{sentence}");
        assert!(sentence.starts_with(damaged.to_str().unwrap()), "{sentence}");
        assert!(sentence.contains(&format!("and {} too", other.display())), "{sentence}");

        // One of them alone says what is left.
        fs::remove_file(&damaged).unwrap();
        let error = refusal(cut.path());
        let sentence = error.to_string();
        assert!(matches!(error, OpenError::Missing { .. }), "{sentence}");
        assert!(sentence.starts_with(damaged.to_str().unwrap()) && !damaged.exists(), "{sentence}");
        assert!(sentence.contains(other.to_str().unwrap()), "{sentence}");
        fs::remove_file(&other).unwrap();
        assert_eq!(snapshot(&open(cut.path())).await.instances(), 0);
    }
}
