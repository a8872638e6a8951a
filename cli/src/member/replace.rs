//! `feira member replace`: a node whose folder is lost, or cannot be used any more, comes back with an empty one; or another
//! node, a learner, takes its place. Of a node of several shards, each replica that is lost comes back, or the one that is named.
//!
//! ```text
//!   what is in the folder ─► aside      the old folder's vote is never used again
//!   an empty folder ─► the node starts ─► learner ─► has caught up ─► takes the voter's place
//! ```
//!
//! The node is started once, when all of its folders are there again; then each shard takes its new replica in, one after the other.
//! A replica whose folder holds what its group knows is not lost: it is replaced only where its shard is named.
//!
//! Cut off anywhere, the same command goes on: the folder of the learner that is in the group is kept, and so is a fresh one with which
//! the node runs already and that no group has taken in yet.

use std::path::PathBuf;

use proto::store::change_members_request::Change;
use proto::store::{
    ChangeMembersResponse, FailureReason, Member, MemberName, MemberPart, Replacement, Role, StatusResponse,
};
use serde_json::{Value, json};

use super::change::{Patience, change, done_at, name, settled, settled_groups};
use super::each::{Each, check_leave, option, shards_of};
use super::group::{Group, GroupView};
use super::place::{self, Held, note};
use crate::config::load::Loaded;
use crate::config::shape::{Node, Replica};
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::out::Out;

/// A replica that may be lost, and its seat in its group.
struct Seat {
    shard: u64,
    group: Group,
    /// The voter to be replaced.
    voter: Option<Member>,
    /// The learner that an earlier command let in; of a lost learner, only that.
    learner: Option<Member>,
    held: Held,
    /// The folder was made by an earlier command, and the node runs with it: no group has ever had that replica.
    is_fresh: bool,
}

/// A folder that never had a vote.
struct Fresh {
    incarnation: u64,
    /// Where what was there before is now.
    moved: Option<PathBuf>,
    /// An earlier command made it.
    is_kept: bool,
}

/// What was done in one shard.
struct Replaced {
    shard: u64,
    part: &'static str,
    done: ChangeMembersResponse,
    moved: Option<PathBuf>,
}

/// Gives a node empty folders in the place of those that it lost, or of that of the shard that is named.
///
/// # Errors
/// It is no member, its old process runs, or a change is refused or not done in time.
pub async fn by_empty_folder(
    loaded: &Loaded,
    id: u64,
    asked: Option<u64>,
    patience: &mut Patience<'_>,
) -> Result<Answer, Failure> {
    let shards = shards_of(loaded, asked, id)?;
    let node = nodes::node_of(&loaded.config, id)?;
    let mut seats = Vec::new();
    for shard in &shards {
        seats.push(seat(loaded, Replica { node, shard: *shard }, patience).await?);
    }
    if serves_already(node, &seats).await {
        return Ok(nothing_replaced(loaded, id, &shards));
    }
    if seats.len() > 1 {
        seats.retain(Seat::is_lost);
    }
    if seats.is_empty() {
        let message = format!("no replica of node {id} is lost: each folder holds what its group knows");
        return Err(Failure::refused(message).next(format!(
            "start it: {}; of a replica that cannot be used it says so, and names the command",
            loaded.command(&format!("node start {id}"))
        )));
    }
    let lost: Vec<u64> = seats.iter().map(|seat| seat.shard).collect();
    if let Some(other) = place::lost_besides(loaded, node, &lost) {
        return Err(Failure::refused(format!(
            "node {id} has lost its replica of shard {other} too, and runs with all or none"
        ))
        .next(format!("bring all of them back: {}", loaded.command(&format!("member replace {id}")))));
    }
    place::require_here(node)?;
    let fresh = fresh_folders(loaded, node, &seats, patience.out).await?;
    let mut replaced = Vec::new();
    for (seat, fresh) in seats.into_iter().zip(fresh) {
        replaced.push(take_in(loaded, node, seat, fresh, patience).await?);
    }
    Ok(answer(id, &replaced))
}

