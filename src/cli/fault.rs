//! Why a command was not done, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use serde_json::Value;

use crate::client::{AddressError, ClientError};

/// Why a command was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// What was typed or configured cannot be done.
    Usage(String),
    /// A server said no, or none could be reached.
    Client(ClientError),
    /// What was asked for is under way, but not there yet.
    NotYet(String),
    /// The program that was run ended with this code, or could not be started, and whoever reads the output knows.
    Ended(u8),
    /// This machine failed, most likely where the output went.
    Local(io::Error),
}

impl Fault {
    const REFUSED: u8 = 1;
    /// The exit code of usage and configuration.
    pub(super) const USAGE: u8 = 2;
    const UNREACHABLE: u8 = 3;

    /// What to say; nothing when whoever reads the output has heard enough.
    pub(super) fn sentence(&self) -> Option<String> {
        match self {
            Self::Usage(sentence) | Self::NotYet(sentence) => Some(sentence.clone()),
            Self::Ended(_) => None,
            Self::Client(error) => Some(error.to_string()),
            Self::Local(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Local(error) => Some(error.to_string()),
        }
    }

    /// The problem document that a server said no with.
    pub(super) fn problem(&self) -> Option<Value> {
        match self {
            Self::Client(ClientError::Refused(problem)) => serde_json::to_value(problem).ok(),
            _ => None,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Ended(code) => (*code).into(),
            Self::Usage(_) | Self::Client(ClientError::Request { .. }) => Self::USAGE.into(),
            Self::Client(ClientError::Refused(_)) | Self::NotYet(_) => Self::REFUSED.into(),
            Self::Client(ClientError::Unreachable { .. } | ClientError::Protocol { .. }) => Self::UNREACHABLE.into(),
            // `rollcall services | head` has done what was asked of it.
            Self::Local(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Local(_) => Self::REFUSED.into(),
        }
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<AddressError> for Fault {
    fn from(error: AddressError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}
