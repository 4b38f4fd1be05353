//! What is asked of the registry, and the ways it can say no.

use std::fmt;
use std::sync::Arc;

use crate::model::{
    Duration, Guarded, Health, Instance, InstanceId, Label, Lease, LeaseId, Meta, Registration, Revision, ServiceName,
    ServiceSettings, State, Timestamp,
};

/// What is asked. Every change, from HTTP, from a check or from a lapsed lease, is one of these.
#[derive(Debug, Clone)]
pub enum Command {
    /// Register an instance or replace it.
    Register(Box<Register>),
    /// Change what may be changed without registering again.
    Amend(Box<Amendment>),
    /// Take one instance out.
    Deregister {
        /// Its service.
        service: ServiceName,
        /// Its id.
        id: InstanceId,
        /// What must hold for it.
        precondition: Precondition,
    },
    /// Take all instances of a scope out.
    DeregisterAll(Scope),
    /// Set what holds for a whole service; `None` goes back to what the server has.
    Configure {
        /// The service, which need not have instances.
        service: ServiceName,
        /// What is to hold.
        settings: Option<ServiceSettings>,
    },
    /// The last good set of a service is kept; `None`: no longer.
    Guard {
        /// The service.
        service: ServiceName,
        /// How it is kept.
        guarded: Option<Guarded>,
    },
    /// A check's opinion turned.
    Observe(Box<Observation>),
    /// Grant a lease.
    Grant {
        /// Its length.
        ttl: Duration,
    },
    /// End a lease now; every instance on it leaves.
    Revoke(LeaseId),
    /// Renew a lease. It moves a deadline and has no revision; alone it is better asked of the store directly.
    Renew(Renewal),
    /// All of these, in this order, at one revision, or none. A batch is none of them.
    Batch(Vec<Command>),
}

/// Which lease is renewed.
#[derive(Debug, Clone)]
pub enum Renewal {
    /// The one of this id.
    Lease(LeaseId),
    /// An instance's own.
    Own(ServiceName, InstanceId),
}

/// A registration and how to make it.
#[derive(Debug, Clone)]
pub struct Register {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub id: IdChoice,
    /// What it says of itself.
    pub registration: Registration,
    /// The lease it wants.
    pub lease: LeaseWish,
    /// What must hold for the instance now.
    pub precondition: Precondition,
}

/// Who chose the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdChoice {
    /// The caller; an instance of that id is replaced.
    Given(InstanceId),
    /// The server, at random; an instance of that id is never replaced.
    Chosen(InstanceId),
}

impl IdChoice {
    /// The id.
    pub fn id(&self) -> &InstanceId {
        match self {
            Self::Given(id) | Self::Chosen(id) => id,
        }
    }
}

/// The lease that a registration wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseWish {
    /// None: it stays until deregistered.
    None,
    /// One for itself alone, of this length.
    Own(Duration),
    /// A lease that several share.
    Join(LeaseId),
}

/// What must hold for a command to be carried out (RFC 9110 §13.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// The instance does not exist (`If-None-Match: *`).
    Absent,
    /// The instance's last change was this one (`If-Match`).
    Unchanged(Revision),
    /// The instance exists (`If-Match: *`).
    Present,
}

/// What to change of an instance; what is `None` stays.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// Its service.
    pub service: ServiceName,
    /// Its id.
    pub id: InstanceId,
    /// What must hold for it.
    pub precondition: Precondition,
    /// What an operator wants of it.
    pub state: Option<State>,
    /// For how long the state holds; counts only with a state that is not `up`.
    pub expiry: Expiry,
    /// Its weight.
    pub weight: Option<u16>,
    /// Its tags, all of them, sorted and distinct.
    pub tags: Option<Arc<[Label]>>,
    /// Its metadata, all of it.
    pub meta: Option<Meta>,
}

/// For how long a state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// As was said when the instance went into it.
    Kept,
    /// Until somebody changes it.
    Never,
    /// For so long from now; then the instance is up again.
    After(Duration),
}

/// Which instances are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of one service.
    Service(ServiceName),
    /// Those of all services strictly below a group.
    Under(ServiceName),
}

