//! The command line: what was typed, one client call or a server, and an exit code.
//!
//! Exit codes: 0 done, 1 the server said no, 2 usage or configuration, 3 the server could not be reached; of `run` the
//! program's. What the
//! server said no with is on stderr as a sentence, and with `--output json` on stdout as a problem document.

mod check;
mod check_config;
mod connection;
mod consent;
mod deregister;
mod drain;
mod explain;
mod fault;
mod history;
mod instance;
mod list;
mod moment;
mod register;
mod renew;
mod report;
mod run;
mod screen;
mod set;
mod snapshot;
mod status;
mod table;
mod text;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Config, ServeArgs};
use fault::Fault;
use screen::Output;

/// Service discovery over DNS: services register over HTTP, DNS answers with who is alive
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server: DNS on 127.0.0.1:8600, the HTTP API on 127.0.0.1:8500
    Serve(ServeArgs),
    /// Register an instance of a service
    Register(Box<register::RegisterArgs>),
    /// Run a program as an instance of a service: registered while it runs, drained before it stops
    Run(Box<run::RunArgs>),
    /// Change state, weight, tags or metadata of an instance; what is not said stays
    Set(set::SetArgs),
    /// Deregister an instance, or all of a service or group
    Deregister(deregister::DeregisterArgs),
    /// Take an instance out of answers, and say when it is safe to stop it
    Drain(drain::DrainArgs),
    /// Renew the lease of an instance; when that is refused as no-instance or lease-gone, register again
    Renew(renew::RenewArgs),
    /// Report that a check of type ttl passes or fails, or that an instance could not be used
    Report(report::ReportArgs),
    /// List services
    #[command(alias = "list")]
    Services(list::ServicesArgs),
    /// Show the instances of a service, or one of them
    Get(list::GetArgs),
    /// Print changes as they happen
    Watch(watch::WatchArgs),
    /// Show what has happened and by whom, or who was in DNS at a time
    History(history::HistoryArgs),
    /// Show what DNS answers to a question, and why
    Explain(explain::ExplainArgs),
    /// Save all that a server keeps, or put it back
    Snapshot(snapshot::SnapshotArgs),
    /// Show what a server says of itself
    Status(status::StatusArgs),
    /// Show what `serve` with the same flags would run with, or why it would not start
    CheckConfig(check_config::CheckConfigArgs),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Does what the command line of this process says; `serve` runs a server until it ends.
pub fn main(serve: fn(Config) -> ExitCode) -> ExitCode {
    if let Some(code) = run::tied(std::env::args_os()) {
        return code;
    }
    let environment = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    run(std::env::args_os(), &environment, serve, &mut io::BufWriter::new(io::stdout()), &mut io::stderr())
}

impl Command {
    /// The form of the result.
    fn output(&self) -> Output {
        match self {
            Self::Register(args) => args.connection.output,
            Self::Set(args) => args.connection.output,
            Self::Deregister(args) => args.connection.output,
            Self::Drain(args) => args.connection.output,
            Self::Renew(args) => args.connection.output,
            Self::Report(args) => args.connection.output,
            Self::Services(args) => args.connection.output,
            Self::Get(args) => args.connection.output,
            Self::Watch(args) => args.connection.output,
            Self::History(args) => args.connection.output,
            Self::Explain(args) => args.connection.output,
            Self::Snapshot(args) => args.output(),
            Self::Status(args) => args.connection.output,
            // No server says no to these, or stdout is the program's.
            Self::Run(_) | Self::Serve(_) | Self::CheckConfig(_) | Self::Completions { .. } => Output::Table,
        }
    }
}

fn command() -> clap::Command {
    ["serve", "check-config"]
        .into_iter()
        .fold(Cli::command(), |command, name| command.mut_subcommand(name, ServeArgs::describe))
}

fn run(
    words: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
    serve: fn(Config) -> ExitCode,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let cli = match command().try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(usage) => {
            // To stdout for help, to stderr for mistakes; when neither can be written there is nobody to tell.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(Fault::USAGE));
        }
    };
    let output = cli.command.output();
    let done = match cli.command {
        Command::Serve(args) => match Config::load(&args, environment) {
            Ok(config) => return serve(config),
            Err(error) => Err(Fault::Usage(error.to_string())),
        },
        command => perform(command, environment, out, err).and_then(|()| Ok(out.flush()?)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            if let (Output::Json, Some(problem)) = (output, fault.problem()) {
                let _ = writeln!(out, "{}", text::json(&problem)).and_then(|()| out.flush());
            }
            if let Some(sentence) = fault.sentence() {
                let _ = writeln!(err, "rollcall: {}", text::visible(&sentence));
            }
            fault.exit_code()
        }
    }
}

/// Everything but `serve`, which starts threads and takes over the process.
fn perform(
    command: Command,
    environment: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Serve(_) => Ok(()),
            Command::Register(args) => args.run(environment, out, err).await,
            Command::Run(args) => args.run(environment, err).await,
            Command::Set(args) => args.run(environment, out).await,
            Command::Deregister(args) => args.run(environment, out).await,
            Command::Drain(args) => args.run(environment, out).await,
            Command::Renew(args) => args.run(environment, out).await,
            Command::Report(args) => args.run(environment, out, err).await,
            Command::Services(args) => args.run(environment, out).await,
            Command::Get(args) => args.run(environment, out, err).await,
            Command::Watch(args) => args.run(environment, out).await,
            Command::History(args) => args.run(environment, out, err).await,
            Command::Explain(args) => args.run(environment, out).await,
            Command::Snapshot(args) => args.run(environment, out, err).await,
            Command::Status(args) => args.run(environment, out).await,
            Command::CheckConfig(args) => args.run(environment, out),
            Command::Completions { shell } => {
                // The generator panics when it cannot write, so it writes to memory.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut self::command(), "rollcall", &mut script);
                Ok(out.write_all(&script)?)
            }
        }
    })
}

#[cfg(test)]
mod tests;
