//! Strict serializability of transactions on several records: that they can have taken effect one after another, each at some moment
//! between its call and its return.
//!
//! Where the answers carry versions, this needs no search. The versions of a record say which write came after which, and whose write a
//! read has seen, so that the dependencies between transactions are known (Adya, Liskov and O'Neil, "Generalized isolation level
//! definitions", 2000): a write before the next one of the same record, a write before who reads it, a read before the write of the next
//! version. With these, and each transaction before all that were called after it had returned, the history is strictly serializable if
//! and only if there is no circle (Kingsbury and Alvaro, "Elle: inferring isolation anomalies from experimental observations", 2020).
//!
//! Promises: time and memory are about linear in the history. A circle that is told is as short as a search by breadth finds from one of
//! its transactions. Leaves out: transactions of whose writes nobody knows the version.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// What a transaction did to one record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Access {
    /// Which record.
    pub record: u32,
    /// The version that it read (0: none was there), or that it wrote.
    pub version: u64,
    /// The value there.
    pub value: u64,
}

/// A transaction that took effect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transaction {
    /// When it was called.
    pub called: u64,
    /// When it was known to have taken effect; `None`: it may have at any time since.
    pub returned: Option<u64>,
    /// What it read. Not of a record that it wrote.
    pub reads: Vec<Access>,
    /// What it wrote.
    pub writes: Vec<Access>,
}

/// What is wrong with a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Anomaly {
    /// Two transactions wrote the same version of a record.
    WrittenTwice(Access, Access),
    /// A version was read that nobody wrote, or with another value.
    NobodyWrote(Access),
    /// A transaction that no history of this form has: it reads and writes one record, writes a version 0, or read a value where nothing was.
    Malformed(Access),
    /// Of a record some version up to the last one is nobody's.
    Gap {
        /// The record.
        record: u32,
        /// The version.
        version: u64,
    },
    /// Each of these transactions (by their places in the history) came before the next one, and the last before the first; with why.
    Circle(Vec<(usize, Edge)>),
}

/// Why one transaction came before another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// It wrote the version before the other's.
    Overwritten(u32),
    /// The other one read what it wrote.
    Read(u32),
    /// It read the version before the one that the other wrote.
    ReadBefore(u32),
    /// It had returned before the other was called.
    Returned,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Anomaly::WrittenTwice(one, other) => {
                write!(f, "one version was written twice: {one:?}, {other:?}")
            }
            Anomaly::NobodyWrote(read) => write!(f, "nobody wrote what was read: {read:?}"),
            Anomaly::Malformed(access) => write!(f, "no history has this: {access:?}"),
            Anomaly::Gap { record, version } => {
                write!(f, "nobody wrote version {version} of record {record}")
            }
            Anomaly::Circle(around) => {
                write!(f, "each came before the next:")?;
                around.iter().try_for_each(|(at, edge)| write!(f, " #{at} ({edge:?})"))
            }
        }
    }
}

/// A node of the graph: a transaction, or a moment between two returns.
type Node = usize;

struct Graph {
    edges: Vec<Vec<(Node, Edge)>>,
}

/// Looks for what cannot be.
///
/// # Errors
/// What it is.
pub fn check_transactions(history: &[Transaction]) -> Result<(), Anomaly> {
    history.iter().try_for_each(check_form)?;
    let writers = writers(history)?;
    let mut graph = Graph { edges: vec![Vec::new(); history.len()] };
    for (at, one) in history.iter().enumerate() {
        for write in &one.writes {
            if let Some((before, _)) = writers.get(&(write.record, write.version.wrapping_sub(1))) {
                graph.edges[*before].push((at, Edge::Overwritten(write.record)));
            }
        }
        for read in &one.reads {
            if read.version > 0 {
                match writers.get(&(read.record, read.version)) {
                    Some((writer, write)) if write.value == read.value => {
                        graph.edges[*writer].push((at, Edge::Read(read.record)));
                    }
                    _ => return Err(Anomaly::NobodyWrote(*read)),
                }
            }
            if let Some((next, _)) = writers.get(&(read.record, read.version + 1)) {
                graph.edges[at].push((*next, Edge::ReadBefore(read.record)));
            }
        }
    }
    graph.add_time(history);
    match graph.circle() {
        Some(around) => {
            Err(Anomaly::Circle(around.into_iter().filter(|(at, _)| *at < history.len()).collect()))
        }
        None => Ok(()),
    }
}

