//! A leader's changes of membership: begins one, follows each with its view of the replicas, finishes
//! a joint one of any leader, and leaves when it has removed itself.

use alloc::vec::Vec;

use super::{Leader, feed, probe};
use crate::membership::{ChangeRefusal, MemberChange};
use crate::mutant;
use crate::pending_change::PendingChange;
use crate::progress::{Feed, Progress};
use crate::protocol::Output;
use crate::quorum::has_quorum;
use crate::state::{Change, State};
use crate::types::{Member, Membership, Offset, Round};

impl Leader {
    /// Begins a change, or says why not. One that moves votes waits for a round of its own first.
    pub(crate) fn change_members(&mut self, state: &mut State, change: MemberChange, out: &mut Vec<Output>) {
        let admitted = match self.pending_change {
            Some(_) => Err(ChangeRefusal::UnderWay),
            None => self.admit(state, change),
        };
        match admitted {
            Ok(next) if next.is_joint() && !mutant!(ChangeWithoutRound) => {
                self.heartbeat(state, out);
                self.confirm_reads(state, out);
                self.pending_change = Some(PendingChange { change, round: self.round, ticks: 0 });
                self.confirm_change(state, out);
            }
            Ok(next) => self.enter(state, next, out),
            Err(refusal) => out.push(Output::ChangeRefused(refusal)),
        }
    }

    /// Begins the change that waits, if majorities of the voters before it and of those after it have answered its round.
    pub(super) fn confirm_change(&mut self, state: &mut State, out: &mut Vec<Output>) {
        let Some(PendingChange { change, round, .. }) = self.pending_change else { return };
        match self.admit(state, change) {
            Ok(next) if has_quorum(&next, |member| self.has_answered(state, member, round)) => {
                self.pending_change = None;
                self.enter(state, next, out);
            }
            Ok(_) => {}
            Err(refusal) => {
                self.pending_change = None;
                out.push(Output::ChangeRefused(refusal));
            }
        }
    }

    /// Refuses the change whose round has not come back within an election timer.
    pub(super) fn give_up_change(&mut self, state: &State, out: &mut Vec<Output>) {
        let Some(pending_change) = &mut self.pending_change else { return };
        pending_change.ticks += 1;
        if pending_change.ticks > state.config.ticks_election_max {
            self.pending_change = None;
            out.push(Output::ChangeRefused(ChangeRefusal::WouldLoseQuorum));
        }
    }

    fn has_answered(&self, state: &State, member: Member, round: Round) -> bool {
        let answered = |peer: &Progress| peer.member == member && peer.round >= round;
        member == state.config.member || self.peers.iter().any(answered)
    }

    /// Whom the change waits for whose membership is in force and not committed: the voters before it and after it that
    /// do not hold it.
    pub(crate) fn awaited(&self, state: &State) -> Vec<Member> {
        let (membership, at) = (state.membership(), state.membership_offset());
        if state.is_membership_committed() {
            return Vec::new();
        }
        let holds = |member: &Member| {
            let held = |peer: &Progress| peer.member == *member && peer.durable.offset >= at;
            (*member == state.config.member && state.durable() >= at) || self.peers.iter().any(held)
        };
        let voters = membership.voters.iter().chain(&membership.outgoing);
        let mut awaited: Vec<Member> = voters.filter(|member| !holds(member)).copied().collect();
        awaited.sort_unstable();
        awaited.dedup();
        awaited
    }

    fn admit(&self, state: &State, change: MemberChange) -> Result<Membership, ChangeRefusal> {
        if !self.may_propose() {
            return Err(ChangeRefusal::NotLeader);
        }
        if !self.is_established(state) {
            return Err(ChangeRefusal::NotEstablished);
        }
        let is_under_way = state.membership().is_joint() || !state.is_membership_committed();
        if is_under_way && !mutant!(OverlappingChanges) {
            return Err(ChangeRefusal::UnderWay);
        }
        let next = change.begin(state.membership())?;
        if let MemberChange::AddLearner(member) = change {
            self.is_free(state, member)?;
        }
        if let Some(learner) = change.promoted() {
            self.has_caught_up(state, learner)?;
        }
        Ok(next)
    }