/// What a node's replica is in its group, and what its folder holds.
async fn seat(loaded: &Loaded, replica: Replica<'_>, patience: &mut Patience<'_>) -> Result<Seat, Failure> {
    let mut group = Group::of(&loaded.of_shard(replica.shard));
    let view = settled(&mut group, patience).await?;
    let (voter, learner) = seats(&view, replica)?;
    let held = place::held(loaded, replica)?;
    let is_fresh = match (&held, nodes::status(replica).await) {
        (Held::Replica(incarnation), Ok(status)) => is_fresh(&status, *incarnation),
        _ => false,
    };
    Ok(Seat { shard: replica.shard, group, voter, learner, held, is_fresh })
}

/// Whether a running replica is that of this folder and was never in a group: it is in none, and knows no log.
fn is_fresh(status: &StatusResponse, incarnation: u64) -> bool {
    let knows_none = status.log_id == 0 && status.last.unwrap_or_default().offset == 0;
    status.role() == Role::NonMember && status.incarnation == incarnation && knows_none
}

impl Seat {
    /// Whether the folder does not hold the replica that has the seat.
    fn is_lost(&self) -> bool {
        let known = self.voter.as_ref().or(self.learner.as_ref()).map(|member| member.incarnation);
        !matches!(self.held, Held::Replica(incarnation) if Some(incarnation) == known)
    }
}

/// Makes the folders and starts the node with them: those that an earlier command made are kept if they can be used.
async fn fresh_folders(
    loaded: &Loaded,
    node: &Node,
    seats: &[Seat],
    out: &Out,
) -> Result<Vec<Fresh>, Failure> {
    let all = seats.iter().map(|seat| fresh_folder(loaded, node, seat, out));
    let mut all: Vec<Fresh> = all.collect::<Result<_, _>>()?;
    let Err(failure) = place::start(loaded, node, out).await else { return Ok(all) };
    if all.iter().all(|fresh| !fresh.is_kept) {
        return Err(failure);
    }
    out.insist(&format!("the folder that was made before cannot be used either: {failure}"));
    for (fresh, seat) in all.iter_mut().zip(seats).filter(|(fresh, _)| fresh.is_kept) {
        *fresh = empty_folder(loaded, Replica { node, shard: seat.shard }, true, out)?;
    }
    place::start(loaded, node, out).await?;
    Ok(all)
}

/// A folder that never had a vote: that of the learner, or one that an earlier command made; else an empty one.
fn fresh_folder(loaded: &Loaded, node: &Node, seat: &Seat, out: &Out) -> Result<Fresh, Failure> {
    let learns = |incarnation: u64| seat.learner.as_ref().is_some_and(|one| one.incarnation == incarnation);
    if let Held::Replica(incarnation) = &seat.held
        && (seat.is_fresh || learns(*incarnation))
    {
        return Ok(Fresh { incarnation: *incarnation, moved: None, is_kept: true });
    }
    empty_folder(loaded, Replica { node, shard: seat.shard }, seat.held != Held::Nothing, out)
}

fn empty_folder(
    loaded: &Loaded,
    replica: Replica<'_>,
    holds_something: bool,
    out: &Out,
) -> Result<Fresh, Failure> {
    let mut moved = None;
    if holds_something {
        let to = place::set_aside(loaded, replica)?;
        let of =
            if replica.node.is_shared() { format!(" for shard {}", replica.shard) } else { String::new() };
        out.say(&format!("the folder of node {}{of} was moved to {}", replica.node.id, to.display()));
        moved = Some(to);
    }
    Ok(Fresh { incarnation: place::make_folder(loaded, replica)?, moved, is_kept: false })
}

