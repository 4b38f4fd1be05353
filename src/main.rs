//! The `rollcall` command.

use std::io::Write;
use std::process::ExitCode;

use rollcall::config::Config;

fn main() -> ExitCode {
    rollcall::cli::main(serve)
}

fn serve(_config: Config) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "rollcall: there is no server in this build");
    ExitCode::from(2)
}
