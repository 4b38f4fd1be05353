//! The load of `cargo bench --bench registry` for an etcd on this machine, over gRPC. Prints one line:
//! `operations seconds p50 p99`, the latter two in microseconds.
//!
//! ```text
//! etcd-load PORT register SECONDS CLIENTS     grant a lease and put a key on it, one operation
//! etcd-load PORT renew SECONDS CLIENTS        keep a lease alive, on a stream of each client's own
//! etcd-load PORT watch CHANGES RATE WATCHERS  from the put to its event at each watcher
//! etcd-load PORT expire LEASES TTL            from the end of a lease to the event of its key's deletion
//! ```

use std::time::{Duration, Instant};

use etcd_client::{Client, Error, EventType, PutOptions, WatchOptions, WatchStream};

/// What Rollcall's instances say of themselves, as long as a registration there.
const VALUE: &str = r#"{"address":"10.0.0.7","port":8080,"tags":["primary","v1"],"meta":{"version":"1.4.2","node":"n1"}}"#;
/// Seconds that leases live which are not meant to end.
const TTL: i64 = 60;

type Micros = Vec<f64>;

fn print(mut latencies: Micros, seconds: f64) {
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() as f64 * share) as usize).min(latencies.len() - 1)];
    println!("{} {seconds} {} {}", latencies.len(), at(0.5), at(0.99));
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

async fn all(tasks: Vec<tokio::task::JoinHandle<Result<Micros, Error>>>) -> Result<Micros, Error> {
    let mut latencies = Micros::new();
    for task in tasks {
        latencies.extend(task.await.expect("a client does not panic")?);
    }
    Ok(latencies)
}

async fn register(endpoint: &str, seconds: f64, clients: usize) -> Result<(), Error> {
    let (began, mut tasks) = (Instant::now(), Vec::new());
    for client in 0..clients {
        let mut etcd = Client::connect([endpoint], None).await?;
        tasks.push(tokio::spawn(async move {
            let mut latencies = Micros::new();
            while began.elapsed().as_secs_f64() < seconds {
                let asked = Instant::now();
                let lease = etcd.lease_grant(TTL, None).await?.id();
                let key = format!("/services/r{client}/i{}", latencies.len());
                etcd.put(key, VALUE, Some(PutOptions::new().with_lease(lease))).await?;
                latencies.push(micros(asked));
            }
            Ok(latencies)
        }));
    }
    let latencies = all(tasks).await?;
    print(latencies, began.elapsed().as_secs_f64());
    Ok(())
}

async fn renew(endpoint: &str, seconds: f64, clients: usize) -> Result<(), Error> {
    let mut kept = Vec::new();
    for _ in 0..clients {
        let mut etcd = Client::connect([endpoint], None).await?;
        let lease = etcd.lease_grant(TTL, None).await?.id();
        let (keeper, stream) = etcd.lease_keep_alive(lease).await?;
        kept.push((etcd, keeper, stream));
    }
    let (began, mut tasks) = (Instant::now(), Vec::new());
    for (etcd, mut keeper, mut stream) in kept {
        tasks.push(tokio::spawn(async move {
            let _etcd = etcd;
            let mut latencies = Micros::new();
            while began.elapsed().as_secs_f64() < seconds {
                let asked = Instant::now();
                keeper.keep_alive().await?;
                stream.message().await?.expect("a stream that goes on");
                latencies.push(micros(asked));
            }
            Ok(latencies)
        }));
    }
    let latencies = all(tasks).await?;
    print(latencies, began.elapsed().as_secs_f64());
    Ok(())
}

async fn watching(endpoint: &str, prefix: &str) -> Result<(Client, WatchStream), Error> {
    let mut etcd = Client::connect([endpoint], None).await?;
    let stream = etcd.watch(prefix, Some(WatchOptions::new().with_prefix())).await?;
    Ok((etcd, stream))
}

async fn watch(endpoint: &str, changes: usize, rate: f64, watchers: usize) -> Result<(), Error> {
    let (epoch, mut tasks) = (Instant::now(), Vec::new());
    for _ in 0..watchers {
        let (etcd, mut stream) = watching(endpoint, "/watched/").await?;
        tasks.push(tokio::spawn(async move {
            let _etcd = etcd;
            let mut latencies = Micros::new();
            while latencies.len() < changes {
                let message = stream.message().await?.expect("a stream that goes on");
                for event in message.events() {
                    // The value is when it was put, in nanoseconds since the epoch of this run.
                    let put = event.kv().and_then(|kv| kv.value_str().ok()?.parse::<u64>().ok()).expect("a time");
                    latencies.push((epoch.elapsed().as_nanos() as u64 - put) as f64 / 1e3);
                }
            }
            Ok(latencies)
        }));
    }
    let mut etcd = Client::connect([endpoint], None).await?;
    let began = tokio::time::Instant::now();
    for change in 0..changes {
        tokio::time::sleep_until(began + Duration::from_secs_f64(change as f64 / rate)).await;
        etcd.put(format!("/watched/i{}", change % 100), epoch.elapsed().as_nanos().to_string(), None).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    print(all(tasks).await?, seconds);
    Ok(())
}

async fn expire(endpoint: &str, leases: usize, ttl: i64) -> Result<(), Error> {
    let (mut etcd, mut stream) = watching(endpoint, "/expiring/").await?;
    let mut ends = Vec::new();
    for n in 0..leases {
        let lease = etcd.lease_grant(ttl, None).await?;
        ends.push(Instant::now() + Duration::from_secs(lease.ttl() as u64));
        etcd.put(format!("/expiring/{n}"), VALUE, Some(PutOptions::new().with_lease(lease.id()))).await?;
        // Spread, because etcd looks for lapsed leases at an interval.
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    let (began, mut latencies) = (Instant::now(), Micros::new());
    while latencies.len() < leases {
        let message = stream.message().await?.expect("a stream that goes on");
        for event in message.events().iter().filter(|event| event.event_type() == EventType::Delete) {
            let key = event.kv().and_then(|kv| kv.key_str().ok()?.rsplit('/').next()?.parse::<usize>().ok());
            latencies.push(micros(ends[key.expect("a key of this run")]));
        }
    }
    print(latencies, began.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |position: usize| -> f64 { arguments[position].parse().expect("a number") };
    let endpoint = format!("127.0.0.1:{}", arguments[0].parse::<u16>().expect("a port"));
    match arguments[1].as_str() {
        "register" => register(&endpoint, number(2), number(3) as usize).await,
        "renew" => renew(&endpoint, number(2), number(3) as usize).await,
        "watch" => watch(&endpoint, number(2) as usize, number(3), number(4) as usize).await,
        "expire" => expire(&endpoint, number(2) as usize, number(3) as i64).await,
        other => panic!("no load is called {other}"),
    }
}
