//! One command carried out in several shards, one after the other: which these are, and what is told of them together.

use proto::store::ChangeMembersResponse;
use serde_json::{Value, json};

use super::change::done_at;
use crate::config::load::Loaded;
use crate::config::nodes as file;
use crate::config::shape::Replica;
use crate::failure::Failure;
use crate::reach::nodes::{self, node_of};

/// The shards that a command is about: the one that was named, else all of a node that the configuration has.
///
/// # Errors
/// The node has no replica of the shard that was named; or there are several shards and nothing says which are meant.
pub fn shards_of(loaded: &Loaded, asked: Option<u64>, id: u64) -> Result<Vec<u64>, Failure> {
    let all = loaded.config.store.shards();
    let node = loaded.config.store.nodes.iter().find(|node| node.id == id);
    match (asked, node) {
        (Some(shard), Some(node)) if !node.has(shard) => {
            let file = loaded.path.display();
            Err(Failure::usage(format!("{file} gives node {id} no replica of shard {shard}"))
                .next(nodes::one_of(&node.shards)))
        }
        (Some(shard), _) => Ok(vec![shard]),
        (None, Some(node)) => Ok(node.shards.clone()),
        (None, None) if all.len() == 1 => Ok(all),
        (None, None) => Err(Failure::usage(format!(
            "node {id} is not in {}, and each shard has members of its own",
            loaded.path.display()
        ))
        .next(nodes::one_of(&all))),
    }
}

/// The shards whose groups a node is to leave: as [`shards_of`], and also one that the configuration does not give the node. Its group
/// may have a replica of it all the same, where the file was changed before the group was asked.
///
/// # Errors
/// There are several shards and nothing says which are meant.
pub fn shards_to_leave(loaded: &Loaded, asked: Option<u64>, id: u64) -> Result<Vec<u64>, Failure> {
    asked.map_or_else(|| shards_of(loaded, None, id), |shard| Ok(vec![shard]))
}

/// What a command needs besides a node, which need not be in the configuration, to mean one shard: nothing, or that.
#[must_use]
pub fn option(loaded: &Loaded, shard: u64, id: u64) -> String {
    match node_of(&loaded.config, id) {
        Ok(node) => Replica { node, shard }.option(),
        Err(_) if loaded.config.store.shard_count() > 1 => format!(" --shard {shard}"),
        Err(_) => String::new(),
    }
}

/// Refuses to take a node's replicas of these shards out where the configuration could not be without them.
///
/// # Errors
/// It could not, or its file cannot be changed.
pub fn check_leave(loaded: &Loaded, id: u64, shards: &[u64]) -> Result<(), Failure> {
    let Ok(node) = node_of(&loaded.config, id) else { return Ok(()) };
    let kept: Vec<u64> = node.shards.iter().copied().filter(|shard| !shards.contains(shard)).collect();
    if kept.is_empty() {
        file::check_without(&loaded.config, id)?;
        // All that could refuse it later is asked before the group is.
        return file::check_remove(&loaded.path, id);
    }
    if kept == node.shards {
        return Ok(());
    }
    file::check_shards(&loaded.path, id, &kept)
}

/// What became of one command in each shard.
#[derive(Debug, Default)]
pub struct Each(Vec<(u64, ChangeMembersResponse)>);

impl Each {
    /// It was done in one more shard.
    pub fn add(&mut self, shard: u64, done: ChangeMembersResponse) {
        self.0.push((shard, done));
    }

