//! The process around a server: signals in, exit code out.

use std::fmt;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use super::{Daemon, DaemonError};
use crate::config::Config;
use crate::telemetry::log;

/// Asks for the signals that end the process, which from then on do nothing else. The future completes when one has
/// come; a second one ends the process without grace.
fn told_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    })
}

/// Runs a server until the process is told to end. Exit code 0 then, 2 when it cannot start, 1 when a part of it fails.
pub fn serve(config: Config) -> ExitCode {
    let refuse = |error: &dyn fmt::Display| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr().lock(), "rollcall: {error}");
        ExitCode::from(2)
    };
    let logging = match log::init(config.log_format, &config.log_filter) {
        Ok(logging) => logging,
        Err(error) => return refuse(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error),
    };
    let outcome = runtime.block_on(async {
        // Before the first port is open, because whoever sees one may already end the server.
        let shutdown = told_to_end().map_err(DaemonError::Signals)?;
        let daemon = Daemon::bind(config)?;
        daemon.metrics().register(|registry| logging.register(registry));
        daemon.run(shutdown).await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(logging);
            let code = refuse(&error);
            if matches!(error, DaemonError::Ended(_)) { ExitCode::FAILURE } else { code }
        }
    }
}
