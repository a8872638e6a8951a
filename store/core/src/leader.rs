//! The role that appends, pushes, counts and commits.
//!
//! Promises: it appends and never removes; it commits by counting only entries of its own epoch; it confirms
//! a read only after a round that began when the read was there; it steps down when a majority is silent.

mod comparing;
mod hanging;
mod members;

use alloc::vec::Vec;

use crate::checkpoints::Checkpoint;
use crate::comparison::Comparison;
use crate::limits;
use crate::membership::ChangeRefusal;
use crate::mutant;
use crate::pending_change::PendingChange;
use crate::progress::{Feed, Progress};
use crate::protocol::{AppendRejection, LeaderMessage, Output, PushReply};
use crate::quorum::{committed_offset, has_quorum};
use crate::reads::Reads;
use crate::state::{Change, State, send};
use crate::types::{EpochHistory, Member, NodeId, Offset, Position, ReadId, Round, Run};

/// A leadership transfer under way: no proposal is taken until it is over.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    to: NodeId,
    ticks: u32,
    /// The replica had everything and was asked to campaign.
    campaign_sent: bool,
}

/// What a leader knows of its own disk by the acks of the others.
#[derive(Clone, Copy, Debug, Default)]
struct OwnDisk {
    /// A majority without this replica holds everything up to here; for so many ticks its own disk does not.
    behind: Option<(Offset, u32)>,
    /// Leadership is being given away because of that, for so many ticks.
    resigning: Option<u32>,
}

/// A leader's own state, for one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Every other member that can be spoken to, and those that leave until they know it.
    peers: Vec<Progress>,
    /// The first entry of this epoch: once it is committed, the commit offset is known.
    first: Offset,
    /// The last heartbeat round sent.
    round: Round,
    /// Reads waiting for rounds.
    reads: Reads,
    /// Ticks since the last heartbeat, and since the last look whether a majority is there.
    heartbeat_ticks: u32,
    quorum_ticks: u32,
    /// Its own disk hangs, as far as others' acks tell.
    own_disk: OwnDisk,
    /// Leadership is being given away.
    transferring: Option<Transfer>,
    /// Ticks for which it keeps leadership though another node is preferred: it was given to it.
    preference_rests: u32,
    /// Commit orders are kept back (a planted fault).
    hold: bool,
    /// The commit offset that replicas are ordered to apply to.
    ordered: Offset,
    /// The replicas' states, compared.
    comparison: Comparison,
    /// A change of votes that was asked for and waits for its round.
    pending_change: Option<PendingChange>,
}

impl Leader {
    /// Takes over: appends the empty entry of its epoch and asks every replica where the logs agree. If leadership was given to it, it
    /// keeps it for a while, though another node is preferred.
    pub(crate) fn begin(state: &mut State, transferred: bool, out: &mut Vec<Output>) -> Leader {
        state.led = state.ballot.epoch;
        let previous = state.history.last();
        let first = previous.offset.next();
        let peers = state.peers().into_iter().map(|member| Progress::new(member, previous)).collect();
        let mut leader = Leader {
            peers,
            first,
            round: Round(0),
            reads: Reads::default(),
            heartbeat_ticks: 0,
            quorum_ticks: 0,
            own_disk: OwnDisk::default(),
            transferring: None,
            preference_rests: if transferred {
                state.config.ticks_election_max * limits::PREFERENCE_RESTS_TIMERS
            } else {
                0
            },
            hold: false,
            ordered: state.committed,
            comparison: Comparison::default(),
            pending_change: None,
        };
        state.append(Vec::from([Run { epoch: state.ballot.epoch, first, last: first }]), &[], out);
        for peer in &mut leader.peers {
            probe(state, peer, previous, out);
        }
        leader
    }

    /// Whether proposals are taken.
    pub(crate) fn may_propose(&self) -> bool {
        self.transferring.is_none()
    }

    /// The replicas as this leader sees them.
    pub(crate) fn peers(&self) -> &[Progress] {
        &self.peers
    }

    pub(crate) fn propose(&mut self, state: &mut State, count: u64, out: &mut Vec<Output>) {
        assert!(count > 0, "a proposal has entries");
        if !self.may_propose() {
            out.push(Output::Refused { count });
            return;
        }
        let first = state.history.last().offset.next();
        let last = Offset(first.0 + count - 1);
        state.append(Vec::from([Run { epoch: state.ballot.epoch, first, last }]), &[], out);
        for peer in &mut self.peers {
            feed(state, peer, out);
        }
    }

