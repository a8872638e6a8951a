//! Entries of the log, told to people.

use bytes::Bytes;
use prost::Message as _;
use proto::keys::key_to_integer;
use proto::store::command::Kind;
use proto::store::guard::Condition;
use proto::store::operation::Action;
use proto::store::{
    Branch, Command, CrossId, Decide, DecidedBranch, Finishing, LogLine, Membership, Txn, TxnCommand,
    identity,
};
use store_core::{Entry, EntryKind};
use store_engine::convert;

/// Characters of a summary, about.
const SUMMARY_CHARS_MAX: usize = 240;
/// And of the data of one record in it.
const DATA_CHARS_MAX: usize = 40;

/// One entry as a line, as far as `committed` and `applied` are known.
#[must_use]
pub fn line(entry: &Entry<Bytes>, committed: u64, applied: u64) -> LogLine {
    let (kind, summary) = match entry.kind {
        EntryKind::Empty => ("empty", "a new leader's first entry".to_owned()),
        EntryKind::Membership => ("membership", membership(&entry.payload)),
        EntryKind::Command => command(&entry.payload),
    };
    let request = match entry.kind {
        EntryKind::Command => request(&entry.payload),
        EntryKind::Empty | EntryKind::Membership => Bytes::new(),
    };
    let offset = entry.position.offset.0;
    LogLine {
        position: Some(convert::position_out(entry.position)),
        log_time_ms: entry.log_time_ms,
        kind: kind.to_owned(),
        bytes: entry.payload.len() as u64,
        summary: shorten(summary),
        committed: offset <= committed,
        applied: offset <= applied,
        request,
    }
}

/// Whose request a command is: the same for its retries, whatever else they say. Empty: it has no identity.
fn request(payload: &Bytes) -> Bytes {
    let Some(Kind::Txn(TxnCommand { identity: Some(whose), .. })) =
        Command::decode(payload.clone()).ok().and_then(|command| command.kind)
    else {
        return Bytes::new();
    };
    let (kind, id, number) = match &whose.id {
        Some(identity::Id::Session(session)) => (b's', &session.session, session.sequence),
        Some(identity::Id::User(user)) => (b'u', &user.id, 0),
        None => return Bytes::new(),
    };
    // Another attempt may run; another digest is another request.
    let attempt = whose.attempt.to_be_bytes();
    [&[kind][..], &number.to_be_bytes(), &attempt, &whose.digest, b"/", id].concat().into()
}

fn membership(payload: &Bytes) -> String {
    match Membership::decode(payload.clone()) {
        Ok(Membership { voters, outgoing, learners, .. }) => {
            // Two folders of one node are two members.
            let named = |members: &[proto::store::Member]| {
                let each = members
                    .iter()
                    .map(|one| format!("{} at {} ({:08x})", one.node, one.address, one.incarnation >> 32));
                each.collect::<Vec<_>>().join(", ")
            };
            let mut summary = match outgoing.is_empty() {
                true => format!("settled: voters {}", named(&voters)),
                false => format!("joint: voters {}, before {}", named(&voters), named(&outgoing)),
            };
            if !learners.is_empty() {
                summary.push_str(&format!("; learners {}", named(&learners)));
            }
            summary
        }
        Err(error) => format!("not readable: {error}"),
    }
}

