//! One replica: takes each input to the role it has, and changes roles. Only dispatch; the work is in the roles.

use alloc::vec::Vec;

use crate::checkpoints::{Checkpoint, Checkpoints, Divergence};
use crate::config::Config;
use crate::disk::DiskView;
use crate::election::{self, Candidate};
use crate::follower::Follower;
use crate::invariants;
use crate::leader::Leader;
use crate::limits;
use crate::membership::ChangeRefusal;
use crate::protocol::{
    Fatal, Input, Message, Output, PushReply, Role, RoleView, VoteMessage, VoteReply, VoteRequest,
};
use crate::state::{Change, Restored, State, send};
use crate::types::{
    Epoch, EpochHistory, Incarnation, Member, Membership, NodeId, Offset, Position, ReadId, WriteSeq,
};

/// The protocol of one replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// What every role shares.
    state: State,
    /// The role it has now, with that role's own state.
    role: Part,
    /// What the world was last told of who leads.
    told_view: RoleView,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a replica has one, which stays where it is")]
enum Part {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
}

/// A replica as its leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerView {
    /// Which replica.
    pub node: NodeId,
    /// Its folder.
    pub incarnation: Incarnation,
    /// What it has acknowledged in this epoch.
    pub durable: Position,
    /// The log after this offset is still to be pushed to it.
    pub needs_after: Offset,
    /// `probing`, `streaming` or `snapshot`.
    pub feed: &'static str,
    /// Its table is wrong and waits to be replaced.
    pub quarantined: bool,
    /// Its disk hangs, or did until lately.
    pub unfit: bool,
    /// Ticks since its last word.
    pub silent_ticks: u32,
}

impl Replica {
    /// A replica as its folder remembers it; it starts as a follower.
    ///
    /// # Panics
    /// If `restored` contradicts itself: recovery's bug.
    #[must_use]
    pub fn new(config: Config, restored: Restored) -> Replica {
        let state = State::new(config, restored);
        let told_view = RoleView { role: Role::Follower, epoch: state.ballot.epoch, leader: None };
        Replica { state, role: Part::Follower(Follower::new(None)), told_view }
    }

    /// Takes one input; appends to `out` what the world must do, in order.
    ///
    /// # Panics
    /// If the caller breaks the contract of an input, or an invariant does not hold: both are our own bugs.
    pub fn step(&mut self, input: Input, out: &mut Vec<Output>) {
        invariants::ballot_first(self.state.is_saving(), &input);
        match input {
            Input::BallotSaved { ballot } => self.state.ballot_saved(ballot),
            Input::Applied { up_to } => self.state.applied(up_to),
            Input::Tick { random } => self.tick(random, out),
            Input::Receive { from, message } => self.receive(from, message, out),
            Input::Reconnected { peer } => match &mut self.role {
                Part::Leader(leader) => leader.reconnected(&self.state, peer, out),
                Part::Follower(follower) => follower.lost(peer),
                Part::Candidate(_) => {}
            },
            Input::Propose { count } => match &mut self.role {
                Part::Leader(leader) => leader.propose(&mut self.state, count, out),
                _ => out.push(Output::Refused { count }),
            },
            Input::Read { request_id } => self.read(request_id, out),
            Input::Persisted { write } => self.persisted(write, out),
            Input::Purged { up_to, snapshot } => {
                self.state.purge(up_to, snapshot);
                if let Part::Leader(leader) = &mut self.role {
                    leader.purged(&self.state, out);
                }
            }
            Input::Fetched { position } => self.fetched(position, out),
            Input::Installed { position, membership } => self.installed(position, membership, out),
            Input::TransferLeadership { to } => match &mut self.role {
                Part::Leader(leader) => leader.transfer_leadership(&self.state, to, out),
                _ => out.push(Output::TransferFailed),
            },
            Input::ChangeMembers { change } => match &mut self.role {
                Part::Leader(leader) => leader.change_members(&mut self.state, change, out),
                _ => out.push(Output::ChangeRefused(ChangeRefusal::NotLeader)),
            },
            Input::HoldCommit { hold } => {
                if let Part::Leader(leader) = &mut self.role {
                    leader.hold_commit(&self.state, hold, out);
                }
            }
            Input::Checkpointed(checkpoint) => self.state.checkpoints.add(checkpoint),
            Input::Inherited(all) => self.state.checkpoints = Checkpoints::new(all),
            Input::Quarantine => {
                if let Part::Follower(Follower { leader: Some(_), .. }) = &self.role {
                    self.state.quarantine(None, out);
                }
            }
            Input::Damaged => {
                self.state.damaged = !self.state.is_quarantined();
                if let Part::Leader(leader) = &mut self.role {
                    leader.relieve_damaged(&self.state, out);
                }
            }
            Input::FetchedBeside { position } => {
                if let Part::Follower(_) = &self.role {
                    Follower::fetched_beside(&mut self.state, position, out);
                }
            }
            Input::NotReplaced => self.state.replacing = false,
            Input::Released { snapshot } => self.state.released(snapshot),
        }
        if let Part::Follower(Follower { leader: Some(_), .. }) = &self.role {
            self.state.quarantine_damaged(out);
        }
        invariants::commit_order(self.history(), self.committed(), self.durable());
        invariants::quarantined_is_silent(self.state.is_quarantined(), self.view().role);
    }

