//! `feira member list`: everybody who is in the group, and nodes of the configuration that are not.

use proto::store::{MemberPart, VoterStatus};
use serde_json::{Value, json};

use super::group::{Group, Picture};
use crate::config::load::Loaded;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::{Answer, Table};

/// Shows the members.
///
/// # Errors
/// No member answers.
pub async fn list(loaded: &Loaded) -> Result<Answer, Failure> {
    let picture = Group::of(loaded).look().await?;
    let columns = ["NODE", "ADDRESS", "FOLDER", "PART", "HOLDS", "BEHIND", "SILENT"];
    let mut table = Table::new(&columns, &[0, 4, 5, 6]);
    let mut members: Vec<Value> = Vec::new();
    for (member, part) in picture.members() {
        let seen = seen_by_leader(&picture, member.node);
        let durable = seen.and_then(|seen| seen.durable).map(|at| at.offset);
        let behind = durable.map(|at| picture.status.last.unwrap_or_default().offset.saturating_sub(at));
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
            "leads": picture.is_leaders() && picture.status.node == member.node,
        }));
    }
    let (outside, mut notes) = outside(&loaded.config, &picture).await;
    notes.splice(0..0, picture.waits());
    let head = match picture.is_leaders() {
        true => format!("node {} leads epoch {}", picture.status.node, picture.status.epoch),
        false => format!("no node leads; this is what node {} knows", picture.status.node),
    };
    let leader = picture.is_leaders().then_some(picture.status.node);
    let document = json!({
        "leader": leader, "epoch": picture.status.epoch, "members": members, "outside": outside,
        "change_waits_for": picture.waits_for,
    });
    Ok(Answer { notes, ..Answer::table(head, document, table) })
}

/// Where the leader sees a node. Of two folders of one node it speaks to the new one.
fn seen_by_leader(picture: &Picture, node: u64) -> Option<&VoterStatus> {
    picture.status.voters.iter().filter(|_| picture.is_leaders()).find(|seen| seen.node == node)
}

/// Nodes of the configuration that are in no part of the group.
async fn outside(config: &Config, picture: &Picture) -> (Vec<Value>, Vec<String>) {
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    for node in &config.store.nodes {
        if !picture.folders_of(node.id).is_empty() {
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
