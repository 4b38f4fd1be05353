//! The kinds of probes there are.

use std::io;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::dialogue::Dialogue;
use super::sessions::Sessions;
use super::tls::Sealed;
use super::{Trust, grpc, http, tcp};
use crate::model::CheckKind;

/// What probes share by kind.
#[derive(Debug)]
pub(super) struct Kinds {
    sessions: Sessions,
}

impl Kinds {
    pub(super) fn new(trust: &Trust) -> Self {
        Self { sessions: Sessions::new(trust) }
    }

    /// What a check of a kind that is probed does with a connection.
    ///
    /// # Errors
    /// What this machine lacks to do it.
    pub(super) fn dialogue(
        &mut self,
        kind: &CheckKind,
        target: SocketAddr,
        now: Instant,
    ) -> io::Result<Box<dyn Dialogue>> {
        Ok(match kind {
            CheckKind::Tcp { .. } => Box::new(tcp::Silence),
            CheckKind::Http(check) => Box::new(http::Exchange::new(check, target, &target.to_string())),
            CheckKind::Https(check) => {
                let host = match &check.server_name {
                    None => target.to_string(),
                    // As a url without a port would have it (RFC 9110 §4.2.2).
                    Some(name) if target.port() == 443 => name.to_string(),
                    Some(name) => format!("{name}:{}", target.port()),
                };
                let exchange = http::Exchange::new(&check.http, target, &host);
                let session = self.sessions.begin(check.tls_verify, check.server_name.as_ref(), target, now)?;
                Box::new(Sealed::new(session, check.server_name.as_ref(), target, exchange))
            }
            CheckKind::Grpc(service) => Box::new(grpc::Call::new(service, target)),
            CheckKind::Ttl => unreachable!("a check that waits for reports is not probed"),
        })
    }
}