fn command(payload: &Bytes) -> (&'static str, String) {
    let command = match Command::decode(payload.clone()) {
        Ok(command) => command,
        Err(error) => return ("command", format!("not readable: {error}")),
    };
    match command.kind {
        Some(Kind::Txn(txn)) => {
            let name = txn.identity.as_ref().map(identity_name).unwrap_or_default();
            let own = transaction(&txn.txn.unwrap_or_default());
            match txn.decide {
                None => ("txn", format!("{own}{name}")),
                Some(decide) => ("decide", format!("{}{own}{name}", decision(&decide))),
            }
        }
        Some(Kind::Outcome(outcome)) => {
            let name = outcome.identity.as_ref().map(identity_name).unwrap_or_default();
            ("outcome", format!("of {}{name}", outcome.tag.escape_ascii()))
        }
        Some(Kind::PublishMark(mark)) => {
            ("publish-mark", format!("changes up to {} are published", mark.offset))
        }
        Some(Kind::Audit(audit)) => ("audit", audited(&audit.prefixes)),
        Some(Kind::Prepare(prepare)) => {
            let branch = |branch: &Branch| {
                format!(
                    "{}: {}",
                    cross(branch.id),
                    transaction(branch.txn.as_ref().unwrap_or(&Txn::default()))
                )
            };
            ("prepare", prepare.branches.iter().map(branch).collect::<Vec<_>>().join("; "))
        }
        Some(Kind::Finish(finish)) => {
            let end = |end: &Finishing| {
                let how = if end.commit { "commit" } else { "abort" };
                format!("{how} {} prepared at {}", cross(end.id), end.offset)
            };
            ("finish", finish.finishes.iter().map(end).collect::<Vec<_>>().join("; "))
        }
        Some(Kind::Forget(forget)) => {
            ("forget", forget.ids.iter().map(|id| cross(Some(*id))).collect::<Vec<_>>().join("; "))
        }
        Some(Kind::Freeze(freeze)) => ("freeze", cut_name(&freeze.id)),
        Some(Kind::Cut(cut)) => ("cut", format!("{}, frozen at {}", cut_name(&cut.id), cut.frozen_at)),
        Some(Kind::Thaw(thaw)) => ("thaw", cut_name(&thaw.id)),
        Some(Kind::RaiseVersion(raise)) => ("raise-version", format!("state machine {}", raise.version)),
        None => ("command", "of a newer release".to_owned()),
    }
}

/// The beginning of the id of a cut.
fn cut_name(id: &[u8]) -> String {
    let hex: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("cut {hex}")
}

/// The name of a transaction over several groups.
fn cross(id: Option<CrossId>) -> String {
    let id = id.unwrap_or_default();
    format!("g{}:e{}:{}", id.group, id.epoch, id.number)
}

fn decision(decide: &Decide) -> String {
    let name = cross(decide.id);
    if decide.refusal.is_some() {
        return format!("{name} refused ");
    }
    let branch = |branch: &DecidedBranch| format!("g{} prepared at {}", branch.group, branch.offset);
    let branches = decide.branches.iter().map(branch).collect::<Vec<_>>().join(", ");
    format!("{name} with {branches}: ")
}

fn audited(prefixes: &[Bytes]) -> String {
    let shown = prefixes.iter().map(|prefix| format!("{:?}", prefix.escape_ascii().to_string()));
    format!("records of the prefixes {}", shown.collect::<Vec<_>>().join(", "))
}

/// A key as it was typed: an integer as its digits.
fn key(key: &[u8]) -> String {
    key_to_integer(key).unwrap_or_else(|_| key.escape_ascii().to_string())
}

/// Data as it was typed, if it is text: the beginning of it.
fn data(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok("") | Err(_) => String::new(),
        Ok(text) if text.chars().count() > DATA_CHARS_MAX => {
            format!(" {}…", text.chars().take(DATA_CHARS_MAX).collect::<String>())
        }
        Ok(text) => format!(" {text}"),
    }
}

fn transaction(txn: &Txn) -> String {
    let guards = txn
        .guards
        .iter()
        .map(|guard| format!("if {} {}", key(&guard.key), condition(guard.condition.as_ref())));
    let operations = txn.operations.iter().map(|operation| {
        let verb = match &operation.action {
            Some(Action::Put(_)) => "put",
            Some(Action::Delete(_)) => "delete",
            Some(Action::Get(_)) => "get",
            Some(Action::Set(_)) => "set",
            Some(Action::Append(_)) => "append",
            Some(Action::Add(_)) => "add",
            None => "?",
        };
        let what = match &operation.action {
            Some(Action::Add(add)) => format!(" {:+}", add.amount),
            Some(Action::Put(put)) => data(&put.data),
            _ => String::new(),
        };
        format!("{verb} {}{what}", key(&operation.key))
    });
    guards.chain(operations).collect::<Vec<_>>().join("; ")
}

