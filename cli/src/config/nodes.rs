//! A node put into the configuration file, or taken out of it, or given other shards, when a group has grown or shrunk. The file is changed as
//! text, so that comments and everything else stay as they are, and is read again before it takes the old one's place:
//! what does not then say exactly what it should is not written.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::check::check;
use super::shape::{Config, Node};
use crate::atomic_write;
use crate::failure::Failure;

const HEADER: &str = "[[store.nodes]]";

/// Only what has an `id`.
#[derive(Deserialize)]
struct Ids {
    #[serde(default)]
    store: Nodes,
}

#[derive(Deserialize, Default)]
struct Nodes {
    #[serde(default)]
    nodes: Vec<Id>,
}

#[derive(Deserialize)]
struct Id {
    id: Spanned<u64>,
    shards: Option<Spanned<Vec<u64>>>,
}

/// Puts a node into the file, after those that are there.
///
/// # Errors
/// The file cannot be read or written, or what it would say then is not allowed.
pub fn add(path: &Path, node: &Node) -> Result<(), Failure> {
    let text = read(path)?;
    let mut wanted = parsed(&text)?;
    wanted.store.nodes.push(node.clone());
    replace(path, &with(&text, node)?, &wanted, &lines(node))
}

/// Takes a node out of the file.
///
/// # Errors
/// The file cannot be read or written, or what it would say then is not allowed.
pub fn remove(path: &Path, id: u64) -> Result<(), Failure> {
    let text = read(path)?;
    let mut wanted = parsed(&text)?;
    wanted.store.nodes.retain(|node| node.id != id);
    let by_hand = format!("without node {id}");
    replace(path, &without(&text, id)?, &wanted, &by_hand)
}

/// Gives a node that has `shards` in the file these instead.
///
/// # Errors
/// The file cannot be read or written, or what it would say then is not allowed.
pub fn set_shards(path: &Path, id: u64, shards: &[u64]) -> Result<(), Failure> {
    let text = read(path)?;
    let (new, wanted) = with_shards(&text, id, shards)?;
    replace(path, &new, &wanted, &format!("node {id} with shards = {shards:?}"))
}

/// Checks that [`set_shards`] could be done now, and changes nothing.
///
/// # Errors
/// As [`set_shards`]'s.
pub fn check_shards(path: &Path, id: u64, shards: &[u64]) -> Result<(), Failure> {
    let text = read(path)?;
    let (new, wanted) = with_shards(&text, id, shards)?;
    check_text(path, &new, &wanted, &format!("node {id} with shards = {shards:?}"))?;
    atomic_write::check(path)
}

/// Checks that [`remove`] could be done now, and changes nothing.
///
/// # Errors
/// As [`remove`]'s.
pub fn check_remove(path: &Path, id: u64) -> Result<(), Failure> {
    let text = read(path)?;
    let mut wanted = parsed(&text)?;
    wanted.store.nodes.retain(|node| node.id != id);
    check_text(path, &without(&text, id)?, &wanted, &format!("without node {id}"))?;
    atomic_write::check(path)
}

/// Whether the file would still be right without the node.
///
/// # Errors
/// Why not.
pub fn check_without(config: &Config, id: u64) -> Result<(), Failure> {
    let mut wanted = config.clone();
    wanted.store.nodes.retain(|node| node.id != id);
    check(&wanted)
}

fn read(path: &Path) -> Result<String, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Failure::usage(format!(
            "there is no configuration file {} that the node could stand in",
            path.display()
        ))
        .next("write one: feira config --template")),
        Err(e) => Err(Failure::file("read", path, &e)),
    }
}

fn parsed(text: &str) -> Result<Config, Failure> {
    toml::from_str(text).map_err(|e| Failure::usage(format!("the configuration file is not understood: {e}")))
}

