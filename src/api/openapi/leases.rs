//! Calls about leases.

use serde_json::json;

use super::super::kind::Kind;
use super::super::leases::{GrantBody, RenewBody, RenewedManyShape};
use super::super::shape::LeaseShape;
use super::{LEASES, Operation};

pub(in super::super) fn grant_lease() -> Operation {
    Operation::new("grantLease", LEASES, "Grant a lease that several instances may share")
        .body::<GrantBody>(vec![("short", json!({ "ttl": "15s" }))])
        .answers::<LeaseShape>(201, "It lives for one term.")
        .lease_follows()
        .with_header("Location", "Location")
        .refuses(507, &[Kind::RegistryFull])
}

pub(in super::super) fn get_lease() -> Operation {
    Operation::new("getLease", LEASES, "Look at a lease")
        .of_lease()
        .answers::<LeaseShape>(200, "It is alive.")
        .refuses(404, &[Kind::NoLease])
}

pub(in super::super) fn revoke_lease() -> Operation {
    Operation::new("revokeLease", LEASES, "Revoke a lease\nEvery instance that is on it leaves at once.")
        .of_lease()
        .answers_nothing(204, "It is gone.")
        .refuses(404, &[Kind::NoLease])
}

pub(in super::super) fn renew_lease() -> Operation {
    Operation::new("renewLease", LEASES, "Renew a lease")
        .of_lease()
        .answers::<LeaseShape>(200, "It lives for another term.")
        .lease_follows()
        .refuses(410, &[Kind::LeaseGone])
}

pub(in super::super) fn renew_leases() -> Operation {
    let text = "Renew many leases
When some are not alive it says which in `ids`, with 410, and has renewed the others.";
    Operation::new("renewLeases", LEASES, text)
        .body::<RenewBody>(vec![("two", json!({ "ids": ["61c9ab1de0e04a3d", "0c4f1b2a99d3e875"] }))])
        .answers::<RenewedManyShape>(200, "All live for another term.")
        .refuses(410, &[Kind::LeaseGone])
}
