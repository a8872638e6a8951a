//! The machine's clocks, for the leader's timestamps.

use std::time::Instant;

use store_engine::Clock;

/// Wall clock and monotonic clock of this machine.
#[derive(Debug)]
pub(crate) struct MachineClock {
    began: Instant,
}

impl MachineClock {
    pub(crate) fn new() -> MachineClock {
        MachineClock { began: Instant::now() }
    }
}

impl Clock for MachineClock {
    fn wall_ms(&self) -> i64 {
        store_client::now_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
