//! One event as a line for people and as a document for programs.

use proto::store::{TraceDirection, TraceEvent, TraceKind};
use serde_json::{Value, json};

use super::merge::Place;
use crate::kv::view::position;

const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

/// An event as a line: when, of a ring in which shard, which node (and to or from whom), what.
#[must_use]
pub fn line(at: Place, is_ring: bool, event: &TraceEvent) -> String {
    let node = at.node;
    let shard = if is_ring { format!("s{:<2} ", at.shard) } else { String::new() };
    let way = match event.direction() {
        TraceDirection::Sent => format!("{node} → {}", event.peer),
        TraceDirection::Taken => format!("{node} ← {}", event.peer),
        TraceDirection::Own | TraceDirection::Unspecified => node.to_string(),
    };
    format!("{}  {shard}{way:<7} {}", time(event.wall_us), what(event))
}

/// The time of day, UTC, by the node's clock.
fn time(wall_us: u64) -> String {
    let us = wall_us % DAY_US;
    let (s, us) = (us / 1_000_000, us % 1_000_000);
    format!("{:02}:{:02}:{:02}.{us:06}", s / 3_600, s / 60 % 60, s % 60)
}

fn what(event: &TraceEvent) -> String {
    let (up_to, epoch, detail) = (position(event.up_to), event.epoch, &event.detail);
    let with_detail = |text: String| match detail.as_str() {
        "" => text,
        detail => format!("{text}; {detail}"),
    };
    match event.kind() {
        TraceKind::Push => push(event),
        TraceKind::CommitOrder => format!("commit order up to {up_to}"),
        TraceKind::Heartbeat => {
            with_detail(format!("heartbeat {} of epoch {epoch}, committed {}", event.round, event.committed))
        }
        TraceKind::QuarantineOrder => with_detail(format!("quarantine order at {up_to}")),
        TraceKind::InstallSnapshot => format!("offer of a snapshot of {up_to}"),
        TraceKind::TransferLeadership => {
            format!("transfer of leadership in epoch {epoch}: start an election")
        }
        TraceKind::Ack => with_detail(format!("ack: durable up to {up_to}")),
        TraceKind::AppendRejection => with_detail(format!("append rejected: log ends at {up_to}")),
        TraceKind::StaleEpoch => format!("stale epoch: it is epoch {epoch} now"),
        TraceKind::VoteRequest => with_detail(format!("vote request for epoch {epoch}, log up to {up_to}")),
        TraceKind::VoteReply => format!("vote reply for epoch {epoch}: {detail}"),
        TraceKind::Appends => format!("appends up to {up_to} ({detail})"),
        TraceKind::Commits => format!("commits, applies up to {up_to}"),
        TraceKind::Truncates => {
            format!("truncates its log from {} on", event.up_to.unwrap_or_default().offset)
        }
        TraceKind::RoleChanges => format!("{detail} in epoch {epoch}"),
        TraceKind::SnapshotTaken => format!("snapshot taken at {up_to}"),
        TraceKind::SnapshotInstalled => format!("snapshot installed: the log begins after {up_to}"),
        TraceKind::Quarantined => detail.clone(),
        TraceKind::Released => "state replaced: quarantine ended".to_owned(),
        TraceKind::StatesDiffer if detail.is_empty() => "states agree again".to_owned(),
        TraceKind::StatesDiffer => format!("states differ: {detail}"),
        TraceKind::Unspecified => format!("an event that a newer version knows ({})", event.kind),
    }
}

fn push(event: &TraceEvent) -> String {
    let (previous, up_to) = (event.previous.unwrap_or_default(), event.up_to.unwrap_or_default());
    let after = position(event.previous);
    let committed = event.committed;
    match up_to.offset - previous.offset.min(up_to.offset) {
        0 => format!("push: nothing after {after}, committed {committed}"),
        1 => format!("push: {} after {after}, committed {committed}", position(event.up_to)),
        _ => format!(
            "push: {} to {} after {after}, committed {committed}",
            previous.offset + 1,
            position(event.up_to)
        ),
    }
}

/// An event as a document.
#[must_use]
pub fn document(at: Place, event: &TraceEvent) -> Value {
    let place =
        |at: Option<proto::store::Position>| at.map(|at| json!({ "epoch": at.epoch, "offset": at.offset }));
    let direction = match event.direction() {
        TraceDirection::Sent => "sent",
        TraceDirection::Taken => "taken",
        TraceDirection::Own | TraceDirection::Unspecified => "own",
    };
    json!({
        "node": at.node, "shard": at.shard, "number": event.number, "wall_us": event.wall_us, "kind": kind(event.kind()),
        "direction": direction, "peer": (event.peer != 0).then_some(event.peer), "epoch": event.epoch,
        "previous": place(event.previous), "up_to": place(event.up_to), "round": event.round,
        "committed": event.committed, "detail": event.detail,
    })
}

/// The name of a kind in documents: as in the protocol's file, in small letters.
fn kind(kind: TraceKind) -> String {
    kind.as_str_name().trim_start_matches("TRACE_KIND_").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Position;

    #[test]
    fn a_message_reads_at_both_ends() {
        let event = TraceEvent {
            wall_us: (17 * 3_600 + 4 * 60 + 5) * 1_000_000 + 42,
            kind: TraceKind::Push.into(),
            direction: TraceDirection::Sent.into(),
            peer: 2,
            epoch: 3,
            previous: Some(Position { epoch: 3, offset: 40 }),
            up_to: Some(Position { epoch: 3, offset: 42 }),
            committed: 40,
            ..TraceEvent::default()
        };
        let at = |node| Place { node, shard: 3 };
        let said = "1 → 2   push: 41 to e3:42 after e3:40, committed 40";
        assert_eq!(line(at(1), false, &event), format!("17:04:05.000042  {said}"));
        assert_eq!(line(at(1), true, &event), format!("17:04:05.000042  s3  {said}"));
        let taken = TraceEvent { direction: TraceDirection::Taken.into(), peer: 1, ..event.clone() };
        let said = "17:04:05.000042  2 ← 1   push: 41 to e3:42 after e3:40, committed 40";
        assert_eq!(line(at(2), false, &taken), said);
        assert_eq!(document(at(1), &event)["kind"], "push");
        let leads =
            TraceEvent { kind: TraceKind::RoleChanges.into(), epoch: 4, detail: "leads".into(), ..event };
        assert!(
            line(at(1), false, &TraceEvent { direction: TraceDirection::Own.into(), ..leads })
                .ends_with("1       leads in epoch 4")
        );
    }
}