    pub(crate) fn persisted(&mut self, state: &mut State, out: &mut Vec<Output>) {
        self.commit(state, out);
    }

    /// A replica answers. Returns the checkpoint of a majority that has another state than this leader: it must step
    /// down, and be quarantined.
    pub(crate) fn receive(
        &mut self,
        state: &mut State,
        from: Member,
        reply: PushReply,
        out: &mut Vec<Output>,
    ) -> Option<Checkpoint> {
        let peer = self.peers.iter_mut().find(|peer| peer.member == from)?;
        peer.silent_ticks = 0;
        let mut wrong = None;
        match reply {
            PushReply::Ack { durable_up_to, round, checkpoint, quarantined, unfit, .. } => {
                (peer.quarantined, peer.unfit) = (quarantined, unfit);
                peer.round = peer.round.max(round);
                acked(state, peer, durable_up_to, out);
                if round == self.round && durable_up_to.offset < peer.durable.offset {
                    // It has forgotten what this epoch's appends matched (it campaigned, say, and came
                    // back): without a new match it could not carry out commit orders.
                    again(state, peer, out);
                }
                self.commit(state, out);
                self.confirm_reads(state, out);
                self.confirm_change(state, out);
                wrong = self.answered(state, from, checkpoint, quarantined, out);
            }
            PushReply::AppendRejection(append_rejection) => {
                rejection_arrived(state, peer, &append_rejection, out);
            }
            // Whoever leads no more has heard it already.
            PushReply::StaleEpoch { .. } => {}
        }
        if !state.membership().contains(from) {
            self.forget_departed(state, out);
        }
        self.finish_transfer(state, out);
        wrong
    }

