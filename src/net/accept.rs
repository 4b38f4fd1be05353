//! Accepting connections through times in which that fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long to wait after a failure. Out of descriptors, most likely: waiting frees some, spinning frees none.
const PAUSE: Duration = Duration::from_millis(50);

/// Tells the first of several failures in a row from the others, so that each row is said once.
#[derive(Debug, Default)]
pub struct Row {
    failing: bool,
}

impl Row {
    /// Takes a failure; whether it is the first since the last success.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.failing, true)
    }

    /// Takes a success.
    pub fn ends(&mut self) {
        self.failing = false;
    }
}

/// A listener whose failures are waited out, and said once in a row.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    /// What the connections carry, for the log.
    carries: &'static str,
    row: Row,
}

/// Whether an error says that a client went before it was accepted. That concerns no other client.
fn concerns_one_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

impl Acceptor {
    /// Accepts connections of a listener.
    pub fn new(listener: TcpListener, carries: &'static str) -> Self {
        Self { listener, carries, row: Row::default() }
    }

    /// The next connection. No connection is lost when the future is dropped.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.row.ends();
                    return accepted;
                }
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    if self.row.begins() {
                        tracing::warn!(error = %error, "connections for {} cannot be accepted", self.carries);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_failures_begins_once() {
        let mut row = Row::default();
        assert_eq!([row.begins(), row.begins(), row.begins()], [true, false, false]);
        row.ends();
        assert_eq!([row.begins(), row.begins()], [true, false]);
    }
}
