//! The report of a run of chaos, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fault::Fault;
use super::tally::{Ended, spread};

/// See the module.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed of the choices.
    pub seed: u64,
    /// Store nodes.
    pub nodes: u64,
    /// How long it took, without the final check.
    pub took: Duration,
    /// Faults done, by kind: for each the longest time without a successful write that it brought.
    pub faults: BTreeMap<Fault, Vec<Duration>>,
    /// Operations by kind and how they ended.
    pub operations: BTreeMap<(&'static str, Ended), u64>,
    /// Epochs that had a leader.
    pub leaders: usize,
    /// Nodes that ended by themselves because a disk was full, and were started again.
    pub ended_for_room: usize,
    /// Times that everything was compared and found right.
    pub verified: u64,
    /// Operations of the history, which is linearizable.
    pub checked: usize,
    /// Transactions over some records at once, which are strictly serializable.
    pub transactions: usize,
    /// What was left out and why.
    pub left_out: Vec<String>,
}

impl Report {
    fn count(&self, ended: Ended) -> u64 {
        self.operations.iter().filter(|((_, how), _)| *how == ended).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} nodes, {:.0} s", self.seed, self.nodes, self.took.as_secs_f64())?;
        let heads = ("FAULT", "TIMES", "NO WRITE: MEDIAN", "90 %", "WORST");
        writeln!(f, "\n{:<16} {:>5}  {:>16} {:>8} {:>8}", heads.0, heads.1, heads.2, heads.3, heads.4)?;
        for (fault, gaps) in &self.faults {
            let [median, most, worst] = spread(gaps).unwrap_or_default().map(|gap| gap.as_millis());
            writeln!(f, "{fault:<16} {:>5}  {median:>13} ms {most:>5} ms {worst:>5} ms", gaps.len())?;
        }
        writeln!(f, "\n{:<16} {:>9} {:>9} {:>9}", "OPERATION", "OK", "REFUSED", "UNKNOWN")?;
        let kinds: std::collections::BTreeSet<_> = self.operations.keys().map(|(kind, _)| *kind).collect();
        let of = |kind, ended| self.operations.get(&(kind, ended)).copied().unwrap_or_default();
        for kind in kinds {
            let (ok, refused) = (of(kind, Ended::Ok), of(kind, Ended::Refused));
            writeln!(f, "{kind:<16} {ok:>9} {refused:>9} {:>9}", of(kind, Ended::Unknown))?;
        }
        let (ok, refused) = (self.count(Ended::Ok), self.count(Ended::Refused));
        writeln!(f, "{:<16} {ok:>9} {refused:>9} {:>9}", "all", self.count(Ended::Unknown))?;
        let share = 100.0 * ok as f64 / (ok + refused + self.count(Ended::Unknown)).max(1) as f64;
        writeln!(f, "done in the clients' time: {share:.3} %")?;
        writeln!(f, "\nepochs with a leader: {}", self.leaders)?;
        writeln!(f, "nodes that a full disk ended: {}", self.ended_for_room)?;
        writeln!(f, "all replicas, reads back and books compared and right: {} times", self.verified)?;
        writeln!(f, "history: {} operations that ran or may have run: linearizable", self.checked)?;
        writeln!(f, "transactions over some records at once: {}: strictly serializable", self.transactions)?;
        for what in &self.left_out {
            writeln!(f, "LEFT OUT: {what}")?;
        }
        Ok(())
    }
}
