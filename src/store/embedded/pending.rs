//! What is in the log and on its way to the tables.

use std::sync::Arc;
use std::time::Duration;

use imbl::Vector;
use parking_lot::{Condvar, Mutex};

use super::frame::Frame;

/// From a failure of the tables to the next try, as long as nobody waits for them.
const RETRY: Duration = Duration::from_secs(1);

/// What is on its way from the log to the tables.
#[derive(Debug, Default)]
struct Way {
    /// Frames that are in the log and not in the tables, in order: two halves of the log at most.
    frames: Vector<Arc<Frame>>,
    /// The number of the last frame that is in the tables.
    applied: u64,
    /// The number of the frame up to which all are to be.
    asked: u64,
    /// Why they are not, until they are tried again.
    failed: Option<String>,
    is_closing: bool,
}

/// Frames for the tables.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) frames: Vec<Arc<Frame>>,
    /// The number of the last, or of the last before when there are none.
    pub(super) number: u64,
    /// Nothing comes after it.
    pub(super) is_last: bool,
}

/// Frames on their way. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending(Arc<(Mutex<Way>, Condvar)>);

impl Pending {
    /// Frames that are not in the tables, or have only just come there.
    pub(super) fn frames(&self) -> Vector<Arc<Frame>> {
        self.0.0.lock().frames.clone()
    }

    pub(super) fn push(&self, frame: Frame) {
        self.0.0.lock().frames.push_back(Arc::new(frame));
    }

    /// Has the tables take all frames up to a number.
    pub(super) fn ask(&self, number: u64) {
        let (way, changed) = &*self.0;
        let mut way = way.lock();
        way.asked = way.asked.max(number);
        changed.notify_all();
    }

    /// Waits until the tables have all frames up to a number, which is tried anew if it has failed.
    pub(super) fn wait(&self, number: u64) -> Result<(), String> {
        let (way, changed) = &*self.0;
        let mut way = way.lock();
        if way.applied >= number {
            return Ok(());
        }
        way.asked = way.asked.max(number);
        way.failed = None;
        changed.notify_all();
        while way.applied < number {
            if let Some(reason) = &way.failed {
                return Err(reason.clone());
            }
            changed.wait(&mut way);
        }
        Ok(())
    }

    /// Counts a frame that went into the tables by itself, when they had all before it.
    pub(super) fn pass(&self, number: u64) {
        let mut way = self.0.0.lock();
        (way.applied, way.asked) = (number, number);
    }

    /// Waits until there is something for the tables, and says what.
    pub(super) fn next(&self) -> Load {
        let (way, changed) = &*self.0;
        let mut way = way.lock();
        while !way.is_closing && (way.asked <= way.applied || way.failed.is_some()) {
            if way.failed.is_none() {
                changed.wait(&mut way);
            } else if changed.wait_for(&mut way, RETRY).timed_out() {
                way.failed = None;
            }
        }
        let last = way.applied + way.frames.len() as u64;
        let number = if way.is_closing { last } else { way.asked.min(last) };
        let count = usize::try_from(number - way.applied).unwrap_or(usize::MAX);
        let frames = way.frames.iter().take(count).cloned().collect();
        Load { frames, number, is_last: way.is_closing }
    }

    /// Notes what became of a load.
    pub(super) fn done(&self, load: &Load, applied: Result<(), String>) {
        let (way, changed) = &*self.0;
        let mut way = way.lock();
        match applied {
            Ok(()) => {
                (way.applied, way.failed) = (load.number, None);
                way.frames = way.frames.skip(load.frames.len());
            }
            Err(reason) => way.failed = Some(reason),
        }
        changed.notify_all();
    }

    /// Has one more load made, of everything there is.
    pub(super) fn close(&self) {
        let (way, changed) = &*self.0;
        way.lock().is_closing = true;
        changed.notify_all();
    }
}
