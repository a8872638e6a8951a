//! Waiting for a condition with a deadline: the one place in the tests that sleeps.

use std::future::Future;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value.
///
/// # Panics
/// When `within` has passed: with `what` was waited for and what the last look said.
pub async fn until<T, E, F>(what: &str, within: Duration, mut look: impl FnMut() -> F) -> T
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let begun = Instant::now();
    loop {
        let problem = match look().await {
            Ok(value) => return value,
            Err(problem) => problem,
        };
        assert!(begun.elapsed() < within, "waited {within:?} for {what}; the last look said: {problem}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks until `look` gives a value, without a runtime.
///
/// # Panics
/// As [`until`].
pub fn until_blocking<T, E: std::fmt::Display>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        let problem = match look() {
            Ok(value) => return value,
            Err(problem) => problem,
        };
        assert!(begun.elapsed() < within, "waited {within:?} for {what}; the last look said: {problem}");
        std::thread::sleep(PAUSE);
    }
}

/// Lets time pass that is itself the thing tested (a lease, a grace): never a stand-in for a condition.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
