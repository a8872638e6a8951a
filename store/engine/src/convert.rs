//! Between the wire (`proto::store`) and the core's vocabulary: push messages, replies, votes, entries, memberships.
//!
//! Every incoming message is checked here, once: ids are not 0, entries continue their previous position, sizes keep
//! to [`crate::limits`]. A wrong message is a [`Malformed`], never a panic. An absent message field is its default,
//! as proto3 has it, and a position that is absent is [`Position::ZERO`].

use bytes::Bytes;
use prost::Message as _;
use proto::store as wire;
use store_core::{
    Append, AppendRejection, Checkpoint, Entry, EntryKind, Epoch, Incarnation, LeaderMessage, Member,
    Membership, Message, NodeId, Offset, Position, PushReply, Round, Run, VoteMessage, VoteReply,
    VoteRequest,
};

use crate::limits::{COMMAND_BYTES_MAX, MEMBERS_MAX, MESSAGE_ENTRIES_MAX};

/// A message from outside that no correct replica sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {why}")]
pub struct Malformed {
    /// Which message or field.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: String,
}

fn malformed(what: &'static str, why: impl Into<String>) -> Malformed {
    Malformed { what, why: why.into() }
}

/// A position from the wire.
#[must_use]
pub fn position_in(position: Option<wire::Position>) -> Position {
    position.map_or(Position::ZERO, |p| Position::new(p.epoch, p.offset))
}

/// A position for the wire.
#[must_use]
pub fn position_out(position: Position) -> wire::Position {
    wire::Position { epoch: position.epoch.0, offset: position.offset.0 }
}

/// A checkpoint from the wire, or from a table.
#[must_use]
pub fn checkpoint_in(checkpoint: wire::Checkpoint) -> Checkpoint {
    let wire::Checkpoint { position, state_hash, version } = checkpoint;
    Checkpoint { position: position_in(position), state_hash, version }
}

/// A checkpoint for the wire.
#[must_use]
pub fn checkpoint_out(checkpoint: Checkpoint) -> wire::Checkpoint {
    let Checkpoint { position, state_hash, version } = checkpoint;
    wire::Checkpoint { position: Some(position_out(position)), state_hash, version }
}

/// A membership from the wire.
///
/// # Errors
/// No voter, a node twice in one role, a node 0, or too many members.
pub fn membership_in(membership: &wire::Membership) -> Result<Membership, Malformed> {
    let result = Membership {
        voters: members_in(&membership.voters)?,
        outgoing: members_in(&membership.outgoing)?,
        learners: members_in(&membership.learners)?,
    };
    if result.voters.is_empty() {
        return Err(malformed("membership", "it has no voter"));
    }
    if result.members().len() > MEMBERS_MAX {
        return Err(malformed("membership", format!("it has more than {MEMBERS_MAX} members")));
    }
    Ok(result)
}

fn members_in(members: &[wire::Member]) -> Result<Vec<Member>, Malformed> {
    let mut result: Vec<Member> = members
        .iter()
        .map(|m| Member { node: NodeId(m.node), incarnation: Incarnation(m.incarnation) })
        .collect();
    result.sort_unstable();
    if result.first().is_some_and(|m| m.node == NodeId(0)) {
        return Err(malformed("membership", "node 0 is nobody"));
    }
    match result.windows(2).find(|pair| pair[0].node == pair[1].node) {
        Some(pair) => Err(malformed("membership", format!("{} is in it twice", pair[0].node))),
        None => Ok(result),
    }
}

/// The membership that an entry of that kind carries, as the wire has it (with addresses).
///
/// # Errors
/// The payload is no membership.
pub fn membership_of(payload: &Bytes) -> Result<wire::Membership, Malformed> {
    let membership =
        wire::Membership::decode(payload.clone()).map_err(|e| malformed("membership", e.to_string()))?;
    membership_in(&membership)?;
    Ok(membership)
}

/// The nodes of a membership; one that is both coming and going is there twice.
pub(crate) fn nodes_of(membership: &wire::Membership) -> impl Iterator<Item = NodeId> + '_ {
    let members = membership.voters.iter().chain(&membership.outgoing).chain(&membership.learners);
    members.map(|member| NodeId(member.node))
}

/// An entry from the wire.
///
/// # Errors
/// Its kind is unknown, its position is not one, or its payload is too large.
pub fn entry_in(entry: wire::Entry) -> Result<Entry<Bytes>, Malformed> {
    let kind = match wire::EntryKind::try_from(entry.kind) {
        Ok(wire::EntryKind::Empty) => EntryKind::Empty,
        Ok(wire::EntryKind::Membership) => EntryKind::Membership,
        Ok(wire::EntryKind::Command) => EntryKind::Command,
        _ => return Err(malformed("entry", format!("kind {} is unknown", entry.kind))),
    };
    let position = position_in(entry.position);
    if position.offset == Offset::ZERO || position.epoch == Epoch(0) {
        return Err(malformed("entry", format!("{position} is no place in a log")));
    }
    if entry.payload.len() > COMMAND_BYTES_MAX {
        let bytes = entry.payload.len();
        return Err(malformed("entry", format!("{bytes} bytes are more than {COMMAND_BYTES_MAX}")));
    }
    Ok(Entry { position, log_time_ms: entry.log_time_ms, kind, payload: entry.payload })
}

