//! The machine before a round: the time of a fixed loop on one processor, and of an fdatasync of 4 KiB in the servers' folder.
//! If they change from round to round, the machine did, or it still writes what the round before left.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Steps of the loop: some milliseconds.
const STEPS: u32 = 2_000_000;
/// How often the loop runs.
const LOOPS: usize = 5;
/// How often a file is written and synchronised.
const SYNCS: usize = 20;
/// Bytes of each write.
const BYTES: usize = 4_096;

/// Medians, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Of the loop.
    pub cpu_loop_us: u64,
    /// Of the fdatasync.
    pub fdatasync_us: u64,
}

impl Machine {
    /// Measures it; blocks for some tens of milliseconds.
    ///
    /// # Errors
    /// Nothing can be written to the folder.
    pub fn measured(folder: &Path) -> anyhow::Result<Machine> {
        let loops = (0..LOOPS).map(|_| timed(spin).0).collect();
        let syncs = synced(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
        Ok(Machine { cpu_loop_us: median_us(loops), fdatasync_us: median_us(syncs) })
    }
}

/// What the machine is, for the head of the report.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hardware {
    /// How many processors this process may use.
    pub processors: usize,
    /// Their model.
    pub model: String,
    /// The kernel.
    pub kernel: String,
    /// Where the servers' folders are, and the kind of its file system.
    pub folder: String,
}

impl Hardware {
    /// As /proc tells it.
    #[must_use]
    pub fn of(folder: String) -> Hardware {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let model = model(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Hardware { processors, model, kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(), folder }
    }
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
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

fn median_us(mut all: Vec<Duration>) -> u64 {
    all.sort_unstable();
    let median = all.get(all.len() / 2).copied().unwrap_or_default();
    u64::try_from(median.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Machine::measured(folder.path()).is_ok_and(|machine| machine.cpu_loop_us > 0));
        let error = Machine::measured(&folder.path().join("gone")).expect_err("it is gone").to_string();
        assert!(error.contains("gone"), "{error}");
    }

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        let us = Duration::from_micros;
        assert_eq!((median_us(vec![us(9), us(1), us(3)]), median_us(Vec::new())), (3, 0));
    }

    #[test]
    fn the_model_is_found() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A CPU\n"), Some("A CPU".to_owned()));
        assert_eq!(model(""), None);
    }
}
