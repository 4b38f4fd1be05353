//! What a whole Rollcall costs beside an etcd, and with 1,000,000 instances beside 1,000: `cargo bench --bench registry`.
//!
//! The servers are on one core and keep their data on disk (`TMPDIR` chooses which); the load is on another. Rounds of
//! both take turns in one run, and the ratios are what to read: they are the medians of those of neighbouring rounds, and
//! times depend on the machine and on what else it does. The load for etcd is a package of its own, because it needs
//! protoc: `cargo build --release --manifest-path benches/peers/Cargo.toml`. Without it, or without an etcd, Rollcall is
//! measured alone.
//!
//! `ROLLCALL_BENCH_PARTS=peers,expiry,million` chooses parts, `ROLLCALL_BENCH_ROUNDS` and `ROLLCALL_BENCH_SECONDS` how
//! long they take, `ROLLCALL_BENCH_INSTANCES` how many a million is, and
//! `ROLLCALL_BENCH_PROGRAM` another build of Rollcall to measure.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails says where and prints its figures")]

mod etcd;
mod figure;
mod http;
#[allow(dead_code, reason = "the other bench has servers of several processes")]
mod machine;
mod rollcall;

use std::path::Path;
use std::str::FromStr;

use etcd::Etcd;
use figure::{Figure, Rounds, heading, ratios, row};
use rollcall::Rollcall;

const CLIENTS: usize = 64;
/// Changes of a round of watching, and how many there are in a second.
const CHANGES: usize = 400;
const CHANGES_PER_SECOND: f64 = 200.0;
const WATCHERS: [usize; 2] = [1, 100];
/// Leases that one call renews, when it renews many.
const MANY: usize = 100;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    seconds: f64,
    instances: usize,
}

/// Rounds of both, and what they come to.
#[derive(Default)]
struct Beside {
    ours: Rounds,
    theirs: Rounds,
}

impl Beside {
    fn show(&self, name: &str) {
        row(&format!("{name}: Rollcall"), &self.ours);
        if !self.theirs.is_empty() {
            row(&format!("{name}: etcd"), &self.theirs);
            ratios("  Rollcall / etcd", &self.ours, &self.theirs);
        }
    }

    fn push(&mut self, ours: Figure, theirs: Option<Figure>) {
        self.ours.push(ours);
        self.theirs.extend(theirs);
    }
}

async fn beside_etcd(dir: &Path, plan: Plan) {
    let Plan { rounds, seconds, .. } = plan;
    let rollcall = Rollcall::start(&dir.join("rollcall")).await;
    let etcd = match Etcd::start(&dir.join("etcd")).await {
        Ok(etcd) => Some(etcd),
        Err(missing) => {
            println!("etcd is left out: {missing}");
            None
        }
    };
    let etcd = etcd.as_ref();
    let (mut registering, mut renewing, mut renewing_many) = (Beside::default(), Beside::default(), Beside::default());
    let mut watching = [Beside::default(), Beside::default()];
    for round in 0..rounds {
        registering
            .push(rollcall.register(seconds, CLIENTS, round).await, etcd.map(|etcd| etcd.register(seconds, CLIENTS)));
        let etcd_renews = etcd.map(|etcd| etcd.renew(seconds, CLIENTS));
        renewing.push(rollcall.renew(seconds, CLIENTS, 1).await, etcd_renews);
        renewing_many.push(rollcall.renew(seconds, CLIENTS, MANY).await, etcd_renews);
        for (beside, watchers) in watching.iter_mut().zip(WATCHERS) {
            beside.push(
                rollcall.watch(CHANGES, CHANGES_PER_SECOND, watchers).await,
                etcd.map(|etcd| etcd.watch(CHANGES, CHANGES_PER_SECOND, watchers)),
            );
        }
    }
    println!("\n{rounds} rounds, medians; {CLIENTS} clients, each on a connection of its own");
    heading();
    registering.show("registration, lease and all, durable");
    renewing.show("renewal");
    renewing_many.show(&format!("renewal, {MANY} leases a call"));
    for (beside, watchers) in watching.iter().zip(WATCHERS) {
        beside.show(&format!("change to event, {watchers} watching"));
    }
    println!("resident after that: Rollcall {:.0} MiB", rollcall.server.memory("VmRSS"));
    if let Some(etcd) = etcd {
        println!("                     etcd {:.0} MiB", etcd.server.memory("VmRSS"));
    }
}

