//! `feira ring`: the shards of the ring, what each owns and who leads it; and whose a key is.

use clap::{Args, Subcommand};
use proto::hash::{hashed_part, ring_hash};
use serde_json::{Value, json};
use store_core::ring::Ring;

use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};
use crate::verb::key::key_of;

/// What of the ring.
#[derive(Args, Debug)]
pub struct RingArgs {
    /// If left out: all of it
    #[command(subcommand)]
    pub what: Option<What>,
}

/// A question about the ring.
#[derive(Subcommand, Debug)]
pub enum What {
    /// Which shard owns a key of the store, such as c/{ana}; a number is the key of that number, as in feira kv
    Where {
        /// The key
        key: String,
    },
}

/// One row a shard.
const SHARDS: [Column; 7] = [
    Column::number("SHARD"),
    Column::whole("ABOVE").dropped(1),
    Column::whole("UP TO"),
    Column::whole("NODES").dropped(2),
    Column::whole("LEADER"),
    Column::number("EPOCH").dropped(4),
    Column::number("COMMIT").dropped(3),
];

/// Runs the command.
///
/// # Errors
/// The key is none.
pub async fn run(config: &Config, args: &RingArgs) -> Result<Answer, Failure> {
    let shards = config.store.shards();
    let ring = Ring::even(shards.len()).map_err(|error| Failure::usage(error.to_string()))?;
    match &args.what {
        None => Ok(shown(config, &ring).await),
        Some(What::Where { key }) => place(&ring, key),
    }
}

async fn shown(config: &Config, ring: &Ring) -> Answer {
    let mut table = Table::new(&SHARDS);
    let mut documents: Vec<Value> = Vec::new();
    let shards = ring.slots().iter().map(|slot| config.of_shard(slot.group.0));
    let shards: Vec<Config> = shards.collect();
    let leaders = futures::future::join_all(shards.iter().map(nodes::leader)).await;
    for (slot, (shard, leader)) in ring.slots().iter().zip(shards.iter().zip(leaders)) {
        let arc = ring.arc(ring.slot_of(slot.group).unwrap_or_default());
        let names: Vec<String> = shard.store.nodes.iter().map(|node| node.id.to_string()).collect();
        let ids: Vec<u64> = shard.store.nodes.iter().map(|node| node.id).collect();
        let (after, up_to) = (format!("{:016x}", arc.after), format!("{:016x}", arc.up_to));
        let leads = leader.as_ref().map(|(replica, _)| replica.node.id);
        documents.push(json!({
            "shard": slot.group.0, "above": after, "up_to": up_to, "nodes": ids, "leader": leads,
            "epoch": leader.as_ref().map(|(_, status)| status.epoch),
            "committed": leader.as_ref().map(|(_, status)| status.committed),
        }));
        let begun = [slot.group.0.to_string(), after, up_to, names.join(" ")];
        match leader {
            None => table.row_begun(begun.into_iter().chain(["nobody".to_owned()])),
            Some((replica, status)) => table.row(begun.into_iter().chain([
                replica.node.name(),
                status.epoch.to_string(),
                status.committed.to_string(),
            ])),
        }
    }
    let head = match ring.slots().len() {
        1 => "a ring of one shard, which owns every key".to_owned(),
        count => format!("a ring of {count} shards: each owns the hashes above the first, up to the second"),
    };
    Answer::table(head, documents.into(), table)
}

fn place(ring: &Ring, word: &str) -> Result<Answer, Failure> {
    let key = key_of(word).map_err(Failure::usage)?;
    let hash = ring_hash(&key);
    let shard = ring.group_of(hash).0;
    let part = hashed_part(&key).escape_ascii().to_string();
    let document = json!({ "key": word, "hashed": part, "hash": format!("{hash:016x}"), "shard": shard });
    Ok(Answer::line(format!("{word} stands at {hash:016x}, by {part:?}, and is of shard {shard}"), document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_the_shard_that_owns_the_hash_of_its_tag() {
        let ring = Ring::even(3).unwrap();
        let shard = |key: &str| place(&ring, key).unwrap().document["shard"].clone();
        assert_eq!(shard("c/{ana}"), shard("o/{ana}/1"), "a client is with its orders");
        let told = place(&ring, "c/{c1}").unwrap();
        // The hash that proto::hash freezes.
        assert_eq!(told.document["hash"], "8ea6ff26c9a95602");
        assert_eq!(
            (told.document["shard"].clone(), told.document["hashed"].clone()),
            (json!(2), json!("c1"))
        );
    }

    #[tokio::test]
    async fn a_shard_without_a_leader_is_shown_with_what_it_owns() {
        let mut config = Config::default();
        for node in &mut config.store.nodes {
            node.shards = vec![node.id];
            node.listen = "127.0.0.1:1".into();
        }
        let answer = run(&config, &RingArgs { what: None }).await.unwrap();
        assert_eq!(answer.document[1]["up_to"], "aaaaaaaaaaaaaaaa");
        assert_eq!(
            (answer.document[2]["leader"].clone(), answer.document[2]["nodes"].clone()),
            (json!(null), json!([3]))
        );
    }
}
