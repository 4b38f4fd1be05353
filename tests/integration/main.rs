//! One binary for every test that needs more than one module: linking is paid once.

mod layers;
mod scenarios;
mod store;
mod support;