async fn expiry(dir: &Path) {
    let rollcall = Rollcall::start(&dir.join("rollcall")).await;
    println!("\nfrom the end of a lease to the event that its instance has left");
    heading();
    for per_second in [10, 1_000, 10_000] {
        row(&format!("{per_second} ends a second: Rollcall"), &vec![rollcall.expire(per_second, 2).await]);
    }
    if let Ok(etcd) = Etcd::start(&dir.join("etcd")).await {
        row("27 ends a second: etcd", &vec![etcd.expire(50, 5)]);
    }
}

/// One server with a million, another with a thousand, and the same asked of both in turns.
async fn million(dir: &Path, plan: Plan) {
    let Plan { rounds, seconds, instances } = plan;
    let few = Rollcall::start(&dir.join("few")).await;
    few.fill(1_000).await;
    let many = Rollcall::start(&dir.join("many")).await;
    let empty = many.server.memory("VmRSS");
    let began = tokio::time::Instant::now();
    many.fill(instances).await;
    let filled = began.elapsed().as_secs_f64();
    println!("\n{instances} instances, 10 a service, leases shared by 100, 2 tags, 2 pairs of metadata");
    println!("  registered in batches of 1,000 in {filled:.1} s, {:.0} a second", instances as f64 / filled);
    let show = |when: &str, rollcall: &Rollcall| {
        let [resident, peak] = ["VmRSS", "VmHWM"].map(|field| rollcall.server.memory(field));
        println!("  resident {when}: {resident:.0} MiB ({empty:.0} MiB when empty), {peak:.0} MiB at most");
    };
    show("after that", &many);
    let data = dir.join("many");
    many.server.stop();
    let octets = std::fs::metadata(data.join("rollcall.redb")).unwrap().len();
    println!("  file: {} MiB", octets >> 20);
    let many = Rollcall::start(&data).await;
    println!("  ready {:.1} s after a start", many.ready_in.as_secs_f64());
    show("after a start", &many);

    let (pages, service) = ("/v1/services?limit=100", "/v1/services/s50");
    let names = ["registration", "change to event, 1 watching", "page of 100 services", "list of one service"];
    let mut besides: [Beside; 4] = Default::default();
    for round in 0..rounds {
        let figures = |server| async move {
            let server: &Rollcall = server;
            [
                server.register(seconds, CLIENTS, round).await,
                server.watch(CHANGES, CHANGES_PER_SECOND, 1).await,
                server.list(seconds, pages).await,
                server.list(seconds, service).await,
            ]
        };
        let (ours, theirs) = (figures(&many).await, figures(&few).await);
        for (beside, (ours, theirs)) in besides.iter_mut().zip(ours.into_iter().zip(theirs)) {
            beside.push(ours, Some(theirs));
        }
    }
    heading();
    for (name, Beside { ours, theirs }) in names.iter().zip(&besides) {
        row(&format!("{name}: {instances}"), ours);
        row(&format!("{name}: 1000"), theirs);
        ratios("  many / few", ours, theirs);
    }
    show("after that", &many);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    machine::be_the_load();
    let plan = Plan {
        rounds: setting("ROLLCALL_BENCH_ROUNDS", 5),
        seconds: setting("ROLLCALL_BENCH_SECONDS", 3.0),
        instances: setting("ROLLCALL_BENCH_INSTANCES", 1_000_000),
    };
    let parts = setting("ROLLCALL_BENCH_PARTS", "peers,expiry,million".to_owned());
    let has = |part: &str| parts.split(',').any(|other| other == part);
    let dir = tempfile::tempdir().unwrap();
    let fresh = |name: &str| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    };
    if has("peers") {
        beside_etcd(&fresh("peers"), plan).await;
    }
    if has("expiry") {
        expiry(&fresh("expiry")).await;
    }
    if has("million") {
        million(&fresh("million"), plan).await;
    }
}