fn condition(condition: Option<&Condition>) -> String {
    match condition {
        Some(Condition::Exists(_)) => "exists".to_owned(),
        Some(Condition::Absent(_)) => "is absent".to_owned(),
        Some(Condition::Version(version)) => format!("has version {version}"),
        Some(Condition::Offset(offset)) => format!("is of offset {offset}"),
        Some(Condition::Json(json)) => format!("has {} ={}", json.pointer, data(&json.value)),
        Some(Condition::NotBeforeMs(ms)) => format!("is not before log time {ms}"),
        None => "?".to_owned(),
    }
}

fn identity_name(whose: &proto::store::Identity) -> String {
    match &whose.id {
        Some(identity::Id::Session(session)) => format!(" (session, {})", session.sequence),
        Some(identity::Id::User(user)) => {
            format!(" (request {}, attempt {})", user.id.escape_ascii(), whose.attempt)
        }
        None => String::new(),
    }
}

fn shorten(text: String) -> String {
    if text.chars().count() <= SUMMARY_CHARS_MAX {
        return text;
    }
    text.chars().take(SUMMARY_CHARS_MAX).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::Position;

    #[test]
    fn a_transaction_is_told_by_its_keys() {
        let txn = Txn::new()
            .guard_exists("c/{1}")
            .guard_json("c/{1}", "/state", "\"open\"")
            .add("s/{x}", 1, "/available", -2, Some(0))
            .put("o/{1}/9", 1, "{}")
            .put(proto::keys::integer_to_key("17").expect("an integer"), 1, "two kilos");
        let kind = Some(Kind::Txn(TxnCommand { txn: Some(txn), identity: None, decide: None }));
        let payload = Command { kind }.encode_to_vec().into();
        let entry =
            Entry { position: Position::new(2, 7), log_time_ms: 5, kind: EntryKind::Command, payload };
        let summary = line(&entry, 6, 6);
        assert_eq!((summary.kind.as_str(), summary.committed), ("txn", false));
        assert_eq!(
            summary.summary,
            "if c/{1} exists; if c/{1} has /state = \"open\"; add s/{x} -2; put o/{1}/9 {}; put 17 two kilos"
        );
    }

    #[test]
    fn consecutive_memberships_are_told_apart() {
        let member = |node: u64, incarnation: u64| proto::store::Member {
            node,
            incarnation,
            address: format!("h:{node}"),
            joined: false,
        };
        let summary = |voters: &[u64], outgoing: &[u64], learners: &[u64]| {
            let of = |nodes: &[u64]| nodes.iter().map(|node| member(*node, *node << 32)).collect();
            let members = Membership {
                voters: of(voters),
                outgoing: of(outgoing),
                learners: of(learners),
                owned: None,
            };
            let payload = members.encode_to_vec().into();
            let position = Position::new(1, 1);
            let entry = Entry { position, log_time_ms: 0, kind: EntryKind::Membership, payload };
            line(&entry, 1, 1).summary
        };
        let one = "1 at h:1 (00000001)";
        assert_eq!(summary(&[1], &[], &[]), format!("settled: voters {one}"));
        let two = "2 at h:2 (00000002)";
        assert_eq!(summary(&[1], &[], &[2]), format!("settled: voters {one}; learners {two}"));
        assert_eq!(summary(&[1, 2], &[1], &[]), format!("joint: voters {one}, {two}, before {one}"));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_long_lines_are_cut() {
        let entry = |payload: Bytes| Entry {
            position: Position::new(1, 1),
            log_time_ms: 0,
            kind: EntryKind::Command,
            payload,
        };
        assert!(line(&entry(Bytes::from_static(b"\xff\xff")), 9, 9).summary.contains("not readable"));
        let txn = (0..200).fold(Txn::new(), |txn, i| txn.delete(format!("key-{i}")));
        let kind = Some(Kind::Txn(TxnCommand { txn: Some(txn), identity: None, decide: None }));
        let summary = line(&entry(Command { kind }.encode_to_vec().into()), 9, 9);
        assert_eq!(summary.summary.chars().count(), SUMMARY_CHARS_MAX + 1);
    }
}
