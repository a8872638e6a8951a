//! `feira member`: the commands, and `promote` and `remove` themselves.

use std::time::Duration;

use proto::store::change_members_request::Change;
use proto::store::{ChangeMembersResponse, MemberPart};
use serde_json::json;
use store_server::group_folder;

use super::add::add;
use super::change::{Patience, change, name, settled_groups};
use super::each::{Each, check_leave, option, shards_of, shards_to_leave};
use super::group::GroupView;
use super::place::{self, note};
use super::{list, replace};
use crate::args::Member as MemberCommand;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::key::place::of_operator;
use crate::reach::nodes::{self, node_of};
use crate::show::answer::{Answer, counted};
use crate::show::out::Out;
use crate::up::founded;
use crate::up::supervisor::lock_named;

/// Runs a command, in one shard if that is named.
///
/// # Errors
/// Why it was not done.
pub async fn run(
    loaded: &Loaded,
    shard: Option<u64>,
    command: MemberCommand,
    out: &Out,
) -> Result<Answer, Failure> {
    if !matches!(command, MemberCommand::List) {
        // Before anything is changed here: the group would refuse this machine.
        of_operator(loaded)?;
    }
    let patience = |wait: u64| Patience::new(Duration::from_secs(wait), out);
    // Two at once could both write the configuration.
    let locked = || lock_named(loaded, "member.lock", "another feira member command is under way here");
    match command {
        MemberCommand::List => list::list(loaded, shard).await,
        MemberCommand::Add(command) => {
            let _lock = locked()?;
            add(loaded, &command, shard, &mut patience(command.wait.wait)).await
        }
        MemberCommand::Promote { node, wait } => {
            let _lock = locked()?;
            promote(loaded, node, &shards_of(loaded, shard, node)?, &mut patience(wait.wait)).await
        }
        MemberCommand::Remove { node, wait } => {
            let _lock = locked()?;
            remove(loaded, node, &shards_to_leave(loaded, shard, node)?, &mut patience(wait.wait)).await
        }
        MemberCommand::Replace { node, by: None, wait } => {
            let _lock = locked()?;
            replace::by_empty_folder(loaded, node, shard, &mut patience(wait.wait)).await
        }
        MemberCommand::Replace { node, by: Some(by), wait } => {
            let _lock = locked()?;
            let shards = shards_of(loaded, shard, node)?;
            replace::by_another(loaded, node, by, &shards, &mut patience(wait.wait)).await
        }
    }
}

/// Gives a learner a vote.
async fn promote(
    loaded: &Loaded,
    id: u64,
    shards: &[u64],
    patience: &mut Patience<'_>,
) -> Result<Answer, Failure> {
    let mut learners = Vec::new();
    for (shard, group, view) in settled_groups(loaded, shards, patience).await? {
        let (mut folders, of) = (view.folders_of(id), option(loaded, shard, id));
        let Some((member, _)) = folders.pop() else {
            return Err(Failure::refused(format!("node {id} is not in the group"))
                .next(format!("let it in first: {}", loaded.command(&format!("member add {id}{of}")))));
        };
        if !folders.is_empty() {
            return Err(Failure::refused(format!("node {id} has a vote with a folder that was lost")).next(
                format!(
                    "its new folder takes that one's place: {}",
                    loaded.command(&format!("member replace {id}{of}"))
                ),
            ));
        }
        learners.push((shard, group, member));
    }
    let mut each = Each::default();
    for (shard, group, member) in &mut learners {
        let done = change(group, &Change::Promote(name(member)), patience).await?;
        note(loaded, *shard, member, true)?;
        each.add(*shard, done);
    }
    let of = if shards.len() > 1 { format!(" in {}", each.groups()) } else { String::new() };
    let head = format!("node-{id} is a voter{of}{}", each.done_at());
    let document = each.told(json!({ "change": "promote", "node": id, "part": "voter" }));
    Ok(Answer { notes: each.notes(), ..Answer::line(head, document) })
}

/// How many others have a vote.
fn others_with_a_vote(view: &GroupView, id: u64) -> Result<usize, Failure> {
    let votes = |part: MemberPart| matches!(part, MemberPart::Voter | MemberPart::Incoming);
    let (its, others): (Vec<_>, Vec<_>) =
        view.members().filter(|(_, part)| votes(*part)).partition(|(member, _)| member.node == id);
    if others.is_empty() && !its.is_empty() {
        let message =
            format!("node {id} is the last voter: without it there is no store; nothing was changed");
        return Err(Failure::refused(message)
            .next("let another node in and give it a vote first (member add, member promote), or stop all: feira down"));
    }
    Ok(others.len())
}

