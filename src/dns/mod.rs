//! DNS on the wire: sockets, messages, limits.
//!
//! ```text
//! UDP datagrams ┐ in batches                       ┌─▶ same socket
//! TCP message  ─┴▶ message::triage ─▶ Handler ─▶ Zone::answer ─▶ reply, sized to the client's limit
//!                  drop · FORMERR · NOTIMP           │ a name of others
//!                                                    └▶ forward::Forwarder ─▶ an upstream's reply
//! ```
//!
//! What is asked most takes a shorter way within the handler (`quick`), which says the same.
//!
//! `handler` is the only place that names hickory-server. Records come from the zone; how they come to exist is not
//! known here.

mod chaos;
mod cookie;
mod datagrams;
mod edns;
pub mod forward;
mod handler;
mod message;
mod metrics;
mod quick;
mod reply;
mod server;
mod tcp;
mod udp;

pub use chaos::Identity;
pub use handler::{Handler, HandlerSettings};
pub use metrics::Counters;
pub use server::{Listeners, Settings};

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// In a datagram: answers are small.
    Udp,
    /// Over a connection: answers are at most 65,535 octets.
    Tcp,
}
