//! The three closed enums through which the core meets the world: [`Message`] between replicas, [`Input`] into
//! [`crate::Replica::step`], [`Output`] out of it.
//!
//! Payloads of entries never pass through here: an [`Append`] describes its entries by runs, and the carrier of
//! the message keeps the bytes beside it.
//!
//! **Order and durability.** The outputs of one step are carried out in their order, and outputs of later steps
//! after them. [`Output::after`] names the writes that must be on disk first. A ballot may take any time: until
//! [`Input::BallotSaved`] reports it, the later outputs of its step wait if they depend on it, and the
//! replica gets only the inputs of [`Input::needs_no_ballot`], which have no outputs.

use alloc::vec::Vec;

use crate::checkpoints::{Checkpoint, Divergence};
use crate::membership::{ChangeRefusal, MemberChange};
use crate::types::{
    Epoch, Incarnation, Member, Membership, NodeId, Offset, Position, ReadId, Round, Run, WriteSeq,
};

/// A message from one replica to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Leader → replica: entries, and a commit order that rides along.
    Append(Append),
    /// Leader → replica, without entries.
    Leader(LeaderMessage),
    /// Replica → leader.
    Reply(PushReply),
    /// Between a candidate and a voter.
    Vote(VoteMessage),
}

/// A message that the core itself makes: every one but an [`Append`], which is made of [`Output::Push`] by whoever has the
/// bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outgoing {
    /// Leader → replica, without entries.
    Leader(LeaderMessage),
    /// Replica → leader.
    Reply(PushReply),
    /// Between a candidate and a voter.
    Vote(VoteMessage),
}

/// A leader's message without entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaderMessage {
    /// Everything up to here is committed; apply it.
    CommitOrder {
        /// The leader's epoch.
        epoch: Epoch,
        /// The last committed position.
        up_to: Position,
    },
    /// I lead; and a round for reads to wait for.
    Heartbeat {
        /// The leader's epoch.
        epoch: Epoch,
        /// The round to acknowledge.
        round: Round,
        /// A commit order that rides along.
        committed: Offset,
        /// Say with every ack which checkpoint you have at this offset; 0: none is asked for.
        compare: Offset,
    },
    /// A majority has this checkpoint, and you have another there: your state is wrong.
    Quarantine {
        /// The leader's epoch.
        epoch: Epoch,
        /// The majority's checkpoint.
        at: Checkpoint,
    },
    /// My log no longer has what you need; fetch a snapshot of at least this position.
    InstallSnapshot {
        /// The leader's epoch.
        epoch: Epoch,
        /// The position of the leader's newest snapshot.
        at: Position,
    },
    /// Campaign now (graceful leadership transfer).
    TransferLeadership {
        /// The leader's epoch.
        epoch: Epoch,
    },
}

/// A replica's answer to its leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushReply {
    /// Durable up to here, as matched by an append of this epoch.
    Ack {
        /// The epoch acknowledged.
        epoch: Epoch,
        /// The highest position that an append *of this epoch* matched and that is durable; never taken from
        /// the log's end.
        durable_up_to: Position,
        /// The last heartbeat round heard in this epoch.
        round: Round,
        /// The checkpoint at the offset that the last heartbeat of this epoch asked for, if there is one.
        checkpoint: Option<Checkpoint>,
        /// The table here is wrong and waits to be replaced: do not transfer leadership to this replica.
        quarantined: bool,
        /// The disk here hangs, or did until lately: nor to this one.
        unfit: bool,
    },
    /// Your append did not fit; this is my log.
    AppendRejection(AppendRejection),
    /// There is a later epoch.
    StaleEpoch {
        /// That epoch.
        epoch: Epoch,
    },
}

/// A message of an election.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoteMessage {
    /// Candidate → voter.
    Request(VoteRequest),
    /// Voter → candidate.
    Reply(VoteReply),
}

/// Entries from the leader, described.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The entry just before the first of these.
    pub previous: Position,
    /// The entries, as runs that continue `previous`; empty for a probe.
    pub runs: Vec<Run>,
    /// Memberships among the entries.
    pub memberships: Vec<(Offset, Membership)>,
    /// A commit order that rides along.
    pub committed: Offset,
}