/// An entry for the wire; shares the payload.
#[must_use]
pub fn entry_out(entry: &Entry<Bytes>) -> wire::Entry {
    let kind = match entry.kind {
        EntryKind::Empty => wire::EntryKind::Empty,
        EntryKind::Membership => wire::EntryKind::Membership,
        EntryKind::Command => wire::EntryKind::Command,
    };
    wire::Entry {
        position: Some(position_out(entry.position)),
        log_time_ms: entry.log_time_ms,
        kind: kind.into(),
        payload: entry.payload.clone(),
    }
}

/// Entries as runs.
#[must_use]
pub fn runs_of(entries: &[Entry<Bytes>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Position { epoch, offset } in entries.iter().map(|entry| entry.position) {
        match runs.last_mut() {
            Some(run) if run.epoch == epoch => run.last = offset,
            _ => runs.push(Run { epoch, first: offset, last: offset }),
        }
    }
    runs
}

/// A leader's message from the wire, with its entries beside it.
///
/// # Errors
/// It is empty, or something in it is malformed.
pub fn push_in(message: wire::PushMessage) -> Result<(Message, Vec<Entry<Bytes>>), Malformed> {
    use wire::push_message::Message as Wire;
    let message = match message.message.ok_or_else(|| malformed("push message", "it is empty"))? {
        Wire::Append(append) => return append_in(append),
        Wire::CommitOrder(order) => {
            LeaderMessage::CommitOrder { epoch: Epoch(order.epoch), up_to: position_in(order.up_to) }
        }
        Wire::Heartbeat(heartbeat) => LeaderMessage::Heartbeat {
            epoch: Epoch(heartbeat.epoch),
            round: Round(heartbeat.round),
            committed: Offset(heartbeat.committed),
            compare: Offset(heartbeat.compare),
        },
        Wire::Quarantine(quarantine) => {
            let at = quarantine.at.ok_or_else(|| malformed("quarantine", "it says no checkpoint"))?;
            LeaderMessage::Quarantine { epoch: Epoch(quarantine.epoch), at: checkpoint_in(at) }
        }
        Wire::InstallSnapshot(install) => {
            LeaderMessage::InstallSnapshot { epoch: Epoch(install.epoch), at: position_in(install.at) }
        }
        Wire::TransferLeadership(transfer_leadership) => {
            LeaderMessage::TransferLeadership { epoch: Epoch(transfer_leadership.epoch) }
        }
    };
    with_epoch(message).map(|message| (message, Vec::new()))
}

fn with_epoch(message: impl Into<Message>) -> Result<Message, Malformed> {
    let message = message.into();
    if message.epoch() == Epoch(0) {
        return Err(malformed("message", "epoch 0 is before every election"));
    }
    Ok(message)
}

fn append_in(append: wire::AppendEntries) -> Result<(Message, Vec<Entry<Bytes>>), Malformed> {
    let count = append.entries.len();
    if count > MESSAGE_ENTRIES_MAX {
        return Err(malformed("append", format!("{count} entries are more than {MESSAGE_ENTRIES_MAX}")));
    }
    let previous = position_in(append.previous);
    let mut end = previous;
    let mut entries = Vec::with_capacity(count);
    let mut memberships = Vec::new();
    for entry in append.entries {
        let entry = entry_in(entry)?;
        let at = entry.position;
        if end.offset.0.checked_add(1) != Some(at.offset.0)
            || at.epoch < end.epoch
            || at.epoch.0 > append.epoch
        {
            return Err(malformed("append", format!("{at} does not follow {end} in epoch {}", append.epoch)));
        }
        if entry.kind == EntryKind::Membership {
            memberships.push((at.offset, membership_in(&membership_of(&entry.payload)?)?));
        }
        end = at;
        entries.push(entry);
    }
    let runs = runs_of(&entries);
    let committed = Offset(append.committed);
    let message =
        Message::Append(Append { epoch: Epoch(append.epoch), previous, runs, memberships, committed });
    with_epoch(message).map(|message| (message, entries))
}

/// A leader's message without entries for the wire.
#[must_use]
pub fn push_out(message: &LeaderMessage) -> wire::PushMessage {
    use wire::push_message::Message as Wire;
    let message = match message {
        LeaderMessage::CommitOrder { epoch, up_to } => {
            Wire::CommitOrder(wire::CommitOrder { epoch: epoch.0, up_to: Some(position_out(*up_to)) })
        }
        LeaderMessage::Heartbeat { epoch, round, committed, compare } => Wire::Heartbeat(wire::Heartbeat {
            epoch: epoch.0,
            round: round.0,
            committed: committed.0,
            compare: compare.0,
        }),
        LeaderMessage::Quarantine { epoch, at } => {
            Wire::Quarantine(wire::Quarantine { epoch: epoch.0, at: Some(checkpoint_out(*at)) })
        }
        LeaderMessage::InstallSnapshot { epoch, at } => {
            Wire::InstallSnapshot(wire::InstallSnapshot { epoch: epoch.0, at: Some(position_out(*at)) })
        }
        LeaderMessage::TransferLeadership { epoch } => {
            Wire::TransferLeadership(wire::TransferLeadership { epoch: epoch.0 })
        }
    };
    wire::PushMessage { message: Some(message) }
}

/// A replica's answer from the wire.
///
/// # Errors
/// It is empty or of epoch 0.
pub fn reply_in(reply: wire::PushReply) -> Result<Message, Malformed> {
    use wire::push_reply::Message as Wire;
    let message = match reply.message.ok_or_else(|| malformed("push reply", "it is empty"))? {
        Wire::Ack(ack) => PushReply::Ack {
            epoch: Epoch(ack.epoch),
            durable_up_to: position_in(ack.durable_up_to),
            round: Round(ack.round),
            checkpoint: ack.checkpoint.map(checkpoint_in),
            quarantined: ack.quarantined,
            unfit: ack.unfit,
        },
        Wire::AppendRejection(state) => PushReply::AppendRejection(AppendRejection {
            epoch: Epoch(state.epoch),
            last: position_in(state.last),
            committed: Offset(state.committed),
            conflict: (state.conflict_epoch != 0)
                .then_some((Epoch(state.conflict_epoch), Offset(state.conflict_first))),
            maybe_lost_tail: state.maybe_lost_tail,
        }),
        Wire::StaleEpoch(stale) => PushReply::StaleEpoch { epoch: Epoch(stale.epoch) },
    };
    with_epoch(message)
}

/// A replica's answer for the wire; what the driver knows (room, clock) is left for it to add.
#[must_use]
pub fn reply_out(message: &PushReply) -> wire::PushReply {
    use wire::push_reply::Message as Wire;
    let message = match message {
        PushReply::Ack { epoch, durable_up_to, round, checkpoint, quarantined, unfit } => {
            Wire::Ack(wire::Ack {
                epoch: epoch.0,
                durable_up_to: Some(position_out(*durable_up_to)),
                round: round.0,
                checkpoint: checkpoint.map(checkpoint_out),
                quarantined: *quarantined,
                unfit: *unfit,
            })
        }
        PushReply::AppendRejection(state) => {
            let (conflict_epoch, conflict_first) = state.conflict.unwrap_or_default();
            Wire::AppendRejection(wire::AppendRejection {
                epoch: state.epoch.0,
                last: Some(position_out(state.last)),
                committed: state.committed.0,
                conflict_epoch: conflict_epoch.0,
                conflict_first: conflict_first.0,
                maybe_lost_tail: state.maybe_lost_tail,
            })
        }
        PushReply::StaleEpoch { epoch } => Wire::StaleEpoch(wire::StaleEpoch { epoch: epoch.0 }),
    };
    wire::PushReply { message: Some(message), ..wire::PushReply::default() }
}

/// A request for a vote from the wire.
///
/// # Errors
/// It is of epoch 0.
pub fn vote_request_in(request: &wire::VoteRequest) -> Result<Message, Malformed> {
    with_epoch(VoteMessage::Request(VoteRequest {
        epoch: Epoch(request.epoch),
        last: position_in(request.last),
        pre: request.pre,
        transferred: request.transferred,
    }))
}

/// A request for a vote for the wire.
#[must_use]
pub fn vote_request_out(request: &VoteRequest) -> wire::VoteRequest {
    wire::VoteRequest {
        epoch: request.epoch.0,
        last: Some(position_out(request.last)),
        pre: request.pre,
        transferred: request.transferred,
    }
}

/// A vote from the wire.
///
/// # Errors
/// It is of epoch 0 and yet granted.
pub fn vote_reply_in(reply: &wire::VoteReply) -> Result<Message, Malformed> {
    if reply.granted && reply.epoch == 0 {
        return Err(malformed("vote", "epoch 0 is before every election"));
    }
    Ok(Message::Vote(VoteMessage::Reply(VoteReply {
        epoch: Epoch(reply.epoch),
        granted: reply.granted,
        pre: reply.pre,
        last: position_in(reply.last),
        maybe_lost_tail: reply.maybe_lost_tail,
        candidate: Incarnation(reply.candidate_incarnation),
    })))
}

/// A vote for the wire; the voter's clock is left for the driver to add.
#[must_use]
pub fn vote_reply_out(reply: &VoteReply) -> wire::VoteReply {
    wire::VoteReply {
        epoch: reply.epoch.0,
        granted: reply.granted,
        pre: reply.pre,
        last: Some(position_out(reply.last)),
        maybe_lost_tail: reply.maybe_lost_tail,
        candidate_incarnation: reply.candidate.0,
        ..wire::VoteReply::default()
    }
}
