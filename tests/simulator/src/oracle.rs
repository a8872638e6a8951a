//! The oracle: it sees everything that every node says, writes and applies, and knows what must never be seen. It
//! keeps its own account of each log, made from what was ordered and from what was durably done, and never asks a
//! node whether it is right.
//!
//! Checked here, by the names of `store_core::invariants`, at every event that could break one: election safety, log
//! matching (each entry ever appended has one content and one predecessor), leader completeness, state-machine
//! safety (equal effects at equal offsets), committed on a quorum and immutable, commit order, ballot monotonic, ack
//! only after durable, intermediate is unreadable, log time is vouched for, quarantined with a reason, quarantined is silent, and that what was durable is there after a crash.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use store_core::{
    Entry, Epoch, EpochHistory, Member, Membership, NodeId, Offset, Position, PushReply, Replica, Role,
    RoleView, VoteMessage, invariants,
};
use store_db::{Table as _, query};
use store_engine::{Applied, ApplierJob, Job, Node, NodeOut, ToPeer, WriterJob};
use store_log::Quarantine;
use store_log::sim::SimDisk;

use crate::clocks::Clocks;
use crate::electorate::{Electorate, is_majority};
use crate::network::index_of;
use crate::table::SimTable;
use crate::time::NodeClock;
use crate::violation::{ensure, violated};

type SimNode = Node<SimDisk, SimTable, NodeClock>;

/// The stock is looked at after so many batches.
const STOCK_EVERY: u32 = 8;

/// What is known of one node, over all its lives.
#[derive(Debug)]
struct Account {
    member: Member,
    /// The latest epoch that it was seen in with its ballot on disk.
    epoch: Epoch,
    /// Its log as the node ordered it.
    ordered: EpochHistory,
    /// Its log as it is durably on disk.
    durable: EpochHistory,
    /// The log as it will be when the writer's turn ends well.
    turning: EpochHistory,
    /// A turn was begun that shortens the log; whether it ended well is not known.
    uncertain: bool,
    /// Everything up to here it took for committed, in this life.
    committed: Offset,
    /// The epoch that it leads.
    leads: Option<Epoch>,
    /// Its table was changed behind its back, and was not replaced since.
    wrong: bool,
    /// It is quarantined.
    quarantined: bool,
    /// And that is durable.
    quarantine_saved: bool,
    /// Its table was replaced, and the quarantine may go.
    ends_quarantine: bool,
}

/// An entry as it was first appended by anybody.
#[derive(Clone, Copy, Debug)]
struct First {
    content: u64,
    before: Position,
    log_time_ms: i64,
}

/// What the counters want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Leaders elected.
    pub elections: u64,
    /// Truncations of intermediate entries.
    pub truncations: u64,
    /// Logs that begin after a snapshot that came from elsewhere.
    pub resets: u64,
    /// Logs that were cut off behind snapshots.
    pub maybe_lost_tails: u64,
    /// Replicas that quarantined themselves because a majority had another state, and how many of them led.
    pub quarantined: u64,
    /// See `quarantined`.
    pub quarantined_leaders: u64,
    /// Fences that an operator asked for.
    pub resynced: u64,
    /// Fences that went because the table was replaced.
    pub healed: u64,
    /// Memberships with other voters that were committed.
    pub changes: u64,
    /// Lost folders whose place another member has taken.
    pub regained: u64,
    /// Disks that hung while nothing else was wrong.
    pub hangs: u64,
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Oracle {
    accounts: Vec<Account>,
    /// The logs of folders that were lost, as they were.
    retired: BTreeMap<Member, EpochHistory>,
    initial_members: Vec<Member>,
    electorate: Electorate,
    leaders: BTreeMap<Epoch, NodeId>,
    votes: BTreeMap<(Member, Epoch), NodeId>,
    entries: HashMap<Position, First>,
    /// By offset, from 1: what was committed, and the epoch of the leader that did.
    committed: Vec<(Position, Epoch)>,
    state_hash: BTreeMap<Offset, (Position, u64)>,
    /// Where each node's log files end, by the number of the next one.
    rolls: BTreeMap<(usize, u64), Offset>,
    batches: u32,
    clocks: Clocks,
    pub(crate) seen: Seen,
}

