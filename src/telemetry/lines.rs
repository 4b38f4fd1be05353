//! Log lines on their way to a slow place.
//!
//! ```text
//! any task ─ push ─► Lines (bounded) ─ take ─► writer thread ─► stderr
//! ```
//!
//! A stopped terminal or a full pipe blocks whoever writes to it. Here that is one thread of its own: the tasks that
//! answer queries only ever put a line into memory, and when there is no more room the line is counted and dropped.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;

/// Lines that wait at most.
const LINES_MAX: usize = 8192;
/// Octets that wait at most, because one line may be long.
const OCTETS_MAX: usize = 8 << 20;
/// How long a line waits for others that are written along with it. To be woken for each costs more than to write it.
const GATHER: Duration = Duration::from_millis(1);

/// A bounded queue of lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<State>,
    arrived: Condvar,
    written: Condvar,
    /// Somebody waits until all is written.
    hurry: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Box<[u8]>>,
    octets: usize,
    /// Lines dropped that no line has told of yet.
    untold: u64,
    /// Whether the writer holds lines that it has not written yet.
    writing: bool,
}

impl Lines {
    /// Every line dropped so far.
    pub(super) fn dropped(&self) -> &Counter {
        &self.dropped
    }

    /// Adds a line, or counts it when there is no room.
    pub(super) fn push(&self, line: Box<[u8]>) {
        let mut state = self.state.lock();
        if state.waiting.len() == LINES_MAX || state.octets + line.len() > OCTETS_MAX {
            state.untold += 1;
            self.dropped.inc();
            return;
        }
        state.octets += line.len();
        state.waiting.push_back(line);
        self.arrived.notify_one();
    }

    /// Waits for lines, writes all there are, and returns how many were dropped since the last time.
    ///
    /// A place that refuses lines loses them: there is nowhere left to complain.
    pub(super) fn write_waiting(&self, place: &mut dyn Write) -> u64 {
        let mut state = self.state.lock();
        self.arrived.wait_while(&mut state, |state| state.waiting.is_empty());
        self.hurry.wait_for(&mut state, GATHER);
        let lines = std::mem::take(&mut state.waiting);
        let untold = std::mem::take(&mut state.untold);
        state.octets = 0;
        state.writing = true;
        drop(state);
        let octets: Vec<u8> = lines.into_iter().flatten().collect();
        let _ = place.write_all(&octets);
        let _ = place.flush();
        self.state.lock().writing = false;
        self.written.notify_all();
        untold
    }

    /// Waits until every line is written, at most so long; returns whether it was.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let mut state = self.state.lock();
        self.hurry.notify_one();
        let unwritten = |state: &mut State| state.writing || !state.waiting.is_empty();
        !self.written.wait_while_for(&mut state, unwritten, patience).timed_out()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn lines_beyond_the_bound_are_counted_and_told_once() {
        let lines = Lines::default();
        for number in 0..LINES_MAX + 3 {
            lines.push(format!("{number}\n").into_bytes().into());
        }
        let mut place = Vec::new();
        assert_eq!(lines.write_waiting(&mut place), 3);
        assert!(place.ends_with(b"\n8191\n"), "the oldest are kept");
        lines.push(b"room again\n".as_slice().into());
        assert_eq!(lines.write_waiting(&mut place), 0);
        assert!(place.ends_with(b"room again\n"));
        assert_eq!(lines.dropped().get(), 3);
    }

    #[test]
    fn few_long_lines_are_bounded_too() {
        let lines = Lines::default();
        for _ in 0..5 {
            lines.push(vec![b'x'; OCTETS_MAX / 4].into());
        }
        assert_eq!(lines.dropped().get(), 1);
    }

    #[test]
    fn flush_waits_for_the_writer_and_not_for_ever() {
        let lines = Arc::new(Lines::default());
        assert!(lines.flush(Duration::ZERO), "nothing to write");
        lines.push(b"one\n".as_slice().into());
        assert!(!lines.flush(Duration::ZERO), "nobody writes");
        let writer = Arc::clone(&lines);
        let thread = std::thread::spawn(move || writer.write_waiting(&mut std::io::sink()));
        assert!(lines.flush(Duration::from_secs(60)));
        thread.join().unwrap();
    }
}
