//! `feira member add`, `promote` and `remove`, and what all changes share.

use std::time::Duration;

use proto::store::change_members_request::Change;
use proto::store::{ChangeMembersResponse, Member, MemberPart};
use serde_json::json;

use super::change::{Patience, change, done_at, name, settled};
use super::group::{Group, GroupView};
use super::place::{self, Held, note};
use super::{list, replace};
use crate::args::{Member as MemberCommand, MemberAdd};
use crate::config::load::{Loaded, Sources, load};
use crate::config::nodes as file;
use crate::config::shape::Node;
use crate::failure::Failure;
use crate::key::place::of_operator;
use crate::reach::nodes::node_of;
use crate::show::answer::{Answer, counted};
use crate::show::out::Out;
use crate::up::founded;
use crate::up::supervisor::lock_named;

/// Runs a command.
///
/// # Errors
/// Why it was not done.
pub async fn run(loaded: &Loaded, command: MemberCommand, out: &Out) -> Result<Answer, Failure> {
    if !matches!(command, MemberCommand::List) {
        // Before anything is changed here: the group would refuse this machine.
        of_operator(loaded)?;
    }
    let patience = |wait: u64| Patience::new(Duration::from_secs(wait), out);
    // Two at once could both write the configuration.
    let locked = || lock_named(loaded, "member.lock", "another feira member command is under way here");
    match command {
        MemberCommand::List => list::list(loaded).await,
        MemberCommand::Add(command) => {
            let _lock = locked()?;
            add(loaded, &command, &mut patience(command.wait.wait)).await
        }
        MemberCommand::Promote { node, wait } => {
            let _lock = locked()?;
            promote(loaded, node, &mut patience(wait.wait)).await
        }
        MemberCommand::Remove { node, wait } => {
            let _lock = locked()?;
            remove(loaded, node, &mut patience(wait.wait)).await
        }
        MemberCommand::Replace { node, by: None, wait } => {
            let _lock = locked()?;
            replace::by_empty_folder(loaded, node, &mut patience(wait.wait)).await
        }
        MemberCommand::Replace { node, by: Some(by), wait } => {
            let _lock = locked()?;
            replace::by_another(loaded, node, by, &mut patience(wait.wait)).await
        }
    }
}

/// Lets a node in as a learner: lines in the file, an empty folder, a process, and the change.
async fn add(loaded: &Loaded, command: &MemberAdd, patience: &mut Patience<'_>) -> Result<Answer, Failure> {
    let mut group = Group::of(loaded);
    let view = group.look().await?;
    let id = command.node.unwrap_or_else(|| next_id(loaded, &view));
    let node = wanted_node(loaded, command, id)?;
    let mine = match place::held(loaded, &node)? {
        Held::Replica(incarnation) => Some(incarnation),
        Held::Nothing => None,
        Held::Remains(why) => {
            let folder = node.folder_in(&loaded.folder());
            return Err(Failure::refused(format!("{} is not empty: {why}", folder.display()))
                .next("move it away, or give the node another folder in the configuration"));
        }
    };
    not_in_yet(loaded, &view, id, mine)?;
    place::require_here(&node)?;
    if mine.is_none() {
        place::require_free(&node)?;
    }
    let loaded = with_node(loaded, &node)?;
    let incarnation = match mine {
        Some(incarnation) => incarnation,
        None => place::make_folder(&loaded, &node)?,
    };
    let address = node.reached_at().to_owned();
    note(&loaded, id, incarnation, &address, false)?;
    let started = place::start(&loaded, &node, patience.out).await?;
    let member = Member { node: id, incarnation, address: address.clone(), joined: false };
    let done = change(&mut group, &Change::AddLearner(member), patience).await?;
    let head = format!("node-{id} at {address} is in the group as a learner{}", done_at(&done));
    let document = json!({
        "change": "add", "node": id, "changed": done.changed, "offset": done.offset, "part": "learner",
        "address": address, "started": started,
    });
    let mut answer = Answer::line(head, document);
    if !started && crate::reach::nodes::status(&node).await.is_err() {
        answer.notes.push(format!("start its process: {}", place::by_hand(&loaded, &node)));
    }
    let command = loaded.command(&format!("member promote {id}"));
    answer.notes.push(format!("when it has caught up it can have a vote: {command}"));
    Ok(answer)
}

/// The first id after all that were ever seen.
fn next_id(loaded: &Loaded, view: &GroupView) -> u64 {
    let members = view.members().map(|(member, _)| member.node);
    let all = members.chain(loaded.config.store.nodes.iter().map(|node| node.id));
    all.max().unwrap_or(0) + 1
}

