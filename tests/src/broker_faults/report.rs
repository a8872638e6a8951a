//! The results of a run, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proto::portal::PortalStatusResponse;

use super::books::Books;
use super::harm::{ALL, Fault, Harm};
use super::judge::Verdict;
use super::stranger::Taken;
use super::tally::Counts;

/// The portals of a run.
pub const PORTALS: [&str; 5] = ["admin-1", "admin-2", "client-1", "client-2", "client-3"];

/// What a portal counted while there was harm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Answers from the cache.
    pub hits: u64,
    /// Lookups that read the store.
    pub misses: u64,
    /// Lookups while the cache could not be trusted.
    pub bypasses: u64,
    /// Gaps in what it heard.
    pub gaps: u64,
    /// How often the cache began anew.
    pub flushes: u64,
    /// Messages that were none of the cluster's.
    pub ignored: u64,
    /// Requests that could not be answered.
    pub unanswerable: u64,
    /// Hits that it compared with the store itself.
    pub sampled: u64,
    /// Those among them that were older than the lease.
    pub sampled_stale: u64,
    /// Time in which it passed its cache by, milliseconds.
    pub bypassing_ms: u64,
    /// All the time.
    pub up_ms: u64,
}

impl Counted {
    /// From one status to a later one.
    #[must_use]
    pub fn between(before: &PortalStatusResponse, after: &PortalStatusResponse) -> Counted {
        let idle = |status: &PortalStatusResponse| status.groups.iter().map(|of| of.suspect_ms_total).sum();
        let since = |of: fn(&PortalStatusResponse) -> u64| of(after).saturating_sub(of(before));
        let (idle_before, idle_after): (u64, u64) = (idle(before), idle(after));
        Counted {
            hits: since(|of| of.hits),
            misses: since(|of| of.misses),
            bypasses: since(|of| of.bypasses),
            gaps: since(|of| of.gaps),
            flushes: since(|of| of.flushes),
            ignored: since(|of| of.ignored),
            unanswerable: since(|of| of.unanswerable),
            sampled: since(|of| of.sampled),
            sampled_stale: since(|of| of.sampled_stale),
            bypassing_ms: idle_after.saturating_sub(idle_before),
            up_ms: since(|of| of.up_ms),
        }
    }

    fn hit_rate(&self) -> f64 {
        percent(self.hits, self.hits + self.misses + self.bypasses)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// What came out of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The seed of all choices.
    pub seed: u64,
    /// How long there was load.
    pub took: Duration,
    /// What was done to the broker and its connections.
    pub harms: Vec<Harm>,
    /// What strangers said.
    pub strangers: Taken,
    /// What each portal counted.
    pub portals: BTreeMap<&'static str, Counted>,
    /// Requests.
    pub requests: Counts,
    /// The verdict on what callers saw.
    pub verdict: Verdict,
    /// The books at the end.
    pub books: Books,
}

impl Report {
    /// How often this was done.
    #[must_use]
    pub fn times(&self, fault: Fault) -> usize {
        self.harms.iter().filter(|harm| harm.fault == fault).count()
    }

    /// Connections that this harmed.
    #[must_use]
    pub fn connections(&self, fault: Fault) -> u64 {
        self.harms.iter().filter(|harm| harm.fault == fault).map(|harm| harm.connections).sum()
    }

    /// The sum over all portals.
    pub fn sum(&self, of: impl Fn(&Counted) -> u64) -> u64 {
        self.portals.values().map(of).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {:.0} s of load\n", self.seed, self.took.as_secs_f64())?;
        writeln!(f, "{:<12} {:>5} {:>11} {:>9} {:>9}", "FAULT", "TIMES", "CONNECTIONS", "LONGEST", "ALL")?;
        for fault in ALL {
            let lasted = || self.harms.iter().filter(|harm| harm.fault == fault).map(|harm| harm.lasted);
            let (longest, all) = (lasted().max().unwrap_or_default(), lasted().sum::<Duration>());
            let (times, connections) = (self.times(fault), self.connections(fault));
            writeln!(
                f,
                "{fault:<12} {times:>5} {connections:>11} {:>6} ms {:>7.1} s",
                longest.as_millis(),
                all.as_secs_f64()
            )?;
        }
        writeln!(f, "{}\n", self.strangers)?;
        writeln!(f, "{}\n", self.requests)?;
        writeln!(
            f,
            "{:<9} {:>8} {:>8} {:>8} {:>6} {:>7} {:>5} {:>7} {:>7} {:>12} {:>7} {:>5}",
            "PORTAL",
            "HITS",
            "MISSES",
            "BYPASSES",
            "HITS %",
            "BYPASS %",
            "GAPS",
            "FLUSHES",
            "IGNORED",
            "UNANSWERABLE",
            "SAMPLED",
            "STALE"
        )?;
        for (name, of) in &self.portals {
            writeln!(
                f,
                "{name:<9} {:>8} {:>8} {:>8} {:>6.1} {:>8.1} {:>5} {:>7} {:>7} {:>12} {:>7} {:>5}",
                of.hits,
                of.misses,
                of.bypasses,
                of.hit_rate(),
                percent(of.bypassing_ms, of.up_ms),
                of.gaps,
                of.flushes,
                of.ignored,
                of.unanswerable,
                of.sampled,
                of.sampled_stale
            )?;
        }
        let Books { orders, as_answered, of_copies, held } = self.books;
        writeln!(f, "\n{orders} orders at the end, {as_answered} as they were answered last,")?;
        writeln!(f, "{of_copies} of requests that were refused and done by a later copy; {held} units held")?;
        write!(f, "{}", self.verdict)
    }
}