    fn persisted(&mut self, write: WriteSeq, out: &mut Vec<Output>) {
        self.state.persisted(write);
        match &mut self.role {
            Part::Leader(leader) => leader.persisted(&mut self.state, out),
            Part::Follower(follower) => follower.persisted(&mut self.state, out),
            Part::Candidate(_) => {}
        }
    }

    /// A snapshot is what its source has committed when it gives it, which may be of a later epoch than the offer was: then
    /// that epoch is taken first, since a ballot is never behind its log.
    fn fetched(&mut self, position: Position, out: &mut Vec<Output>) {
        let Part::Follower(Follower { leader, .. }) = self.role else { return };
        let epoch = position.epoch;
        if self.is_beyond_belief(epoch) {
            out.extend(leader.map(|from| Output::EpochRefused { from, epoch }));
        } else if self.state.may_install(position) {
            self.later_epoch(epoch, out);
            self.state.install(position, out);
        }
    }

    /// Nobody was ever elected that often: adopting such an epoch would leave none to campaign for.
    fn is_beyond_belief(&self, epoch: Epoch) -> bool {
        epoch.0.saturating_sub(self.state.ballot.epoch.0) > limits::EPOCH_JUMP_MAX
            || epoch.0 >= limits::EPOCH_MAX
    }

    /// # Panics
    /// If this replica campaigns or leads: whoever installs a snapshot does neither, so it would be our own bug.
    fn installed(&mut self, position: Position, membership: (Offset, Membership), out: &mut Vec<Output>) {
        let Part::Follower(follower) = &mut self.role else {
            panic!("a replica that installs a snapshot neither campaigns nor leads");
        };
        follower.installed(&mut self.state, position, membership, out);
    }

    fn tick(&mut self, random: u64, out: &mut Vec<Output>) {
        self.state.tick_disk();
        if self.state.is_saving() {
            return;
        }
        let change = match &mut self.role {
            Part::Follower(follower) => follower.tick(&self.state, random),
            Part::Candidate(candidate) => candidate.tick(&self.state, random),
            Part::Leader(leader) => leader.tick(&mut self.state, out),
        };
        self.change(change, out);
    }

    fn read(&mut self, request_id: ReadId, out: &mut Vec<Output>) {
        match &mut self.role {
            Part::Leader(leader) => leader.read(&self.state, request_id, out),
            _ => out.push(Output::ReadsFailed { up_to: request_id }),
        }
    }

    fn receive(&mut self, from: Member, message: Message, out: &mut Vec<Output>) {
        let epoch = message.epoch();
        if self.is_beyond_belief(epoch) {
            out.push(Output::EpochRefused { from: from.node, epoch });
            return;
        }
        match message {
            Message::Append(append) => {
                self.follow(from.node, epoch, out);
                if let Part::Follower(follower) = &mut self.role
                    && follower.is_led_by(from.node)
                    && epoch == self.state.ballot.epoch
                {
                    follower.receive_append(&mut self.state, from.node, append, out);
                }
            }
            Message::Leader(message) => {
                self.follow(from.node, epoch, out);
                if let Part::Follower(follower) = &mut self.role
                    && follower.is_led_by(from.node)
                    && epoch == self.state.ballot.epoch
                {
                    let change = follower.receive(&mut self.state, from.node, message, out);
                    self.change(change, out);
                }
            }
            Message::Reply(PushReply::StaleEpoch { epoch }) => self.later_epoch(epoch, out),
            Message::Reply(reply) => self.receive_as_leader(from, reply, out),
            Message::Vote(VoteMessage::Request(request)) => self.receive_vote_request(from, request, out),
            Message::Vote(VoteMessage::Reply(reply)) => self.receive_vote_reply(from, reply, out),
        }
    }

