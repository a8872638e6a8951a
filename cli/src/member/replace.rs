//! `feira member replace`: a node whose folder is lost, or cannot be used any more, comes back with an empty one; or another
//! node, a learner, takes its place.
//!
//! ```text
//!   what is in the folder ─► aside      the old folder's vote is never used again
//!   an empty folder ─► the node starts ─► learner ─► has caught up ─► takes the voter's place
//! ```
//!
//! Cut off anywhere, the same command goes on: the folder of the learner that is in the group is kept.

use std::path::PathBuf;

use proto::store::change_members_request::Change;
use proto::store::{ChangeMembersResponse, FailureReason, Member, MemberName, MemberPart, Replacement};
use serde_json::json;

use super::change::{Patience, change, done_at, name, settled};
use super::group::{Group, GroupView};
use super::place::{self, Held, note};
use crate::config::load::Loaded;
use crate::config::shape::Node;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::out::Out;

/// Gives a node an empty folder.
///
/// # Errors
/// It is no member, its old process runs, or the change is refused or not done in time.
pub async fn by_empty_folder(
    loaded: &Loaded,
    id: u64,
    patience: &mut Patience<'_>,
) -> Result<Answer, Failure> {
    let node = nodes::node_of(&loaded.config, id)?;
    let mut group = Group::of(loaded);
    let view = settled(&mut group, patience).await?;
    let (seat, learner) = seats(&view, id)?;
    if let Some(answer) = serves_already(loaded, node, seat.as_ref()).await {
        return Ok(answer);
    }
    place::require_here(node)?;
    let (fresh, moved) = fresh_folder(loaded, node, learner.as_ref(), patience.out).await?;
    if let Some(lost) = learner.filter(|learner| learner.incarnation != fresh) {
        change(&mut group, &Change::Remove(name(&lost)), patience).await?;
    }
    let address = node.reached_at().to_owned();
    let member = Member { node: id, incarnation: fresh, address: address.clone(), joined: false };
    let added = add_when_silent(&mut group, member, patience).await?;
    note(loaded, id, fresh, &address, seat.is_some())?;
    let new = MemberName { node: id, incarnation: fresh };
    let (done, part) = match seat {
        Some(seat) => {
            let change_to = Change::Replace(Replacement { old: Some(name(&seat)), new: Some(new) });
            (change(&mut group, &change_to, patience).await?, "voter")
        }
        None => (added, "learner"),
    };
    let head = format!("node-{id} is a {part} again, with a new folder{}", done_at(&done));
    let told = moved.as_ref().map(|moved| moved.display().to_string());
    let document = json!({
        "change": "replace", "node": id, "changed": true, "offset": done.offset, "part": part, "aside": told,
    });
    let mut answer = Answer::line(head, document);
    answer.notes.extend(told.map(|moved| {
        format!(
            "what was in its folder is in {moved}; the group needs nothing of it: delete it when you like"
        )
    }));
    Ok(answer)
}

/// Lets a learner take a voter's place.
///
/// # Errors
/// The one is no voter, the other no learner, or the change is refused or not done in time.
pub async fn by_another(
    loaded: &Loaded,
    id: u64,
    by: u64,
    patience: &mut Patience<'_>,
) -> Result<Answer, Failure> {
    let mut group = Group::of(loaded);
    let view = settled(&mut group, patience).await?;
    let part_of = |node: u64, wanted: MemberPart| {
        view.folders_of(node).into_iter().find(|(_, part)| *part == wanted).map(|(member, _)| member)
    };
    let new = part_of(by, MemberPart::MemberLearner).ok_or_else(|| {
        Failure::refused(format!("node {by} is no learner of the group"))
            .next(format!("let it in first: {}", loaded.command(&format!("member add {by}"))))
    })?;
    let old = part_of(id, MemberPart::Voter)
        .ok_or_else(|| Failure::refused(format!("node {id} is no voter of the group")))?;
    crate::config::nodes::check_without(&loaded.config, id)?;
    if nodes::node_of(&loaded.config, id).is_ok() {
        crate::config::nodes::check_remove(&loaded.path, id)?;
    }
    let wanted = Change::Replace(Replacement { old: Some(name(&old)), new: Some(name(&new)) });
    let done = change(&mut group, &wanted, patience).await?;
    note(loaded, by, new.incarnation, &new.address, true)?;
    crate::up::founded::forget(&loaded.folder(), id)?;
    place::forget(loaded, id, patience.out).await?;
    let head = format!("node-{by} is a voter in the place of node-{id}{}", done_at(&done));
    let document = json!({
        "change": "replace", "node": id, "by": by, "changed": done.changed, "offset": done.offset, "part": "voter",
    });
    Ok(Answer::line(head, document))
}

