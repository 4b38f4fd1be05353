//! A service that announces itself, and all that goes with it: it registers on a lease that is kept alive, looks who is
//! there, watches others come and go, and leaves without an error.
//!
//! ```text
//! cargo run -- serve --memory
//! cargo run --example registration          # in another terminal; Ctrl-C ends it
//! dig @127.0.0.1 -p 8600 _greeter._tcp.svc.internal SRV
//! ```
//!
//! `ROLLCALL_HTTP_ADDR` says where the API is; several addresses, with commas between, are tried in order.

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::time::Duration;

use rollcall::client::{Check, Client, ClientError, KeepAlive, KeepEvent, Registration, Selection, Watch, WatchEvent};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// How long it stays listed when it dies without a word.
const LEASE_TTL: Duration = Duration::from_secs(6);
/// How long it waits at the end for caches that still hold it.
const DRAIN_MAX: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::from_environment()?;

    // Listening comes first: the check connects as soon as the registration is there.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(greet(listener));

    // An id that is the same after a restart, so that it then replaces itself: `started_now` says which start is newer.
    let registration = Registration::new("greeter", "g1", port)
        .address("127.0.0.1".parse()?)
        .check(Check::tcp())
        .ttl(Duration::from_secs(1))
        .meta("version", env!("CARGO_PKG_VERSION"))
        .started_now();
    let mut kept = client.register_with_lease(&registration, LEASE_TTL).await?;
    println!("registered as {}", kept.instances()[0].dns_name);

    tour(&client, port).await?;

    println!("greeting until Ctrl-C");
    let ended = tokio::select! {
        ended = stay(&mut kept) => ended.map_err(Into::into),
        ended = tokio::signal::ctrl_c() => ended.map_err(Into::into),
    };
    // Out of answers now, then wait until nobody's cache has it; only then would a service stop listening.
    if let Err(error) = kept.drain(DRAIN_MAX).await {
        println!("not drained: {error}");
    }
    kept.close().await?;
    println!("deregistered");
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

/// Reports what becomes of the registration, which is renewed and made again without us. It ends when the server says no
/// and means it.
async fn stay(kept: &mut KeepAlive) -> Result<(), ClientError> {
    while let Some(event) = kept.next().await {
        match event {
            KeepEvent::Registered { .. } => println!("registered again"),
            KeepEvent::Lost { because } => println!("not renewed: {because}"),
            KeepEvent::Back => println!("the server answers again"),
            KeepEvent::Stopped { because } => return Err(because),
            _ => {}
        }
    }
    Ok(())
}

/// What else there is: a group of services on one lease, seen by a watch.
async fn tour(client: &Client, port: u16) -> Result<(), ClientError> {
    let mut watch = client.watch_under("tour");
    // First what there is, of which nothing is ours yet.
    while !matches!(watch.next().await?, WatchEvent::Snapshot { is_last: true, .. }) {}

    // Several instances on one lease: one renewal keeps all, and revoking it takes all away.
    let lease = client.grant(LEASE_TTL).await?;
    for service in ["mail.tour", "chat.tour"] {
        let member = Registration::new(service, "i1", port).shared_address().on_lease(&lease.id);
        client.register_instance(&member).await?;
        show_change(&mut watch).await?;
    }
    for service in client.services_under("tour").await? {
        println!("{}: {} of {} answered", service.name, service.answered, service.instances);
        for instance in client.instances_of(&service.name, Selection { passing: true, tag: None }).await? {
            println!("  {} at {:?} port {}", instance.dns_name, instance.addresses, instance.port);
        }
    }
    client.renew_lease(&lease.id).await?;
    client.revoke(&lease.id).await?;
    show_change(&mut watch).await?;

    // The same in one step, with renewals done for us. Whoever drops the handle renews no more.
    let members = ["mail.tour", "chat.tour"].map(|service| Registration::new(service, "i2", port).shared_address());
    let kept = client.register_on_shared_lease(&members, LEASE_TTL).await?;
    show_change(&mut watch).await?;
    show_change(&mut watch).await?;
    kept.close().await?;
    show_change(&mut watch).await?;

    // What an operator does with a whole group.
    client.register_instance(&Registration::new("mail.tour", "i3", port).shared_address()).await?;
    show_change(&mut watch).await?;
    println!("deregistered under tour: {}", client.deregister_under("tour").await?["deregistered"]);
    show_change(&mut watch).await
}

/// Waits for the next changes, which come in one message when they happened at once.
async fn show_change(watch: &mut Watch) -> Result<(), ClientError> {
    loop {
        if let WatchEvent::Changed { changes, .. } = watch.next().await? {
            for change in changes {
                println!("watch: {} {}/{}", change.kind, change.service, change.id);
            }
            return Ok(());
        }
    }
}