/// One number for all that an entry says.
fn content_of(entry: &Entry<Bytes>) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&entry.payload, entry.kind as u64)
        ^ entry.log_time_ms.cast_unsigned()
}

impl Account {
    fn new(member: Member) -> Account {
        Account {
            member,
            epoch: Epoch(0),
            ordered: EpochHistory::default(),
            durable: EpochHistory::default(),
            turning: EpochHistory::default(),
            uncertain: false,
            committed: Offset::ZERO,
            leads: None,
            wrong: false,
            quarantined: false,
            quarantine_saved: false,
            ends_quarantine: false,
        }
    }
}

fn has(history: &EpochHistory, position: Position) -> bool {
    position.offset <= history.base().offset || history.contains(position)
}

/// A node that has recovered knows no more to be committed than is.
fn ensure_committed(replica: &Replica, member: Member, known: u64) {
    let committed = replica.committed();
    ensure(committed.0 <= known, "intermediate is unreadable", || {
        format!("{} recovered with {committed} committed of {known}", member.node)
    });
}

impl Oracle {
    /// An oracle of these nodes, of which the first so many found the group.
    pub(crate) fn new(members: &[Member], initial_members: usize, clocks: Clocks) -> Oracle {
        Oracle {
            accounts: members.iter().map(|member| Account::new(*member)).collect(),
            retired: BTreeMap::new(),
            initial_members: members[..initial_members].to_vec(),
            electorate: Electorate::default(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            entries: HashMap::new(),
            committed: Vec::new(),
            state_hash: BTreeMap::new(),
            rolls: BTreeMap::new(),
            batches: 0,
            clocks,
            seen: Seen::default(),
        }
    }

    /// The folder of this node is lost, and it comes back as another member.
    pub(crate) fn comes_back_empty(&mut self, index: usize, as_whom: Member) {
        let before = std::mem::replace(&mut self.accounts[index], Account::new(as_whom));
        self.retired.insert(before.member, before.durable);
        self.rolls.retain(|(node, _), _| *node != index);
    }

    /// The last membership that was committed.
    pub(crate) fn membership(&self) -> &Membership {
        self.electorate.now()
    }

    /// Where that stands.
    pub(crate) fn membership_at(&self) -> Offset {
        self.electorate.at()
    }

    /// Whether no other membership than that can come to be unless somebody asks for it: it is not joint, and nobody has
    /// one in its log that is not committed.
    pub(crate) fn is_membership_settled(&self) -> bool {
        let open = |log: &EpochHistory| self.electorate.is_open(log, &self.committed);
        let opens = |account: &Account| open(&account.ordered) || open(&account.durable);
        // What somebody who was removed still has in its log, nobody will ever take from it.
        let membership = self.membership();
        let members = self.accounts.iter().filter(|account| membership.contains(account.member));
        !membership.is_joint() && !members.into_iter().any(opens)
    }

    /// A node has recovered. What was durably in its log is there, unless its files were harmed.
    pub(crate) fn started(&mut self, index: usize, node: &SimNode, damaged: bool, tail: &[Entry<Bytes>]) {
        let (replica, account) = (node.replica(), &mut self.accounts[index]);
        let (found, durable) = (replica.history(), account.durable.last());
        if self.entries.is_empty() {
            let first = found.last();
            self.entries.insert(first, First { content: 0, before: Position::ZERO, log_time_ms: 0 });
            self.committed.push((first, first.epoch));
            self.electorate.founded(first, &self.initial_members);
        }
        ensure(damaged || account.uncertain || has(found, durable), "ack only after durable", || {
            format!(
                "{durable} was durable on {}; after recovery its log ends in {}",
                account.member.node,
                found.last()
            )
        });
        ensure(
            account.uncertain || has(found, durable) || replica.maybe_lost_tail(),
            "a lost tail is told of",
            || {
                let (node, last) = (account.member.node, found.last());
                format!(
                    "{durable} was durable on {node}; it recovered {last} and does not say that it may have lost its tail"
                )
            },
        );
        for entry in tail {
            let (here, first) = (content_of(entry), self.entries.get(&entry.position));
            ensure(first.is_some_and(|f| f.content == here || f.content == 0), "log matching", || {
                let (node, at) = (account.member.node, entry.position);
                format!("{node} recovered {at} with other content than was ever appended there")
            });
        }
        ensure(
            self.entries.contains_key(&found.last()) || found.last() == found.base(),
            "log matching",
            || format!("{} recovered {}, which nobody ever appended", account.member.node, found.last()),
        );
        ensure(replica.epoch() >= account.epoch, "ballot monotonic", || {
            format!("{} was in {} and recovered {}", account.member.node, account.epoch, replica.epoch())
        });
        ensure_committed(replica, account.member, self.committed.len() as u64);
        account.ordered = found.clone();
        account.durable = found.clone();
        account.turning = found.clone();
        (account.uncertain, account.leads) = (false, None);
        let believed = !replica.quarantined() && account.quarantine_saved && !account.ends_quarantine;
        ensure(!believed, "quarantine before discard", || {
            let node = account.member.node;
            format!("{node} was quarantined, its table was not replaced, and it believes it")
        });
        (account.quarantined, account.quarantine_saved, account.ends_quarantine) =
            (replica.quarantined(), replica.quarantined(), false);
        account.committed = replica.committed();
        self.seen.maybe_lost_tails += u64::from(replica.maybe_lost_tail());
        self.compare_logs(index);
    }

    /// *Log matching*, of one log with all others.
    fn compare_logs(&self, index: usize) {
        let one = &self.accounts[index];
        for other in self.accounts.iter().filter(|other| other.member != one.member) {
            if let Err(offset) = invariants::log_matching(&one.ordered, &other.ordered) {
                let (a, b) = (one.member.node, other.member.node);
                violated("log matching", format!("{a} and {b} differ at {offset} and agree later"));
            }
        }
    }

    /// A node says something; called in the order in which it does.
    pub(crate) fn node_said(&mut self, index: usize, node: &SimNode, out: &NodeOut) {
        match out {
            NodeOut::Write(job) => {
                self.accounts[index].ends_quarantine |= matches!(job, WriterJob::EndQuarantine { .. });
                self.ordered(index, job);
            }
            NodeOut::Apply(ApplierJob::Commit { up_to, .. }) => self.commits(index, node.replica(), *up_to),
            NodeOut::Apply(ApplierJob::Install { .. } | ApplierJob::Replace { .. }) => {
                let account = &self.accounts[index];
                ensure(!account.quarantined || account.quarantine_saved, "quarantine before discard", || {
                    format!("{} replaces its table, and its quarantine is not durable", account.member.node)
                });
            }
            NodeOut::Peer(ToPeer::Reply { reply: PushReply::Ack { durable_up_to, .. }, .. }) => {
                let account = &self.accounts[index];
                ensure(has(&account.durable, *durable_up_to), "ack only after durable", || {
                    let last = account.durable.last();
                    format!("{} acknowledges {durable_up_to}; durable up to {last}", account.member.node)
                });
            }
            NodeOut::Peer(ToPeer::Vote { message: VoteMessage::Request(request), .. }) if !request.pre => {
                let own = self.accounts[index].member.node;
                self.votes(index, request.epoch, own);
            }
            NodeOut::Peer(ToPeer::Vote { to, message: VoteMessage::Reply(reply) })
                if reply.granted && !reply.pre =>
            {
                self.votes(index, reply.epoch, *to);
            }
            NodeOut::Role(view) => self.role(index, node.replica(), *view),
            NodeOut::Quarantined(quarantine) => self.quarantined(index, *quarantine),
            _ => {}
        }
    }

    /// The table of this node is wrong from here on.
    pub(crate) fn spoilt(&mut self, index: usize) {
        self.accounts[index].wrong = true;
    }

    /// A node quarantines itself, or has another table.
    fn quarantined(&mut self, index: usize, quarantine: Option<Quarantine>) {
        let account = &mut self.accounts[index];
        match quarantine {
            Some(Quarantine { differs: Some(differs), .. }) => {
                self.seen.quarantined += 1;
                ensure(account.wrong, "quarantined with a reason", || {
                    format!("{} has a sound table and is quarantined: {differs:?}", account.member.node)
                });
            }
            // No fault damages what is under a table here.
            Some(Quarantine { damaged: true, .. }) => ensure(false, "quarantined with a reason", || {
                format!("{} is quarantined for damage that nobody did", account.member.node)
            }),
            Some(Quarantine { differs: None, .. }) => self.seen.resynced += 1,
            None => {
                self.seen.healed += 1;
                account.wrong = false;
            }
        }
        (account.quarantined, account.ends_quarantine) = (quarantine.is_some(), false);
        account.quarantine_saved &= quarantine.is_some();
    }

    fn votes(&mut self, index: usize, epoch: Epoch, candidate: NodeId) {
        let member = self.accounts[index].member;
        let first = *self.votes.entry((member, epoch)).or_insert(candidate);
        ensure(first == candidate, "ballot monotonic", || {
            format!("{} votes for {candidate} in {epoch}, and voted for {first}", member.node)
        });
    }

    fn role(&mut self, index: usize, replica: &Replica, view: RoleView) {
        let node = self.accounts[index].member.node;
        let leads = (view.role == Role::Leader).then_some(view.epoch);
        let before = std::mem::replace(&mut self.accounts[index].leads, leads);
        self.seen.quarantined_leaders +=
            u64::from(before.is_some() && leads.is_none() && replica.quarantined());
        let Some(epoch) = leads.filter(|_| leads != before) else { return };
        self.seen.elections += 1;
        ensure(!self.accounts[index].quarantined, "quarantined is silent", || {
            format!("{node} leads in {epoch}")
        });
        let known = *self.leaders.entry(epoch).or_insert(node);
        if let Err((epoch, a, b)) = invariants::election_safety([(epoch, known), (epoch, node)]) {
            violated("election safety", format!("{a} and {b} lead in {epoch}"));
        }
        let (own, log) = (self.accounts[index].member, &self.accounts[index].ordered);
        let membership = self.electorate.in_force(log, &self.committed);
        let voted = |voter: Member| voter == own || self.votes.get(&(voter, epoch)) == Some(&node);
        ensure(is_majority(membership, voted), "election safety", || {
            let voters: Vec<&Member> =
                self.votes.keys().filter(|(_, at)| *at == epoch).map(|(m, _)| m).collect();
            format!("{node} leads in {epoch}, for which only {voters:?} voted, of {membership:?}")
        });
        let earlier = self.committed.iter().filter(|(_, by)| *by < epoch).map(|(position, _)| *position);
        if let Err(missing) = invariants::leader_completeness(log, earlier) {
            violated("leader completeness", format!("{node} leads in {epoch} and lacks {missing}"));
        }
        self.compare_logs(index);
    }

    /// The node has ordered something of its writer.
    fn ordered(&mut self, index: usize, job: &WriterJob) {
        let account = &mut self.accounts[index];
        match job {
            WriterJob::Append { entries, .. } => {
                for entry in entries {
                    self.electorate.appended(entry);
                    let before = account.ordered.last();
                    let content = content_of(entry);
                    let mine = First { content, before, log_time_ms: entry.log_time_ms };
                    let is_new = !self.entries.contains_key(&entry.position);
                    let first = *self.entries.entry(entry.position).or_insert(mine);
                    let same = first.content == content || first.content == 0;
                    ensure(
                        same && (first.before == before || before.offset == account.ordered.base().offset),
                        "log matching",
                        || {
                            let node = account.member.node;
                            format!(
                                "{} after {before} on {node}; it was first appended after {}",
                                entry.position, first.before
                            )
                        },
                    );
                    account.ordered.append(run(entry.position));
                    if let Some(before) = self.entries.get(&before).filter(|_| is_new) {
                        let membership = self.electorate.in_force(&account.ordered, &self.committed);
                        self.clocks.look(entry, before.log_time_ms, membership, account.member);
                    }
                }
            }
            WriterJob::Truncate { from, .. } => {
                self.seen.truncations += 1;
                let known = account.committed;
                ensure(*from > known, "committed is immutable", || {
                    format!("{} truncates from {from}; {known} is committed", account.member.node)
                });
                let after = usize::try_from(from.0 - 1).expect("a short log");
                let mut later = self.committed.iter().skip(after).map(|(position, _)| *position);
                let lost = later.find(|position| account.ordered.contains(*position));
                ensure(lost.is_none(), "committed is immutable", || {
                    format!("{} truncates from {from}; {lost:?} was committed", account.member.node)
                });
                account.ordered.truncate(*from);
            }
            WriterJob::Reset { after, .. } => {
                self.seen.resets += 1;
                account.ordered = EpochHistory::starting_after(*after);
            }
            _ => {}
        }
    }

    /// The writer's turn begins, with these jobs.
    pub(crate) fn writer_begins(&mut self, index: usize, jobs: &[WriterJob]) {
        let account = &mut self.accounts[index];
        for job in jobs {
            match job {
                WriterJob::Append { entries, .. } => {
                    for entry in entries {
                        account.turning.append(run(entry.position));
                    }
                }
                WriterJob::Truncate { from, .. } => {
                    account.uncertain = true;
                    account.turning.truncate(*from);
                }
                WriterJob::Reset { after, .. } => {
                    account.uncertain = true;
                    account.turning = EpochHistory::starting_after(*after);
                }
                _ => {}
            }
        }
    }

    /// The writer's turn ended well: everything is durable.
    pub(crate) fn writer_ended(&mut self, index: usize, outs: &[Job]) {
        let account = &mut self.accounts[index];
        account.uncertain = false;
        account.durable.clone_from(&account.turning);
        for out in outs {
            match out {
                Job::Rolled { at, number } => drop(self.rolls.insert((index, *number), *at)),
                Job::QuarantineSaved => account.quarantine_saved = true,
                _ => {}
            }
        }
    }

    /// A node is about to take a snapshot.
    pub(crate) fn snapshot_at(&self, index: usize, position: Position, number: u64) {
        let (node, rolled) = (self.accounts[index].member.node, self.rolls.get(&(index, number)));
        ensure(rolled == Some(&position.offset), "a snapshot ends where its log begins", || {
            format!("{node} takes snap.{number} at {position}; log.{number} begins after {rolled:?}")
        });
    }

    fn commits(&mut self, index: usize, replica: &Replica, up_to: Position) {
        let account = &mut self.accounts[index];
        let (node, history) = (account.member.node, replica.history());
        let from = account.committed.next();
        account.committed = account.committed.max(up_to.offset);
        let (leads, known) = (account.leads, self.committed.len() as u64);
        for offset in from.0..=up_to.offset.0 {
            let Some(position) = history.position_at(Offset(offset)) else { continue };
            match self.committed.get(usize::try_from(offset - 1).expect("a short log")) {
                Some((there, _)) => ensure(*there == position, "committed is immutable", || {
                    format!("{node} commits {position} where {there} was committed")
                }),
                None => {
                    assert_eq!(self.committed.len() as u64, offset - 1, "commits are seen in order");
                    self.committed.push((position, leads.unwrap_or(position.epoch)));
                    self.seen.changes += u64::from(self.electorate.committed(position));
                }
            }
        }
        if self.committed.len() as u64 > known {
            ensure(leads.is_some(), "committed on a quorum", || {
                format!("{node} does not lead and is the first to commit {up_to}")
            });
            ensure(leads == Some(up_to.epoch), "committed on a quorum", || {
                format!("{node} leads {leads:?} and commits {up_to}, an entry of another epoch, by counting")
            });
            self.is_held(index, up_to);
        }
    }

    /// A leader counts: a majority of the membership that is in force in its log holds the entry durably, or did before
    /// its folder was lost.
    fn is_held(&self, index: usize, up_to: Position) {
        let holds = |member: Member| {
            let account = &self.accounts[index_of(member.node)];
            let log =
                if account.member == member { Some(&account.durable) } else { self.retired.get(&member) };
            log.is_some_and(|log| has(log, up_to))
        };
        let account = &self.accounts[index];
        let membership = self.electorate.in_force(&account.ordered, &self.committed);
        ensure(is_majority(membership, holds), "committed on a quorum", || {
            let holders: Vec<Member> = membership.members().into_iter().filter(|m| holds(*m)).collect();
            format!(
                "{} commits {up_to}, which only {holders:?} hold durably, of {membership:?}",
                account.member.node
            )
        });
    }

    /// A node's turn has ended.
    pub(crate) fn node_turned(&mut self, index: usize, node: &SimNode) {
        let (replica, account) = (node.replica(), &mut self.accounts[index]);
        let epoch = replica.epoch();
        ensure(epoch >= account.epoch, "ballot monotonic", || {
            format!("{} was in {} and is in {epoch}", account.member.node, account.epoch)
        });
        if !replica.is_saving() {
            account.epoch = epoch;
        }
        let (base, snapshot) = (replica.history().base().offset, replica.snapshot().offset);
        let (committed, last) = (replica.committed(), replica.last().offset);
        ensure(base <= snapshot && snapshot <= committed && committed <= last, "commit order", || {
            format!(
                "{}: purged {base} ≤ snapshot {snapshot} ≤ committed {committed} ≤ last {last}",
                account.member.node
            )
        });
    }

    /// A node has applied up to here.
    pub(crate) fn applied(&mut self, index: usize, applied: Applied, table: &SimTable) {
        let (node, offset) = (self.accounts[index].member.node, applied.position.offset);
        let committed = usize::try_from(offset.0 - 1).ok().and_then(|at| self.committed.get(at));
        ensure(
            committed.is_some_and(|(there, _)| *there == applied.position),
            "intermediate is unreadable",
            || format!("{node} applied {}; committed there: {committed:?}", applied.position),
        );
        if self.accounts[index].wrong {
            return;
        }
        let mine = (applied.position, applied.state_hash);
        let first = *self.state_hash.entry(offset).or_insert(mine);
        ensure(first == mine, "state-machine safety", || {
            format!(
                "{node} applied {} with effects {:x}, another {} with {:x}",
                mine.0, mine.1, first.0, first.1
            )
        });
        self.batches += 1;
        if self.batches.is_multiple_of(STOCK_EVERY) {
            check_stock(node, table);
        }
    }

    /// The last offset that was committed.
    pub(crate) fn last_committed(&self) -> Offset {
        Offset(self.committed.len() as u64)
    }
}

fn run(position: Position) -> store_core::Run {
    store_core::Run { epoch: position.epoch, first: position.offset, last: position.offset }
}

/// Every product's stock adds up, and none is below zero, in the state that this table is in.
pub(crate) fn check_stock(node: NodeId, table: &SimTable) {
    let looked = table.read(|read| {
        query::each(read, b"s/", &mut |found| {
            let record = found.record.unwrap_or_default();
            let stock = portal::document::stock::StockRecord::read(&found.key, &record);
            let sound = stock.as_ref().is_ok_and(portal::document::stock::StockRecord::is_conserved);
            ensure(sound, "stock conserved", || format!("{node}: {:?} is {stock:?}", found.key));
            Ok(true)
        })
    });
    looked.expect("a table in memory can be read");
}
