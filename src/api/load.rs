//! The memory that answers may take while their clients read them.
//!
//! An answer is made whole and held until its client has taken it. Many clients that take large ones slowly, each within
//! its pace, would hold as much as they like; here what they hold together is bounded.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Octets of answers under way, in all.
const OCTETS_MAX: u64 = 256 << 20;
/// Octets of an answer that is not counted. As many as there may be connections, these are bounded too.
const FREE_OCTETS: u64 = 64 << 10;
/// Octets that are counted as one.
const UNIT: u64 = 1 << 10;
/// Snapshots that are saved at once. Each holds a state of the registry that may be long past when it is read slowly.
const SAVES_MAX: usize = 2;

/// What may still be under way.
#[derive(Debug)]
pub struct Load {
    room: Arc<Semaphore>,
    units_max: u32,
    saves: Arc<Semaphore>,
    restores: Arc<Semaphore>,
}

impl Default for Load {
    fn default() -> Self {
        Self::bounded(OCTETS_MAX)
    }
}

/// The room of one answer, given back when all copies of it are dropped. It travels among the answer's extensions to the
/// connection, which keeps it until the last octet is taken.
#[derive(Debug, Clone)]
pub(super) struct Held {
    #[expect(dead_code, reason = "held until it is dropped")]
    permit: Arc<OwnedSemaphorePermit>,
}

impl Load {
    /// At most so many octets of answers at once.
    pub fn bounded(octets_max: u64) -> Self {
        let units_max = u32::try_from(octets_max / UNIT).unwrap_or(u32::MAX >> 3);
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Self { room: semaphore(units_max as usize), units_max, saves: semaphore(SAVES_MAX), restores: semaphore(1) }
    }

    /// A place among those who save a snapshot.
    pub(super) fn to_save(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.saves.clone().try_acquire_owned();
        place.map_err(|_| Problem::unavailable(&format!("{SAVES_MAX} snapshots are being saved, which is the most")))
    }

    /// The place of who restores a snapshot.
    pub(super) fn to_restore(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.restores.clone().try_acquire_owned();
        place.map_err(|_| Problem::unavailable("another snapshot is being restored"))
    }

    /// Room for so many octets of an answer that is not made whole; it belongs among the answer's extensions.
    pub(super) fn hold(&self, octets: usize) -> Result<Held, Problem> {
        self.acquire(octets as u64).ok_or_else(Problem::busy)
    }

    fn acquire(&self, octets: u64) -> Option<Held> {
        let units = u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units_max);
        let permit = self.room.clone().try_acquire_many_owned(units).ok()?;
        Some(Held { permit: Arc::new(permit) })
    }

    /// Takes room for an answer, or puts a refusal in its place. One that is larger than all there may be is let out
    /// when it is the only one.
    pub(super) fn take(&self, mut response: Response) -> Response {
        let octets = response.body().size_hint().lower();
        if octets <= FREE_OCTETS {
            return response;
        }
        match self.acquire(octets) {
            Some(held) => {
                response.extensions_mut().insert(held);
                response
            }
            None => Problem::busy().into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::StatusCode;

    fn of(octets: u64) -> Response {
        Response::new(Body::from(vec![0; octets as usize]))
    }

    #[test]
    fn what_is_under_way_is_bounded_and_small_answers_are_free() {
        let load = Load::bounded(256 << 10);
        let first = load.take(of(200 << 10));
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(load.take(of(100 << 10)).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(load.take(of(FREE_OCTETS)).status(), StatusCode::OK);
        drop(first);
        assert_eq!(load.take(of(100 << 10)).status(), StatusCode::OK);
        assert_eq!(load.take(of(1 << 20)).status(), StatusCode::OK, "alone, the largest goes too");
    }
}