    /// A leader of `epoch` has sent something: follows it, unless the epoch is over, which it is told, or has another leader.
    fn follow(&mut self, from: NodeId, epoch: Epoch, out: &mut Vec<Output>) {
        let own = self.state.ballot.epoch;
        if epoch < own {
            send(from, PushReply::StaleEpoch { epoch: own }, out);
            return;
        }
        if let Some(known) = self.known_leader(epoch)
            && known != from
        {
            out.push(Output::Fatal(Fatal::TwoLeaders { epoch, known, other: from }));
            return;
        }
        if epoch > own {
            self.state.adopt(epoch, out);
            self.change(Change::Follow(Some(from)), out);
        } else if self.known_leader(epoch).is_none() {
            self.change(Change::Follow(Some(from)), out);
        }
    }

    /// The leader of `epoch`, if it is the current one and known.
    fn known_leader(&self, epoch: Epoch) -> Option<NodeId> {
        self.view().leader.filter(|_| epoch == self.state.ballot.epoch)
    }

    fn receive_as_leader(&mut self, from: Member, reply: PushReply, out: &mut Vec<Output>) {
        if let Part::Leader(leader) = &mut self.role
            && reply.epoch() == self.state.ballot.epoch
        {
            let wrong = leader.receive(&mut self.state, from, reply, out);
            self.step_down_if_wrong(wrong, out);
        }
    }

    /// A leader whose state is not a majority's gives up leadership first; then it is quarantined like any other.
    fn step_down_if_wrong(&mut self, majority: Option<Checkpoint>, out: &mut Vec<Output>) {
        if majority.is_some() {
            self.change(Change::Follow(None), out);
            self.state.quarantine(majority, out);
        }
    }

    fn receive_vote_request(&mut self, from: Member, request: VoteRequest, out: &mut Vec<Output>) {
        let has_live_leader = match &self.role {
            Part::Follower(follower) => follower.has_live_leader(&self.state),
            Part::Candidate(_) => false,
            Part::Leader(_) => true,
        };
        let heard = request.transferred || !has_live_leader;
        if !request.pre && heard {
            self.later_epoch(request.epoch, out);
        }
        let voted = election::answer(&mut self.state, has_live_leader, from, request, out);
        if let Part::Follower(follower) = &mut self.role
            && voted
        {
            follower.timer.reset();
        }
    }

    fn receive_vote_reply(&mut self, from: Member, reply: VoteReply, out: &mut Vec<Output>) {
        if reply.candidate != self.state.config.member.incarnation {
            return;
        }
        if !reply.granted && reply.epoch > self.state.ballot.epoch {
            self.later_epoch(reply.epoch, out);
        } else if let Part::Candidate(candidate) = &mut self.role {
            let change = candidate.receive(&mut self.state, from, reply, out);
            self.change(change, out);
            // Between pre-vote and vote the part stays and the epoch rises.
            self.tell_view(self.view(), out);
        }
    }

    /// There is a later epoch: take it and wait for its leader.
    fn later_epoch(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        if epoch > self.state.ballot.epoch {
            self.state.adopt(epoch, out);
            self.change(Change::Follow(None), out);
        }
    }

    fn change(&mut self, mut change: Change, out: &mut Vec<Output>) {
        while change != Change::None {
            let mut next = Change::None;
            match change {
                Change::None => {}
                Change::Follow(leader) => {
                    let role = core::mem::replace(&mut self.role, Part::Follower(Follower::new(leader)));
                    if let Part::Leader(leader) = role {
                        leader.resign(out);
                    }
                }
                Change::Campaign(transferred) => {
                    let (candidate, won) = Candidate::campaign(&mut self.state, transferred, out);
                    self.role = Part::Candidate(candidate);
                    next = won;
                }
                Change::Lead => return self.lead(out),
            }
            self.tell_view(self.view(), out);
            change = next;
        }
    }

    /// The change is told before the leader's first entry, so that the carrier of outputs knows whose it is.
    fn lead(&mut self, out: &mut Vec<Output>) {
        let (epoch, leader) = (self.state.ballot.epoch, Some(self.state.node()));
        self.tell_view(RoleView { role: Role::Leader, epoch, leader }, out);
        let transferred = matches!(&self.role, Part::Candidate(candidate) if candidate.is_transferred());
        self.role = Part::Leader(Leader::begin(&mut self.state, transferred, out));
    }

    fn tell_view(&mut self, view: RoleView, out: &mut Vec<Output>) {
        if view != self.told_view {
            self.told_view = view;
            out.push(Output::RoleChanged(view));
        }
    }