/// The opinion of one check after it turned.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub id: InstanceId,
    /// The [`Instance::epoch`] it was probed under.
    pub epoch: Revision,
    /// The check.
    pub check: Label,
    /// The new opinion.
    pub health: Health,
    /// Why, when it is critical.
    pub error: Option<Arc<str>>,
    /// When the probe that turned it ended.
    pub at: Timestamp,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The instance is registered.
    Registered {
        /// Whether it is new.
        created: bool,
        /// Its state now.
        instance: Arc<Instance>,
    },
    /// The instance was amended, or was like that already.
    Amended(Arc<Instance>),
    /// This many instances left.
    Deregistered(usize),
    /// The settings hold; whether the service had any before.
    Configured {
        /// Whether there were settings before.
        existed: bool,
    },
    /// The service is guarded as was asked, or was so, or has no instances that could be.
    Guarded,
    /// The opinion was noted, or counted for nothing: it came late, or was known.
    Observed,
    /// The lease is granted.
    Granted(Lease),
    /// The lease is revoked; this many instances left.
    Revoked(usize),
    /// The lease is renewed.
    Renewed(Lease),
    /// What became of each command of a batch.
    Batch(Vec<Outcome>),
}

/// Why a command was not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A DNS name that the registration would make already means something else.
    NameTaken {
        /// The name, relative to the zone.
        name: String,
        /// What it means.
        by: String,
    },
    /// A DNS name that the registration would make is longer than 255 octets.
    NameTooLong(String),
    /// The service has no instance of that id.
    NoInstance,
    /// The lease is unknown, revoked or lapsed.
    LeaseGone(LeaseId),
    /// The lease is another instance's own, and ends with that.
    LeaseNotShared(LeaseId),
    /// The precondition does not hold.
    Precondition {
        /// The instance's last change, when it exists.
        current: Option<Revision>,
    },
    /// The registration's `generation` is older than the one that is registered.
    StaleGeneration {
        /// The one that is registered.
        current: u64,
    },
    /// Another instance has registered where this one was, and this one comes again as it was.
    Superseded {
        /// The other.
        by: InstanceId,
        /// The generation of this one that was superseded.
        generation: Option<u64>,
    },
    /// The instance has no lease of its own to renew; perhaps it is on one that others may share.
    NoOwnLease(Option<LeaseId>),
    /// A command of a batch is refused.
    InBatch {
        /// Which, counted from 0.
        position: usize,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// The service has as many instances as one may have.
    ServiceFull(usize),
    /// The registry has as many instances as it may have.
    RegistryFull(usize),
    /// There are as many leases as there may be.
    LeasesFull(usize),
    /// There are as many services with settings as there may be.
    SettingsFull(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken { name, by } => write!(f, "the name {name} already means {by}"),
            Self::NameTooLong(name) => write!(f, "the name {name} would be longer than 255 octets"),
            Self::NoInstance => f.write_str("there is no such instance"),
            Self::LeaseGone(id) => write!(f, "lease {id} is not alive"),
            Self::LeaseNotShared(id) => write!(f, "lease {id} is another instance's own"),
            Self::Precondition { current: None } => f.write_str("the instance does not exist"),
            Self::Precondition { current: Some(current) } => write!(f, "the instance is at revision {current}"),
            Self::StaleGeneration { current } => write!(f, "generation {current} is registered already"),
            Self::Superseded { by, .. } => write!(f, "instance {by} has registered at this address and port since"),
            Self::NoOwnLease(_) => f.write_str("the instance has no lease of its own"),
            Self::InBatch { position, refusal } => write!(f, "operation {position}: {refusal}"),
            Self::ServiceFull(max) => write!(f, "the service has {max} instances, which is the most that one may have"),
            Self::RegistryFull(max) => write!(f, "the registry has {max} instances, which is the most it may have"),
            Self::SettingsFull(max) => write!(f, "{max} services have settings, which is the most that may"),
            Self::LeasesFull(max) => write!(f, "there are {max} leases, which is the most there may be"),
        }
    }
}

impl std::error::Error for Refusal {}