/// How many of so many voters may fail while the rest serves.
fn may_fail(voters: usize) -> usize {
    voters.saturating_sub(1) / 2
}

/// What is left of the group's strength, in words.
fn left(voters: usize) -> String {
    let what = match may_fail(voters) {
        0 => "none may fail any more, or the shop stops".to_owned(),
        one @ 1 => format!("{one} may fail"),
        more => format!("{more} of them may fail"),
    };
    format!("{} left: {what}", counted(voters, "voter"))
}

/// Takes a node out of the groups of these shards, and then out of the configuration.
async fn remove(
    loaded: &Loaded,
    id: u64,
    shards: &[u64],
    patience: &mut Patience<'_>,
) -> Result<Answer, Failure> {
    let mut groups = Vec::new();
    for (shard, group, view) in settled_groups(loaded, shards, patience).await? {
        let voters = others_with_a_vote(&view, id)?;
        groups.push((shard, group, view.folders_of(id), voters));
    }
    check_leave(loaded, id, shards)?;
    let configured = node_of(&loaded.config, id).is_ok();
    if groups.iter().all(|(_, _, folders, _)| folders.is_empty()) && !configured {
        return Err(Failure::refused(format!("node {id} is neither in the group nor in the configuration")));
    }
    let mut each = Each::default();
    for (shard, group, folders, _) in &mut groups {
        let mut done = ChangeMembersResponse::default();
        for (member, _) in folders {
            let one = change(group, &Change::Remove(name(member)), patience).await?;
            done = if one.changed { one } else { done };
        }
        founded::forget(&loaded.folder(), id, *shard)?;
        each.add(*shard, done);
    }
    let stopped = place::forget_replicas(loaded, id, shards, patience.out).await?;
    let head = match each.changed() {
        true => format!("node-{id} was removed from {}{}", each.groups(), each.done_at()),
        false => format!("node-{id} is not in {}", each.groups()),
    };
    let voters = groups.iter().map(|(.., voters)| *voters).min().unwrap_or_default();
    let document = each.told(json!({
        "change": "remove", "node": id, "configured": stopped, "voters": voters, "may_fail": may_fail(voters),
    }));
    let mut answer = Answer { notes: each.notes(), ..Answer::line(head, document) };
    if each.changed() {
        answer.notes.push(left(voters));
    }
    if let Ok(node) = node_of(&loaded.config, id) {
        let is_whole = node.shards.iter().all(|shard| shards.contains(shard));
        if is_whole && nodes::of_node(node).await.is_ok() {
            answer.notes.push("its process still runs, and refuses whatever it is asked: stop it".to_owned());
        }
        let mut folder = node.folder_in(&loaded.folder());
        if let ([shard], false) = (shards, is_whole) {
            folder = group_folder(&folder, *shard);
        }
        if folder.exists() {
            let folder = folder.display();
            let needs = if shards.len() == 1 { "the group needs" } else { "the groups need" };
            answer.notes.push(format!("its folder is kept: {folder}; {needs} nothing of it"));
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Member;

    fn view(voters: &[u64], learners: &[u64]) -> GroupView {
        let member = |node: &u64, part: MemberPart| proto::store::MemberStatus {
            member: Some(Member { node: *node, ..Member::default() }),
            part: part.into(),
        };
        let voters = voters.iter().map(|node| member(node, MemberPart::Voter));
        let learners = learners.iter().map(|node| member(node, MemberPart::MemberLearner));
        let status =
            proto::store::StatusResponse { members: voters.chain(learners).collect(), ..Default::default() };
        GroupView::of(String::new(), status)
    }

    #[test]
    fn the_last_voter_is_not_removed_and_that_is_a_refusal() {
        let refused = others_with_a_vote(&view(&[1], &[2]), 1).unwrap_err();
        assert_eq!(refused.kind.exit_code(), 1, "{refused}");
        assert_eq!(others_with_a_vote(&view(&[1], &[2]), 2), Ok(1));
        assert_eq!(others_with_a_vote(&view(&[1, 2, 3], &[]), 3), Ok(2));
    }

    #[test]
    fn a_removal_says_how_many_may_still_fail() {
        assert_eq!(left(2), "2 voters left: none may fail any more, or the shop stops");
        assert_eq!(left(1), "1 voter left: none may fail any more, or the shop stops");
        assert_eq!(
            (left(4), left(5)),
            ("4 voters left: 1 may fail".into(), "5 voters left: 2 of them may fail".into())
        );
    }
}