    /// The leader, as this replica sees it, and its own role. A replica whose own vote is a majority leads once that vote
    /// is durable; until then it is a candidate.
    #[must_use]
    pub fn view(&self) -> RoleView {
        let (role, leader) = match &self.role {
            Part::Follower(follower) => (Role::Follower, follower.leader),
            Part::Leader(_) if self.state.is_saving() => (Role::Candidate, None),
            Part::Candidate(_) => (Role::Candidate, None),
            Part::Leader(_) => (Role::Leader, Some(self.state.node())),
        };
        RoleView { role, epoch: self.state.ballot.epoch, leader }
    }

    /// The log, by epochs.
    #[must_use]
    pub fn history(&self) -> &EpochHistory {
        &self.state.history
    }

    /// The end of the log.
    #[must_use]
    pub fn last(&self) -> Position {
        self.state.history.last()
    }

    /// Everything up to here is committed, as far as this replica knows.
    #[must_use]
    pub fn committed(&self) -> Offset {
        self.state.committed
    }

    /// Everything up to here is durable in this replica's log.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.state.durable()
    }

    /// The latest epoch known.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state.ballot.epoch
    }

    /// The membership in force.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.state.membership()
    }

    /// Whether the membership in force is committed.
    #[must_use]
    pub fn is_membership_committed(&self) -> bool {
        self.state.is_membership_committed()
    }

    /// The newest snapshot that can be served.
    #[must_use]
    pub fn snapshot(&self) -> Position {
        self.state.snapshot
    }

    /// Whether it leads and takes proposals.
    #[must_use]
    pub fn may_propose(&self) -> bool {
        matches!(&self.role, Part::Leader(leader) if leader.may_propose())
    }

    /// Whether its ballot is being saved: see [`Input::needs_no_ballot`].
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.state.is_saving()
    }

    /// Whether a snapshot that was fetched is on its way into table and log.
    #[must_use]
    pub fn is_installing(&self) -> bool {
        self.state.installing.is_some()
    }

    /// Whether its ballot has been on its way to the disk for an election timer: what depends on it comes too late.
    #[must_use]
    pub fn is_ballot_late(&self) -> bool {
        self.state.disk.is_ballot_late(&self.state.config)
    }

    /// What is to be said of its own disk.
    #[must_use]
    pub fn disk(&self) -> DiskView {
        let hangs = self.state.disk.hangs().is_some();
        let stays = |leader: &Leader| hangs && !leader.gives_away(&self.state);
        self.state.disk.view(matches!(&self.role, Part::Leader(leader) if stays(leader)))
    }

    /// The log lost a tail that may have been acknowledged.
    #[must_use]
    pub fn maybe_lost_tail(&self) -> bool {
        self.state.maybe_lost_tail.is_some()
    }

    /// The table here is reported to be damaged, and the replica goes on with it: nobody else can lead, or nobody leads.
    #[must_use]
    pub fn stays_damaged(&self) -> bool {
        self.state.damaged && !self.state.is_quarantined()
    }

    /// The state here is wrong and waits to be replaced.
    #[must_use]
    pub fn quarantined(&self) -> bool {
        self.state.is_quarantined()
    }

    /// The last checkpoint of the state here.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.state.checkpoints.newest()
    }

    /// What a leader thinks of the replicas' states; nothing, if this one does not lead.
    #[must_use]
    pub fn divergence(&self) -> Divergence {
        match &self.role {
            Part::Leader(leader) => leader.divergence(),
            _ => Divergence::None,
        }
    }

    /// Whether a leader still feeds members that were removed, so that they learn of it.
    #[must_use]
    pub fn feeds_removed(&self) -> bool {
        matches!(&self.role, Part::Leader(leader) if leader.feeds_removed(&self.state))
    }

    /// The commit order that rides along on appends: up to where a leader orders its replicas to apply.
    #[must_use]
    pub fn commit_order(&self) -> Offset {
        match &self.role {
            Part::Leader(leader) => leader.ordered(),
            _ => self.state.committed,
        }
    }

    /// Whom a change of members under way waits for, if this replica leads.
    #[must_use]
    pub fn awaited(&self) -> Vec<Member> {
        match &self.role {
            Part::Leader(leader) => leader.awaited(&self.state),
            _ => Vec::new(),
        }
    }

    /// The other replicas, if this one leads.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> + '_ {
        let peers = match &self.role {
            Part::Leader(leader) => leader.peers(),
            _ => &[],
        };
        peers.iter().map(|peer| PeerView {
            node: peer.member.node,
            incarnation: peer.member.incarnation,
            durable: peer.durable,
            needs_after: peer.needs_after(),
            feed: peer.name(),
            quarantined: peer.quarantined,
            unfit: peer.unfit,
            silent_ticks: peer.silent_ticks,
        })
    }
}
