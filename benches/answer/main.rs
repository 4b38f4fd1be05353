//! What an answer over UDP costs a whole Rollcall, beside a reflector, NSD and Knot: `cargo bench --bench answer`.
//!
//! Each server is alone on one core in turns; the load is on another and asks again as soon as it is answered. CPU is the
//! processor time of all processes of a server for one answer. The ratios are what to read: they are the medians of those
//! of neighbouring rounds. The reflector returns datagrams as they are, in batches, and is what the kernel costs. NSD and
//! Knot are left out where they are not installed (Debian: `nsd`, `knot`).
//!
//! `ROLLCALL_BENCH_ROUNDS` and `ROLLCALL_BENCH_SECONDS` say how long it takes, `ROLLCALL_BENCH_SERVICES` how many services of
//! three instances there are, `ROLLCALL_BENCH_EDNS=1` has every question carry EDNS, and `ROLLCALL_BENCH_PROGRAM` names another
//! build of Rollcall to measure.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails says where and prints its figures")]

mod data;
mod load;
#[path = "../registry/machine.rs"]
#[allow(dead_code, reason = "the other bench asks for memory as well")]
mod machine;
mod servers;
mod wire;

use std::str::FromStr;
use std::time::Duration;

use data::Data;
use load::Load;
use servers::{REFLECT, Running};

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A round of a server: answers a second, and microseconds of processor time for each.
#[derive(Debug, Clone, Copy)]
struct Round {
    rate: f64,
    cpu: f64,
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(server: &Running, load: &mut Load, seconds: f64) -> Round {
    load.run(server.address, Duration::from_secs_f64(0.3), server.reflects);
    let cpu = server.process.cpu_of_all();
    let ran = load.run(server.address, Duration::from_secs_f64(seconds), server.reflects);
    let cpu = server.process.cpu_of_all() - cpu;
    if ran.lost > 0 {
        println!("  {}: {} questions lost", server.name, ran.lost);
    }
    Round { rate: ran.answers as f64 / ran.took.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / ran.answers as f64 }
}

fn main() {
    if let Ok(address) = std::env::var(REFLECT) {
        wire::reflect(address.parse().unwrap());
    }
    machine::be_the_load();
    let (rounds, seconds) = (setting("ROLLCALL_BENCH_ROUNDS", 5), setting("ROLLCALL_BENCH_SECONDS", 2.0));
    let (services, edns) = (setting("ROLLCALL_BENCH_SERVICES", 1000), setting("ROLLCALL_BENCH_EDNS", 0) == 1);
    let dir = tempfile::tempdir().unwrap();
    let data = Data { services };
    let mut load = Load::new(&data, edns);
    let servers = servers::start(dir.path(), &data);
    let mut measured: Vec<Vec<Round>> = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (server, of_server) in servers.iter().zip(&mut measured) {
            of_server.push(measure(server, &mut load, seconds));
        }
    }
    println!(
        "\n{services} services of 3; {rounds} rounds of {seconds} s, medians{}",
        if edns { "; with EDNS" } else { "" }
    );
    println!("{:<12} {:>12} {:>9} {:>14} {:>8}", "", "answers/s", "CPU µs", "of reflector's", "of NSD's");
    let nsd = servers.iter().position(|server| server.name == "NSD");
    for (server, of_server) in servers.iter().zip(&measured) {
        let to = |other: &[Round]| median(of_server.iter().zip(other).map(|(one, other)| one.cpu / other.cpu));
        let of_nsd = nsd.map_or_else(String::new, |nsd| format!("{:.2}", to(&measured[nsd])));
        let (rate, cpu) = (median(of_server.iter().map(|r| r.rate)), median(of_server.iter().map(|r| r.cpu)));
        println!("{:<12} {rate:>12.0} {cpu:>9.2} {:>14.2} {of_nsd:>8}", server.name, to(&measured[0]));
    }
    for server in servers {
        server.process.stop();
    }
}
