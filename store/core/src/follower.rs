//! The role that takes a leader's pushes, and campaigns when no leader speaks.
//!
//! Promises: it acknowledges only entries that appends of this epoch matched and the disk holds; it applies only on
//! a commit order and only its entries; it truncates only uncommitted entries that contradict the leader of its epoch.

use alloc::vec::Vec;

use crate::checkpoints::Checkpoint;
use crate::limits;
use crate::mutant;
use crate::protocol::{Append, AppendRejection, Fatal, LeaderMessage, Output, PushReply};
use crate::state::{Change, State, Timer, send};
use crate::types::{Epoch, EpochHistory, Membership, NodeId, Offset, Position, Round, Run};

/// A follower's own state; a new one for every epoch and every leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Follower {
    /// Whom it follows.
    pub(crate) leader: Option<NodeId>,
    /// Runs out when no leader speaks.
    pub(crate) timer: Timer,
    /// The highest position that an append of this epoch matched: up to here the log is the leader's.
    matched: Position,
    /// The highest commit order of this epoch.
    ordered: Offset,
    /// The last heartbeat round heard.
    round: Round,
    /// The last position acknowledged.
    acked: Position,
    /// The offset at which the leader compares checkpoints; 0: it does not.
    compare: Offset,
}

/// How an append fits a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    /// It continues the log; entries from here on are new (past its end: none are).
    From(Offset),
    /// The log ends before `previous`.
    TooShort,
    /// Another epoch stands here; it and all after it must go.
    Conflict(Offset, Epoch),
    /// Another epoch stands where this replica knows an entry to be committed.
    Broken(Position, Position),
}

impl Follower {
    pub(crate) fn new(leader: Option<NodeId>) -> Follower {
        Follower { leader, ..Follower::default() }
    }

    /// Whether it heard a leader so recently that an election would only disturb.
    pub(crate) fn has_live_leader(&self, state: &State) -> bool {
        let spoke = self.timer.elapsed < state.config.ticks_election_min && !self.timer.is_hurried;
        self.leader.is_some() && spoke
    }

    /// The way from a replica was lost. If that was the leader its process has most likely ended, and waiting on would
    /// only keep clients waiting. If it lives, it speaks again before the time is up; and if it does not come through
    /// to here alone, the others hear it and refuse the pre-vote.
    pub(crate) fn lost(&mut self, peer: NodeId) {
        if self.leader == Some(peer) {
            self.timer.hurry();
        }
    }

    pub(crate) fn tick(&mut self, state: &State, random: u64) -> Change {
        if !self.timer.tick(state, random) {
            return Change::None;
        }
        self.timer.reset();
        if state.may_campaign() && state.installing.is_none() {
            return Change::Campaign(false);
        }
        // A replica that does not campaign must forget a lost leader all the same: it may be asked for its vote.
        if self.leader.is_some() { Change::Follow(None) } else { Change::None }
    }

    /// Whether this node is the leader that is followed.
    pub(crate) fn is_led_by(&self, node: NodeId) -> bool {
        self.leader == Some(node)
    }

    /// Entries of the leader of this epoch.
    pub(crate) fn receive_append(
        &mut self,
        state: &mut State,
        from: NodeId,
        append: Append,
        out: &mut Vec<Output>,
    ) {
        self.timer.reset();
        state.led = state.ballot.epoch;
        self.append(state, from, append, out);
    }

    /// A message of the leader of this epoch.
    pub(crate) fn receive(
        &mut self,
        state: &mut State,
        from: NodeId,
        message: LeaderMessage,
        out: &mut Vec<Output>,
    ) -> Change {
        self.timer.reset();
        state.led = state.ballot.epoch;
        match message {
            LeaderMessage::CommitOrder { up_to, .. } => self.order(state, up_to.offset, out),
            LeaderMessage::Heartbeat { round, committed, compare, .. } => {
                self.round = self.round.max(round);
                self.compare = compare;
                self.order(state, committed, out);
                self.ack(state, from, out);
                self.want_replacement(state, from, out);
            }
            LeaderMessage::Quarantine { at, .. } => state.quarantine(Some(at), out),
            LeaderMessage::InstallSnapshot { at, .. } => self.offered(state, from, at, out),
            LeaderMessage::TransferLeadership { .. } => {
                if may_receive_leadership(state) {
                    return Change::Campaign(true);
                }
            }
        }
        Change::None
    }

