//! The counts of many runs: proof that the faults came, and that the shop went on selling meanwhile.

use std::fmt;

use crate::faults::Kind;
use crate::run::Outcome;
use crate::score::Score;
use crate::time::SECOND;

/// So many of a hundred seeds must meet each kind of fault, and each thing that faults bring about.
const PERCENT_MIN: u64 = 5;
/// So often caches must have answered, missed, been passed by, and seen a gap, in each seed on average.
const CACHES_MIN: u64 = 5;
/// From so many seeds on that can be asked for.
const SEEDS_MIN: u64 = 100;

/// The counts of many runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Runs that met each kind of fault, in the order of [`Kind::ALL`].
    pub met: [u64; Kind::ALL.len()],
    /// Runs in which the leader changed, entries were truncated, a snapshot was taken, one was installed from
    /// elsewhere, a node came back suspect, a node was quarantined because a majority had another state, a wrong table was
    /// replaced, the voters changed, a member whose folder was lost was replaced, a disk hung while nothing else was wrong.
    pub brought: [u64; 10],
    /// What clients counted.
    pub score: Score,
    /// Events that happened.
    pub events: u64,
    /// Simulated microseconds.
    pub simulated_us: u64,
}

const BROUGHT: [&str; 10] = [
    "leader changed",
    "intermediate truncated",
    "snapshot taken",
    "snapshot installed",
    "suspect log",
    "minority quarantined",
    "wrong table replaced",
    "voters changed",
    "lost folder replaced",
    "disk hung, all else well",
];

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.score += outcome.score;
        self.events += outcome.events;
        self.simulated_us += outcome.ended_at;
        for (count, kind) in self.met.iter_mut().zip(Kind::ALL) {
            *count += u64::from(outcome.met.contains(&kind));
        }
        let (seen, (taken, installed)) = (outcome.seen, outcome.snapshots);
        let brought = [
            seen.elections > 1,
            seen.truncations > 0,
            taken > 0,
            installed > 0,
            seen.maybe_lost_tails > 0,
            seen.quarantined > 0,
            seen.healed > 0,
            seen.changes > 0,
            seen.regained > 0,
            seen.hangs > 0,
        ];
        for (count, came) in self.brought.iter_mut().zip(brought) {
            *count += u64::from(came);
        }
    }

    /// What the runs did too little of to prove anything. Nothing is asked of fewer than a hundred.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        let mut shortfalls = Vec::new();
        if self.seeds < SEEDS_MIN {
            return shortfalls;
        }
        for (count, name) in self.rows() {
            if count * 100 < PERCENT_MIN * self.seeds {
                shortfalls.push(format!(
                    "{name} came in {count} of {} seeds; {PERCENT_MIN} % are needed",
                    self.seeds
                ));
            }
        }
        let Score { hits, misses, bypasses, gaps, repairs, expired, events, .. } = self.score;
        let caches = [
            ("cache hits", hits),
            ("cache misses", misses),
            ("reads past caches", bypasses),
            ("gaps", gaps),
            ("gaps repaired", repairs),
            ("orders expired", expired),
            ("events in the feed", events),
        ];
        for (name, count) in caches {
            if count < CACHES_MIN * self.seeds {
                shortfalls
                    .push(format!("{count} {name} in {} seeds; {CACHES_MIN} a seed are needed", self.seeds));
            }
        }
        if 2 * self.score.succeeded < self.score.asked {
            shortfalls
                .push(format!("only {} of {} operations succeeded", self.score.succeeded, self.score.asked));
        }
        shortfalls
    }

    fn rows(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let kinds = self.met.into_iter().zip(Kind::ALL.map(Kind::word));
        kinds.chain(self.brought.into_iter().zip(BROUGHT))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u64, of: u64| part * 100 / of.max(1);
        writeln!(f, "{:<24}{:>10}{:>6}", "in seeds", "count", "%")?;
        for (count, name) in self.rows() {
            writeln!(f, "{name:<24}{count:>10}{:>6}", percent(count, self.seeds))?;
        }
        let Score { asked, succeeded, failed, unknown, lost, settled, orders, .. } = self.score;
        writeln!(f, "{:<24}{asked:>10}", "operations")?;
        let parts = [
            ("succeeded", succeeded),
            ("not done", failed),
            ("never settled", unknown),
            ("answer lost", lost),
            ("settled later", settled),
            ("orders changed", orders),
        ];
        for (name, count) in parts {
            writeln!(f, "{name:<24}{count:>10}{:>6}", percent(count, asked))?;
        }
        let Score { hits, misses, bypasses, gaps, repairs, expired, events, .. } = self.score;
        for (name, count) in [("cache hits", hits), ("cache misses", misses), ("reads past caches", bypasses)]
        {
            writeln!(f, "{name:<24}{count:>10}{:>6}", percent(count, hits + misses + bypasses))?;
        }
        writeln!(f, "{:<24}{gaps:>10}", "gaps on the bus")?;
        writeln!(f, "{:<24}{repairs:>10}", "of these, repaired")?;
        writeln!(f, "{:<24}{expired:>10}", "orders expired")?;
        writeln!(f, "{:<24}{events:>10}", "events in the feed")?;
        writeln!(f, "{:<24}{:>10}", "events", self.events)?;
        let hours = self.simulated_us / SECOND / 36;
        write!(f, "{:<24}{:>7}.{:02} h", "simulated", hours / 100, hours % 100)
    }
}
