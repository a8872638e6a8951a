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
    /// The incarnation of the replica that is here already, if there is one.
    mine: Option<u64>,
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
        entries.push(Entry { shard: *shard, group, view, mine: None });
    }
    let id = command.node.unwrap_or_else(|| next_id(loaded, &entries));
    let node = &wanted_node(loaded, command, id, &shards)?;
    let is_in = without_those_it_is_in(loaded, node, &mut entries)?;
    place::require_here(node)?;
    let holds_none = is_in.is_empty() && entries.iter().all(|entry| entry.mine.is_none());
    if node_of(&loaded.config, id).is_err() && holds_none {
        place::require_free(node)?;
    }
    let loaded = &with_node(loaded, node)?;
    let address = node.reached_at().to_owned();
    let mut members = Vec::new();
    for entry in &entries {
        let incarnation = match entry.mine {
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
    let told = is_in.into_iter().chain(each.notes());
    let mut answer = Answer { notes: told.collect(), ..Answer::line(head, document) };
    if !started && !nodes::serves(node).await {
        answer.notes.push(format!("start its process: {}", place::by_hand(loaded, node)));
    }
    let into: Vec<u64> = entries.iter().map(|entry| entry.shard).collect();
    answer
        .notes
        .push(format!("when it has caught up it can have a vote: {}", promotion(loaded, node, &into)));
    Ok(answer)
}

/// What gives a node a vote in the shards that it was let into: one command where those are all of its shards, else one for each.
fn promotion(loaded: &Loaded, node: &Node, shards: &[u64]) -> String {
    let (id, all) = (node.id, shards.len() == node.shards.len());
    if all {
        return loaded.command(&format!("member promote {id}"));
    }
    let of = |shard: &u64| Replica { node, shard: *shard }.option();
    let commands = shards.iter().map(|shard| loaded.command(&format!("member promote {id}{}", of(shard))));
    commands.collect::<Vec<String>>().join("; ")
}

/// Looks for the replicas that are here, and leaves out the shards in which the node has a vote with its replica already, unless that
/// is so in all of them: what is to be told of these.
fn without_those_it_is_in(
    loaded: &Loaded,
    node: &Node,
    entries: &mut Vec<Entry>,
) -> Result<Vec<String>, Failure> {
    for entry in entries.iter_mut() {
        entry.mine = held(loaded, Replica { node, shard: entry.shard })?;
    }
    let folders = |entry: &Entry| entry.view.folders_of(node.id);
    let is_in = |entry: &Entry| seat(&folders(entry), entry.mine) == Seat::Its;
    let is_in_all = entries.iter().all(is_in);
    let mut told = Vec::new();
    for entry in entries.iter() {
        let folders = folders(entry);
        match (seat(&folders, entry.mine), folders.first()) {
            (Seat::Its, Some((_, part))) if !is_in_all => {
                told.push(format!("shard {}: already, as a {}", entry.shard, list::word(*part)));
            }
            (Seat::Its | Seat::Others, Some((_, part))) => {
                return Err(is_in_already(loaded, Replica { node, shard: entry.shard }, *part));
            }
            _ => {}
        }
    }
    entries.retain(|entry| !is_in(entry));
    Ok(told)
}

/// What a node is in a group that it is to be let into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seat {
    /// Nothing, or a learner with the folder that is here: then an earlier command goes on.
    Free,
    /// It has a vote, with the folder that is here.
    Its,
    /// It is there with another folder.
    Others,
}

/// What a node is by the folders that the group knows of it, and by the replica that is here.
fn seat(folders: &[(Member, MemberPart)], mine: Option<u64>) -> Seat {
    if folders.iter().any(|(member, _)| mine != Some(member.incarnation)) {
        return Seat::Others;
    }
    let learns = folders.iter().all(|(_, part)| *part == MemberPart::MemberLearner);
    if learns { Seat::Free } else { Seat::Its }
}

/// Refuses a node that is in the group already.
fn is_in_already(loaded: &Loaded, replica: Replica<'_>, part: MemberPart) -> Failure {
    let (id, of) = (replica.node.id, replica.option());
    let group = match replica.node.is_shared() {
        true => format!("the group of shard {}", replica.shard),
        false => "the group".to_owned(),
    };
    let act = if part == MemberPart::MemberLearner { "promote" } else { "replace" };
    let next = loaded.command(&format!("member {act} {id}{of}"));
    Failure::conflict(format!("node {id} is in {group} already, as a {}", list::word(part)))
        .next(format!("perhaps you want: {next}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn known(incarnation: u64, part: MemberPart) -> (Member, MemberPart) {
        (Member { node: 4, incarnation, ..Member::default() }, part)
    }

    #[test]
    fn a_node_is_let_in_where_it_is_not_in_with_the_folder_that_is_here() {
        use MemberPart::{MemberLearner, Voter};
        for (folders, mine, is) in [
            (vec![], None, Seat::Free),
            (vec![], Some(7), Seat::Free),
            (vec![known(7, MemberLearner)], Some(7), Seat::Free),
            (vec![known(7, Voter)], Some(7), Seat::Its),
            (vec![known(7, Voter)], None, Seat::Others),
            (vec![known(7, MemberLearner)], Some(8), Seat::Others),
            (vec![known(6, Voter), known(7, MemberLearner)], Some(7), Seat::Others),
        ] {
            assert_eq!(seat(&folders, mine), is, "{folders:?} {mine:?}");
        }
    }

    #[test]
    fn a_refusal_and_a_hint_name_the_shard_of_a_node_that_holds_several() {
        let path = crate::config::load::FILE_DEFAULT.into();
        let config = crate::config::shape::Config::default();
        let loaded = Loaded { config, path, from_file: true, set: Vec::new() };
        let node = |shards: &[u64]| Node { id: 4, shards: shards.to_vec(), ..Node::default() };
        let refused = |node: &Node| {
            is_in_already(&loaded, Replica { node, shard: 2 }, MemberPart::MemberLearner).to_string()
        };
        let (one, several) = (refused(&node(&[2])), refused(&node(&[1, 2])));
        assert!(one.contains("is in the group already") && one.ends_with("feira member promote 4"), "{one}");
        assert!(several.contains("of shard 2 already, as a learner"), "{several}");
        assert!(several.ends_with("feira member promote 4 --shard 2"), "{several}");
        let both = node(&[1, 2]);
        assert_eq!(promotion(&loaded, &both, &[1, 2]), "feira member promote 4");
        assert_eq!(promotion(&loaded, &both, &[2]), "feira member promote 4 --shard 2");
    }
}