fn check_form(one: &Transaction) -> Result<(), Anomaly> {
    let is_written = |record: u32| one.writes.iter().any(|write| write.record == record);
    let read =
        one.reads.iter().find(|read| is_written(read.record) || (read.version == 0 && read.value != 0));
    let written = one.writes.iter().find(|write| write.version == 0);
    read.or(written).map_or(Ok(()), |access| Err(Anomaly::Malformed(*access)))
}

/// By record and version: the place of the transaction that wrote it, and what it wrote.
type Writers = BTreeMap<(u32, u64), (usize, Access)>;

/// Whose each version is.
fn writers(history: &[Transaction]) -> Result<Writers, Anomaly> {
    let mut writers = Writers::new();
    for (at, one) in history.iter().enumerate() {
        for write in &one.writes {
            if let Some((_, other)) = writers.insert((write.record, write.version), (at, *write)) {
                return Err(Anomaly::WrittenTwice(other, *write));
            }
        }
    }
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for (record, version) in writers.keys() {
        let before = last.insert(*record, *version).unwrap_or(0);
        if *version != before + 1 {
            return Err(Anomaly::Gap { record: *record, version: before + 1 });
        }
    }
    Ok(writers)
}

impl Graph {
    /// Each transaction before all that were called after it had returned: by way of one node a return, in the order of time, instead of an
    /// edge for each pair.
    fn add_time(&mut self, history: &[Transaction]) {
        let mut returns: Vec<(u64, usize)> =
            history.iter().enumerate().filter_map(|(at, one)| Some((one.returned?, at))).collect();
        returns.sort_unstable();
        let first = self.edges.len();
        self.edges.resize(first + returns.len(), Vec::new());
        for (place, (_, at)) in returns.iter().enumerate() {
            self.edges[*at].push((first + place, Edge::Returned));
            if place + 1 < returns.len() {
                self.edges[first + place].push((first + place + 1, Edge::Returned));
            }
        }
        for (at, one) in history.iter().enumerate() {
            let before = returns.partition_point(|(returned, _)| *returned < one.called);
            if let Some(last) = before.checked_sub(1) {
                self.edges[first + last].push((at, Edge::Returned));
            }
        }
    }

    /// What cannot be put in an order: what is left when those with nothing before them are taken away again and again. A shortest circle
    /// through the first of it that is on one.
    fn circle(&self) -> Option<Vec<(Node, Edge)>> {
        let mut before = vec![0_usize; self.edges.len()];
        self.edges.iter().flatten().for_each(|(to, _)| before[*to] += 1);
        let mut free: Vec<Node> = (0..before.len()).filter(|node| before[*node] == 0).collect();
        let mut left = before.len();
        while let Some(node) = free.pop() {
            left -= 1;
            for (to, _) in &self.edges[node] {
                before[*to] -= 1;
                if before[*to] == 0 {
                    free.push(*to);
                }
            }
        }
        if left == 0 {
            return None;
        }
        (0..before.len()).filter(|node| before[*node] > 0).find_map(|node| self.shortest_around(node))
    }