    /// What was in flight to this replica may be gone.
    pub(crate) fn reconnected(&mut self, state: &State, node: NodeId, out: &mut Vec<Output>) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.member.node == node) {
            again(state, peer, out);
        }
    }

    pub(crate) fn read(&mut self, state: &State, request_id: ReadId, out: &mut Vec<Output>) {
        self.reads.arrive(request_id);
        self.begin_round(state, out);
    }

    /// The last read that this leader will never answer, and the change that it will never begin.
    pub(crate) fn resign(mut self, out: &mut Vec<Output>) {
        if self.pending_change.take().is_some() {
            out.push(Output::ChangeRefused(ChangeRefusal::NotLeader));
        }
        if let Some(up_to) = self.reads.fail() {
            out.push(Output::ReadsFailed { up_to });
        }
    }

    pub(crate) fn hold_commit(&mut self, state: &State, hold: bool, out: &mut Vec<Output>) {
        self.hold = hold;
        self.tell_committed(state, out);
    }

    /// Log before `up_to` is gone; a replica that still needs it gets a snapshot.
    pub(crate) fn purged(&mut self, state: &State, out: &mut Vec<Output>) {
        for peer in &mut self.peers {
            if next_needed(peer) <= state.history.base().offset {
                again(state, peer, out);
            }
        }
    }

    /// The highest offset of its own epoch that a quorum holds, this disk among them, is committed, and all before
    /// it. A quorum of the others would do for safety, but what is applied here must survive a restart in the log
    /// here, or the state machine would be ahead of it.
    fn commit(&mut self, state: &mut State, out: &mut Vec<Output>) {
        let own = (state.config.member, state.durable());
        let peers = &self.peers;
        let held = |member: Member| {
            if member == own.0 {
                return own.1;
            }
            peers.iter().find(|peer| peer.member == member).map_or(Offset::ZERO, |peer| peer.durable.offset)
        };
        let offset = committed_offset(state.membership(), held);
        let offset = mutant!(offset.min(own.1), CommitBeyondOwnDisk => offset);
        let is_older = offset < self.first && !mutant!(CommitOlderEpoch);
        if offset <= state.committed || is_older || offset > state.history.last().offset {
            return;
        }
        let was_established = self.is_established(state);
        state.commit(offset, out);
        self.tell_committed(state, out);
        if !was_established {
            self.begin_round(state, out);
        }
        self.finish_change(state, out);
    }

    /// Sends the commit order, unless it is held back.
    fn tell_committed(&mut self, state: &State, out: &mut Vec<Output>) {
        if self.hold || self.ordered == state.committed {
            return;
        }
        self.ordered = state.committed;
        let up_to = state.history.position_at(state.committed).expect("the log has what it committed");
        for peer in &self.peers {
            send(peer.member.node, LeaderMessage::CommitOrder { epoch: state.ballot.epoch, up_to }, out);
        }
    }

    /// The commit offset to ride along on other messages.
    pub(crate) fn ordered(&self) -> Offset {
        self.ordered
    }

    /// Whether it has committed an entry of its own epoch, so that it knows what is committed.
    fn is_established(&self, state: &State) -> bool {
        state.committed >= self.first
    }

    /// Whether reads may be answered by rounds sent from now on.
    fn may_read(&self, state: &State) -> bool {
        self.is_established(state) || mutant!(ReadBeforeOwnEpoch)
    }

    fn begin_round(&mut self, state: &State, out: &mut Vec<Output>) {
        if self.may_read(state) && self.reads.wants_round() {
            self.heartbeat(state, out);
            self.confirm_reads(state, out);
        }
    }

    /// Sends a new round; it also serves the reads that wait, if it may.
    fn heartbeat(&mut self, state: &State, out: &mut Vec<Output>) {
        self.round.0 += 1;
        self.heartbeat_ticks = 0;
        if self.may_read(state) && self.reads.wants_round() {
            self.reads.begin(self.round, state.committed);
        }
        let (epoch, round, committed) = (state.ballot.epoch, self.round, self.ordered);
        let compare = self.compared(state);
        for peer in &self.peers {
            send(peer.member.node, LeaderMessage::Heartbeat { epoch, round, committed, compare }, out);
        }
    }

    fn confirm_reads(&mut self, state: &State, out: &mut Vec<Output>) {
        let own = state.config.member;
        let peers = &self.peers;
        let quorum = |round: Round| {
            has_quorum(state.membership(), |member| {
                let lately = |peer: &Progress| {
                    mutant!(LeaseRead) && peer.silent_ticks < state.config.ticks_election_max
                };
                let heard = |peer: &Progress| peer.round >= round || lately(peer);
                member == own || peers.iter().any(|peer| peer.member == member && heard(peer))
            })
        };
        if let Some((up_to, at)) = self.reads.done(quorum) {
            out.push(Output::ReadsReady { up_to, at });
            self.begin_round(state, out);
        }
    }

    pub(crate) fn tick(&mut self, state: &mut State, out: &mut Vec<Output>) -> Change {
        for peer in &mut self.peers {
            peer.silent_ticks = peer.silent_ticks.saturating_add(1);
            peer.stalled_ticks = if peer.has_in_flight() { peer.stalled_ticks.saturating_add(1) } else { 0 };
        }
        self.preference_rests = self.preference_rests.saturating_sub(1);
        self.quorum_ticks += 1;
        if self.quorum_ticks >= state.config.ticks_election_min {
            self.quorum_ticks = 0;
            if !self.hears_quorum(state) {
                return Change::Follow(None);
            }
            self.prefer(state, out);
            self.relieve_lost_tail(state, out);
            self.relieve_damaged(state, out);
            self.forget_departed(state, out);
        }
        if let Change::Follow(to) = self.watch_disk(state, out) {
            return Change::Follow(to);
        }
        self.heartbeat_ticks += 1;
        if self.heartbeat_ticks >= state.config.ticks_heartbeat {
            self.heartbeat(state, out);
            self.end_doubt(state, out);
            self.quarantine_minority(state, out);
            self.confirm_reads(state, out);
            self.ask_again(state, out);
        }
        self.abandon_transfer(state, out);
        self.give_up_change(state, out);
        self.leave(state)
    }

    fn hears_quorum(&self, state: &State) -> bool {
        let own = state.config.member;
        has_quorum(state.membership(), |member| {
            let heard = |peer: &Progress| {
                peer.member == member && peer.silent_ticks <= state.config.ticks_election_min
            };
            member == own || self.peers.iter().any(heard)
        })
    }

    /// Repeats what may have been lost: probes and snapshot offers at once, a stalled stream after a while.
    fn ask_again(&mut self, state: &State, out: &mut Vec<Output>) {
        let stalled = state.config.ticks_election_max * limits::STALLED_TIMERS;
        for peer in &mut self.peers {
            match peer.feed {
                Feed::Streaming { .. } if peer.stalled_ticks >= stalled => again(state, peer, out),
                Feed::Streaming { .. } => {}
                Feed::Probing { .. } | Feed::Snapshot { .. } => again(state, peer, out),
            }
        }
    }

    /// Begins to give leadership away.
    pub(crate) fn transfer_leadership(&mut self, state: &State, to: Option<NodeId>, out: &mut Vec<Output>) {
        let is_candidate = |peer: &&Progress| {
            state.membership().voters.contains(&peer.member)
                && !peer.quarantined
                && !peer.unfit
                && peer.silent_ticks < state.config.ticks_election_min
                && to.is_none_or(|to| to == peer.member.node)
        };
        let target =
            self.peers.iter().filter(is_candidate).max_by_key(|peer| (!peer.maybe_lost_tail, peer.durable));
        match target {
            Some(peer) => {
                self.transferring = Some(Transfer { to: peer.member.node, ticks: 0, campaign_sent: false });
                self.finish_transfer(state, out);
            }
            None => out.push(Output::TransferFailed),
        }
    }

    /// Tells the successor to campaign as soon as it has everything.
    fn finish_transfer(&mut self, state: &State, out: &mut Vec<Output>) {
        let Some(transferring) = &mut self.transferring else { return };
        let last = state.history.last();
        let has_all =
            self.peers.iter().any(|peer| peer.member.node == transferring.to && peer.durable == last);
        if has_all && !transferring.campaign_sent {
            transferring.campaign_sent = true;
            send(transferring.to, LeaderMessage::TransferLeadership { epoch: state.ballot.epoch }, out);
        }
    }

    fn abandon_transfer(&mut self, state: &State, out: &mut Vec<Output>) {
        let Some(transferring) = &mut self.transferring else { return };
        transferring.ticks += 1;
        if transferring.ticks > state.config.ticks_election_max {
            self.transferring = None;
            out.push(Output::TransferFailed);
        }
    }

    /// Ends the epoch of a log that lost its tail in it, for only in a later epoch can it be trusted again: gives
    /// leadership away, if those who can be trusted are enough to elect somebody.
    fn relieve_lost_tail(&mut self, state: &State, out: &mut Vec<Output>) {
        let due = self.transferring.is_none() && self.is_established(state);
        if !due || !self.peers.iter().any(|peer| peer.maybe_lost_tail) {
            return;
        }
        let trusted = |member: Member| {
            let is_sound = |peer: &Progress| {
                !peer.maybe_lost_tail && peer.silent_ticks < state.config.ticks_election_min
            };
            (member == state.config.member && state.maybe_lost_tail.is_none())
                || self.peers.iter().any(|peer| peer.member == member && is_sound(peer))
        };
        if has_quorum(state.membership(), trusted) {
            self.transfer_leadership(state, None, out);
        }
    }

    /// Gives leadership away because the table here is damaged, if another voter could lead and serve; otherwise it stays, and
    /// serves what can be read.
    pub(crate) fn relieve_damaged(&mut self, state: &State, out: &mut Vec<Output>) {
        let could_serve = |peer: &Progress| {
            state.membership().voters.contains(&peer.member)
                && !peer.quarantined
                && !peer.maybe_lost_tail
                && peer.silent_ticks < state.config.ticks_election_min
                && matches!(peer.feed, Feed::Streaming { .. })
        };
        if state.damaged && self.transferring.is_none() && self.peers.iter().any(could_serve) {
            self.transfer_leadership(state, None, out);
        }
    }

    /// Gives leadership to the preferred node once that has everything.
    fn prefer(&mut self, state: &State, out: &mut Vec<Output>) {
        let Some(preferred) = state.config.preferred else { return };
        let ready = |peer: &Progress| {
            let lag = state.history.last().offset.0.saturating_sub(peer.durable.offset.0);
            peer.member.node == preferred
                && state.membership().voters.contains(&peer.member)
                && !peer.quarantined
                && !peer.unfit
                && peer.silent_ticks < state.config.ticks_election_min
                && matches!(peer.feed, Feed::Streaming { .. })
                && lag <= state.config.entries_in_flight_max
        };
        let due = preferred != state.node()
            && self.preference_rests == 0
            && self.transferring.is_none()
            && self.is_established(state);
        if due && self.peers.iter().any(ready) {
            self.transfer_leadership(state, Some(preferred), out);
        }
    }
}