    /// A new folder of a node takes the place of one that is gone. While that one may be there, it is a mistake: from
    /// the change on it would be cut off.
    fn is_free(&self, state: &State, member: Member) -> Result<(), ChangeRefusal> {
        let same_node = |other: &Member| other.node == member.node;
        let Some(by) = state.membership().addressed().find(same_node) else { return Ok(()) };
        let speaks =
            |peer: &Progress| peer.member == by && peer.silent_ticks < state.config.ticks_election_min;
        let is_there = by == state.config.member || self.peers.iter().any(speaks);
        if is_there { Err(ChangeRefusal::NodeTaken { by }) } else { Ok(()) }
    }

    /// Whether it has answered in this epoch, and lately.
    fn is_heard(&self, state: &State, member: Member) -> bool {
        let heard = |peer: &Progress| {
            let has_answered = peer.round.0 > 0 || peer.durable.offset > Offset::ZERO;
            peer.member == member && has_answered && peer.silent_ticks < state.config.ticks_election_min
        };
        member == state.config.member || self.peers.iter().any(heard)
    }

    /// A learner has caught up when what it lacks fits into what may be on its way to it: then the new majority commits
    /// as fast as the old one. It is evaluated at one moment; one that falls behind later is a slow voter, as any may be.
    fn has_caught_up(&self, state: &State, learner: Member) -> Result<(), ChangeRefusal> {
        let last = state.history.last().offset;
        let durable = self
            .peers
            .iter()
            .find(|peer| peer.member == learner)
            .map(|peer| (peer.durable.offset, matches!(peer.feed, Feed::Streaming { .. })));
        match durable {
            Some((durable, true))
                if last.0 - durable.0 <= state.config.entries_in_flight_max
                    && self.is_heard(state, learner) =>
            {
                Ok(())
            }
            other => Err(ChangeRefusal::NotCaughtUp {
                durable: other.map(|(durable, _)| durable).unwrap_or_default(),
                last,
            }),
        }
    }

    /// Appends a membership, which is in force from here on, and tells everybody whom it concerns.
    fn enter(&mut self, state: &mut State, membership: Membership, out: &mut Vec<Output>) {
        let previous = state.history.last();
        state.append_membership(membership, out);
        let members = state.peers();
        // A folder that another of its node has replaced is not spoken to from here on; who leaves still hears so.
        let replaced = |peer: &Progress| {
            members.iter().any(|member| member.node == peer.member.node && *member != peer.member)
        };
        self.peers.retain(|peer| {
            let keep = !replaced(peer);
            if !keep {
                out.push(Output::Forget { peer: peer.member.node });
            }
            keep
        });
        for member in members {
            if !self.peers.iter().any(|peer| peer.member == member) {
                let mut peer = Progress::new(member, previous);
                probe(state, &mut peer, previous, out);
                self.peers.push(peer);
            }
        }
        for peer in &mut self.peers {
            feed(state, peer, out);
        }
    }

    /// The consequences of a commit: a joint membership of any leader is left; and a leader that is no
    /// voter any more gives leadership away.
    pub(super) fn finish_change(&mut self, state: &mut State, out: &mut Vec<Output>) {
        if !self.is_established(state) || !state.is_membership_committed() {
            return;
        }
        if state.membership().is_joint() {
            let settled = state.membership().settled();
            self.enter(state, settled, out);
        } else if !state.is_voter() && self.transferring.is_none() {
            self.transfer_leadership(state, None, out);
        }
        self.forget_departed(state, out);
    }

    /// Members that were removed are fed until they have, committed, the membership without them, so that they know.
    pub(super) fn forget_departed(&mut self, state: &State, out: &mut Vec<Output>) {
        let told = state.is_membership_committed();
        self.peers.retain(|peer| {
            let knows = told && peer.durable.offset >= state.membership_offset();
            let is_gone = peer.silent_ticks > state.config.ticks_election_min;
            let keep = state.membership().contains(peer.member) || !(knows || is_gone);
            if !keep {
                out.push(Output::Forget { peer: peer.member.node });
            }
            keep
        });
    }

    /// Whether one of them is not forgotten yet.
    pub(crate) fn feeds_removed(&self, state: &State) -> bool {
        self.peers.iter().any(|peer| !state.membership().contains(peer.member))
    }

    /// A leader that has removed itself, and to whom nobody listens in time, steps down.
    pub(super) fn leave(&self, state: &State) -> Change {
        let is_out = !state.is_voter() && state.is_membership_committed();
        if is_out && self.transferring.is_none() { Change::Follow(None) } else { Change::None }
    }
}
