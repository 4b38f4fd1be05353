//! The live zone: an index of immutable answers, one entry per service, and the decision what a question gets.
//!
//! ```text
//! registry::Service ──Publisher──▶ index: owner name ─▶ Arc<Node { ServiceAnswers, what lies below }>
//!                                         │
//! Question ──────────── Zone::decide ◀────┘──▶ Decision ─▶ fill: Answer (rcode, sections), sized to fit
//!                                                       ─▶ brief: extended error; explain: Explanation
//! ```
//!
//! Zone files come before both: what they say of a name is decided in `statics`, and is filled and explained the same.
//!
//! Readers take no lock and wait for nobody; a change of one instance replaces the answers of its service and touches
//! no other. Names of instances, tags and ports are not entries of the index: they are found through their service,
//! one label to the right.

// What there is.
mod browse;
mod index;
mod linger;
mod name;
mod order;
mod publish;
mod reverse;
mod service;
mod statics;
// What is asked, and what is said of it.
mod brief;
mod decide;
mod explain;
mod fill;
mod kind;
mod near;
mod notice;
mod owner;
mod question;
mod quick;
mod said;
mod text;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;
use hickory_proto::rr::Name;
use parking_lot::Mutex;

pub use explain::{Explanation, Judged};
pub use linger::Until;
pub use publish::Publisher;
pub use question::{Answer, Detail, ExtendedError, Question};
pub use quick::{QuickAnswer, QuickQuestion};
pub use said::Decision;
pub use statics::{Reloader, Statics, ZoneFileError};
pub use text::record_text;

use crate::model::{InstanceId, ServiceName, Ttl, ZoneName};
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
    /// What zone files say.
    statics: ArcSwap<Statics>,
    /// Live names that are known not to answer because of a file.
    shadowed: Mutex<HashSet<String>>,
    /// Grows with the revision whenever content changes (RFC 1982).
    serial: AtomicU32,
    loaded: AtomicBool,
}

impl Zone {
    fn new(settings: Settings) -> Self {
        let origin = statics::live_name(&settings.name);
        Self {
            wire_origin: WireName::lower(&origin),
            origin,
            index: Index::new(),
            browse: Browse::default(),
            reverse: Reverse::new(&settings.reverse),
            searches: Searches::default(),
            statics: ArcSwap::default(),
            shadowed: Mutex::default(),
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

    /// When no cache holds an answer with a draining instance any more; `None` when it is not draining here.
    pub fn safe_to_stop_at(&self, service: &ServiceName, id: &InstanceId) -> Option<Until> {
        let node = self.index.get(&name::wire_key(service.as_str()))?;
        node.service.as_ref()?.safe_to_stop_at(id)
    }

    /// Whether the first full state is served. Until then every question is SERVFAIL, never a negative answer.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }
}
