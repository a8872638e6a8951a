//! The server processes that `feira up` runs by a configuration, and the processor time that they have taken, as /proc tells.
//!
//! A part is known by its command line: `--supervised`, and `--config` with this cluster's file. Leaves out mosquitto, whose
//! command line has neither, and every system without /proc.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One tick of the times in /proc/PID/stat: Linux tells them in hundredths of a second on every machine that we build for.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of each process, in ticks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpuTimes(BTreeMap<u32, u32>);

/// Which processes are looked at.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    /// Each with its part, as its command line names it.
    pids: BTreeMap<u32, String>,
}

impl Servers {
    /// The parts of the cluster whose configuration this is; none where they run elsewhere, or are somebody else's.
    #[must_use]
    pub fn of(config: &Path) -> Servers {
        let (Ok(config), Ok(entries)) = (config.canonicalize(), std::fs::read_dir("/proc")) else {
            return Servers::default();
        };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Servers { pids: pids.filter_map(|pid| Some((pid, part(pid, &config)?))).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pids.len()
    }

    /// What each has taken so far.
    #[must_use]
    pub fn cpu_times(&self) -> CpuTimes {
        let stat = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        CpuTimes(self.pids.keys().filter_map(|pid| Some((*pid, ticks(&stat(pid)?)?))).collect())
    }

    /// What the processes of each part have taken between two looks.
    #[must_use]
    pub fn by_part(&self, before: &CpuTimes, later: &CpuTimes) -> BTreeMap<String, Duration> {
        let mut parts: BTreeMap<String, Duration> = BTreeMap::new();
        for (pid, part) in &self.pids {
            if let (Some(before), Some(later)) = (before.0.get(pid), later.0.get(pid)) {
                *parts.entry(part.clone()).or_default() += TICK * later.saturating_sub(*before);
            }
        }
        parts
    }
}

impl CpuTimes {
    /// The processor time between two looks; `None`: there were no processes, or not the same ones (a part was started again).
    #[must_use]
    pub fn until(&self, later: &CpuTimes) -> Option<Duration> {
        if self.0.is_empty() || !self.0.keys().eq(later.0.keys()) {
            return None;
        }
        let each =
            self.0.iter().zip(later.0.values()).map(|((_, before), after)| after.saturating_sub(*before));
        Some(TICK * each.fold(0, u32::saturating_add))
    }
}

/// The processor time that this process has taken so far: the load's own.
#[must_use]
pub fn own_cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").ok();
    TICK * stat.and_then(|stat| ticks(&stat)).unwrap_or(0)
}

/// Which part of the cluster of this configuration a process is; `None`: it is none.
fn part(pid: u32, config: &Path) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let (named, part) = config_of_part(&line)?;
    // A relative path is one from where the process is.
    let base = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    base.join(named).canonicalize().is_ok_and(|path| path == config).then_some(part)
}

/// The configuration that a part's command line names, and the part's word, which comes next; `None`: it is none of a part.
fn config_of_part(line: &[u8]) -> Option<(PathBuf, String)> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    if !words.contains(&&b"--supervised"[..]) {
        return None;
    }
    let at = words.iter().position(|word| *word == b"--config")?;
    let part = String::from_utf8_lossy(words.get(at + 2)?).into_owned();
    words.get(at + 1).map(|path| (PathBuf::from(OsStr::from_bytes(path)), part))
}

/// User and system time in the text of /proc/PID/stat (proc(5): fields 14 and 15). The second field is a name in parentheses,
/// which may hold anything.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "26527 (a) b (c) S 1 26527 26527 0 -1 4194304 2112 0 1 0 731 269 5 7 20 0 9 0 88 1 2";
        assert_eq!(ticks(stat), Some(1_000));
        assert_eq!((ticks(""), ticks("1 (x) S 1 2")), (None, None));
    }

    #[test]
    fn a_part_is_known_by_its_command_line() {
        let line = |words: &[&str]| words.join("\0").into_bytes();
        let part = line(&["feira", "--config", "feira.toml", "store", "--node", "1", "--supervised", ""]);
        assert_eq!(config_of_part(&part), Some((PathBuf::from("feira.toml"), "store".to_owned())));
        assert_eq!(config_of_part(&line(&["feira", "--config", "feira.toml", "up"])), None);
        assert_eq!(config_of_part(&line(&["other", "--supervised"])), None);
        assert_eq!(Servers::of(Path::new("/gone/feira.toml")).count(), 0);
    }

    #[test]
    fn the_time_of_several_processes_of_a_part_is_told_together() {
        let times = |all: &[(u32, u32)]| CpuTimes(all.iter().copied().collect());
        let pids = [(1, "store"), (2, "store"), (3, "broker")].map(|(pid, part)| (pid, part.to_owned()));
        let servers = Servers { pids: BTreeMap::from(pids) };
        let parts =
            servers.by_part(&times(&[(1, 100), (2, 50), (3, 7)]), &times(&[(1, 130), (2, 59), (3, 8)]));
        let expected = [("broker", 10), ("store", 390)];
        let expected = expected.map(|(part, ms)| (part.to_owned(), Duration::from_millis(ms)));
        assert_eq!(parts, BTreeMap::from(expected));
    }

    #[test]
    fn a_round_in_which_a_part_was_started_again_has_no_processor_time() {
        let times = |all: &[(u32, u32)]| CpuTimes(all.iter().copied().collect());
        let before = times(&[(1, 100), (2, 50)]);
        assert_eq!(before.until(&times(&[(1, 130), (2, 59)])), Some(Duration::from_millis(390)));
        assert_eq!(before.until(&times(&[(1, 130), (3, 9)])), None);
        assert_eq!((before.until(&times(&[])), times(&[]).until(&times(&[]))), (None, None));
    }
}
