//! Elections: how a voter answers, and the role that asks.
//!
//! A candidate first asks whether it would win (pre-vote), which changes nothing anywhere; then it takes the next
//! epoch, votes for itself durably, and asks in earnest.

use alloc::vec::Vec;

use crate::mutant;
use crate::protocol::{Output, VoteMessage, VoteReply, VoteRequest};
use crate::quorum::has_quorum;
use crate::state::{Change, State, Timer, send};
use crate::types::{Epoch, Member, Position};

/// Answers a request for a vote; true if the epoch's vote was given. The caller has adopted the request's epoch
/// where that is due, and knows whether this replica hears a live leader.
///
/// It does not matter what the membership here says of either of the two: it may be older than the candidate's, which
/// asks only those that its own log makes voters. If this replica refused because it still takes itself for a learner,
/// a group whose other voters wait for its vote would stand still for ever.
pub(crate) fn answer(
    state: &mut State,
    has_live_leader: bool,
    from: Member,
    request: VoteRequest,
    out: &mut Vec<Output>,
) -> bool {
    let ballot = state.ballot;
    let in_time = if request.pre {
        request.epoch > ballot.epoch
    } else {
        request.epoch == ballot.epoch && state.may_vote_for(from)
    };
    let is_behind = request.last < state.history.last() && !mutant!(NoUpToDateCheck);
    let granted = in_time && (request.transferred || !has_live_leader) && !is_behind;
    if granted && !request.pre {
        state.vote(request.epoch, from, out);
    }
    let reply = VoteReply {
        epoch: if granted { request.epoch } else { ballot.epoch },
        granted,
        pre: request.pre,
        last: state.history.last(),
        maybe_lost_tail: state.maybe_lost_tail.is_some(),
        candidate: from.incarnation,
    };
    send(from.node, VoteMessage::Reply(reply), out);
    granted && !request.pre
}

/// A replica that campaigns.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The epoch it asks for.
    epoch: Epoch,
    /// It only asks whether it would win.
    pre: bool,
    /// The leader asked for this election.
    transferred: bool,
    /// The answers, by voter; its own answer is the first.
    replies: Vec<(Member, VoteReply)>,
    /// Runs out when the election came to nothing.
    timer: Timer,
}

impl Candidate {
    /// Asks the other voters. The change is `Lead` at once where there are none.
    pub(crate) fn campaign(
        state: &mut State,
        transferred: bool,
        out: &mut Vec<Output>,
    ) -> (Candidate, Change) {
        let mut candidate = Candidate {
            epoch: state.ballot.epoch.next(),
            pre: true,
            transferred,
            replies: Vec::new(),
            timer: Timer::default(),
        };
        let change = if transferred { candidate.in_earnest(state, out) } else { candidate.ask(state, out) };
        (candidate, change)
    }

    /// Whether the leader asked for this election.
    pub(crate) fn is_transferred(&self) -> bool {
        self.transferred
    }

    /// Takes the epoch and asks for votes.
    fn in_earnest(&mut self, state: &mut State, out: &mut Vec<Output>) -> Change {
        self.pre = false;
        state.vote(self.epoch, state.config.member, out);
        self.ask(state, out)
    }

    fn ask(&mut self, state: &mut State, out: &mut Vec<Output>) -> Change {
        let last = state.history.last();
        self.replies.clear();
        let own = VoteReply {
            epoch: self.epoch,
            granted: true,
            pre: self.pre,
            last,
            maybe_lost_tail: state.maybe_lost_tail.is_some(),
            candidate: state.config.member.incarnation,
        };
        self.replies.push((state.config.member, own));
        let request = VoteRequest { epoch: self.epoch, last, pre: self.pre, transferred: self.transferred };
        // Learners are not asked: they do not count.
        for peer in state.peers().into_iter().filter(|peer| state.membership().is_voter(*peer)) {
            send(peer.node, VoteMessage::Request(request), out);
        }
        self.count(state, out)
    }

    pub(crate) fn receive(
        &mut self,
        state: &mut State,
        from: Member,
        reply: VoteReply,
        out: &mut Vec<Output>,
    ) -> Change {
        // A refusal in earnest counts as a log seen only if the voter has come along to this epoch: otherwise an
        // older leader may still make its log longer.
        let is_current = reply.epoch == self.epoch || (self.pre && !reply.granted);
        let of_this_ballot = reply.pre == self.pre && is_current;
        if !of_this_ballot || self.replies.iter().any(|(member, _)| *member == from) {
            return Change::None;
        }
        self.replies.push((from, reply));
        self.count(state, out)
    }

    fn count(&mut self, state: &mut State, out: &mut Vec<Output>) -> Change {
        if !self.has_won(state) {
            return Change::None;
        }
        if self.pre { self.in_earnest(state, out) } else { Change::Lead }
    }

    /// A majority granted it; and the vote of a log that lost its tail counts only if every voter's log was seen and none
    /// is ahead, for then nothing that was acknowledged can be missing.
    fn has_won(&self, state: &State) -> bool {
        let membership = state.membership();
        let reply = |member: Member| self.replies.iter().find(|(m, _)| *m == member).map(|(_, reply)| reply);
        let granted = |member: Member| reply(member).is_some_and(|r| r.granted);
        let trusted = |member: Member| {
            reply(member).is_some_and(|r| r.granted && (!r.maybe_lost_tail || mutant!(LostTailVoteCounts)))
        };
        let last: Position = state.history.last();
        let all_seen = || {
            let mut voters = membership.voters.iter().chain(&membership.outgoing);
            voters.all(|voter| reply(*voter).is_some_and(|r| r.last <= last))
        };
        has_quorum(membership, trusted) || (has_quorum(membership, granted) && all_seen())
    }

    /// When nobody won in a random time, it stands anew, with a pre-vote.
    pub(crate) fn tick(&mut self, state: &State, random: u64) -> Change {
        if self.timer.tick(state, random) { Change::Campaign(false) } else { Change::None }
    }
}