fn lines(node: &Node) -> String {
    let shard = match node.shards.as_slice() {
        [1] => String::new(),
        [one] => format!("shard = {one}\n"),
        several => format!("shards = {several:?}\n"),
    };
    let mut lines = format!("{HEADER}\nid = {}\n{shard}listen = {:?}\n", node.id, node.listen);
    if !node.address.is_empty() {
        lines.push_str(&format!("address = {:?}\n", node.address));
    }
    if !node.folder.as_os_str().is_empty() {
        lines.push_str(&format!("folder = {:?}\n", node.folder.display().to_string()));
    }
    lines
}

/// The text with one more node.
fn with(text: &str, node: &Node) -> Result<String, Failure> {
    let mut new = text.to_owned();
    match ids(text)?.last() {
        Some(last) => {
            let block = block(text, last.span().start).unwrap_or(text.len()..text.len());
            new.insert_str(block.end, &format!("\n{}", lines(node)));
        }
        // The defaults are in force: they have to be said now.
        None => {
            for one in Config::default().store.nodes.iter().chain([node]) {
                new.push_str(&format!("\n{}", lines(one)));
            }
        }
    }
    Ok(new)
}

/// The text without this node.
fn without(text: &str, id: u64) -> Result<String, Failure> {
    let mut new = text.to_owned();
    let ids = ids(text)?;
    if ids.is_empty() {
        for one in Config::default().store.nodes.iter().filter(|node| node.id != id) {
            new.push_str(&format!("\n{}", lines(one)));
        }
    } else if let Some(found) = ids.iter().find(|known| *known.get_ref() == id)
        && let Some(block) = block(text, found.span().start)
    {
        // The empty line before it goes too.
        let start = if text[..block.start].ends_with("\n\n") { block.start - 1 } else { block.start };
        new.replace_range(start..block.end, "");
    }
    Ok(new)
}

/// The text in which this node has these shards, if it says `shards` there; and what the file is to say then.
fn with_shards(text: &str, id: u64, shards: &[u64]) -> Result<(String, Config), Failure> {
    let mut wanted = parsed(text)?;
    for node in wanted.store.nodes.iter_mut().filter(|node| node.id == id) {
        node.shards = shards.to_vec();
    }
    let mut new = text.to_owned();
    let there = nodes_in(text)?.into_iter().find(|node| *node.id.get_ref() == id);
    if let Some(said) = there.and_then(|node| node.shards) {
        new.replace_range(said.span(), &format!("{shards:?}"));
    }
    Ok((new, wanted))
}

fn ids(text: &str) -> Result<Vec<Spanned<u64>>, Failure> {
    Ok(nodes_in(text)?.into_iter().map(|node| node.id).collect())
}

fn nodes_in(text: &str) -> Result<Vec<Id>, Failure> {
    let ids: Ids = toml::from_str(text)
        .map_err(|e| Failure::usage(format!("the configuration file is not understood: {e}")))?;
    Ok(ids.store.nodes)
}

/// The lines of the node that has its id here, from its header to its last value; `None`: it is written in another way.
fn block(text: &str, at: usize) -> Option<Range<usize>> {
    let start = text[..at].rfind(HEADER)?;
    let start = text[..start].rfind('\n').map_or(0, |line| line + 1);
    let (mut end, mut here) = (start, start);
    for line in text[start..].split_inclusive('\n') {
        let said = line.trim_start();
        if here > start && said.starts_with('[') {
            break;
        }
        here += line.len();
        if !said.trim().is_empty() && !said.starts_with('#') {
            end = here;
        }
    }
    Some(start..end)
}

/// Puts the new text in the file's place if it says what is wanted.
fn replace(path: &Path, new: &str, wanted: &Config, by_hand: &str) -> Result<(), Failure> {
    check_text(path, new, wanted, by_hand)?;
    atomic_write::replace(path, new)
}

