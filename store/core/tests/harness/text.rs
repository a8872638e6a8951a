//! Messages and outputs as scripts show them.

use store_core::{
    Checkpoint, Fatal, LeaderMessage, Member, Membership, Message, NodeId, Offset, Output, PushReply, Run,
    VoteMessage,
};

use super::disk::{Item, Payload};
use super::node::FOLDERS;

pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::Append(append) if append.runs.is_empty() => {
            format!("Probe {} at {} committed {}", append.epoch, append.previous, append.committed)
        }
        Message::Append(append) => format!(
            "Append {} after {} {} committed {}",
            append.epoch,
            append.previous,
            runs(&append.runs),
            append.committed
        ),
        Message::Leader(message) => of_leader(message),
        Message::Reply(reply) => of_replica(reply),
        Message::Vote(VoteMessage::Request(request)) => {
            let transferred = if request.transferred { " transferred" } else { "" };
            format!("{}VoteRequest {} last {}{transferred}", pre(request.pre), request.epoch, request.last)
        }
        Message::Vote(VoteMessage::Reply(reply)) => {
            let answer = if reply.granted { "yes" } else { "no" };
            let lost = if reply.maybe_lost_tail { " possibly lost tail" } else { "" };
            format!("{}VoteReply {} {answer} last {}{lost}", pre(reply.pre), reply.epoch, reply.last)
        }
    }
}

fn of_leader(message: &LeaderMessage) -> String {
    match message {
        LeaderMessage::CommitOrder { epoch, up_to } => format!("CommitOrder {epoch} up to {up_to}"),
        LeaderMessage::Heartbeat { epoch, round, committed, compare } => {
            let compare = if *compare > Offset::ZERO { format!(" compare {compare}") } else { String::new() };
            format!("Heartbeat {epoch} round {} committed {committed}{compare}", round.0)
        }
        LeaderMessage::Quarantine { epoch, at } => format!("Quarantine {epoch} {}", checkpoint(*at)),
        LeaderMessage::InstallSnapshot { epoch, at } => format!("InstallSnapshot {epoch} at {at}"),
        LeaderMessage::TransferLeadership { epoch } => format!("TransferLeadership {epoch}"),
    }
}

fn of_replica(reply: &PushReply) -> String {
    match reply {
        PushReply::Ack { epoch, durable_up_to, round, checkpoint: found, quarantined, unfit } => {
            let found = found.map_or(String::new(), |found| format!(" checkpoint {}", checkpoint(found)));
            let quarantined = if *quarantined { " quarantined" } else { "" };
            let unfit = if *unfit { " unfit" } else { "" };
            format!("Ack {epoch} durable {durable_up_to} round {}{found}{quarantined}{unfit}", round.0)
        }
        PushReply::AppendRejection(state) => {
            let conflict = state
                .conflict
                .map_or(String::new(), |(epoch, first)| format!(" conflict {epoch} from {first}"));
            let lost = if state.maybe_lost_tail { " possibly lost tail" } else { "" };
            format!(
                "AppendRejection {} last {} committed {}{conflict}{lost}",
                state.epoch, state.last, state.committed
            )
        }
        PushReply::StaleEpoch { epoch } => format!("StaleEpoch {epoch}"),
    }
}

/// `e2:8 hash 11`, and the version if it is not 1.
fn checkpoint(checkpoint: Checkpoint) -> String {
    let version =
        if checkpoint.version == 1 { String::new() } else { format!(" version {}", checkpoint.version) };
    format!("{} hash {}{version}", checkpoint.position, checkpoint.state_hash)
}

fn pre(pre: bool) -> &'static str {
    if pre { "Pre" } else { "" }
}

