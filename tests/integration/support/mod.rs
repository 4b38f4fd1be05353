//! The harness, nothing else.

pub(crate) mod dialogue;
pub(crate) mod dig;
pub(crate) mod namespace;
pub(crate) mod program;
pub(crate) mod server;
pub(crate) mod upstream;
pub(crate) mod wait;
pub(crate) mod world;

/// Whether tests that need other programs run; each says so when it does not.
pub(crate) fn has_programs(needed: &str) -> bool {
    use std::io::Write;
    let has = std::env::var_os("ROLLCALL_TEST_SYSTEM").is_some_and(|value| value == "1");
    if !has {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Past the harness, which would keep it to itself: a test that did not run should not look like one that did.
        let _ = writeln!(
            std::io::stderr(),
            "{test} skipped: it needs {needed}, and ROLLCALL_TEST_SYSTEM=1; tests/run.sh sees to both"
        );
    }
    has
}
