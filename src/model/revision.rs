//! Positions in the registry's history.

use std::fmt;

/// A position in the registry's history; grows with every change. Positions of different stores do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The position after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The identity of a history: a new one for every new store, kept for as long as the store's data is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoreId(std::sync::Arc<str>);

impl StoreId {
    /// An identity from text that an engine chose: short, printable, without spaces.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
