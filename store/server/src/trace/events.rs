//! Events of what a node sends, takes and does. A message is the same event at both ends but for its direction, so that a
//! receipt can be put after its sending.

use proto::store::{PushMessage, TraceDirection, TraceEvent, TraceKind, push_message};
use store_core::{
    Append, LeaderMessage, Message, NodeId, Offset, Position, PushReply, Role, RoleView, VoteMessage,
};
use store_engine::{ApplierJob, Job, NodeOut, Report, ToPeer, WriterJob, convert};

use store_engine::states::{divergence_text, quarantine_text};

/// A message on the push stream, about to be sent.
pub(crate) fn pushed(to: NodeId, message: &PushMessage) -> Option<TraceEvent> {
    let event = match message.message.as_ref()? {
        push_message::Message::Append(append) => {
            let previous = convert::position_in(append.previous);
            let last = append.entries.last().map_or(previous, |entry| convert::position_in(entry.position));
            push(append.epoch, previous, last, append.committed)
        }
        _ => match convert::push_in(message.clone()).ok()?.0 {
            Message::Leader(message) => of_leader(message),
            Message::Append(_) | Message::Reply(_) | Message::Vote(_) => return None,
        },
    };
    Some(TraceEvent { direction: TraceDirection::Sent.into(), peer: to.0, ..event })
}

/// An event of what the node has for a peer, if it is sent from here. What leads over the push stream is recorded there.
fn for_peer(out: &ToPeer) -> Option<TraceEvent> {
    let (to, event) = match out {
        ToPeer::Reply { to, reply } => (to, of_replica(*reply)),
        ToPeer::Vote { to, message } => (to, of_election(*message)),
        ToPeer::Replicator { .. } | ToPeer::Forget { .. } | ToPeer::FetchSnapshot { .. } => return None,
    };
    Some(TraceEvent { direction: TraceDirection::Sent.into(), peer: to.0, ..event })
}

/// What comes out of the inbox for the node. It may put that off, or drop it, while a ballot is being saved.
pub(crate) fn taken(job: &Job) -> Option<TraceEvent> {
    match job {
        Job::Peer { from, message, .. } => {
            let event = match message {
                Message::Append(append) => of_append(append),
                Message::Leader(message) => of_leader(*message),
                Message::Reply(reply) => of_replica(*reply),
                Message::Vote(message) => of_election(*message),
            };
            Some(TraceEvent { direction: TraceDirection::Taken.into(), peer: from.node.0, ..event })
        }
        Job::SnapshotTaken { position } => Some(own(TraceKind::SnapshotTaken, *position)),
        _ => None,
    }
}

/// What the node wants done, before it is.
pub(crate) fn said(out: &NodeOut) -> Option<TraceEvent> {
    match out {
        NodeOut::Peer(out) => for_peer(out),
        NodeOut::Write(job) => of_writer(job),
        NodeOut::Apply(ApplierJob::Commit { up_to, .. }) => Some(own(TraceKind::Commits, *up_to)),
        NodeOut::Role(view) => Some(of_role(*view)),
        NodeOut::Quarantined(Some(quarantine)) => {
            Some(TraceEvent { detail: quarantine_text(quarantine), ..done(TraceKind::Quarantined) })
        }
        NodeOut::Quarantined(None) => Some(done(TraceKind::Released)),
        NodeOut::Report(Report::Divergence(divergence)) => {
            Some(TraceEvent { detail: divergence_text(*divergence), ..done(TraceKind::StatesDiffer) })
        }
        NodeOut::Apply(_)
        | NodeOut::SaveBallot(_)
        | NodeOut::Answer { .. }
        | NodeOut::Members(_)
        | NodeOut::TransferFailed
        | NodeOut::Report(_)
        | NodeOut::Fatal(_) => None,
    }
}

/// An event of the node itself, of no position.
fn done(kind: TraceKind) -> TraceEvent {
    TraceEvent { kind: kind.into(), direction: TraceDirection::Own.into(), ..TraceEvent::default() }
}

fn own(kind: TraceKind, up_to: Position) -> TraceEvent {
    TraceEvent { epoch: up_to.epoch.0, up_to: Some(convert::position_out(up_to)), ..done(kind) }
}

fn of_writer(job: &WriterJob) -> Option<TraceEvent> {
    match job {
        WriterJob::Append { entries, .. } => {
            let last = entries.last()?.position;
            let counted = match entries.len() {
                1 => "1 entry".to_owned(),
                count => format!("{count} entries"),
            };
            Some(TraceEvent { detail: counted, ..own(TraceKind::Appends, last) })
        }
        WriterJob::Truncate { from, .. } => {
            Some(own(TraceKind::Truncates, Position { offset: *from, ..Position::ZERO }))
        }
        WriterJob::Reset { after, .. } => Some(own(TraceKind::SnapshotInstalled, *after)),
        _ => None,
    }
}

