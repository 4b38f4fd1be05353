//! Pages of lists, all of one revision.
//!
//! The first page pins the view it was made from; a cursor names the pinned revision and where to go on. Pins are few
//! and short-lived: a client that comes back too late begins again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemars::json_schema;
use tokio::time::Instant;

use super::extract::Params;
use super::form::forms;
use super::problem::Problem;
use crate::model::Revision;
use crate::registry::Registry;
use crate::view::ViewReader;

/// Entries of a page, by default and at most.
pub(super) const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 100_000;

forms! {
    /// Entries of a page.
    Limit inline |_| json_schema!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX });

    /// A page of a list, as the one before it says.
    Cursor inline |_| json_schema!({ "type": "string", "format": "cursor", "pattern": "^[0-9]{1,19}~" });
}

/// Views pinned at once, and for how long. A pinned view costs what has changed since.
const PINS_MAX: usize = 64;
const PINNED_FOR: Duration = Duration::from_secs(60);

/// Views that further pages are made from.
#[derive(Debug, Default)]
pub struct Pins(Mutex<VecDeque<(Instant, Arc<Registry>)>>);

impl Pins {
    /// Lets go of views that nobody came back for. Every request asks for it, so that none stays for ever.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.0.lock().retain(|(pinned, _)| now - *pinned < PINNED_FOR);
    }

    fn pin(&self, view: &Arc<Registry>) {
        let now = Instant::now();
        let mut pins = self.0.lock();
        pins.retain(|(_, other)| other.revision() != view.revision());
        if pins.len() == PINS_MAX {
            pins.pop_front();
        }
        pins.push_back((now, view.clone()));
    }

    fn find(&self, revision: Revision) -> Option<Arc<Registry>> {
        self.0.lock().iter().find(|(_, view)| view.revision() == revision).map(|(_, view)| view.clone())
    }
}

/// The page that a request asks for.
#[derive(Debug)]
pub(super) struct Page {
    /// The registry that the whole list is of.
    pub(super) view: Arc<Registry>,
    /// The last entry of the page before; empty at the beginning.
    pub(super) after: String,
    /// Entries at most.
    pub(super) limit: usize,
}

/// Takes `limit` from the parameters.
pub(super) fn limit(params: &mut Params) -> Result<usize, Problem> {
    match params.take("limit")? {
        None => Ok(LIMIT_DEFAULT),
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| Problem::invalid_parameter(format!("`limit` is 1 to {LIMIT_MAX}"))),
    }
}

impl Page {
    /// Takes `limit` and `cursor` from the parameters.
    pub(super) fn take(params: &mut Params, view: &ViewReader, pins: &Pins) -> Result<Self, Problem> {
        let limit = limit(params)?;
        let Some(cursor) = params.take("cursor")? else {
            return Ok(Self { view: view.load(), after: String::new(), limit });
        };
        let (revision, after) = cursor
            .split_once('~')
            .and_then(|(revision, after)| Some((Revision(revision.parse().ok()?), after.to_owned())))
            .ok_or_else(|| Problem::invalid_parameter("`cursor` is what `next` of the page before says"))?;
        let now = view.load();
        let view = if now.revision() == revision { Some(now) } else { pins.find(revision) };
        Ok(Self { view: view.ok_or_else(Problem::cursor_gone)?, after, limit })
    }

    /// The cursor of the page after an entry; pins the view for it.
    pub(super) fn next(&self, last: &str, pins: &Pins) -> String {
        pins.pin(&self.view);
        format!("{}~{last}", self.view.revision())
    }
}