    /// A shortest way from a node back to it.
    fn shortest_around(&self, start: Node) -> Option<Vec<(Node, Edge)>> {
        let mut from: BTreeMap<Node, (Node, Edge)> = BTreeMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(node) = open.pop_front() {
            for (to, edge) in &self.edges[node] {
                if *to == start {
                    let mut around = vec![(node, *edge)];
                    let mut at = node;
                    while at != start {
                        let (before, edge) = from[&at];
                        around.push((before, edge));
                        at = before;
                    }
                    around.reverse();
                    return Some(around);
                }
                if !from.contains_key(to) {
                    from.insert(*to, (node, *edge));
                    open.push_back(*to);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(record: u32, version: u64) -> Access {
        let value = if version == 0 { 0 } else { u64::from(record) * 100 + version };
        Access { record, version, value }
    }

    fn transaction(called: u64, returned: u64, reads: &[(u32, u64)], writes: &[(u32, u64)]) -> Transaction {
        let all =
            |some: &[(u32, u64)]| some.iter().map(|(record, version)| access(*record, *version)).collect();
        Transaction { called, returned: Some(returned), reads: all(reads), writes: all(writes) }
    }

    fn circle(history: &[Transaction]) -> Vec<usize> {
        match check_transactions(history) {
            Err(Anomaly::Circle(around)) => around.into_iter().map(|(at, _)| at).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_overlaps_may_come_in_any_order() {
        let history = [
            transaction(0, 10, &[(1, 0)], &[(2, 1)]),
            transaction(0, 10, &[(2, 1)], &[(1, 1)]),
            transaction(11, 12, &[(1, 1), (2, 1)], &[]),
        ];
        assert_eq!(check_transactions(&history), Ok(()));
    }

    #[test]
    fn half_of_a_transaction_is_never_seen() {
        let history =
            [transaction(0, 10, &[], &[(1, 1), (2, 1)]), transaction(0, 10, &[(1, 1), (2, 0)], &[])];
        assert_eq!(circle(&history), [0, 1]);
    }

    #[test]
    fn two_that_each_miss_the_others_write_are_write_skew() {
        let history = [transaction(0, 10, &[(1, 0)], &[(2, 1)]), transaction(0, 10, &[(2, 0)], &[(1, 1)])];
        assert_eq!(circle(&history), [0, 1]);
    }

    #[test]
    fn what_had_returned_is_seen_by_who_is_called_later() {
        let stale = [transaction(0, 1, &[], &[(1, 1)]), transaction(2, 3, &[(1, 0)], &[])];
        assert_eq!(circle(&stale), [0, 1]);
        let at_once = [transaction(0, 2, &[], &[(1, 1)]), transaction(2, 3, &[(1, 0)], &[])];
        assert_eq!(check_transactions(&at_once), Ok(()), "not before it had returned");
        let open = Transaction { returned: None, ..stale[0].clone() };
        assert_eq!(check_transactions(&[open, stale[1].clone()]), Ok(()));
    }

    #[test]
    fn two_readers_do_not_see_two_writes_in_opposite_orders() {
        let history = [
            transaction(0, 9, &[], &[(1, 1)]),
            transaction(0, 9, &[], &[(2, 1)]),
            transaction(0, 9, &[(1, 1), (2, 0)], &[]),
            transaction(0, 9, &[(1, 0), (2, 1)], &[]),
        ];
        assert_eq!(circle(&history).len(), 4);
    }

    #[test]
    fn what_nobody_wrote_and_what_two_wrote_are_told() {
        let write = |version| transaction(0, 1, &[], &[(1, version)]);
        let (one, two) = (access(1, 1), access(1, 2));
        assert_eq!(check_transactions(&[write(1), write(1)]), Err(Anomaly::WrittenTwice(one, one)));
        assert_eq!(check_transactions(&[write(2)]), Err(Anomaly::Gap { record: 1, version: 1 }));
        let read = transaction(2, 3, &[(1, 2)], &[]);
        assert_eq!(check_transactions(&[write(1), read]), Err(Anomaly::NobodyWrote(two)));
        let mut other = transaction(2, 3, &[(1, 1)], &[]);
        other.reads[0].value = 7;
        assert_eq!(check_transactions(&[write(1), other.clone()]), Err(Anomaly::NobodyWrote(other.reads[0])));
    }

    /// Every history that was made by doing one after another is taken, however their intervals overlap.
    #[test]
    fn what_happened_one_after_another_is_taken() {
        let mut random = 7_u64;
        let mut dice = |sides: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % sides
        };
        for _ in 0..200 {
            let mut versions = [0_u64; 4];
            let history: Vec<Transaction> = (0..60_u64)
                .map(|moment| {
                    let (mut reads, mut writes) = (Vec::new(), Vec::new());
                    for record in 0..4_u32 {
                        let version = &mut versions[record as usize];
                        match dice(3) {
                            0 => reads.push(access(record, *version)),
                            1 => {
                                *version += 1;
                                writes.push(access(record, *version));
                            }
                            _ => {}
                        }
                    }
                    let at = 100 + moment * 10;
                    Transaction { called: at - dice(60), returned: Some(at + dice(60)), reads, writes }
                })
                .collect();
            assert_eq!(check_transactions(&history), Ok(()));
        }
    }

    /// Whether some order of all of them fits: every one is tried.
    fn fits(history: &[Transaction], done: &mut Vec<usize>, versions: &mut [u64; 3]) -> bool {
        if done.len() == history.len() {
            return true;
        }
        (0..history.len()).any(|at| {
            let one = &history[at];
            let is_next = !done.contains(&at)
                && (0..history.len()).all(|other| {
                    done.contains(&other)
                        || other == at
                        || history[other].returned.is_none_or(|returned| returned >= one.called)
                });
            let fits_here = one.reads.iter().all(|read| versions[read.record as usize] == read.version)
                && one.writes.iter().all(|write| versions[write.record as usize] + 1 == write.version);
            if !is_next || !fits_here {
                return false;
            }
            let before = *versions;
            one.writes.iter().for_each(|write| versions[write.record as usize] = write.version);
            done.push(at);
            let rest = fits(history, done, versions);
            done.pop();
            *versions = before;
            rest
        })
    }

    /// The circle is looked for, and every order tried: both say the same of small histories, of which about half are wrong.
    #[test]
    fn it_agrees_with_trying_every_order() {
        let mut random = 11_u64;
        let mut dice = |sides: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % sides
        };
        let (mut right, mut wrong) = (0, 0);
        for _ in 0..4_000 {
            let mut last = [0_u64; 3];
            let mut history: Vec<Transaction> = Vec::new();
            for moment in 0..2 + dice(4) {
                let mut one =
                    Transaction { called: moment * 2 - dice(2).min(moment), ..Transaction::default() };
                one.returned = (dice(6) > 0).then(|| one.called + dice(7));
                for record in 0..3_u32 {
                    match dice(3) {
                        0 => {
                            last[record as usize] += 1;
                            one.writes.push(access(record, last[record as usize]));
                        }
                        1 => {
                            one.reads.push(access(record, last[record as usize].saturating_sub(dice(3) / 2)));
                        }
                        _ => {}
                    }
                }
                history.push(one);
            }
            let fits = fits(&history, &mut Vec::new(), &mut [0; 3]);
            assert_eq!(check_transactions(&history).is_ok(), fits, "{history:?}");
            *(if fits { &mut right } else { &mut wrong }) += 1;
        }
        assert!(right > 400 && wrong > 400, "{right} right, {wrong} wrong");
    }

    #[test]
    fn what_no_history_has_is_refused() {
        let both = transaction(0, 1, &[(1, 0)], &[(1, 1)]);
        assert_eq!(check_transactions(&[both]), Err(Anomaly::Malformed(access(1, 0))));
        let zero = transaction(0, 1, &[], &[(1, 0)]);
        assert_eq!(check_transactions(&[zero]), Err(Anomaly::Malformed(access(1, 0))));
        let mut nothing = transaction(0, 1, &[(1, 0)], &[]);
        nothing.reads[0].value = 5;
        assert_eq!(check_transactions(&[nothing.clone()]), Err(Anomaly::Malformed(nothing.reads[0])));
    }
}