/// Has a group take the new replica in, in the place of the one that was lost.
async fn take_in(
    loaded: &Loaded,
    node: &Node,
    mut seat: Seat,
    fresh: Fresh,
    patience: &mut Patience<'_>,
) -> Result<Replaced, Failure> {
    let (id, group) = (node.id, &mut seat.group);
    if let Some(lost) = seat.learner.filter(|learner| learner.incarnation != fresh.incarnation) {
        change(group, &Change::Remove(name(&lost)), patience).await?;
    }
    let address = node.reached_at().to_owned();
    let member = Member { node: id, incarnation: fresh.incarnation, address, joined: false };
    let added = add_when_silent(group, member.clone(), patience).await?;
    note(loaded, seat.shard, &member, seat.voter.is_some())?;
    let new = MemberName { node: id, incarnation: fresh.incarnation };
    let (done, part) = match seat.voter {
        Some(voter) => {
            let change_to = Change::Replace(Replacement { old: Some(name(&voter)), new: Some(new) });
            (change(group, &change_to, patience).await?, "voter")
        }
        None => (added, "learner"),
    };
    if node.is_shared() {
        patience.out.say(&format!("shard {}: node-{id} is a {part} again{}", seat.shard, done_at(&done)));
    }
    Ok(Replaced { shard: seat.shard, part, done, moved: fresh.moved })
}

fn answer(id: u64, replaced: &[Replaced]) -> Answer {
    let aside = |one: &Replaced| one.moved.as_ref().map(|moved| moved.display().to_string());
    let of = |one: &Replaced| json!({ "changed": true, "offset": one.done.offset, "part": one.part, "aside": aside(one) });
    let (head, mut document) = match replaced {
        [one] => {
            let at = done_at(&one.done);
            (format!("node-{id} is a {} again, with a new folder{at}", one.part), of(one))
        }
        several => {
            let shards: Vec<String> = several.iter().map(|one| one.shard.to_string()).collect();
            let each = several.iter().map(|one| {
                let mut document = of(one);
                document["shard"] = one.shard.into();
                document
            });
            let head = format!("node-{id} is back in the shards {}, with new folders", shards.join(", "));
            (head, json!({ "changed": true, "shards": each.collect::<Vec<Value>>() }))
        }
    };
    document["change"] = "replace".into();
    document["node"] = id.into();
    let mut answer = Answer::line(head, document);
    for one in replaced {
        if replaced.len() > 1 {
            let at = done_at(&one.done);
            answer.notes.push(format!("shard {}: a {} again, with a new folder{at}", one.shard, one.part));
        }
        answer.notes.extend(aside(one).map(|moved| {
            format!(
                "what was in its folder is in {moved}; the group needs nothing of it: delete it when you like"
            )
        }));
    }
    answer
}

/// Lets a learner take a voter's place.
///
/// # Errors
/// The one is no voter, the other no learner, or a change is refused or not done in time.
pub async fn by_another(
    loaded: &Loaded,
    id: u64,
    by: u64,
    shards: &[u64],
    patience: &mut Patience<'_>,
) -> Result<Answer, Failure> {
    let mut groups = Vec::new();
    for (shard, group, view) in settled_groups(loaded, shards, patience).await? {
        let part_of = |node: u64, wanted: MemberPart| {
            view.folders_of(node).into_iter().find(|(_, part)| *part == wanted).map(|(member, _)| member)
        };
        let of =
            if loaded.config.store.shard_count() > 1 { format!(" of shard {shard}") } else { String::new() };
        if let Some(done) = part_of(by, MemberPart::Voter).filter(|_| view.folders_of(id).is_empty()) {
            // An earlier command may have come so far.
            groups.push((shard, group, None, done));
            continue;
        }
        let new = part_of(by, MemberPart::MemberLearner).ok_or_else(|| {
            Failure::refused(format!("node {by} is no learner of the group{of}")).next(format!(
                "let it in first: {}",
                loaded.command(&format!("member add {by}{}", option(loaded, shard, by)))
            ))
        })?;
        let old = part_of(id, MemberPart::Voter)
            .ok_or_else(|| Failure::refused(format!("node {id} is no voter of the group{of}")))?;
        groups.push((shard, group, Some(old), new));
    }
    if groups.iter().all(|(_, _, old, _)| old.is_none()) {
        return Err(Failure::refused(format!(
            "node {id} has no vote, and node {by} has one already: nothing was replaced"
        ))
        .next(format!("see {}", loaded.command("member list"))));
    }
    check_leave(loaded, id, shards)?;
    let mut each = Each::default();
    for (shard, group, old, new) in &mut groups {
        let done = match old {
            None => ChangeMembersResponse::default(),
            Some(old) => {
                let wanted = Change::Replace(Replacement { old: Some(name(old)), new: Some(name(new)) });
                change(group, &wanted, patience).await?
            }
        };
        each.add(*shard, done);
        note(loaded, *shard, new, true)?;
        crate::up::founded::forget(&loaded.folder(), id, *shard)?;
    }
    place::forget_replicas(loaded, id, shards, patience.out).await?;
    let of = if shards.len() > 1 { format!(" in {}", each.groups()) } else { String::new() };
    let head = format!("node-{by} is a voter in the place of node-{id}{of}{}", each.done_at());
    let document = each.told(json!({ "change": "replace", "node": id, "by": by, "part": "voter" }));
    Ok(Answer { notes: each.notes(), ..Answer::line(head, document) })
}

