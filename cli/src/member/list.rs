//! `feira member list`: the members of the group, and nodes of the configuration outside of it.

use proto::store::{MemberPart, VoterStatus};
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

/// Shows the members.
///
/// # Errors
/// No member answers.
pub async fn list(loaded: &Loaded) -> Result<Answer, Failure> {
    let view = Group::of(loaded).look().await?;
    let non_member = non_member(&loaded.config, &view).await;
    Ok(answer(&view, non_member))
}

/// What is shown of the members, and below them of the others: what programs and what people get of each.
pub(crate) fn answer(view: &GroupView, (non_member, others): (Vec<Value>, Vec<String>)) -> Answer {
    let mut table = Table::new(&COLUMNS);
    let mut members: Vec<Value> = Vec::new();
    for (member, part) in view.members() {
        let seen = seen_by_leader(view, member.node);
        let durable = seen.and_then(|seen| seen.durable).map(|at| at.offset);
        let behind = durable.map(|at| view.status.last.unwrap_or_default().offset.saturating_sub(at));
        let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        table.row([
            member.node.to_string(),
            member.address.clone(),
            format!("{:016x}", member.incarnation),
            word(part).to_owned(),
            cell(durable.map(|at| at.to_string())),
            cell(behind.map(|offsets| offsets.to_string())),
            cell(seen.map(|seen| format!("{} ms", seen.silent_ms))),
        ]);
        members.push(json!({
            "node": member.node, "incarnation": format!("{:016x}", member.incarnation), "address": member.address,
            "part": word(part), "durable": durable, "behind": behind, "silent_ms": seen.map(|seen| seen.silent_ms),
            "leads": view.is_leaders() && view.status.node == member.node,
        }));
    }
    let notes = view.waits().into_iter().chain(others).collect();
    let head = match view.is_leaders() {
        true => format!("node {} leads epoch {}", view.status.node, view.status.epoch),
        false => format!("no node leads; this is what node {} knows", view.status.node),
    };
    let leader = view.is_leaders().then_some(view.status.node);
    let document = json!({
        "leader": leader, "epoch": view.status.epoch, "members": members, "non_members": non_member,
        "change_waits_for": view.waits_for,
    });
    Answer { notes, ..Answer::table(head, document, table) }
}

/// Where the leader sees a node. Of two folders of one node it speaks to the new one.
fn seen_by_leader(view: &GroupView, node: u64) -> Option<&VoterStatus> {
    view.status.voters.iter().filter(|_| view.is_leaders()).find(|seen| seen.node == node)
}

/// Nodes of the configuration that are in no part of the group.
async fn non_member(config: &Config, view: &GroupView) -> (Vec<Value>, Vec<String>) {
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    for node in &config.store.nodes {
        if !view.folders_of(node.id).is_empty() {
            continue;
        }
        let runs = nodes::status(node).await.is_ok();
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