/// What a replica's log looks like to a leader whose append did not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendRejection {
    /// The epoch of the append answered.
    pub epoch: Epoch,
    /// The end of the log, after any truncation.
    pub last: Position,
    /// What is known committed here.
    pub committed: Offset,
    /// The epoch that stood in the way, and its first offset; `None` if the log was only too short.
    pub conflict: Option<(Epoch, Offset)>,
    /// The log lost a tail that may have been acknowledged in this very epoch.
    pub maybe_lost_tail: bool,
}

/// A candidate asks for a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteRequest {
    /// The epoch it would lead.
    pub epoch: Epoch,
    /// The end of its log.
    pub last: Position,
    /// Only asks whether it would be granted; changes nothing.
    pub pre: bool,
    /// The leader asked for this election, so that a live leader is no reason to refuse.
    pub transferred: bool,
}

/// A voter answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteReply {
    /// The epoch voted on; if not granted, the voter's epoch if that is later.
    pub epoch: Epoch,
    /// Yes or no.
    pub granted: bool,
    /// This answers a pre-vote.
    pub pre: bool,
    /// The end of the voter's log.
    pub last: Position,
    /// The voter's log lost a tail that may have been acknowledged.
    pub maybe_lost_tail: bool,
    /// The folder whose request this answers: another one of the same node must not take the vote for its own.
    pub candidate: Incarnation,
}

impl Message {
    /// The sender's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Message::Append(append) => append.epoch,
            Message::Leader(message) => message.epoch(),
            Message::Reply(reply) => reply.epoch(),
            Message::Vote(VoteMessage::Request(request)) => request.epoch,
            Message::Vote(VoteMessage::Reply(reply)) => reply.epoch,
        }
    }
}

impl LeaderMessage {
    /// The leader's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            LeaderMessage::CommitOrder { epoch, .. }
            | LeaderMessage::Heartbeat { epoch, .. }
            | LeaderMessage::Quarantine { epoch, .. }
            | LeaderMessage::InstallSnapshot { epoch, .. }
            | LeaderMessage::TransferLeadership { epoch } => *epoch,
        }
    }
}

impl PushReply {
    /// The epoch answered, or a later one.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            PushReply::AppendRejection(rejection) => rejection.epoch,
            PushReply::Ack { epoch, .. } | PushReply::StaleEpoch { epoch } => *epoch,
        }
    }
}

impl From<Outgoing> for Message {
    fn from(message: Outgoing) -> Message {
        match message {
            Outgoing::Leader(message) => Message::Leader(message),
            Outgoing::Reply(reply) => Message::Reply(reply),
            Outgoing::Vote(message) => Message::Vote(message),
        }
    }
}

macro_rules! kinds {
    ($($kind:ident $of:ident,)*) => {
        $(
            impl From<$of> for Outgoing {
                fn from(message: $of) -> Outgoing {
                    Outgoing::$kind(message)
                }
            }

            impl From<$of> for Message {
                fn from(message: $of) -> Message {
                    Message::$kind(message)
                }
            }
        )*
    };
}

kinds! {
    Leader LeaderMessage,
    Reply PushReply,
    Vote VoteMessage,
}

