//! What durability costs: `cargo bench --bench store`.
//!
//! Registrations that are acknowledged when they are on disk, from 64 callers at once, in interleaved rounds of the same
//! run beside a store that keeps no events, and beside a floor: the same octets appended to a file by as many, one
//! fdatasync for all that wait. That file grows, and the store's log does not, so on a slow disk the floor may be the
//! slower. Then how late the ends of leases are told, 10,000 within a second and 10,000 at once; and
//! a restart with 1,000,000 instances (`ROLLCALL_BENCH_INSTANCES` for another number). The ratios are what to read;
//! absolute times depend on the disk (`TMPDIR` chooses one).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails says where and prints its figures")]

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rollcall::model::{Addresses, Health, LeaseId, Meta, Registration, ServiceName, Transport, Ttl};
use rollcall::registry::{Command, IdChoice, LeaseWish, Limits, Outcome, Precondition, Register};
use rollcall::store::snapshot::Reader;
use rollcall::store::{Embedded, Followed, Keep, Memory, Settings, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALLERS: usize = 64;
const PER_CALLER: usize = 100;
const ROUNDS: usize = 7;
const RECORD_OCTETS: usize = 300;
/// While the registry for the restart is made.
const FILLING_CALLERS: usize = 2048;
const PER_SERVICE: usize = 10;
const PER_LEASE: usize = 100;
/// Leases that end together.
const LAPSES: usize = 10_000;
/// Names the directory that this program is to open, and nothing else.
const REOPEN: &str = "ROLLCALL_BENCH_REOPEN";
/// Names the snapshot that this program is to restore, and nothing else.
const RESTORE: &str = "ROLLCALL_BENCH_RESTORE";

fn settings() -> Settings {
    let limits = Limits {
        instances_per_service: 1_000_000,
        instances: 10_000_000,
        leases: 10_000_000,
        remembered_names: 100_000,
        configured: 100_000,
        zone_octets: 14,
        reserved: Default::default(),
    };
    let history = Keep { age: Duration::from_secs(7 * 24 * 3600), events: 1_000_000 };
    Settings { limits, ttl: Ttl::USUAL, name_memory: Duration::from_secs(3600), history, guard: Default::default() }
}

/// Two tags and two pairs of metadata, no checks.
fn register(service: &ServiceName, id: &str, lease: LeaseWish) -> Command {
    let text = |text: &str| text.to_owned();
    // Each at a place of its own: none is to supersede another.
    let [_, b, c, d] = id[1..].parse::<u32>().unwrap().to_be_bytes();
    let meta = [(text("version"), text("1.4.2")), (text("region"), text("eu-central"))];
    Command::Register(Box::new(Register {
        service: service.clone(),
        id: IdChoice::Given(id.parse().unwrap()),
        registration: Registration {
            addresses: Addresses::new([[10, b, c, d].into()]).unwrap(),
            port: 8080,
            protocol: Transport::Tcp,
            ports: Arc::default(),
            priority: 0,
            weight: 1,
            tags: ["primary".parse().unwrap(), "v1".parse().unwrap()].into(),
            meta: Meta::new(meta).unwrap(),
            ttl: None,
            https: false,
            checks: [].into(),
            initial_health: Health::Unknown,
            evict_after: None,
            generation: None,
            shared_address: false,
        },
        lease,
        precondition: Precondition::None,
    }))
}

/// Registrations a second, from all callers at once.
async fn registrations(store: &Arc<dyn Store>, round: usize) -> f64 {
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = store.clone();
        callers.spawn(async move {
            let service = format!("r{round}-c{caller}").parse().unwrap();
            for n in 0..PER_CALLER {
                store.commit(register(&service, &format!("i{n}"), LeaseWish::None)).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    (CALLERS * PER_CALLER) as f64 / began.elapsed().as_secs_f64()
}

/// Appends a second, each acknowledged after an fdatasync that all share who wait.
async fn appends(file: std::fs::File) -> f64 {
    let (sender, mut queue) = mpsc::channel::<oneshot::Sender<()>>(CALLERS);
    let writer = tokio::spawn(async move {
        let mut waiting = Vec::new();
        let mut file = Some(file);
        while queue.recv_many(&mut waiting, 1024).await > 0 {
            let octets = vec![b'x'; waiting.len() * RECORD_OCTETS];
            let mut own = file.take().unwrap();
            let written = tokio::task::spawn_blocking(move || {
                own.write_all(&octets).unwrap();
                own.sync_data().unwrap();
                own
            });
            file = Some(written.await.unwrap());
            waiting.drain(..).for_each(|answer| answer.send(()).unwrap());
            tokio::task::yield_now().await;
        }
    });
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let sender = sender.clone();
        callers.spawn(async move {
            for _ in 0..PER_CALLER {
                let (answer, answered) = oneshot::channel();
                sender.send(answer).await.unwrap();
                answered.await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let rate = (CALLERS * PER_CALLER) as f64 / began.elapsed().as_secs_f64();
    drop(sender);
    writer.await.unwrap();
    rate
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Memory of this process in MiB: `VmRSS` or `VmHWM`.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

async fn fill(store: &Arc<dyn Store>, instances: usize) {
    let mut leases: Vec<LeaseId> = Vec::new();
    for _ in 0..instances.div_ceil(PER_LEASE) {
        let ttl = rollcall::model::Duration::from_secs(86_400);
        match store.commit(Command::Grant { ttl }).await.unwrap().outcome {
            Outcome::Granted(lease) => leases.push(lease.id),
            other => panic!("{other:?}"),
        }
        if leases.len() == 64 {
            // Enough to share; each further one is a transaction of its own.
            break;
        }
    }
    let (leases, next) = (Arc::new(leases), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..FILLING_CALLERS {
        let (store, leases, next) = (store.clone(), leases.clone(), next.clone());
        callers.spawn(async move {
            loop {
                let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if n >= instances {
                    return;
                }
                let service = format!("s{}", n / PER_SERVICE).parse().unwrap();
                let wish = LeaseWish::Join(leases[n % leases.len()]);
                store.commit(register(&service, &format!("i{n}"), wish)).await.unwrap();
            }
        });
    }
    callers.join_all().await;
}

/// How long after their ends a follower hears of leases that end within a span of time, and when the last record came.
async fn lapses(store: &Arc<dyn Store>, name: &str, over: Duration) {
    const TTL: Duration = Duration::from_secs(4);
    let ttl = rollcall::model::Duration::from_secs(TTL.as_secs());
    let mut leases: Vec<LeaseId> = Vec::new();
    for n in 0..LAPSES / 100 {
        let of = |n: usize| {
            let service = format!("{name}{}", n / PER_SERVICE).parse().unwrap();
            store.commit(register(&service, &format!("i{n}"), LeaseWish::Own(ttl)))
        };
        for committed in join_all((n * 100..n * 100 + 100).map(of)).await {
            let Outcome::Registered { instance, .. } = committed.unwrap().outcome else { panic!() };
            leases.push(instance.lease.unwrap().id);
        }
        // None is to end before all are there.
        store.renew(&leases).await.unwrap();
    }
    let mut watch = store.watch(None);
    watch.next().await;
    // Renewed one after the other, so that their ends are spread like this.
    let began = Instant::now();
    let mut ends = HashMap::new();
    for (n, lease) in leases.iter().enumerate() {
        let at = began + over.mul_f64(n as f64 / LAPSES as f64);
        if at > Instant::now() {
            tokio::time::sleep_until(at).await;
        }
        assert!(store.renew(&[*lease]).await.unwrap()[0].is_some());
        ends.insert(*lease, Instant::now() + TTL);
    }
    let (mut late, mut gone) = (Vec::new(), 0);
    while gone < LAPSES {
        match watch.next().await.unwrap() {
            Followed::Lapsed(lapsed) => {
                let now = Instant::now();
                late.extend(lapsed.iter().map(|lapsed| (now - ends[&lapsed.lease]).as_secs_f64() * 1e3));
            }
            Followed::Batches(batches, _) => gone += batches.iter().map(|batch| batch.changes.len()).sum::<usize>(),
            Followed::Reset(_) => panic!("fell behind"),
        }
    }
    let records = Instant::now() - ends.values().max().unwrap().to_owned();
    late.sort_by(f64::total_cmp);
    let part = |part: f64| late[((late.len() - 1) as f64 * part) as usize];
    println!(
        "{LAPSES} leases end within {over:?}: told {:.1} ms late (p50), {:.1} ms (p99), {:.1} ms (most); the last record {:.0} ms after the last end",
        part(0.5),
        part(0.99),
        part(1.0),
        records.as_secs_f64() * 1e3
    );
}

async fn restart(instances: usize) {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path(), settings()).unwrap());
    fill(&store, instances).await;
    let filled = began.elapsed().as_secs_f64();
    println!("{instances} instances: written in {filled:.1} s, {:.0}/s", instances as f64 / filled);
    store.close().await;
    drop(store);
    let octets = std::fs::metadata(dir.path().join("rollcall.redb")).unwrap().len();
    println!("  file: {} MiB, {} octets an instance", octets >> 20, octets / instances as u64);
    // In a process of its own, whose memory is that of the restart.
    let own = std::env::current_exe().unwrap();
    assert!(std::process::Command::new(own).env(REOPEN, dir.path()).status().unwrap().success());
}

async fn reopen(dir: std::path::PathBuf) {
    let file = dir.join("rollcall.redb");
    let reading = Instant::now();
    let octets = std::fs::read(file).unwrap().len();
    let floor = reading.elapsed().as_secs_f64();
    let before = memory("VmRSS");
    let began = Instant::now();
    let store = tokio::task::spawn_blocking(move || Embedded::open(&dir, settings()).unwrap()).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    println!("  restart: {took:.2} s; reading the {} MiB alone: {floor:.2} s; ratio {:.1}", octets >> 20, took / floor);
    println!("  resident: {before} MiB before, {} MiB after, {} MiB at most", memory("VmRSS"), memory("VmHWM"));
    save_and_restore(&store).await;
    let began = Instant::now();
    store.close().await;
    println!("  closed in {:.2} s", began.elapsed().as_secs_f64());
}

/// All of it as lines into a file, and from there into an empty directory in a process of its own.
async fn save_and_restore(store: &Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    let began = Instant::now();
    let (zone, at) = ("svc.internal".parse().unwrap(), rollcall::model::Timestamp::now());
    let mut lines = store.snapshot().await.unwrap().into_lines(zone, store.id(), at);
    let mut file = std::fs::File::create(&path).unwrap();
    while let Some(chunk) = lines.next_chunk() {
        file.write_all(&chunk).unwrap();
    }
    let (octets, took) = (file.metadata().unwrap().len(), began.elapsed().as_secs_f64());
    println!("  saved: {} MiB in {took:.2} s; {} MiB at most", octets >> 20, memory("VmHWM"));
    let own = std::env::current_exe().unwrap();
    assert!(std::process::Command::new(own).env_remove(REOPEN).env(RESTORE, &path).status().unwrap().success());
}

async fn restore(path: std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), settings()).unwrap();
    let Some(Followed::Reset(before)) = store.watch(None).next().await else { panic!() };
    let began = Instant::now();
    let mut reader = Reader::new(store.limits().clone(), before);
    let (mut file, mut octets) = (std::fs::File::open(path).unwrap(), vec![0; 64 << 10]);
    loop {
        match std::io::Read::read(&mut file, &mut octets).unwrap() {
            0 => break,
            read => reader.take(&octets[..read]).unwrap(),
        }
    }
    let content = reader.finish().unwrap();
    let read = began.elapsed().as_secs_f64();
    let replaced = store.restore(content).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    println!(
        "  restored: {} instances in {took:.2} s, {read:.2} s of it to read them; resident {} MiB, {} MiB at most",
        replaced.after.instances,
        memory("VmRSS"),
        memory("VmHWM")
    );
}

#[tokio::main]
async fn main() {
    if let Some(dir) = std::env::var_os(REOPEN) {
        return reopen(dir.into()).await;
    }
    if let Some(path) = std::env::var_os(RESTORE) {
        return restore(path.into()).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let embedded: Arc<dyn Store> = Arc::new(Embedded::open(dir.path(), settings()).unwrap());
    let forgetful = tempfile::tempdir().unwrap();
    let silent = Settings { history: Keep { events: 0, ..settings().history }, ..settings() };
    let silent: Arc<dyn Store> = Arc::new(Embedded::open(forgetful.path(), silent).unwrap());
    let memory: Arc<dyn Store> = Arc::new(Memory::new(settings()));
    let (mut durable, mut without, mut floor, mut volatile) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        durable.push(registrations(&embedded, round).await);
        without.push(registrations(&silent, round).await);
        floor.push(appends(tempfile::tempfile_in(dir.path()).unwrap()).await);
        volatile.push(registrations(&memory, round).await);
    }
    let ratio = median(durable.iter().zip(&floor).map(|(durable, floor)| durable / floor).collect());
    let journal = median(durable.iter().zip(&without).map(|(durable, without)| durable / without).collect());
    println!("{CALLERS} callers, each waiting for its answer:");
    println!("  embedded, durable registrations: {:.0}/s", median(durable));
    println!("  floor, append and fdatasync:     {:.0}/s", median(floor));
    println!("  memory:                          {:.0}/s", median(volatile));
    println!("  embedded / floor: {ratio:.2}");
    println!("  with a journal of events / without: {journal:.2}");
    for (name, over) in [("spread", Duration::from_secs(1)), ("once", Duration::ZERO)] {
        lapses(&embedded, name, over).await;
    }
    embedded.close().await;
    silent.close().await;

    let instances = std::env::var("ROLLCALL_BENCH_INSTANCES").ok().and_then(|number| number.parse().ok());
    restart(instances.unwrap_or(1_000_000)).await;
}