/// The voter to be replaced, and the learner that an earlier command let in; of a lost learner, only that.
fn seats(view: &GroupView, id: u64) -> Result<(Option<Member>, Option<Member>), Failure> {
    let folders = view.folders_of(id);
    let with =
        |wanted: MemberPart| folders.iter().find(|(_, part)| *part == wanted).map(|(one, _)| one.clone());
    match (with(MemberPart::Voter), with(MemberPart::MemberLearner)) {
        (None, None) => {
            Err(Failure::refused(format!("node {id} is not in the group: there is nothing to replace"))
                .next(format!("feira member add {id} lets it in")))
        }
        seats => Ok(seats),
    }
}

/// A node that serves with the folder that the group knows needs no other.
async fn serves_already(loaded: &Loaded, node: &Node, seat: Option<&Member>) -> Option<Answer> {
    let status = nodes::status(node).await.ok()?;
    if seat?.incarnation != status.incarnation {
        return None;
    }
    let id = node.id;
    let head = format!("node-{id} serves with the folder that the group knows: nothing was replaced");
    let document = json!({ "change": "replace", "node": id, "changed": false, "offset": 0, "part": "voter" });
    let stop = loaded.command(&format!("node stop {id}"));
    let note = format!("to give it an empty folder all the same, stop it first: {stop}");
    Some(Answer { notes: vec![note], ..Answer::line(head, document) })
}

/// A folder that never had a vote, with its node started: that of the learner if it can be used, else an empty one. Its
/// incarnation, and where what was there before is now.
async fn fresh_folder(
    loaded: &Loaded,
    node: &Node,
    learner: Option<&Member>,
    out: &Out,
) -> Result<(u64, Option<PathBuf>), Failure> {
    let held = place::held(loaded, node)?;
    if let (Held::Replica(incarnation), Some(learner)) = (&held, learner)
        && learner.incarnation == *incarnation
    {
        match place::start(loaded, node, out).await {
            Ok(_) => return Ok((*incarnation, None)),
            Err(failure) => out.insist(&format!("the learner's folder cannot be used either: {failure}")),
        }
    }
    let moved = match held {
        Held::Nothing => None,
        Held::Replica(_) | Held::Remains(_) => {
            let moved = place::set_aside(loaded, node)?;
            out.say(&format!("the folder of node {} was moved to {}", node.id, moved.display()));
            Some(moved)
        }
    };
    let incarnation = place::make_folder(loaded, node)?;
    place::start(loaded, node, out).await?;
    Ok((incarnation, moved))
}

fn wanted_node(wanted: &Change) -> u64 {
    if let Change::AddLearner(member) = wanted { member.node } else { 0 }
}

/// The leader takes a new folder of a node only when the lost one has been silent for a while.
async fn add_when_silent(
    group: &mut Group,
    member: Member,
    patience: &mut Patience<'_>,
) -> Result<ChangeMembersResponse, Failure> {
    let wanted = Change::AddLearner(member);
    loop {
        match change(group, &wanted, patience).await {
            Err(failure) if failure.reason == FailureReason::NodeTaken.as_str_name() => {
                let id = wanted_node(&wanted);
                let why = format!("the leader makes sure that the lost folder of node {id} is silent");
                if !patience.pause(&why).await {
                    return Err(failure);
                }
            }
            done => return done,
        }
    }
}