/// What happens to a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// One tick of time, with fresh randomness for election timers.
    Tick {
        /// Any random number.
        random: u64,
    },
    /// A message from another replica. The carrier has checked cluster and group, and that the sender meant this
    /// incarnation.
    Receive {
        /// The sender: this very folder, for another one of the same node knows nothing of its votes and acks.
        from: Member,
        /// What it says.
        message: Message,
    },
    /// The way to a replica was lost or opened anew: what was in flight may be gone. To a follower: the way from it
    /// was lost.
    Reconnected {
        /// Which replica.
        peer: NodeId,
    },
    /// Clients want this many entries appended (leader only).
    Propose {
        /// How many; at least 1.
        count: u64,
    },
    /// A client wants to read linearizably. Read ids rise.
    Read {
        /// The read's number.
        request_id: ReadId,
    },
    /// The ballot of the last [`Output::SaveBallot`] is durable. (Of several in one step only the last need be saved.)
    BallotSaved {
        /// That ballot.
        ballot: Ballot,
    },
    /// A write handed to the log is durable, and all writes before it.
    Persisted {
        /// The write.
        write: WriteSeq,
    },
    /// The applier has come so far.
    Applied {
        /// The last offset applied; lower than before when the table was replaced.
        up_to: Offset,
    },
    /// The log was cut off behind a verified snapshot at this position, which is applied.
    Purged {
        /// The last position that is gone from the log.
        up_to: Offset,
        /// The newest snapshot that can be served.
        snapshot: Position,
    },
    /// A snapshot is here, verified but not installed. Answered by [`Output::Install`] if it is still needed.
    Fetched {
        /// The snapshot's position.
        position: Position,
    },
    /// The snapshot of [`Output::Install`] is durable and is the state machine now; the log begins after it.
    Installed {
        /// The snapshot's position.
        position: Position,
        /// The membership in force there, and the offset of its entry.
        membership: (Offset, Membership),
    },
    /// The applier has come by a checkpoint.
    Checkpointed(Checkpoint),
    /// The state machine was replaced by a snapshot's: these are its checkpoints, oldest first.
    Inherited(Vec<Checkpoint>),
    /// An operator says that the table is wrong: it is to be replaced. Only a follower that hears a leader does so;
    /// for anybody else it changes nothing.
    Quarantine,
    /// The table's own store reports that what it holds is damaged. The replica takes its table for wrong as soon as it follows
    /// a leader; one that leads gives leadership away first, and stays where no other voter could lead.
    Damaged,
    /// A quarantined replica has fetched a snapshot whose last entry is in its log. Answered by [`Output::Replace`] if it
    /// is of use.
    FetchedBeside {
        /// The snapshot's position.
        position: Position,
    },
    /// The snapshot of [`Output::Replace`] could not be given its place; another will be fetched.
    NotReplaced,
    /// A quarantined replica's table was replaced, durably, and its quarantine is gone.
    Released {
        /// The position of its only snapshot.
        snapshot: Position,
    },
    /// Give leadership to another replica (leader only).
    TransferLeadership {
        /// Which one; `None`: the most advanced voter.
        to: Option<NodeId>,
    },
    /// Change who is a member (leader only). Answered by [`Output::AppendMembership`] or [`Output::ChangeRefused`]: in the
    /// same step, or, if it moves votes, when a heartbeat round that was sent after this has come back or an election timer
    /// is over. Done when a membership that is not joint is committed after that.
    ChangeMembers {
        /// What is asked for.
        change: MemberChange,
    },
    /// Planted fault for demonstrations: keep commit orders back, or stop doing so.
    HoldCommit {
        /// Keep them back?
        hold: bool,
    },
}

impl Input {
    /// Whether a replica takes this while its ballot is being saved: nothing that others could see comes of it.
    #[must_use]
    pub fn needs_no_ballot(&self) -> bool {
        matches!(self, Input::Tick { .. } | Input::BallotSaved { .. } | Input::Applied { .. })
    }
}