    fn append(&mut self, state: &mut State, from: NodeId, append: Append, out: &mut Vec<Output>) {
        if state.installing.is_some() || !is_well_formed(&append) {
            return;
        }
        let end =
            append.runs.last().map_or(append.previous, |run| Position { epoch: run.epoch, offset: run.last });
        match fit(state, &append) {
            Fit::From(new) => {
                self.matched = self.matched.max(end);
                if new <= end.offset {
                    state.append(cut(append.runs, new), &append.memberships, out);
                } else {
                    let after = end.offset.next();
                    if mutant!(LateAppendTruncates) && after < new && after > state.committed {
                        state.truncate(after, out);
                    }
                    self.ack(state, from, out);
                }
                self.order(state, append.committed, out);
            }
            Fit::TooShort => report(state, from, None, out),
            Fit::Conflict(at, epoch) => {
                let first = state.history.first_of(epoch).unwrap_or(at);
                state.truncate(mutant!(at, TruncateToCommit => state.committed.next()), out);
                report(state, from, Some((epoch, first)), out);
            }
            Fit::Broken(here, leader) => out.push(Output::Fatal(Fatal::CommittedConflict { here, leader })),
        }
    }

    /// A commit order up to `offset`; carried out as far as the log is matched and durable.
    fn order(&mut self, state: &mut State, offset: Offset, out: &mut Vec<Output>) {
        self.ordered = self.ordered.max(offset);
        let ordered = mutant!(self.ordered, ApplyBeforeOrder => self.matched.offset);
        let matched = mutant!(self.matched.offset, ApplyUnmatched => ordered);
        state.commit(ordered.min(matched).min(state.durable()), out);
    }

    /// More of the log is durable.
    pub(crate) fn persisted(&mut self, state: &mut State, out: &mut Vec<Output>) {
        self.order(state, self.ordered, out);
        if let Some(leader) = self.leader
            && self.durable_match(state) > self.acked
        {
            self.ack(state, leader, out);
        }
    }

    fn ack(&mut self, state: &State, to: NodeId, out: &mut Vec<Output>) {
        let durable_up_to = self.durable_match(state);
        self.acked = durable_up_to;
        let (epoch, round, checkpoint) = (state.ballot.epoch, self.round, self.compared(state));
        let (quarantined, unfit) = (state.is_quarantined(), state.disk.is_unfit());
        send(to, PushReply::Ack { epoch, durable_up_to, round, checkpoint, quarantined, unfit }, out);
    }

    /// The checkpoint that the leader asks for; never of a state that is known to be wrong.
    fn compared(&self, state: &State) -> Option<Checkpoint> {
        if self.compare == Offset::ZERO || state.is_quarantined() {
            return None;
        }
        state.checkpoints.at(self.compare)
    }

    /// A quarantined replica asks for a snapshot that its log goes on from, as long as it has none.
    fn want_replacement(&self, state: &State, from: NodeId, out: &mut Vec<Output>) {
        if state.is_quarantined() && !state.replacing && state.installing.is_none() {
            out.push(Output::FetchSnapshot { from, at: state.history.base() });
        }
    }

    /// A snapshot was fetched whose last entry is in the log, as far as who fetched it could see.
    pub(crate) fn fetched_beside(state: &mut State, position: Position, out: &mut Vec<Output>) {
        let fits = position.offset <= state.committed && state.history.contains(position);
        if state.is_quarantined() && fits && !state.replacing && state.installing.is_none() {
            state.replacing = true;
            out.push(Output::Replace { position });
        }
    }

    /// What this epoch's appends matched and the disk holds.
    fn durable_match(&self, state: &State) -> Position {
        if mutant!(CountUnverifiedTail) {
            return state.history.position_at(state.durable()).unwrap_or(Position::ZERO);
        }
        if self.matched.offset <= state.durable() || mutant!(AckBeforeDurable) {
            return self.matched;
        }
        state.history.position_at(state.durable()).unwrap_or(Position::ZERO)
    }

