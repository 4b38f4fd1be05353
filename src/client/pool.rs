//! Connections that wait for the next request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// Connections that wait for one server; a further one is closed.
const IDLE_MAX: usize = 4;
/// For how long one may wait. Whatever stands between two machines forgets silent connections after a few minutes.
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);

/// The connections to one server that nobody uses, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<(Instant, Connection)>>,
}

impl Pool {
    /// A connection that is open as far as is known.
    pub(super) fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| now.duration_since(*since) < IDLE_TIME_MAX && connection.is_open());
        idle.pop().map(|(_, connection)| connection)
    }

    pub(super) fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, connection)| connection.is_open());
        if idle.len() < IDLE_MAX {
            idle.push((Instant::now(), connection));
        }
    }
}
