//! `feira member list`: the members of the group, and nodes of the configuration outside of it.

use proto::store::{Member, MemberPart, VoterStatus};
use serde_json::{Value, json};

use super::group::{Group, GroupView};
use crate::config::load::Loaded;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};

/// Who they are and how far goes before where they are.
const COLUMNS: [Column; 7] = [
    Column::number("NODE"),
    Column::whole("ADDRESS").dropped(2),
    Column::whole("FOLDER").dropped(1),
    Column::whole("PART"),
    Column::number("HOLDS"),
    Column::number("BEHIND"),
    Column::number("SILENT"),
];

/// Before the others, where several shards are shown.
const SHARD: Column = Column::number("SHARD");

/// What is known of one shard's group: the members, and the nodes outside of it for programs and for people.
pub(crate) struct Listed {
    /// The shard.
    pub(crate) shard: u64,
    /// Its members.
    pub(crate) view: GroupView,
    /// Nodes of the configuration that are in no part of the group.
    pub(crate) others: (Vec<Value>, Vec<String>),
}

/// Shows the members of the one shard's group, or of each.
///
/// # Errors
/// No member answers.
pub async fn list(loaded: &Loaded, shard: Option<u64>) -> Result<Answer, Failure> {
    let shards = shard.map_or_else(|| loaded.config.store.shards(), |shard| vec![shard]);
    let mut all = Vec::new();
    for shard in shards {
        let of_shard = loaded.of_shard(shard);
        let view = Group::of(&of_shard).look().await?;
        let others = non_member(&of_shard.config, &view).await;
        all.push(Listed { shard, view, others });
    }
    Ok(match all.len() {
        1 => answer(all.remove(0)),
        _ => answer_of_ring(all),
    })
}

/// What is shown of the members of one group, and below them of the others.
pub(crate) fn answer(Listed { view, others: (non_members, others), .. }: Listed) -> Answer {
    let mut table = Table::new(&COLUMNS);
    let rows = view.members().map(|(member, part)| row(&view, member, part));
    rows.for_each(|row| table.row(row));
    let notes = view.waits().into_iter().chain(others).collect();
    Answer { notes, ..Answer::table(head(&view), document(&view, &non_members), table) }
}

/// The same of several shards.
pub(crate) fn answer_of_ring(all: Vec<Listed>) -> Answer {
    let columns: Vec<Column> = [SHARD].into_iter().chain(COLUMNS).collect();
    let mut table = Table::new(&columns);
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    let count = all.len();
    for Listed { shard, view, others: (non_members, others) } in all {
        for (member, part) in view.members() {
            table.row([shard.to_string()].into_iter().chain(row(&view, member, part)));
        }
        let told = [head(&view)].into_iter().chain(view.waits()).chain(others);
        notes.extend(told.map(|told| format!("shard {shard}: {told}")));
        let mut document = document(&view, &non_members);
        document["shard"] = shard.into();
        documents.push(document);
    }
    let head = format!("the members of the groups of {count} shards");
    Answer { notes, ..Answer::table(head, documents.into(), table) }
}

fn head(view: &GroupView) -> String {
    match view.is_leaders() {
        true => format!("node {} leads epoch {}", view.status.node, view.status.epoch),
        false => format!("no node leads; this is what node {} knows", view.status.node),
    }
}

/// How far a member is, as its leader sees it: the end of its log, how far that is behind, and for how long it is silent.
fn progress(view: &GroupView, node: u64) -> (Option<u64>, Option<u64>, Option<u64>) {
    let seen = seen_by_leader(view, node);
    let durable = seen.and_then(|seen| seen.durable).map(|at| at.offset);
    let behind = durable.map(|at| view.status.last.unwrap_or_default().offset.saturating_sub(at));
    (durable, behind, seen.map(|seen| seen.silent_ms))
}

fn row(view: &GroupView, member: &Member, part: MemberPart) -> [String; 7] {
    let (durable, behind, silent) = progress(view, member.node);
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        member.node.to_string(),
        member.address.clone(),
        format!("{:016x}", member.incarnation),
        word(part).to_owned(),
        cell(durable.map(|at| at.to_string())),
        cell(behind.map(|offsets| offsets.to_string())),
        cell(silent.map(|ms| format!("{ms} ms"))),
    ]
}

fn document(view: &GroupView, non_members: &[Value]) -> Value {
    let member = |(member, part): (&Member, MemberPart)| {
        let (durable, behind, silent) = progress(view, member.node);
        json!({
            "node": member.node, "incarnation": format!("{:016x}", member.incarnation), "address": member.address,
            "part": word(part), "durable": durable, "behind": behind, "silent_ms": silent,
            "leads": view.is_leaders() && view.status.node == member.node,
        })
    };
    let leader = view.is_leaders().then_some(view.status.node);
    json!({
        "leader": leader, "epoch": view.status.epoch, "members": view.members().map(member).collect::<Vec<Value>>(),
        "non_members": non_members, "change_waits_for": view.waits_for,
    })
}

/// Where the leader sees a node. Of two folders of one node it speaks to the new one.
fn seen_by_leader(view: &GroupView, node: u64) -> Option<&VoterStatus> {
    view.status.voters.iter().filter(|_| view.is_leaders()).find(|seen| seen.node == node)
}

/// Nodes of the configuration that are in no part of the group.
async fn non_member(config: &Config, view: &GroupView) -> (Vec<Value>, Vec<String>) {
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    for replica in config.store.replicas() {
        let node = replica.node;
        if !view.folders_of(node.id).is_empty() {
            continue;
        }
        let runs = nodes::status(replica).await.is_ok();
        let how = if runs { "runs" } else { "does not run" };
        let id = node.id;
        notes.push(format!(
            "node {id} {how} and is not in the group: feira member add {id} lets it in, feira member remove {id} \
             takes it out of the configuration"
        ));
        documents.push(json!({ "node": id, "address": node.reached_at(), "runs": runs }));
    }
    (documents, notes)
}

/// A part in one word.
#[must_use]
pub fn word(part: MemberPart) -> &'static str {
    match part {
        MemberPart::Voter => "voter",
        MemberPart::MemberLearner => "learner",
        MemberPart::Incoming => "incoming",
        MemberPart::Outgoing => "outgoing",
        MemberPart::Unspecified => "unknown",
    }
}
