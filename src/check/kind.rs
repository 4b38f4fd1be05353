//! The kinds of probes there are.

use std::net::SocketAddr;

use super::dialogue::Dialogue;
use super::{http, tcp};
use crate::model::CheckKind;

/// What a check of a kind that is probed does with a connection.
pub(super) fn of_kind(kind: &CheckKind, target: SocketAddr) -> Box<dyn Dialogue> {
    match kind {
        CheckKind::Tcp => Box::new(tcp::Silence),
        CheckKind::Http(check) => Box::new(http::Exchange::new(check, target)),
        CheckKind::Ttl => unreachable!("a check that waits for reports is not probed"),
    }
}
