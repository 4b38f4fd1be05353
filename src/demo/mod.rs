//! `serve --demo`: small services to look at, in the server's own process.
//!
//! They are real HTTP servers on loopback that register over the HTTP API like anyone's, so that what they show is what
//! everyone gets. They touch nothing but their own instances:
//!
//! ```text
//! web    w1   healthy
//! flaky  f1   fails and recovers every 20 s
//! batch  b1   on a lease that is renewed for a minute
//! (hello)     on 127.0.0.1:8080, registered by nobody: the introduction shows how
//! ```

mod introduction;
mod site;

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Client, ClientError};
use crate::model::ZoneName;
use introduction::Introduction;
use site::Site;

/// The port of the service that nobody has registered, as the README writes it.
const UNREGISTERED_PORT: u16 = 8080;
const FLAKY_PHASE: Duration = Duration::from_secs(20);
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
const RENEW_FOR: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long leaving may take.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// The services of the demonstration, running.
#[derive(Debug)]
pub struct Demo {
    task: JoinHandle<()>,
}

impl Demo {
    /// Waits until the services have deregistered after `shutdown` said so; the API has to answer until then.
    pub async fn left(self) {
        // A panic of the demonstration was reported by the panic hook and is no reason for the server to end otherwise.
        let _ = self.task.await;
    }
}

/// Starts the services, prints what there is to try, and registers them with the API at `http`.
///
/// # Errors
/// When no port can be opened on loopback.
pub async fn start(
    http: SocketAddr,
    dns: SocketAddr,
    zone: &ZoneName,
    shutdown: watch::Receiver<bool>,
) -> io::Result<Demo> {
    let (http, dns) = (nearest(http), nearest(dns));
    let unregistered = unregistered(UNREGISTERED_PORT).await?;
    let introduction =
        Introduction { http, dns, zone, wanted: UNREGISTERED_PORT, port: unregistered.local_addr()?.port() };
    // Whoever closed the terminal does not want to read it.
    let _ = write!(io::stdout().lock(), "{introduction}");
    launch(http, unregistered, shutdown).await
}

/// The address by which this machine reaches a listener.
fn nearest(listener: SocketAddr) -> SocketAddr {
    match listener {
        SocketAddr::V4(address) if address.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        address => address,
    }
}

/// A listener on `port`, or on any other when somebody has that one.
async fn unregistered(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}