/// The voter to be replaced, and the learner that an earlier command let in; of a lost learner, only that.
fn seats(view: &GroupView, replica: Replica<'_>) -> Result<(Option<Member>, Option<Member>), Failure> {
    let (id, of) = (replica.node.id, replica.option());
    let folders = view.folders_of(id);
    let with =
        |wanted: MemberPart| folders.iter().find(|(_, part)| *part == wanted).map(|(one, _)| one.clone());
    match (with(MemberPart::Voter), with(MemberPart::MemberLearner)) {
        (None, None) => {
            Err(Failure::refused(format!("node {id} is not in the group: there is nothing to replace"))
                .next(format!("feira member add {id}{of} lets it in")))
        }
        seats => Ok(seats),
    }
}

/// A node that serves with the folders that the groups know needs no others.
async fn serves_already(node: &Node, seats: &[Seat]) -> bool {
    for seat in seats {
        let status = nodes::status(Replica { node, shard: seat.shard }).await;
        let serves = seat.voter.as_ref().map(|voter| voter.incarnation);
        if serves.is_none() || status.ok().map(|status| status.incarnation) != serves {
            return false;
        }
    }
    true
}

fn nothing_replaced(loaded: &Loaded, id: u64, shards: &[u64]) -> Answer {
    let head = match shards {
        [_] => format!("node-{id} serves with the folder that the group knows: nothing was replaced"),
        _ => format!("node-{id} serves with the folders that its groups know: nothing was replaced"),
    };
    let document = json!({ "change": "replace", "node": id, "changed": false, "offset": 0, "part": "voter" });
    let stop = loaded.command(&format!("node stop {id}"));
    let note = match shards {
        [_] => format!("to give it an empty folder all the same, stop it first: {stop}"),
        _ => format!("to give it an empty folder all the same, stop it first ({stop}), and name the shard"),
    };
    Answer { notes: vec![note], ..Answer::line(head, document) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Position;

    #[test]
    fn only_a_replica_that_never_was_in_a_group_is_kept_without_a_seat() {
        let outside = StatusResponse { role: Role::NonMember.into(), incarnation: 7, ..Default::default() };
        assert!(is_fresh(&outside, 7));
        assert!(!is_fresh(&outside, 8), "another folder runs");
        assert!(!is_fresh(&StatusResponse { role: Role::Follower.into(), ..outside.clone() }, 7));
        assert!(!is_fresh(&StatusResponse { log_id: 3, ..outside.clone() }, 7), "it was removed");
        let last = Some(Position { epoch: 1, offset: 4 });
        assert!(!is_fresh(&StatusResponse { last, ..outside }, 7), "it holds entries");
    }
}