    /// The leader's log no longer reaches back to where this one ends: it offers a snapshot.
    fn offered(&mut self, state: &mut State, from: NodeId, at: Position, out: &mut Vec<Output>) {
        if at.offset <= state.committed || state.history.contains(at) {
            // A snapshot is of committed entries only, so having its last one is having them all.
            self.matched = self.matched.max(at);
            self.order(state, at.offset, out);
            report(state, from, None, out);
        } else if state.installing.is_none() && !state.replacing {
            out.push(Output::FetchSnapshot { from, at });
        }
    }

    /// The snapshot is installed. It came from a leader and is of committed entries, so it matches any leader's log;
    /// but only an append of this epoch makes it acknowledged.
    pub(crate) fn installed(
        &mut self,
        state: &mut State,
        position: Position,
        membership: (Offset, Membership),
        out: &mut Vec<Output>,
    ) {
        state.installed(position, membership, out);
        if let Some(leader) = self.leader {
            report(state, leader, None, out);
        }
    }
}

/// Whether this replica campaigns on its leader's order.
fn may_receive_leadership(state: &State) -> bool {
    state.may_campaign() && state.installing.is_none() && !state.disk.is_unfit()
}

/// Tells the leader what this log looks like.
fn report(state: &State, to: NodeId, conflict: Option<(Epoch, Offset)>, out: &mut Vec<Output>) {
    let append_rejection = AppendRejection {
        epoch: state.ballot.epoch,
        last: state.history.last(),
        committed: state.committed,
        conflict,
        maybe_lost_tail: state.maybe_lost_tail_in_this_epoch(),
    };
    send(to, PushReply::AppendRejection(append_rejection), out);
}

/// Where `append` fits the log. What is at or below the commit offset matches without being in the log still, but
/// what the log does have there must not contradict.
fn fit(state: &State, append: &Append) -> Fit {
    let history = &state.history;
    let previous = append.previous;
    match history.epoch_at(previous.offset) {
        Some(epoch) if epoch == previous.epoch || mutant!(PreviousByOffset) => {}
        Some(epoch) if previous.offset <= state.committed => {
            return Fit::Broken(Position { epoch, offset: previous.offset }, previous);
        }
        Some(epoch) => return Fit::Conflict(previous.offset, epoch),
        None if previous.offset <= state.committed => {}
        None => return Fit::TooShort,
    }
    match first_difference(history, &append.runs) {
        None => Fit::From(history.last().offset.next()),
        Some((at, _, None)) => Fit::From(at),
        Some((at, theirs, Some(ours))) if at <= state.committed => {
            Fit::Broken(Position { epoch: ours, offset: at }, Position { epoch: theirs, offset: at })
        }
        Some((at, _, Some(ours))) => Fit::Conflict(at, ours),
    }
}

/// The first offset of `runs` at which `history` has another epoch (then both epochs), or has nothing yet.
/// What was purged agrees. In the number of epochs: each step passes the end of an epoch on one side.
fn first_difference(history: &EpochHistory, runs: &[Run]) -> Option<(Offset, Epoch, Option<Epoch>)> {
    for run in runs {
        let mut at = run.first.max(history.base().offset.next());
        for ours in history.runs_from(at) {
            if at > run.last {
                break;
            }
            if ours.epoch != run.epoch {
                return Some((at, run.epoch, Some(ours.epoch)));
            }
            at = ours.last.next();
        }
        if at <= run.last {
            return Some((at, run.epoch, None));
        }
    }
    None
}

/// What of `runs` is at or after `from`.
fn cut(mut runs: Vec<Run>, from: Offset) -> Vec<Run> {
    runs.retain(|run| run.last >= from);
    if let Some(first) = runs.first_mut() {
        first.first = first.first.max(from);
    }
    runs
}

/// Whether the runs continue `previous` without gaps, with epochs that never fall nor pass the leader's, and the
/// memberships are among their entries, in order.
fn is_well_formed(append: &Append) -> bool {
    let mut end = append.previous;
    for run in &append.runs {
        let continues = end.offset.0 < limits::OFFSET_MAX && run.first == end.offset.next();
        if !continues || run.last < run.first || run.epoch < end.epoch {
            return false;
        }
        end = Position { epoch: run.epoch, offset: run.last };
    }
    let offsets = append.memberships.iter().map(|(offset, _)| *offset);
    let among = offsets.clone().all(|offset| offset > append.previous.offset && offset <= end.offset);
    end.epoch <= append.epoch && end.offset.0 <= limits::OFFSET_MAX && among && offsets.is_sorted()
}
