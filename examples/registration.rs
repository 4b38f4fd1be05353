//! A service that announces itself: it registers with a lease and a check, shows who is there, renews, and leaves.
//!
//! ```text
//! cargo run -- serve --memory
//! cargo run --example client          # in another terminal; Ctrl-C ends it
//! dig @127.0.0.1 -p 8600 _greeter._tcp.svc.internal SRV
//! ```
//!
//! `ROLLCALL_HTTP_ADDR` says where the API is; several addresses, with commas between, are tried in order.

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::time::Duration;

use rollcall::client::{Client, ClientError, Page, Selection};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const SERVICE: &str = "greeter";
/// Unique among the instances of the service, and the same after a restart: it replaces itself then.
const ID: &str = "g1";
/// How long it stays listed when it dies without a word.
const LEASE_TTL: &str = "6s";
/// A third of that: one renewal may get lost.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addresses = std::env::var("ROLLCALL_HTTP_ADDR").unwrap_or_else(|_| "localhost:8500".to_owned());
    let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
    let client = Client::new(&addresses, None)?;

    // Listening comes first: the check connects as soon as the registration is there.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let body = json!({
        "address": "127.0.0.1",
        "port": listener.local_addr()?.port(),
        "lease_ttl": LEASE_TTL,
        "checks": [{"type": "tcp"}],
        "meta": {"version": env!("CARGO_PKG_VERSION")},
    });
    let registered = client.register(SERVICE, Some(ID), &body).await?;
    println!("registered as {}", registered["dns_name"]);

    let instances = client.instances(SERVICE, Selection::default(), Page::default()).await?;
    for instance in instances["instances"].as_array().into_iter().flatten() {
        println!("{} at {} port {}, {}", instance["id"], instance["addresses"], instance["port"], instance["health"]);
    }

    let ended = tokio::select! {
        ended = greet(listener) => ended.map_err(Into::into),
        ended = stay(&client, &body) => ended.map_err(Into::into),
        ended = tokio::signal::ctrl_c() => ended.map_err(Into::into),
    };
    // However it ended, nobody should be sent here any more. 404 means that somebody was quicker.
    match client.deregister(SERVICE, ID).await {
        Err(error) if error.status() != Some(404) => return Err(error.into()),
        _ => println!("deregistered"),
    }
    ended
}

/// The service itself.
async fn greet(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut connection, _) = listener.accept().await?;
        // Whoever hung up does not want to be greeted; the check does so every time.
        let _ = connection.write_all(b"hello\n").await;
    }
}

/// Renews the lease until that makes no sense.
async fn stay(client: &Client, body: &Value) -> Result<(), ClientError> {
    loop {
        tokio::time::sleep(RENEW_INTERVAL).await;
        match client.renew(SERVICE, ID).await {
            Ok(_) => {}
            // 410: the lease has lapsed. 404: somebody deregistered it, or the server restarted without a store.
            Err(error) if matches!(error.status(), Some(404 | 410)) => {
                client.register(SERVICE, Some(ID), body).await?;
                println!("registered again");
            }
            // The server says no and means it.
            Err(error) if error.status().is_some_and(|status| status < 500) => return Err(error),
            // It cannot be reached, or is in trouble. The lease lives on for a while, and the next renewal may work.
            Err(error) => println!("not renewed: {error}"),
        }
    }
}
