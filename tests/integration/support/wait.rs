//! Waiting in real time for what other processes do.

use std::time::Duration;

/// Far longer than anything here takes, so that only what never happens fails.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until it is told `Ok`; gives up with the last state it was told instead.
#[expect(clippy::disallowed_methods, reason = "other processes do not follow simulated time")]
pub(crate) fn until<T>(condition: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let began = std::time::Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(state) if began.elapsed() > PATIENCE => {
                panic!("waited {} s for this: {condition}; last seen:\n{state}", PATIENCE.as_secs())
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}
