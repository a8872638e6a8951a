//! The passing of time: the one place of the bench that sleeps.

use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Lets time pass that is itself part of the measurement (a pause of a client, a span): never a stand-in for a condition.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits for the end of a span.
pub async fn until(moment: Instant) {
    tokio::time::sleep_until(moment.into()).await;
}

/// Between two looks at a condition that has a deadline.
pub async fn look_again() {
    pass(LOOK).await;
}

/// Looks, without a runtime, until something holds; false if it has not within this time.
pub fn holds_within(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + within;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}