/// The first offset that this replica may still need from the log.
fn next_needed(peer: &Progress) -> Offset {
    match peer.feed {
        Feed::Probing { previous } => previous.offset.next(),
        Feed::Streaming { .. } => peer.durable.offset.next(),
        Feed::Snapshot { .. } => Offset(u64::MAX),
    }
}

/// Asks where the logs agree, with an empty append at `previous`; or offers a snapshot if the log is gone there.
fn probe(state: &State, peer: &mut Progress, previous: Position, out: &mut Vec<Output>) {
    peer.stalled_ticks = 0;
    if previous.offset < state.history.base().offset {
        let at = state.snapshot;
        peer.feed = Feed::Snapshot { at };
        peer.pushed = None;
        send(peer.member.node, LeaderMessage::InstallSnapshot { epoch: state.ballot.epoch, at }, out);
        return;
    }
    peer.feed = Feed::Probing { previous };
    peer.pushed = Some(previous.offset);
    let (to, epoch, up_to) = (peer.member.node, state.ballot.epoch, previous.offset);
    out.push(Output::Push { to, epoch, previous, up_to, continues: false });
}

/// Asks again, or anew after something was lost.
fn again(state: &State, peer: &mut Progress, out: &mut Vec<Output>) {
    let previous = match peer.feed {
        Feed::Probing { previous } => previous,
        Feed::Streaming { .. } => peer.durable,
        Feed::Snapshot { .. } if peer.durable.offset >= state.history.base().offset => peer.durable,
        Feed::Snapshot { .. } => Position::ZERO,
    };
    probe(state, peer, previous, out);
}

