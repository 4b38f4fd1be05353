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
struct Backlog {
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
pub(super) struct Pending(Arc<(Mutex<Backlog>, Condvar)>);

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
        let (backlog, changed) = &*self.0;
        let mut backlog = backlog.lock();
        backlog.asked = backlog.asked.max(number);
        changed.notify_all();
    }

    /// Waits until the tables have all frames up to a number, which is tried anew if it has failed.
    pub(super) fn wait(&self, number: u64) -> Result<(), String> {
        let (backlog, changed) = &*self.0;
        let mut backlog = backlog.lock();
        if backlog.applied >= number {
            return Ok(());
        }
        backlog.asked = backlog.asked.max(number);
        backlog.failed = None;
        changed.notify_all();
        while backlog.applied < number {
            if let Some(reason) = &backlog.failed {
                return Err(reason.clone());
            }
            changed.wait(&mut backlog);
        }
        Ok(())
    }

    /// Counts a frame that went into the tables by itself, when they had all before it.
    pub(super) fn pass(&self, number: u64) {
        let mut backlog = self.0.0.lock();
        (backlog.applied, backlog.asked) = (number, number);
    }

    /// Waits until there is something for the tables, and says what.
    pub(super) fn next(&self) -> Load {
        let (backlog, changed) = &*self.0;
        let mut backlog = backlog.lock();
        while !backlog.is_closing && (backlog.asked <= backlog.applied || backlog.failed.is_some()) {
            if backlog.failed.is_none() {
                changed.wait(&mut backlog);
            } else if changed.wait_for(&mut backlog, RETRY).timed_out() {
                backlog.failed = None;
            }
        }
        let last = backlog.applied + backlog.frames.len() as u64;
        let number = if backlog.is_closing { last } else { backlog.asked.min(last) };
        let count = usize::try_from(number - backlog.applied).unwrap_or(usize::MAX);
        let frames = backlog.frames.iter().take(count).cloned().collect();
        Load { frames, number, is_last: backlog.is_closing }
    }

    /// Notes what became of a load.
    pub(super) fn done(&self, load: &Load, applied: Result<(), String>) {
        let (backlog, changed) = &*self.0;
        let mut backlog = backlog.lock();
        match applied {
            Ok(()) => {
                (backlog.applied, backlog.failed) = (load.number, None);
                backlog.frames = backlog.frames.skip(load.frames.len());
            }
            Err(reason) => backlog.failed = Some(reason),
        }
        changed.notify_all();
    }

    /// Has one more load made, of everything there is.
    pub(super) fn close(&self) {
        let (backlog, changed) = &*self.0;
        backlog.lock().is_closing = true;
        changed.notify_all();
    }
}
