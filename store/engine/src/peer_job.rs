//! Jobs that lead to peers: what the node has for them, and what the replicator of each is told and says.

use store_core::{Epoch, LeaderMessage, NodeId, Offset, Position, PushReply, VoteMessage};

/// What the node has for its peers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ToPeer {
    /// For a peer's replicator ([`crate::ReplicatorInbox::post`]).
    Replicator {
        /// Which peer.
        to: NodeId,
        /// What.
        job: ReplicatorJob,
    },
    /// An `Ack`, `AppendRejection` or `StaleEpoch`, back on the push stream that `to` opened. Only the newest of them
    /// matters: if a later one has to wait, it may replace an `Ack` that waits.
    Reply {
        /// To whom.
        to: NodeId,
        /// What.
        reply: PushReply,
    },
    /// A `VoteRequest` to send, or the `VoteReply` to the last request of `to` (as soon as the vote is durable).
    Vote {
        /// To whom.
        to: NodeId,
        /// What.
        message: VoteMessage,
    },
    /// A node that is no member any more, or is another folder from now on: end what was opened to it.
    Forget {
        /// Which node.
        peer: NodeId,
    },
    /// Fetch a snapshot of at least `at` from the leader, then [`crate::Job::SnapshotFetched`]. May come again while a
    /// fetch is under way (then it changes nothing).
    FetchSnapshot {
        /// The leader.
        from: NodeId,
        /// At least this position.
        at: Position,
    },
}

/// What a replicator is told. Posting merges: a replicator holds a cursor and the newest of each small message, no queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplicatorJob {
    /// [`store_core::Output::Push`].
    Push {
        /// The leader's epoch.
        epoch: Epoch,
        /// The entry just before the first to send.
        previous: Position,
        /// The last entry to send; equal to `previous.offset`: one empty probe.
        up_to: Offset,
        /// Goes on exactly where the push before it ends.
        continues: bool,
        /// A commit order that rides along.
        committed: Offset,
    },
    /// A message without entries.
    Say(LeaderMessage),
    /// This replica no longer leads: forget everything.
    Stop,
}

/// What a replicator says.
#[derive(Clone, PartialEq, Debug)]
pub enum ReplicatorOut {
    /// Send this on the push stream, in order (the first message of a stream gets its `peer` from the driver).
    Send(proto::store::PushMessage),
    /// The entries it should send are no longer in the log: tell the node [`crate::Job::Reconnected`].
    Purged,
}
