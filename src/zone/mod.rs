//! The live zone: an index of immutable answers, one entry per service, and the decision what a question gets.
//!
//! ```text
//! registry::Service ──Publisher──▶ index: owner name ─▶ Arc<Node { ServiceAnswers, what lies below }>
//!                                         │
//! Question ──────────── Zone::decide ◀────┘──▶ Decision ─▶ fill: Answer (rcode, sections), sized to fit
//!                                                       ─▶ explain: extended error, Explanation
//! ```
//!
//! Readers take no lock and wait for nobody; a change of one instance replaces the answers of its service and touches
//! no other. Names of instances, tags and ports are not entries of the index: they are found through their service,
//! one label to the right.

// What there is.
mod browse;
mod index;
mod name;
mod order;
mod publish;
mod reverse;
mod service;
// What is said of it.
mod decide;
mod explain;
mod fill;
mod near;
mod owner;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hickory_proto::rr::Name;

pub use decide::{Answer, Decision, Detail, ExtendedError, Question};
pub use explain::{Explanation, Judged};
pub use publish::Publisher;

use crate::model::{Ttl, ZoneName};
use browse::Browse;
use index::Index;
use name::WireName;
use near::Searches;
use reverse::Reverse;

/// The name of the name server, one label below the apex.
pub const NAME_SERVER: &str = "ns";

/// What the zone says of itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub name: ZoneName,
    /// Lifetime of answers whose instances ask for none.
    pub ttl: Ttl,
    /// Addresses of the name server that the NS record names.
    pub name_server: Vec<IpAddr>,
    /// Nets whose addresses have names: each makes reverse zones.
    pub reverse: Vec<ipnet::IpNet>,
    /// The SOA serial of revision 0.
    pub serial: u32,
}

/// The live zone, shared by everything that answers from it.
#[derive(Debug)]
pub struct Zone {
    settings: Settings,
    origin: Name,
    wire_origin: WireName,
    index: Index,
    browse: Browse,
    reverse: Reverse,
    searches: Searches,
    /// Grows with the revision whenever content changes (RFC 1982).
    serial: AtomicU32,
    loaded: AtomicBool,
}

impl Zone {
    fn new(settings: Settings) -> Self {
        let origin = Name::from_labels(settings.name.labels().map(str::as_bytes))
            .expect("a zone name is a valid name of at most 200 octets");
        Self {
            wire_origin: WireName::lower(&origin),
            origin,
            index: Index::new(),
            browse: Browse::default(),
            reverse: Reverse::new(&settings.reverse),
            searches: Searches::default(),
            serial: AtomicU32::new(settings.serial),
            loaded: AtomicBool::new(false),
            settings,
        }
    }

    /// Its name, with the final dot.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// The SOA serial now.
    pub fn serial(&self) -> u32 {
        self.serial.load(Ordering::Relaxed)
    }

    /// Whether the first full state is served. Until then every question is SERVFAIL, never a negative answer.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }
}