/// What the world must do for a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Make epoch and vote durable, and report [`Input::BallotSaved`]; see [`Output::after`].
    SaveBallot(Ballot),
    /// Cut the log from here on, durably, in order with appends.
    Truncate {
        /// The first offset to go.
        from: Offset,
    },
    /// Append to the log; [`Input::Persisted`] reports `write`. On a replica the entries are those of the append
    /// being stepped, from `run.first` on; on a leader they are the proposals being stepped, or the empty entry
    /// of its epoch.
    Append {
        /// The number of this write.
        write: WriteSeq,
        /// The entries.
        runs: Vec<Run>,
    },
    /// Append this membership to the log as one entry (leader only); [`Input::Persisted`] reports `write`. It is
    /// in force at once: what comes after this may be for members that only it names.
    AppendMembership {
        /// The number of this write.
        write: WriteSeq,
        /// Where the entry stands.
        position: Position,
        /// The entry.
        membership: Membership,
    },
    /// Tell who waits for a commit here, or for what is committed to be applied, that the outcome is unknown: this
    /// replica's disk hangs, and it gives leadership away.
    AnswerUnknown,
    /// The change asked for was not begun.
    ChangeRefused(ChangeRefusal),
    /// This node is not spoken to any more, or is another folder from now on: close what was opened to it.
    Forget {
        /// Which node.
        peer: NodeId,
    },
    /// Proposals were not taken: this replica does not lead, or is transferring leadership.
    Refused {
        /// How many.
        count: u64,
    },
    /// Say this to a replica.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Outgoing,
    },
    /// Stream the entries after `previous` up to `up_to` to a replica as [`Message::Append`]s, in order, each
    /// within the size limits. Replaces what was still to be streamed to it; with `continues` it extends it.
    Push {
        /// To whom.
        to: NodeId,
        /// The leader's epoch.
        epoch: Epoch,
        /// The entry just before the first to send.
        previous: Position,
        /// The last entry to send; equal to `previous.offset`: send one empty probe.
        up_to: Offset,
        /// This goes on exactly where the push before it ends.
        continues: bool,
    },
    /// Entries up to here are committed and may be applied, in order.
    Commit {
        /// The last one.
        up_to: Position,
    },
    /// Reads up to this request id may be answered once everything up to `at` is applied.
    ReadsReady {
        /// The last request id.
        up_to: ReadId,
        /// The offset to wait for.
        at: Offset,
    },
    /// Reads up to this request id cannot be answered here: this replica does not (or no longer) lead.
    ReadsFailed {
        /// The last request id.
        up_to: ReadId,
    },
    /// The leader has changed, or this replica's role.
    RoleChanged(RoleView),
    /// Fetch a snapshot of at least this position from the leader; [`Input::Fetched`] reports it.
    FetchSnapshot {
        /// The leader.
        from: NodeId,
        /// At least this position.
        at: Position,
    },
    /// Replace state machine and log by the fetched snapshot at this position; [`Input::Installed`] reports it.
    /// Until then the replica takes no append.
    Install {
        /// The snapshot's position.
        position: Position,
    },
    /// The table is wrong: from now on neither read it nor write it, and neither take nor give snapshots of it, until it
    /// is replaced. Make that durable before anything of it is replaced ([`Output::Replace`], [`Output::Install`]).
    Quarantine {
        /// What a majority has; `None`: an operator said so, or the table is damaged.
        majority: Option<Checkpoint>,
        /// What is had here.
        own: Option<Checkpoint>,
        /// The table's own store reported damage.
        damaged: bool,
    },
    /// Replace the table, and no more than that, by the fetched snapshot at this position, which the log has;
    /// [`Input::Released`] reports it. Appends go on meanwhile.
    Replace {
        /// The snapshot's position.
        position: Position,
    },
    /// What a leader thinks of the replicas' states has changed.
    Divergence(Divergence),
    /// The log can be trusted again: forget durably that it lost a tail.
    Trusted,
    /// A leadership transfer was given up (its target did not keep up, or there is nobody): one that was asked for, or one
    /// that the leader began by itself.
    TransferFailed,
    /// A message named an epoch that no election can have reached: it was not believed, and nothing has changed.
    EpochRefused {
        /// The sender.
        from: NodeId,
        /// The epoch.
        epoch: Epoch,
    },
    /// This replica must stop: going on would break a promise.
    Fatal(Fatal),
}

/// What must be durable before an output is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durable {
    /// Nothing: it may be carried out at once, while the log is still writing.
    Nothing,
    /// The newest [`Output::SaveBallot`] before it.
    Ballot,
}

impl Output {
    /// What must be durable before this is carried out. Acks need no mention of the log: the core sends one only
    /// after [`Input::Persisted`] has vouched for what it says. That this replica leads depends on its vote; that it no
    /// longer does, on nothing.
    #[must_use]
    pub fn after(&self) -> Durable {
        match self {
            Output::Send { .. }
            | Output::Push { .. }
            | Output::Append { .. }
            | Output::AppendMembership { .. }
            | Output::Truncate { .. }
            | Output::Install { .. }
            | Output::Replace { .. }
            | Output::RoleChanged(RoleView { role: Role::Leader, .. }) => Durable::Ballot,
            _ => Durable::Nothing,
        }
    }
}

/// What a replica must never forget: the latest epoch it knows and whom it voted for in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ballot {
    /// The latest epoch known.
    pub epoch: Epoch,
    /// The vote in it.
    pub voted_for: Option<NodeId>,
}

/// A replica's part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election would succeed, or stands in one.
    Candidate,
    /// Leads.
    Leader,
}

/// The leader, as this replica sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleView {
    /// Its own part.
    pub role: Role,
    /// The epoch.
    pub epoch: Epoch,
    /// The leader, if known.
    pub leader: Option<NodeId>,
}

/// Why a replica must stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fatal {
    /// The leader's log contradicts what is committed here: an entry at or below the commit offset has another
    /// epoch than the leader's.
    CommittedConflict {
        /// What is committed here.
        here: Position,
        /// What the leader says stands there.
        leader: Position,
    },
    /// Two leaders spoke in one epoch.
    TwoLeaders {
        /// That epoch.
        epoch: Epoch,
        /// The one known.
        known: NodeId,
        /// The other.
        other: NodeId,
    },
}