fn of_role(view: RoleView) -> TraceEvent {
    let detail = match (view.role, view.leader) {
        (Role::Leader, _) => "leads".to_owned(),
        (Role::Candidate, _) => "campaigns".to_owned(),
        (Role::Follower, Some(leader)) => format!("follows {leader}"),
        (Role::Follower, None) => "knows no leader".to_owned(),
    };
    TraceEvent { epoch: view.epoch.0, detail, ..done(TraceKind::RoleChanges) }
}

fn message(kind: TraceKind, epoch: u64) -> TraceEvent {
    TraceEvent { kind: kind.into(), epoch, ..TraceEvent::default() }
}

fn about(kind: TraceKind, epoch: u64, up_to: Position) -> TraceEvent {
    TraceEvent { up_to: Some(convert::position_out(up_to)), ..message(kind, epoch) }
}

fn push(epoch: u64, previous: Position, last: Position, committed: u64) -> TraceEvent {
    let previous = Some(convert::position_out(previous));
    TraceEvent { previous, committed, ..about(TraceKind::Push, epoch, last) }
}

fn of_append(append: &Append) -> TraceEvent {
    let last = append.runs.last();
    let last = last.map_or(append.previous, |run| Position { epoch: run.epoch, offset: run.last });
    push(append.epoch.0, append.previous, last, append.committed.0)
}

fn of_leader(said: LeaderMessage) -> TraceEvent {
    let epoch = said.epoch().0;
    match said {
        LeaderMessage::CommitOrder { up_to, .. } => about(TraceKind::CommitOrder, epoch, up_to),
        LeaderMessage::Heartbeat { round, committed, compare, .. } => {
            let detail =
                if compare == Offset::ZERO { String::new() } else { format!("compares states at {compare}") };
            let event = message(TraceKind::Heartbeat, epoch);
            TraceEvent { round: round.0, committed: committed.0, detail, ..event }
        }
        LeaderMessage::Quarantine { at, .. } => {
            let detail = format!("a majority has the state {:016x}", at.state_hash);
            TraceEvent { detail, ..about(TraceKind::QuarantineOrder, epoch, at.position) }
        }
        LeaderMessage::InstallSnapshot { at, .. } => about(TraceKind::InstallSnapshot, epoch, at),
        LeaderMessage::TransferLeadership { .. } => message(TraceKind::TransferLeadership, epoch),
    }
}

fn of_replica(reply: PushReply) -> TraceEvent {
    let epoch = reply.epoch().0;
    match reply {
        PushReply::Ack { durable_up_to, round, checkpoint, quarantined, unfit, .. } => {
            let mut said = Vec::new();
            said.extend(
                checkpoint.map(|at| format!("state {:016x} at {}", at.state_hash, at.position.offset)),
            );
            said.extend(quarantined.then(|| "quarantined".to_owned()));
            said.extend(unfit.then(|| "its disk hangs".to_owned()));
            let event = about(TraceKind::Ack, epoch, durable_up_to);
            TraceEvent { round: round.0, detail: said.join(", "), ..event }
        }
        PushReply::AppendRejection(rejection) => {
            let mut detail = match rejection.conflict {
                Some((other, first)) => format!("conflicting epoch {other} from {first} on"),
                None => "it is shorter".to_owned(),
            };
            if rejection.maybe_lost_tail {
                detail.push_str(", possibly lost tail");
            }
            let event = about(TraceKind::AppendRejection, epoch, rejection.last);
            TraceEvent { committed: rejection.committed.0, detail, ..event }
        }
        PushReply::StaleEpoch { .. } => message(TraceKind::StaleEpoch, epoch),
    }
}

fn of_election(said: VoteMessage) -> TraceEvent {
    match said {
        VoteMessage::Request(request) => {
            let detail = match (request.pre, request.transferred) {
                (true, _) => "pre-vote",
                (false, true) => "leadership transfer",
                (false, false) => "",
            };
            let event = about(TraceKind::VoteRequest, request.epoch.0, request.last);
            TraceEvent { detail: detail.to_owned(), ..event }
        }
        VoteMessage::Reply(reply) => {
            let mut detail = if reply.granted { "yes" } else { "no" }.to_owned();
            if reply.pre {
                detail.push_str(", pre-vote");
            }
            TraceEvent { detail, ..about(TraceKind::VoteReply, reply.epoch.0, reply.last) }
        }
    }
}
