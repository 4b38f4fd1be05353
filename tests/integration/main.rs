//! One binary for every test that needs more than one module: linking is paid once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that fails says where")]

mod crash;
mod embedded;
mod examples;
mod explain;
mod forward;
mod ghosts;
mod guard;
mod http;
mod journal;
mod layers;
mod lingering;
mod partition;
mod probes;
mod process;
mod quick;
mod run;
mod scenarios;
mod settings;
mod snapshots;
mod store;
mod support;
mod system;
mod wire;
mod zone;
