//! The wait for a system that was started: until it answers, one of its processes has ended, or its time is over.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use crate::process::Process;
use crate::wait;

/// A system that is not ready within this is given up.
const READY_MAX: Duration = Duration::from_secs(60);

/// Waits until a look succeeds.
///
/// # Errors
/// A process has ended, or time is over: what was seen last.
pub async fn ready<T>(
    name: &str,
    processes: &mut [Process],
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let until = Instant::now() + READY_MAX;
    loop {
        for process in &mut *processes {
            process.check()?;
        }
        match look().await {
            Ok(seen) => return Ok(seen),
            Err(error) if Instant::now() >= until => {
                let words: Vec<String> = processes
                    .iter()
                    .map(|process| format!("{}: {}", process.name, process.last_words()))
                    .collect();
                let bound = READY_MAX.as_secs();
                bail!("{name} was not ready within {bound} s: {error:#}; {}", words.join("; "));
            }
            Err(_) => wait::look_again().await,
        }
    }
}