/// Pushes on, as far as the window allows.
fn feed(state: &State, peer: &mut Progress, out: &mut Vec<Output>) {
    let Feed::Streaming { next } = peer.feed else { return };
    let window_end = Offset(peer.durable.offset.0 + state.config.entries_in_flight_max);
    let up_to = state.history.last().offset.min(window_end);
    if up_to < next {
        return;
    }
    let previous = state.history.position_at(next.previous()).expect("a stream goes on inside the log");
    let (to, epoch, continues) = (peer.member.node, state.ballot.epoch, peer.pushed == Some(previous.offset));
    out.push(Output::Push { to, epoch, previous, up_to, continues });
    peer.pushed = Some(up_to);
    peer.feed = Feed::Streaming { next: up_to.next() };
}

/// An ack: the window moves on; a probe that matched turns into a stream.
fn acked(state: &State, peer: &mut Progress, durable: Position, out: &mut Vec<Output>) {
    let known = durable.offset >= state.history.base().offset;
    let is_ours = state.history.contains(durable) || mutant!(CountUnverifiedTail);
    if known && !is_ours {
        return;
    }
    if durable.offset > peer.durable.offset {
        peer.durable = durable;
        peer.stalled_ticks = 0;
    }
    match peer.feed {
        Feed::Probing { previous } if durable.offset >= previous.offset => start_stream(state, peer, out),
        Feed::Streaming { .. } => feed(state, peer, out),
        Feed::Snapshot { .. } if known && durable.offset > Offset::ZERO => start_stream(state, peer, out),
        Feed::Probing { .. } | Feed::Snapshot { .. } => {}
    }
}

/// Begins a stream after what is acknowledged, which may be further on than the probe that was answered.
fn start_stream(state: &State, peer: &mut Progress, out: &mut Vec<Output>) {
    peer.feed = Feed::Streaming { next: peer.durable.offset.next() };
    feed(state, peer, out);
}

/// A replica says what its log looks like: probe where the two can still agree.
fn rejection_arrived(
    state: &State,
    peer: &mut Progress,
    append_rejection: &AppendRejection,
    out: &mut Vec<Output>,
) {
    peer.maybe_lost_tail |= append_rejection.maybe_lost_tail;
    if append_rejection.maybe_lost_tail && append_rejection.last.offset < peer.durable.offset {
        // It lost what it had acknowledged, and says so.
        peer.durable = Position::ZERO;
    }
    let agreed = agreement(&state.history, append_rejection);
    if append_rejection.last.offset < state.history.base().offset {
        probe(state, peer, Position::ZERO, out);
    } else if agreed.offset >= peer.durable.offset && peer.feed != (Feed::Probing { previous: agreed }) {
        probe(state, peer, agreed, out);
    }
    // Otherwise it is old (this epoch's acks already say that the logs agree further on), or one of many refusals
    // of a pipeline, and the probe is out already.
}

/// The furthest position of `history` at which a log that looks like this can still agree with it.
fn agreement(history: &EpochHistory, append_rejection: &AppendRejection) -> Position {
    let at = match append_rejection.conflict {
        // None of that epoch's entries can be common: step over all of them at once.
        Some((epoch, first))
            if history.first_of(epoch).is_none() && first <= append_rejection.last.offset =>
        {
            Position { epoch, offset: first.previous() }
        }
        _ => append_rejection.last,
    };
    if mutant!(LastEpochOnly) && history.first_of(at.epoch).is_none() {
        return history.last();
    }
    history.last_at_most(at)
}