/// `e2:3 e4:4..6`
pub(crate) fn runs(runs: &[Run]) -> String {
    let run = |run: &Run| match run.first == run.last {
        true => format!("{}:{}", run.epoch, run.first),
        false => format!("{}:{}..{}", run.epoch, run.first, run.last),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(" ")
}

pub(crate) fn output(output: &Output) -> String {
    match output {
        Output::SaveBallot(ballot) => {
            format!("save ballot {} vote {}", ballot.epoch, node(ballot.voted_for))
        }
        Output::Truncate { from } => format!("truncate from {from}"),
        Output::Append { write, runs: entries } => format!("append w{} {}", write.0, runs(entries)),
        Output::AppendMembership { write, position, membership: members } => {
            format!("append w{} {position} {}", write.0, membership(members))
        }
        Output::AnswerUnknown => "answer unknown".into(),
        Output::ChangeRefused(refusal) => format!("change refused: {refusal}"),
        Output::Forget { peer } => format!("forget {peer}"),
        Output::Refused { count } => format!("refused {count}"),
        Output::Send { to, message: said } => format!("→ {to}: {}", message(&(*said).into())),
        Output::Push { to, epoch, previous, up_to, continues } => {
            let goes_on = if *continues { " continues" } else { "" };
            format!("push {to} {epoch} after {previous} up to {up_to}{goes_on}")
        }
        Output::Commit { up_to } => format!("commit {up_to}"),
        Output::ReadsReady { up_to, at } => format!("reads up to {} ready at {at}", up_to.0),
        Output::ReadsFailed { up_to } => format!("reads up to {} failed", up_to.0),
        Output::RoleChanged(view) => {
            format!("role {:?} {} leader {}", view.role, view.epoch, node(view.leader))
        }
        Output::FetchSnapshot { from, at } => format!("fetch snapshot of at least {at} from {from}"),
        Output::Install { position } => format!("install {position}"),
        Output::Quarantine { majority: None, damaged: true, .. } => {
            "quarantine: the table is damaged".to_owned()
        }
        Output::Quarantine { majority, own, .. } => {
            let told = |found: &Option<Checkpoint>| found.map_or("none".into(), checkpoint);
            format!("quarantine: majority {}, own {}", told(majority), told(own))
        }
        Output::Replace { position } => format!("replace the table by a snapshot of {position}"),
        Output::Divergence(divergence) => format!("doubt {divergence:?}"),
        Output::Trusted => "trusted".into(),
        Output::TransferFailed => "leadership transfer failed".into(),
        Output::EpochRefused { from, epoch } => format!("refuse epoch {} of {from}", epoch.0),
        Output::Fatal(Fatal::CommittedConflict { here, leader }) => {
            format!("FATAL committed {here}, leader has {leader}")
        }
        Output::Fatal(Fatal::TwoLeaders { epoch, known, other }) => {
            format!("FATAL two leaders in {epoch}: {known} and {other}")
        }
    }
}

fn node(node: Option<NodeId>) -> String {
    node.map_or("none".into(), |node| node.to_string())
}

/// `n3`, and for the second and third folder of that node `n3b`, `n3c`.
pub(crate) fn member(member: Member) -> String {
    let folder = u8::try_from(member.incarnation.0 / FOLDERS).expect("a small number of folders");
    let letter = if folder == 0 { String::new() } else { char::from(b'a' + folder).to_string() };
    format!("{}{letter}", member.node)
}

/// `voters n1 n2 n3 n4 outgoing n1 n2 n3 learners n5`
pub(crate) fn membership(members: &Membership) -> String {
    let parts =
        [("voters", &members.voters), ("outgoing", &members.outgoing), ("learners", &members.learners)];
    let part = |(name, of): &(&str, &Vec<Member>)| {
        let names: Vec<String> = of.iter().map(|m| member(*m)).collect();
        format!("{name} {}", names.join(" "))
    };
    parts.iter().filter(|(_, of)| !of.is_empty()).map(part).collect::<Vec<_>>().join(" ")
}

/// `1:members 2:- 2:apple`: epoch and payload of each entry.
pub(crate) fn items(items: &[Item]) -> String {
    let item = |item: &Item| {
        let payload: &str = match &item.payload {
            Payload::Empty => "-",
            Payload::Membership(_) => "members",
            Payload::Command(label) => label,
        };
        format!("{}:{payload}", item.position.epoch.0)
    };
    items.iter().map(item).collect::<Vec<_>>().join(" ")
}
