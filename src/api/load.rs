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

/// What may still be under way.
#[derive(Debug)]
pub struct Load {
    room: Arc<Semaphore>,
    units_max: u32,
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
        Self { room: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    /// Takes room for an answer, or puts a refusal in its place. One that is larger than all there may be is let out
    /// when it is the only one.
    pub(super) fn take(&self, mut response: Response) -> Response {
        let octets = response.body().size_hint().lower();
        if octets <= FREE_OCTETS {
            return response;
        }
        let units = u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units_max);
        match self.room.clone().try_acquire_many_owned(units) {
            Ok(permit) => {
                response.extensions_mut().insert(Held { permit: Arc::new(permit) });
                response
            }
            Err(_) => Problem::busy().into_response(),
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
