//! The machine before a round: how long the same work of a processor takes, and a write to the disk of the cluster. If they
//! change from round to round, the machine did, or it still writes what the round before left.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Steps of the loop: some milliseconds.
const STEPS: u32 = 2_000_000;
/// How often the loop runs.
const LOOPS: usize = 5;
/// How often a file is written and synchronised.
const SYNCS: usize = 20;
/// Bytes of each write.
const BYTES: usize = 4_096;

/// Medians.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Of a fixed loop on one processor.
    pub cpu_loop: Duration,
    /// Of an fdatasync of 4 KiB in the cluster's folder; `None`: nothing can be written there.
    pub fdatasync: Option<Duration>,
}

impl Machine {
    /// Measures it; blocks for some tens of milliseconds.
    #[must_use]
    pub fn measured(folder: &Path) -> Machine {
        let loops = (0..LOOPS).map(|_| timed(spin).0).collect();
        Machine { cpu_loop: median(loops), fdatasync: synced(folder).ok().map(median) }
    }
}

fn spin() -> u64 {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..STEPS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

fn synced(folder: &Path) -> std::io::Result<Vec<Duration>> {
    // It has no name, and goes with this process.
    let mut file = tempfile::tempfile_in(folder)?;
    let block = [0x5a; BYTES];
    let mut all = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&block)?;
        let (took, done) = timed(|| file.sync_data());
        done?;
        all.push(took);
    }
    Ok(all)
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_the_loop_is_timed_anyway() {
        let folder = tempfile::tempdir().unwrap();
        let measured = Machine::measured(folder.path());
        assert!(measured.cpu_loop > Duration::ZERO && measured.fdatasync.is_some(), "{measured:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays there");
        assert_eq!(Machine::measured(&folder.path().join("gone")).fdatasync, None);
    }

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        let ms = Duration::from_millis;
        assert_eq!(median(vec![ms(9), ms(1), ms(3)]), ms(3));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
