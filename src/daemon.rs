//! Putting it together: bind, open, publish the first state, serve; and the same backwards at the end.

mod descriptors;
mod part;
mod process;
mod settings;
mod wire;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::Instant;

use descriptors::Shares;
use part::first_to_end;
pub use process::serve;
use settings::forward_rules;
use wire::Parts;

use crate::config::Config;
use crate::dns::forward::Rule;
use crate::net::BindError;
use crate::store::OpenError;
use crate::telemetry::Metrics;
use crate::{api, check, demo, dns, zone};

/// Why a server did not start, or stopped.
#[derive(Debug)]
pub enum DaemonError {
    /// A socket could not be opened.
    Bind(BindError),
    /// A zone file cannot be served.
    Zones(zone::ZoneFileError),
    /// Signals cannot be received, so nothing but SIGKILL would end the server.
    Signals(std::io::Error),
    /// The registry's directory cannot be used.
    Store(OpenError),
    /// The demonstration's services could not be started.
    Demo(std::io::Error),
    /// Health checks cannot be run.
    Checks(std::io::Error),
    /// A part ended although nobody told it to. Serving on without it would be lying.
    Ended(&'static str),
    /// Certificates that checks are to trust cannot be read.
    Trust(check::TrustError),
    /// There is nobody to forward to, and why.
    Forward(String),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Ended(part) => {
                write!(f, "{part} ended by itself, which is a defect of Rollcall; see the lines before")
            }
            Self::Zones(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "the signals that end a server cannot be received: {error}"),
            Self::Demo(error) => write!(f, "the demonstration's services cannot run: {error}"),
            Self::Checks(error) => write!(f, "health checks cannot run: {error}"),
            Self::Trust(error) => error.fmt(f),
            Self::Forward(reason) => write!(f, "--forward: {reason}"),
        }
    }
}

impl std::error::Error for DaemonError {}

impl From<BindError> for DaemonError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

/// A server whose sockets are open and which serves nothing yet.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    metrics: Arc<Metrics>,
    shares: Shares,
    dns: dns::Listeners,
    http: api::Listeners,
    /// Where names of others are asked; none means that they are refused.
    forward: Vec<Rule>,
    trust: check::Trust,
}

impl Daemon {
    /// Opens every socket.
    ///
    /// # Errors
    /// The first address that cannot be opened, or an upstream that is this server.
    pub fn bind(config: Config) -> Result<Self, DaemonError> {
        let shares = Shares::of(descriptors::raise_limit());
        let dns = dns::Listeners::bind(&config.dns)?;
        let http = api::Listeners::bind(&config.http)?;
        let forward = forward_rules(&config.forward, &dns.addresses())?;
        let trust = check::Trust::load(&config.check_ca).map_err(DaemonError::Trust)?;
        Ok(Self { config, forward, metrics: Arc::new(Metrics::new()), shares, dns, http, trust })
    }

    /// What `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where DNS is answered.
    pub fn dns_addresses(&self) -> Vec<SocketAddr> {
        self.dns.addresses()
    }

    /// Where the API is served.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.addresses()
    }

    /// Serves until `shutdown` completes, then ends in order: no new requests, the last answers, the checks.
    ///
    /// # Errors
    /// When a part cannot start, or ends by itself.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let (grace, demonstrate) = (self.config.grace, self.config.demo);
        let zone = self.config.zone.clone();
        let mut shutdown = pin!(shutdown);
        let mut wired = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            wired = self.wire() => wired?,
        };
        let (leave_demo, demo_leaves) = watch::channel(false);
        let (demo, ended) = {
            let Parts { replica, checks, sentry, dns, http, zone_files } = &mut wired.parts;
            let mut parts = vec![replica, checks, sentry, dns, http];
            parts.extend(zone_files.as_mut());
            let mut end = pin!(async {
                tokio::select! {
                    () = shutdown => None,
                    part = first_to_end(&mut parts) => Some(part),
                }
            });
            let begin = async {
                wired.opening.open().await;
                match (demonstrate, wired.opening.http.first(), wired.opening.dns.first()) {
                    (true, Some(http), Some(dns)) => demo::start(*http, *dns, &zone, demo_leaves).await.map(Some),
                    _ => Ok(None),
                }
            };
            // Told to end while it still begins, it ends without having begun.
            tokio::select! {
                biased;
                ended = &mut end => (None, ended),
                demo = begin => (demo.map_err(DaemonError::Demo)?, end.await),
            }
        };
        tracing::info!("stopping");
        let deadline = Instant::now() + grace;
        wired.opening.stopping.store(true, Ordering::Relaxed);
        leave_demo.send_replace(true);
        if let Some(demo) = demo {
            let _ = tokio::time::timeout_at(deadline, demo.left()).await;
        }
        wired.close(ended, deadline).await;
        tracing::info!("stopped");
        ended.map_or(Ok(()), |part| Err(DaemonError::Ended(part)))
    }
}
