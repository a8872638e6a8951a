//! Processor time, as /proc tells it: of a tree of processes, of the whole machine, and so of everybody else.
//!
//! The time of a tree is that of its living processes and of those that they have waited for: a process that ends moves from
//! one sum to the other, and none is lost. Everybody else is what the machine was busy with, without our own tree and without
//! the kernel's threads, which write back what our servers wrote.
//!
//! Leaves out interrupts, which belong to nobody, and every system without /proc.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context;

/// Ticks of /proc a second: Linux tells times in hundredths of a second on every machine that feira is built for.
pub const TICKS_A_SECOND: f64 = 100.0;
/// The parent of all threads of the kernel.
const KTHREADD: u32 = 2;

/// One line of /proc/PID/stat (proc(5)), times in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stat {
    pid: u32,
    parent: u32,
    /// Fields 14 and 15.
    own: u64,
    /// Fields 16 and 17: of children that it waited for.
    children: u64,
}

/// All processes at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    stats: Vec<Stat>,
    /// User, nice and system time of all processors, since the machine started.
    busy: u64,
}

impl Snapshot {
    /// Now.
    ///
    /// # Errors
    /// There is no /proc.
    pub fn taken() -> anyhow::Result<Snapshot> {
        let all = fs::read_to_string("/proc/stat").context("cannot read /proc/stat: this needs Linux")?;
        let busy = busy(&all).context("/proc/stat has no line cpu")?;
        let pids = fs::read_dir("/proc").context("cannot read /proc")?.flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let stats = pids.filter_map(|pid: u32| stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?));
        Ok(Snapshot { stats: stats.collect(), busy })
    }

    /// These processes and all below them.
    #[must_use]
    pub fn tree(&self, roots: &[u32]) -> BTreeSet<u32> {
        let mut tree: BTreeSet<u32> = roots.iter().copied().collect();
        loop {
            let before = tree.len();
            let below = self.stats.iter().filter(|stat| tree.contains(&stat.parent));
            let below: Vec<u32> = below.map(|stat| stat.pid).collect();
            tree.extend(below);
            if tree.len() == before {
                return tree;
            }
        }
    }

    /// The time of these processes and of all below them, in ticks.
    #[must_use]
    pub fn ticks(&self, roots: &[u32]) -> u64 {
        let tree = self.tree(roots);
        let of_tree = self.stats.iter().filter(|stat| tree.contains(&stat.pid));
        of_tree.map(|stat| stat.own + stat.children).sum()
    }

    /// The time of everybody else between an earlier moment and this one, in ticks.
    #[must_use]
    pub fn others_since(&self, before: &Snapshot, our_root: u32) -> u64 {
        let kernel = |all: &Snapshot| -> u64 {
            all.stats.iter().filter(|stat| stat.parent == KTHREADD).map(|stat| stat.own).sum()
        };
        let grown = |later: u64, earlier: u64| later.saturating_sub(earlier);
        let ours = grown(self.ticks(&[our_root]), before.ticks(&[our_root]));
        grown(self.busy, before.busy).saturating_sub(ours).saturating_sub(grown(kernel(self), kernel(before)))
    }
}

/// User, nice and system time of the line `cpu` of /proc/stat.
fn busy(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    line.split_whitespace().take(3).map(|word| word.parse::<u64>().ok()).sum()
}

/// The second field is a name in parentheses, which may hold anything.
fn stat(text: &str) -> Option<Stat> {
    let (pid, _) = text.split_once(' ')?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        own: number(11)? + number(12)?,
        children: number(13)? + number(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, own: u64, children: u64) -> Stat {
        Stat { pid, parent, own, children }
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let text = "527 (a) b (c) S 1 527 527 0 -1 4194304 2112 0 1 0 731 269 5 7 20 0 9 0 88 1 2";
        assert_eq!(stat(text), Some(process(527, 1, 1_000, 12)));
        assert_eq!((stat(""), stat("1 (x) S 1 2")), (None, None));
        assert_eq!(busy("cpu  10 20 30 900 1 2 3 4 0 0\ncpu0 1 2 3 4\n"), Some(60));
        assert_eq!(busy("intr 1\n"), None);
    }

    #[test]
    fn a_process_that_ends_and_is_waited_for_is_not_lost() {
        let before = Snapshot { stats: vec![process(10, 1, 5, 0), process(11, 10, 40, 0)], busy: 100 };
        let after = Snapshot { stats: vec![process(10, 1, 6, 44)], busy: 200 };
        assert_eq!((before.ticks(&[10]), after.ticks(&[10])), (45, 50));
    }

    #[test]
    fn the_tree_has_all_below_its_roots_and_nobody_else() {
        let stats =
            vec![process(12, 11, 1, 0), process(11, 10, 1, 0), process(10, 1, 1, 0), process(20, 1, 9, 0)];
        let all = Snapshot { stats, busy: 0 };
        assert_eq!(all.tree(&[10]).into_iter().collect::<Vec<_>>(), [10, 11, 12]);
        assert_eq!(all.ticks(&[10]), 3);
    }

    #[test]
    fn others_are_what_is_neither_ours_nor_the_kernels() {
        let at = |ours: u64, kernel: u64, busy: u64| Snapshot {
            stats: vec![process(10, 1, ours, 0), process(30, KTHREADD, kernel, 0)],
            busy,
        };
        assert_eq!(at(150, 12, 400).others_since(&at(50, 2, 200), 10), 90);
        assert_eq!(at(150, 2, 240).others_since(&at(50, 2, 200), 10), 0, "samples of ticks are not exact");
    }
}
