//! `feira member add`: a node let into the groups of its shards as a learner: lines in the file, empty folders, a process,
//! and the changes.

use proto::store::change_members_request::Change;
use proto::store::{Member, MemberPart};
use serde_json::json;

use super::change::{Patience, change};
use super::each::Each;
use super::group::{Group, GroupView};
use super::list;
use super::place::{self, Held, note};
use crate::args::MemberAdd;
use crate::config::load::{Loaded, Sources, load};
use crate::config::nodes as file;
use crate::config::shape::{Node, Replica};
use crate::failure::Failure;
use crate::reach::nodes::{self, node_of};
use crate::show::answer::Answer;

/// A shard that the node is let into.
struct Entry {
    shard: u64,
    group: Group,
    view: GroupView,
}

/// Lets a node in.
///
/// # Errors
/// It is in a group already, its folder is not empty, it cannot be started, or a change is refused or not done in time.
pub async fn add(
    loaded: &Loaded,
    command: &MemberAdd,
    shard: Option<u64>,
    patience: &mut Patience<'_>,
) -> Result<Answer, Failure> {
    let shards = shards_of(loaded, command.node, shard)?;
    let mut entries = Vec::new();
    for shard in &shards {
        let mut group = Group::of(&loaded.of_shard(*shard));
        let view = group.look().await?;
        entries.push(Entry { shard: *shard, group, view });
    }
    let id = command.node.unwrap_or_else(|| next_id(loaded, &entries));
    let node = &wanted_node(loaded, command, id, &shards)?;
    let mut mine = Vec::new();
    for Entry { shard, view, .. } in &entries {
        let held = held(loaded, Replica { node, shard: *shard })?;
        not_in_yet(loaded, view, id, held)?;
        mine.push(held);
    }
    place::require_here(node)?;
    if node_of(&loaded.config, id).is_err() && mine.iter().all(Option::is_none) {
        place::require_free(node)?;
    }
    let loaded = &with_node(loaded, node)?;
    let address = node.reached_at().to_owned();
    let mut members = Vec::new();
    for (entry, mine) in entries.iter().zip(mine) {
        let incarnation = match mine {
            Some(incarnation) => incarnation,
            None => place::make_folder(loaded, Replica { node, shard: entry.shard })?,
        };
        let member = Member { node: id, incarnation, address: address.clone(), joined: false };
        note(loaded, entry.shard, &member, false)?;
        members.push(member);
    }
    let started = place::start(loaded, node, patience.out).await?;
    let mut each = Each::default();
    for (entry, member) in entries.iter_mut().zip(members) {
        let done = change(&mut entry.group, &Change::AddLearner(member), patience).await?;
        each.add(entry.shard, done);
    }
    let head = format!("node-{id} at {address} is in {} as a learner{}", each.groups(), each.done_at());
    let document = each.told(json!({
        "change": "add", "node": id, "part": "learner", "address": address, "started": started,
    }));
    let mut answer = Answer { notes: each.notes(), ..Answer::line(head, document) };
    if !started && !nodes::serves(node).await {
        answer.notes.push(format!("start its process: {}", place::by_hand(loaded, node)));
    }
    let of = match shards[..] {
        [shard] if node.is_shared() => format!(" --shard {shard}"),
        _ => String::new(),
    };
    let command = loaded.command(&format!("member promote {id}{of}"));
    answer.notes.push(format!("when it has caught up it can have a vote: {command}"));
    Ok(answer)
}

/// The incarnation of the replica that is here already, if there is one.
fn held(loaded: &Loaded, replica: Replica<'_>) -> Result<Option<u64>, Failure> {
    match place::held(loaded, replica)? {
        Held::Replica(incarnation) => Ok(Some(incarnation)),
        Held::Nothing => Ok(None),
        Held::Remains(why) => {
            let folder = replica.node.folder_in(&loaded.folder());
            Err(Failure::refused(format!("{} is not empty: {why}", folder.display()))
                .next("move it away, or give the node another folder in the configuration"))
        }
    }
}

/// The shards that the node is let into: the one that was named; else those that the configuration gives it; else, where
/// nodes hold replicas of several shards, all.
fn shards_of(loaded: &Loaded, id: Option<u64>, asked: Option<u64>) -> Result<Vec<u64>, Failure> {
    let all = loaded.config.store.shards();
    let known = id.and_then(|id| node_of(&loaded.config, id).ok());
    match (asked, known) {
        (Some(shard), _) => Ok(vec![shard]),
        (None, Some(node)) => Ok(node.shards.clone()),
        (None, None) if all.len() == 1 || loaded.config.store.is_shared() => Ok(all),
        (None, None) => {
            let last = all.len();
            Err(Failure::usage("each shard has members of its own")
                .next(format!("say which: --shard 1 to {last}")))
        }
    }
}

/// The first id after all that were ever seen.
fn next_id(loaded: &Loaded, entries: &[Entry]) -> u64 {
    let members = entries.iter().flat_map(|entry| entry.view.members()).map(|(member, _)| member.node);
    let all = members.chain(loaded.config.store.nodes.iter().map(|node| node.id));
    all.max().unwrap_or(0) + 1
}

/// The node as the configuration has it, or will have it.
fn wanted_node(loaded: &Loaded, command: &MemberAdd, id: u64, shards: &[u64]) -> Result<Node, Failure> {
    if id == 0 {
        return Err(Failure::usage("node 0 is nobody: ids begin at 1"));
    }
    if let Ok(node) = node_of(&loaded.config, id) {
        if command.listen.as_ref().is_some_and(|listen| *listen != node.listen) {
            let message = format!("{} says that node {id} listens at {}", loaded.path.display(), node.listen);
            return Err(Failure::usage(message).next("correct the file, or leave --listen out"));
        }
        let mut node = node.clone();
        if let Some(more) = shards.iter().find(|shard| !node.has(**shard)) {
            node.shards.push(*more);
            node.shards.sort_unstable();
        }
        return Ok(node);
    }
    let listen = match &command.listen {
        Some(listen) => listen.clone(),
        None => place::address_for(loaded, id)?,
    };
    let address = command.address.clone().unwrap_or_default();
    Ok(Node { id, shards: shards.to_vec(), listen, address, ..Node::default() })
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

/// The configuration with the node in it, and with all of its shards.
fn with_node(loaded: &Loaded, node: &Node) -> Result<Loaded, Failure> {
    match node_of(&loaded.config, node.id) {
        Ok(known) if known.shards == node.shards => return Ok(loaded.clone()),
        Ok(_) => file::set_shards(&loaded.path, node.id, &node.shards)?,
        Err(_) => file::add(&loaded.path, node)?,
    }
    let again = load(&Sources { file: Some(loaded.path.clone()), set: loaded.set.clone() })?;
    let mut config = again.config;
    config.mean(loaded.config.whose());
    Ok(Loaded { config, ..again })
}
