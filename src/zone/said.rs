//! What is said to a question, before there are records.

use std::sync::Arc;

use hickory_proto::rr::RecordType;

use super::kind::Kind;
use super::owner::Owner;
use super::service::ServiceAnswers;
use super::statics::Alias;

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Not ours.
    Refused,
    /// The state is not loaded.
    NotLoaded,
    /// Records of the zone itself.
    OfZone(RecordType),
    /// Records that a zone file has.
    OfFile(RecordType),
    /// Another name to look at.
    Alias,
    /// Aliases alone: they lead out of our zones, or nowhere, and then why.
    Unfollowed(Option<&'static str>),
    /// Who to ask instead.
    Referred,
    /// The service types of a group.
    ServiceTypes,
    /// The names of an address.
    Pointers,
    /// Records of instances; at least one.
    OfInstances(Kind),
    /// The name exists and has no record of the type.
    NoData,
    /// It would have records if an instance were well.
    Waiting,
    /// The name does not exist.
    Absent,
}

/// What a question gets, before it is made to fit.
#[derive(Debug, Clone)]
pub struct Decision {
    pub(super) owner: Owner,
    pub(super) said: Said,
    /// The service whose instances are answered in place of the owner's, which has none.
    pub(super) stand_in: Option<Arc<ServiceAnswers>>,
    /// How the question's name led to the owner; often not at all.
    pub(super) aliases: Vec<Alias>,
}
