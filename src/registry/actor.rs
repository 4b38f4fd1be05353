//! Who asked for a change.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::Label;

/// Who changed something, as the journal names it: a client of the API, a check, a lease that lapsed, or the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(Arc<str>);

impl Actor {
    /// A client of the API that is known by its address alone.
    pub fn client(address: IpAddr) -> Self {
        Self(address.to_canonical().to_string().into())
    }

    /// A check, by its name.
    pub fn check(name: &Label) -> Self {
        Self(format!("check:{name}").into())
    }

    /// The end of a lease that nobody renewed.
    pub fn lease() -> Self {
        Self("lease".into())
    }

    /// The server itself.
    pub fn server() -> Self {
        Self("rollcall".into())
    }

    /// An actor as a journal has kept it.
    pub fn kept(text: &str) -> Self {
        Self(text.into())
    }

    /// The text that names it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
