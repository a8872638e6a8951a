//! The signals that ask a process to stop in order: SIGINT, SIGTERM, and SIGHUP, which comes when the terminal was closed.

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// They are caught for as long as this lives.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None`: whoever started this process (nohup) wants it to stay when the terminal goes.
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// Signals cannot be waited for.
    pub fn catch() -> Result<Signals, Failure> {
        let failed = |e: std::io::Error| Failure::refused(format!("cannot wait for signals: {e}"));
        let hangup = if is_ignored(Signal::SIGHUP) {
            None
        } else {
            Some(signal(SignalKind::hangup()).map_err(failed)?)
        };
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            hangup,
        })
    }

    /// The next of them.
    pub async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            () = hangup => Signal::SIGHUP,
        }
    }
}

/// What a signal that asks to stop is told as.
#[must_use]
pub fn told(signal: Signal) -> String {
    match signal {
        Signal::SIGHUP => "SIGHUP (the terminal was closed): stopping".to_owned(),
        other => format!("{other}: stopping"),
    }
}

/// Whether this process was started with a signal ignored, as `nohup` does. Without /proc: no.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal as u32 - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_nobody_ignores_is_not_ignored() {
        // Rust itself ignores this one.
        assert!(is_ignored(Signal::SIGPIPE));
        assert!(!is_ignored(Signal::SIGUSR1));
        assert!(told(Signal::SIGHUP).contains("terminal") && told(Signal::SIGTERM).starts_with("SIGTERM"));
    }
}