async fn launch(http: SocketAddr, unregistered: TcpListener, mut shutdown: watch::Receiver<bool>) -> io::Result<Demo> {
    let client = Client::new(&[http.to_string()], None).map_err(io::Error::other)?;
    let started = Instant::now();
    let mut sites = JoinSet::new();
    sites.spawn(Site { name: "hello", started, healthy: |_| true }.serve(unregistered));
    let mut services = Vec::new();
    for (name, id, healthy, extra) in [
        ("web", "w1", (|_| true) as fn(Duration) -> bool, json!({"checks": [check("5s", 3)]})),
        ("flaky", "f1", flaky_is_healthy, json!({"checks": [check("1s", 2)]})),
        ("batch", "b1", |_| true, json!({"lease_ttl": "5s"})),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut body = json!({"address": "127.0.0.1", "port": listener.local_addr()?.port(), "meta": {"demo": name}});
        merge(&mut body, extra);
        sites.spawn(Site { name, started, healthy }.serve(listener));
        services.push(Service { name, id, body });
    }
    let task = tokio::spawn(async move {
        tokio::select! {
            () = live(&client, &services, started) => {}
            // An error means that the server has gone, which is a shutdown too.
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
        if timeout(LEAVE_PATIENCE, leave(&client, &services)).await.is_err() {
            tracing::warn!("the demonstration's services could not deregister in time");
        }
        drop(sites);
    });
    Ok(Demo { task })
}

/// An instance of the demonstration and the body it registers with.
struct Service {
    name: &'static str,
    id: &'static str,
    body: Value,
}

fn check(interval: &str, fall: u8) -> Value {
    json!({"type": "http", "path": "/healthz", "interval": interval, "timeout": "1s", "fall": fall})
}

fn merge(body: &mut Value, extra: Value) {
    if let (Value::Object(body), Value::Object(extra)) = (body, extra) {
        body.extend(extra);
    }
}

/// Whether `flaky` is well so long after its start: 20 s well, 20 s not, and so on.
fn flaky_is_healthy(elapsed: Duration) -> bool {
    (elapsed.as_secs() / FLAKY_PHASE.as_secs()).is_multiple_of(2)
}

/// Whether `batch` still renews its lease so long after its start.
fn batch_renews(elapsed: Duration) -> bool {
    elapsed < RENEW_FOR
}

/// Registers everything and keeps the lease for as long as it is meant to be kept; never ends.
async fn live(client: &Client, services: &[Service], started: Instant) {
    for service in services {
        register(client, service).await;
    }
    let mut renewals = interval(RENEW_INTERVAL);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and registering has just begun the lease.
    renewals.tick().await;
    loop {
        renewals.tick().await;
        if !batch_renews(started.elapsed()) {
            break;
        }
        for service in services.iter().filter(|service| service.body.get("lease_ttl").is_some()) {
            match client.renew(service.name, service.id).await {
                // Lapsed or removed in between, for example while the machine slept: as any registrar would, again.
                Err(error) if matches!(error.status(), Some(404 | 410)) => register(client, service).await,
                Err(error) => tracing::warn!(service.name, %error, "the demonstration could not renew a lease"),
                Ok(_) => {}
            }
        }
    }
    std::future::pending().await
}

/// Registers a service, again while the server cannot be reached.
async fn register(client: &Client, service: &Service) {
    loop {
        let Err(error) = client.register(service.name, Some(service.id), &service.body).await else { return };
        tracing::warn!(service.name, %error, "the demonstration could not register a service");
        if !matches!(error, ClientError::Unreachable { .. }) && error.status() != Some(503) {
            return;
        }
        sleep(RETRY_INTERVAL).await;
    }
}

async fn leave(client: &Client, services: &[Service]) {
    for service in services {
        match client.deregister(service.name, service.id).await {
            Err(error) if error.status() != Some(404) => {
                tracing::warn!(service.name, %error, "the demonstration could not deregister a service");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{self, FakeServer};

    #[test]
    fn flaky_turns_every_twenty_seconds() {
        let healthy = |milliseconds| flaky_is_healthy(Duration::from_millis(milliseconds));
        assert!(healthy(0) && healthy(19_999) && !healthy(20_000) && !healthy(39_999) && healthy(40_000));
    }

    #[test]
    fn batch_renews_for_a_minute() {
        assert!(batch_renews(Duration::from_millis(59_999)));
        assert!(!batch_renews(Duration::from_secs(60)));
    }

    #[test]
    fn listeners_on_all_addresses_are_reached_on_loopback() {
        for (listener, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1"), ("[::1]:1", "[::1]:1")]
        {
            assert_eq!(nearest(listener.parse().unwrap()), reached.parse().unwrap());
        }
    }

    #[tokio::test]
    async fn a_busy_port_is_replaced_by_another() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = busy.local_addr().unwrap().port();
        assert_ne!(unregistered(port).await.unwrap().local_addr().unwrap().port(), port);
    }

    #[tokio::test]
    async fn services_register_over_http_and_deregister_at_shutdown() {
        let created = || fake::json("201 Created", &json!({}));
        let gone = fake::answer("404 Not Found", "application/problem+json", "{}");
        let none = || "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
        let server = FakeServer::start([created(), created(), created(), none(), none(), gone]).await;
        let (stop, stopped) = watch::channel(false);
        let unregistered = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let demo = launch(server.address.parse().unwrap(), unregistered, stopped).await.unwrap();
        server.heard(3).await;
        stop.send(true).unwrap();
        demo.left().await;
        let requests = server.requests();
        for (position, line) in [
            "PUT /v1/services/web/instances/w1 ",
            "PUT /v1/services/flaky/instances/f1 ",
            "PUT /v1/services/batch/instances/b1 ",
            "DELETE /v1/services/web/instances/w1 ",
            "DELETE /v1/services/flaky/instances/f1 ",
            "DELETE /v1/services/batch/instances/b1 ",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(requests[position].starts_with(line), "{requests:?}");
        }
        assert!(requests[1].contains(r#""interval":"1s""#) && requests[1].contains(r#""fall":2"#), "{requests:?}");
        assert!(requests[2].contains(r#""lease_ttl":"5s""#), "{requests:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_gone_ends_the_demonstration() {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let unregistered = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let demo = launch(http, unregistered, stopped).await.unwrap();
        drop(stop);
        demo.left().await;
    }
}
