//! The HTTP API, version 1 (contract §3): routes, bodies, problem documents.
//!
//! ```text
//! connection ─▶ serve ─▶ guard ─▶ route ─▶ extract, registration ─▶ Command ─▶ Store::commit
//!                                              shape ◀── ViewReader::reached(revision) ◀──┘
//! ```
//!
//! A write is answered once this node's DNS serves it. Reads come from the view and do not wait unless they are asked
//! to, for a change.

// Serving: connections, limits that hold for every request.
mod gate;
mod guard;
mod load;
mod metrics;
mod serve;
// What values look like.
mod form;
mod kind;
// What comes in.
mod cadence;
mod check;
mod extract;
mod guarding;
mod registration;
mod values;
mod wording;
// What goes out.
mod paging;
mod probing;
mod problem;
mod shape;
// Which routes there are, and what the API's document says of them.
mod openapi;
mod routes;
// The routes.
mod batch;
mod events;
mod explain;
mod history;
mod instances;
mod leases;
mod reports;
mod services;
mod settings;
mod snapshot;
mod status;
// Those that wait.
mod wait;
mod waiting;
mod watch;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use gate::Gate;
pub use load::Load;
pub use metrics::counted;
pub use problem::Problem;
pub use routes::router;
pub use serve::{Listeners, Settings};

use crate::model::{
    Heard, Hint, InstanceId, ProbeReport, Registration, Revision, SelfReport, ServiceName, Unheard, ZoneName,
};
use crate::registry::{Actor, Command};
use crate::store::{Committed, Store};
use crate::view::ViewReader;
use crate::zone::Zone;

/// Octets of a body, unless a route says otherwise.
const BODY_OCTETS_MAX: usize = 64 << 10;
/// How long a committed change may take to be served before the caller is told to look again.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// Why a check may not aim where it does: its position among the checks, and a sentence.
pub type CheckRefused = (usize, String);

/// Says whether the checks of a registration may aim where they do.
pub type PermitChecks = dyn Fn(&Registration) -> Result<(), CheckRefused> + Send + Sync;

/// Says what this node's probes know of the checks of instances, in their order.
pub type ReportChecks =
    dyn Fn(Vec<(ServiceName, InstanceId)>) -> Pin<Box<dyn Future<Output = Vec<Vec<ProbeReport>>> + Send>> + Send + Sync;

/// Tells whoever looks after a check what its service says of itself; answers when that is kept.
pub type TakeReport = dyn Fn(SelfReport) -> Pin<Box<dyn Future<Output = Result<Heard, Unheard>> + Send>> + Send + Sync;

/// Has an instance probed of which a client says that it fails; says whether it is.
pub type TakeHint = dyn Fn(Hint) -> Pin<Box<dyn Future<Output = Result<bool, Unheard>> + Send>> + Send + Sync;

/// Says what keeps this node from being ready; empty when it is.
pub type NotReady = dyn Fn() -> Vec<String> + Send + Sync;

/// Says what speaks against what this node hears of others; empty when nothing does.
pub type Doubts = dyn Fn() -> Vec<String> + Send + Sync;

/// Renders all metrics of the process.
pub type RenderMetrics = dyn Fn() -> Result<String, fmt::Error> + Send + Sync;

/// What the routes work with.
pub struct Context {
    /// The engine.
    pub store: Arc<dyn Store>,
    /// The registry as it is served.
    pub view: ViewReader,
    /// The zone, for names in answers.
    pub zone: ZoneName,
    /// The zone itself, for explanations.
    pub live: Arc<Zone>,
    /// What DNS sends over UDP at most, in octets.
    pub udp_payload: u16,
    /// Clients whom DNS tells which instance fails with what.
    pub explain_allow: Vec<IpNet>,
    /// Whether checks may aim where they do.
    pub permit_checks: Box<PermitChecks>,
    /// What this node has against itself.
    pub doubts: Box<Doubts>,
    /// What probes have found out beyond opinions.
    pub report_checks: Box<ReportChecks>,
    /// What services say of themselves.
    pub take_report: Box<TakeReport>,
    /// What clients say of instances.
    pub take_hint: Box<TakeHint>,
    /// What keeps this node from being ready.
    pub not_ready: Box<NotReady>,
    /// Renders what `/metrics` shows.
    pub render_metrics: Box<RenderMetrics>,
    /// When the process began to serve.
    pub started: tokio::time::Instant,
    /// Views that pages of lists are pinned to.
    pub pins: Pins,
    /// Requests that wait for a change.
    pub waiting: Waiting,
    /// What answers may hold while their clients read them.
    pub load: Load,
}

pub use paging::Pins;
pub use waiting::Waiting;

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// The address of who sent a request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Whether the server is closing, for requests that wait.
#[derive(Debug, Clone)]
pub struct Closing(pub tokio::sync::watch::Receiver<bool>);

impl Context {
    /// Carries out a command that an actor asks for, and waits until this node serves the result.
    async fn commit(&self, actor: Actor, command: Command) -> Result<Committed, Problem> {
        let committed = self.store.commit_by(actor, command).await?;
        self.served(committed.revision).await?;
        Ok(committed)
    }

    /// Whether the checks of a registration may aim where they do.
    fn permit(&self, registration: &Registration) -> Result<(), Problem> {
        (self.permit_checks)(registration)
            .map_err(|(position, detail)| Problem::invalid(format!("/checks/{position}"), detail))
    }

    async fn served(&self, revision: Revision) -> Result<(), Problem> {
        self.served_within(SERVED_WITHIN, revision).await
    }

    async fn served_within(&self, patience: Duration, revision: Revision) -> Result<(), Problem> {
        tokio::time::timeout(patience, self.view.reached(revision))
            .await
            .map_err(|_| Problem::unavailable("the change is made, but this node does not serve it yet"))
    }
}