/// The node as the configuration has it, or will have it.
fn wanted_node(loaded: &Loaded, command: &MemberAdd, id: u64) -> Result<Node, Failure> {
    if id == 0 {
        return Err(Failure::usage("node 0 is nobody: ids begin at 1"));
    }
    if let Ok(node) = node_of(&loaded.config, id) {
        if command.listen.as_ref().is_some_and(|listen| *listen != node.listen) {
            let message = format!("{} says that node {id} listens at {}", loaded.path.display(), node.listen);
            return Err(Failure::usage(message).next("correct the file, or leave --listen out"));
        }
        return Ok(node.clone());
    }
    let listen = match &command.listen {
        Some(listen) => listen.clone(),
        None => place::address_for(loaded, id)?,
    };
    Ok(Node { id, listen, address: command.address.clone().unwrap_or_default(), ..Node::default() })
}

/// Refuses a node that is in the group already, unless with the folder that is here: then an earlier command goes on.
fn not_in_yet(loaded: &Loaded, view: &GroupView, id: u64, mine: Option<u64>) -> Result<(), Failure> {
    let folders = view.folders_of(id);
    let Some((_, part)) = folders.first() else { return Ok(()) };
    let goes_on = |(member, part): &(Member, MemberPart)| {
        *part == MemberPart::MemberLearner && mine == Some(member.incarnation)
    };
    if folders.iter().all(goes_on) {
        return Ok(());
    }
    let message = format!("node {id} is in the group already, as a {}", list::word(*part));
    let learns = *part == MemberPart::MemberLearner;
    let next = loaded.command(&format!("member {} {id}", if learns { "promote" } else { "replace" }));
    Err(Failure::conflict(message).next(format!("perhaps you want: {next}")))
}

/// The configuration with the node in it.
fn with_node(loaded: &Loaded, node: &Node) -> Result<Loaded, Failure> {
    if node_of(&loaded.config, node.id).is_ok() {
        return Ok(loaded.clone());
    }
    file::add(&loaded.path, node)?;
    load(&Sources { file: Some(loaded.path.clone()), set: loaded.set.clone() })
}

/// Gives a learner a vote.
async fn promote(loaded: &Loaded, id: u64, patience: &mut Patience<'_>) -> Result<Answer, Failure> {
    let mut group = Group::of(loaded);
    let view = settled(&mut group, patience).await?;
    let folders = view.folders_of(id);
    let Some((member, _)) = folders.last() else {
        return Err(Failure::refused(format!("node {id} is not in the group"))
            .next(format!("let it in first: {}", loaded.command(&format!("member add {id}")))));
    };
    if folders.len() > 1 {
        return Err(Failure::refused(format!("node {id} has a vote with a folder that was lost")).next(
            format!(
                "its new folder takes that one's place: {}",
                loaded.command(&format!("member replace {id}"))
            ),
        ));
    }
    let done = change(&mut group, &Change::Promote(name(member)), patience).await?;
    note(loaded, id, member.incarnation, &member.address, true)?;
    let head = format!("node-{id} is a voter{}", done_at(&done));
    let document = json!({
        "change": "promote", "node": id, "changed": done.changed, "offset": done.offset, "part": "voter",
    });
    Ok(Answer::line(head, document))
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

/// Takes a node out of the group, and then out of the configuration.
async fn remove(loaded: &Loaded, id: u64, patience: &mut Patience<'_>) -> Result<Answer, Failure> {
    let mut group = Group::of(loaded);
    let view = settled(&mut group, patience).await?;
    let voters = others_with_a_vote(&view, id)?;
    let configured = node_of(&loaded.config, id).is_ok();
    if configured {
        file::check_without(&loaded.config, id)?;
        // All that could refuse it later is asked before the group is.
        file::check_remove(&loaded.path, id)?;
    }
    let folders = view.folders_of(id);
    if folders.is_empty() && !configured {
        return Err(Failure::refused(format!("node {id} is neither in the group nor in the configuration")));
    }
    let mut done = ChangeMembersResponse::default();
    for (member, _) in &folders {
        let one = change(&mut group, &Change::Remove(name(member)), patience).await?;
        done = if one.changed { one } else { done };
    }
    founded::forget(&loaded.folder(), id)?;
    let stopped = place::forget(loaded, id, patience.out).await?;
    let head = match done.changed {
        true => format!("node-{id} was removed from the group{}", done_at(&done)),
        false => format!("node-{id} is not in the group"),
    };
    let document = json!({
        "change": "remove", "node": id, "changed": done.changed, "offset": done.offset, "configured": stopped,
        "voters": voters, "may_fail": may_fail(voters),
    });
    let mut answer = Answer::line(head, document);
    if done.changed {
        answer.notes.push(left(voters));
    }
    if let Ok(node) = node_of(&loaded.config, id) {
        if crate::reach::nodes::status(node).await.is_ok() {
            answer.notes.push("its process still runs, and refuses whatever it is asked: stop it".to_owned());
        }
        let folder = node.folder_in(&loaded.folder());
        if folder.exists() {
            let folder = folder.display();
            answer.notes.push(format!("its folder is kept: {folder}; the group needs nothing of it"));
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

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