/// Whether the new text says what is wanted.
fn check_text(path: &Path, new: &str, wanted: &Config, by_hand: &str) -> Result<(), Failure> {
    check(wanted)?;
    if parsed(new).ok().as_ref() != Some(wanted) {
        let message = format!("{} is written in a way that cannot be changed safely", path.display());
        return Err(Failure::refused(message).next(format!("change store.nodes in it by hand: {by_hand}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template::{Fresh, template};

    fn node(id: u64) -> Node {
        Node { id, listen: format!("127.0.0.1:{}", 7_400 + id), ..Node::default() }
    }

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feira.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn ids_in(path: &Path) -> Vec<u64> {
        let config = parsed(&std::fs::read_to_string(path).unwrap()).unwrap();
        config.store.nodes.iter().map(|node| node.id).collect()
    }

    #[test]
    fn a_node_comes_and_goes_and_the_rest_of_the_file_stays() {
        let text = template(&Fresh::default());
        let (_folder, path) = file(&text);
        add(&path, &node(4)).unwrap();
        assert_eq!(ids_in(&path), [1, 2, 3, 4]);
        let grown = std::fs::read_to_string(&path).unwrap();
        assert_eq!(grown.matches('#').count(), text.matches('#').count());
        remove(&path, 4).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        remove(&path, 1).unwrap();
        assert_eq!(ids_in(&path), [2, 3]);
        add(&path, &Node { address: "h:1".into(), folder: "elsewhere".into(), ..node(9) }).unwrap();
        assert_eq!(ids_in(&path), [2, 3, 9]);
    }

    #[test]
    fn a_node_of_several_shards_comes_loses_one_and_goes() {
        let text = template(&Fresh { shards: 3, ..Fresh::default() });
        let (_folder, path) = file(&text);
        add(&path, &Node { shards: vec![1, 2, 3], ..node(4) }).unwrap();
        let shards = || {
            let config = parsed(&std::fs::read_to_string(&path).unwrap()).unwrap();
            config.store.nodes.iter().map(|node| node.shards.clone()).collect::<Vec<_>>()
        };
        assert_eq!(shards(), vec![vec![1, 2, 3]; 4]);
        check_shards(&path, 4, &[1, 3]).unwrap();
        set_shards(&path, 4, &[1, 3]).unwrap();
        assert_eq!(shards()[3], [1, 3]);
        set_shards(&path, 4, &[2]).unwrap();
        assert_eq!(shards()[3], [2]);
        set_shards(&path, 4, &[2, 1]).unwrap();
        remove(&path, 4).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        add(&path, &Node { shards: vec![2], ..node(4) }).unwrap();
        let failure = set_shards(&path, 4, &[1, 2]).unwrap_err().to_string();
        assert!(failure.contains("by hand: node 4 with shards = [1, 2]"), "{failure}");
    }

    #[test]
    fn nodes_that_were_only_defaults_are_said_with_the_new_one() {
        let (_folder, path) = file("cluster = \"c\"\n");
        add(&path, &node(4)).unwrap();
        assert_eq!(ids_in(&path), [1, 2, 3, 4]);
        let (_folder, path) = file("");
        remove(&path, 3).unwrap();
        assert_eq!(ids_in(&path), [1, 2]);
    }

    #[test]
    fn what_would_not_be_right_is_not_written() {
        let inline = "[store]\nnodes = [{ id = 1, listen = \"127.0.0.1:7401\" }]\n";
        let (_folder, path) = file(inline);
        let failure = add(&path, &node(2)).unwrap_err().to_string();
        assert!(failure.contains("by hand") && failure.contains("id = 2"), "{failure}");
        let two = "[store]\nnodes = [{ id = 1, listen = \"127.0.0.1:7401\" }, { id = 2, listen = \"127.0.0.1:7402\" }]\n";
        let (_folder_of_two, path_of_two) = file(two);
        let failure = check_remove(&path_of_two, 2).unwrap_err().to_string();
        assert!(failure.contains("by hand: without node 2"), "{failure}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), inline);
        let (_folder, path) = file(&template(&Fresh::default()));
        let taken = Node { listen: "127.0.0.1:7401".into(), ..node(4) };
        assert!(add(&path, &taken).unwrap_err().message.contains("no other part uses"));
        let mut config = Config::default();
        config.store.preferred_leader = 2;
        assert!(check_without(&config, 2).unwrap_err().message.contains("preferred_leader"));
    }
}