    /// Whether it changed anything.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.0.iter().any(|(_, done)| done.changed)
    }

    /// Where the group or the groups are that a sentence is about: `the group`, `the groups of the shards 1, 2`.
    #[must_use]
    pub fn groups(&self) -> String {
        match self.0.as_slice() {
            [_] => "the group".to_owned(),
            several => {
                let shards: Vec<String> = several.iter().map(|(shard, _)| shard.to_string()).collect();
                format!("the groups of the shards {}", shards.join(", "))
            }
        }
    }

    /// Where the change stands in the log, in words; of several shards that is told in notes.
    #[must_use]
    pub fn done_at(&self) -> String {
        match self.0.as_slice() {
            [(_, done)] => done_at(done),
            _ => String::new(),
        }
    }

    /// Of several shards, where the change stands in the log of each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let several = if self.0.len() > 1 { self.0.as_slice() } else { &[] };
        several.iter().map(|(shard, done)| format!("shard {shard}:{}", done_at(done))).collect()
    }

    /// The same for programs: the offset of the change, or the shards with one each.
    #[must_use]
    pub fn told(&self, mut document: Value) -> Value {
        document["changed"] = self.changed().into();
        match self.0.as_slice() {
            [(_, done)] => document["offset"] = done.offset.into(),
            several => {
                let each = several.iter().map(
                    |(shard, done)| json!({ "shard": shard, "changed": done.changed, "offset": done.offset }),
                );
                document["shards"] = each.collect();
            }
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, Member};
    use crate::config::shape::Config;
    use crate::up::bootstrap::bootstrap;
    use clap::Parser;

    fn loaded(shards: &[&[u64]]) -> Loaded {
        let mut config = Config::default();
        for (node, shards) in config.store.nodes.iter_mut().zip(shards) {
            node.shards = shards.to_vec();
        }
        Loaded { config, path: "feira.toml".into(), from_file: true, set: Vec::new() }
    }

    #[test]
    fn a_command_is_about_all_shards_of_its_node_unless_one_is_named() {
        let shared = loaded(&[&[1, 2], &[1, 2], &[1, 2]]);
        assert_eq!(shards_of(&shared, None, 3), Ok(vec![1, 2]));
        assert_eq!(shards_of(&shared, Some(2), 3), Ok(vec![2]));
        assert_eq!(shards_of(&shared, Some(2), 9), Ok(vec![2]), "one that joined on another machine");
        let which = shards_of(&shared, None, 9).unwrap_err().to_string();
        assert!(which.contains("node 9 is not in feira.toml") && which.contains("--shard 1 or 2"), "{which}");
        let apart = loaded(&[&[1], &[2], &[3]]);
        assert_eq!(shards_of(&apart, None, 3), Ok(vec![3]));
        assert!(shards_of(&apart, Some(1), 3).unwrap_err().to_string().contains("no replica of shard 1"));
        assert_eq!(shards_of(&loaded(&[]), None, 9), Ok(vec![1]));
        assert_eq!(
            (option(&shared, 2, 3), option(&shared, 2, 9)),
            (" --shard 2".into(), " --shard 2".into())
        );
        assert_eq!((option(&apart, 3, 3), option(&loaded(&[]), 1, 9)), (String::new(), String::new()));
    }

    /// The shards that advised commands mean: each is taken apart as the program takes it, and must be let through.
    fn advised(loaded: &Loaded, next: &str) -> Vec<Vec<u64>> {
        let (_, commands) = next.rsplit_once(": ").unwrap();
        let taken = |command: &str| {
            let Cli { shared, command } = Cli::try_parse_from(command.split_whitespace()).unwrap();
            let Command::Member(Member::Remove { node, .. }) = command else { panic!("{command:?}") };
            let shards = shards_to_leave(loaded, shared.shard, node).unwrap();
            check_leave(loaded, node, &shards).unwrap();
            shards
        };
        commands.split("; ").map(taken).collect()
    }

    #[test]
    fn what_is_advised_where_a_file_lacks_a_replica_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut loaded = loaded(&[&[1, 2], &[1, 2], &[1, 2]]);
        loaded.path = folder.path().join("feira.toml");
        bootstrap(&loaded).unwrap();
        loaded.config.store.nodes[2].shards = vec![1];
        let left_out = bootstrap(&loaded).unwrap();
        assert_eq!(advised(&loaded, &left_out[0].next), [[2]], "{}", left_out[0]);
        loaded.config.store.nodes.pop();
        let left_out = bootstrap(&loaded).unwrap();
        assert_eq!(left_out.len(), 1);
        assert_eq!(advised(&loaded, &left_out[0].next), [[1], [2]], "{}", left_out[0]);
    }

    #[test]
    fn several_shards_are_told_one_by_one() {
        let done = |offset| ChangeMembersResponse { changed: true, offset };
        let mut each = Each::default();
        each.add(1, done(7));
        assert_eq!((each.groups().as_str(), each.notes().len()), ("the group", 0));
        assert_eq!(each.done_at(), " since offset 7 of the log");
        assert_eq!(each.told(json!({}))["offset"], 7);
        each.add(2, ChangeMembersResponse::default());
        assert_eq!(each.groups(), "the groups of the shards 1, 2");
        assert_eq!(each.notes(), ["shard 1: since offset 7 of the log", "shard 2: already"]);
        assert_eq!(each.told(json!({}))["shards"][0]["offset"], 7);
    }
}
