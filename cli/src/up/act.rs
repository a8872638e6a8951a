//! `feira node`: orders to the supervisor of a running cluster, and planted faults to a node itself.

use std::time::{Duration, Instant};

use proto::store::{HoldCommitRequest, ResyncRequest, TransferLeadershipRequest};
use serde_json::json;
use store_client::failure::failure_from;
use tokio::time::sleep;
use tonic::Status;

use super::control::{Order, give, look};
use super::parts::{name_of, parts};
use super::ready;
use super::supervisor::Supervisor;
use crate::args::{Act, NodeAct};
use crate::config::load::Loaded;
use crate::config::shape::{Config, Replica};
use crate::failure::{CHANGE_NOT_YET, Failure, Kind, NOT_LEADER};
use crate::reach::nodes;
use crate::show::answer::Answer;

/// What a part gets to recover before it serves.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// How long a command waits for a leader: an election is over in less, unless there is no majority.
const ELECTION_MAX: Duration = Duration::from_secs(3);

/// Between two questions for it.
const ELECTION_PAUSE: Duration = Duration::from_millis(50);

/// Breaks or mends a part.
///
/// # Errors
/// No cluster runs, there is no such part, or it refused.
pub async fn node(loaded: &Loaded, asked: &NodeAct) -> Result<Answer, Failure> {
    let name = name_of(&loaded.config, &asked.id)?;
    if asked.off && asked.act != Act::HoldCommit {
        return Err(Failure::usage("--off belongs to hold-commit"));
    }
    let is_of_replica = matches!(asked.act, Act::HoldCommit | Act::TransferLeadership | Act::Resync);
    if loaded.config.store.shards_in_all.is_some() && !is_of_replica {
        return Err(Failure::usage("--shard: this is done to the whole process, with all of its replicas"));
    }
    let part = name.clone();
    let order = match asked.act {
        Act::Kill => Order::Kill { part },
        Act::Stop => Order::Stop { part },
        Act::Start => Order::Start { part },
        Act::Restart => Order::Restart { part },
        Act::Pause => Order::Pause { part },
        Act::Resume => Order::Resume { part },
        Act::HoldCommit => return hold_commit(loaded, &name, !asked.off).await,
        Act::TransferLeadership => return transfer_leadership(loaded, &name).await,
        Act::Resync => return resync(loaded, &name).await,
    };
    let mut said = give(&Supervisor::run_folder(loaded), &order).await?;
    if matches!(asked.act, Act::Start | Act::Restart) {
        let part = parts(&loaded.config).into_iter().find(|part| part.name == name);
        let part = part.ok_or_else(|| Failure::usage(format!("there is no part {name}")))?;
        let run_folder = Supervisor::run_folder(loaded);
        ready::one(loaded, &part, RECOVERY_MAX, async || look(&run_folder, &name).await).await?;
        said.push_str(if said.contains(',') { ", and serving" } else { " and serving" });
    }
    Ok(Answer::line(said.clone(), json!({ "part": name, "done": said })))
}

/// The replica of the node of this name that is meant.
fn replica_named<'a>(loaded: &'a Loaded, name: &str) -> Result<Replica<'a>, Failure> {
    let node = loaded.config.store.nodes.iter().find(|node| node.name() == name);
    let node = node.ok_or_else(|| Failure::usage(format!("{name} is no node of the store")))?;
    nodes::replica_of(&loaded.config, node.id)
}

/// Asks again while there is no leader, until one should have been elected.
async fn through_an_election<T>(
    mut ask: impl AsyncFnMut() -> Result<T, Failure>,
    is_early: impl Fn(&Failure) -> bool,
) -> Result<T, Failure> {
    let until = Instant::now() + ELECTION_MAX;
    loop {
        match ask().await {
            Err(failure) if is_early(&failure) && Instant::now() < until => sleep(ELECTION_PAUSE).await,
            asked => return asked,
        }
    }
}

/// Asks the leader to give its place to this node.
///
/// # Errors
/// It is not a node, no node leads, or the node cannot take over.
pub async fn transfer_leadership(loaded: &Loaded, name: &str) -> Result<Answer, Failure> {
    let to = replica_named(loaded, name)?;
    let shard = loaded.config.of_shard(to.shard);
    let leader = async || nodes::leading(&shard, nodes::statuses(&shard).await);
    let elected = through_an_election(leader, |failure| failure.kind == Kind::Unreachable).await;
    let (from, status) = elected.map_err(|failure| match failure.kind {
        Kind::Unreachable => Failure::unreachable("no node leads: there is no leadership to transfer")
            .next("see feira status: a majority of the store's nodes must be serving"),
        _ => failure,
    })?;
    if from.node.id == to.node.id {
        let said = format!("{name} leads already: name the node that is to lead");
        let document = json!({ "part": name, "leader": to.node.id, "epoch": status.epoch, "done": said });
        return Ok(Answer::line(said, document));
    }
    let request = TransferLeadershipRequest { route: nodes::route(to), to: to.node.id };
    let answer = nodes::operator(loaded, from.node)?.transfer_leadership(request).await;
    let leader =
        answer.map_err(|status| Failure::of_status(&status))?.into_inner().leader.unwrap_or_default();
    let said = format!(
        "{} transferred leadership to node-{}, epoch {}",
        from.node.name(),
        leader.node,
        leader.epoch
    );
    Ok(Answer::line(
        said.clone(),
        json!({ "part": name, "leader": leader.node, "epoch": leader.epoch, "done": said }),
    ))
}

/// What a command needs besides this node to mean its replica of a shard: nothing, or the shard where that was named or has to be.
fn option(config: &Config, shard: u64, id: u64) -> String {
    let is_named = config.store.shards_in_all.is_some_and(|count| count > 1);
    match nodes::node_of(config, id) {
        Ok(_) if is_named => format!(" --shard {shard}"),
        Ok(node) => Replica { node, shard }.option(),
        Err(_) => String::new(),
    }
}

/// What a node's refusal means; one that does not lead names the node that does.
fn only_the_leader(loaded: &Loaded, replica: Replica<'_>, act: &str, status: &Status) -> Failure {
    let failure = Failure::of_status(status);
    if failure.reason != NOT_LEADER {
        return failure;
    }
    let name = replica.node.name();
    let message = |leads: String| format!("{name} does not lead: {leads}; nothing was changed");
    match failure_from(status).leader {
        Some(leader) => failure.retold(message(format!("node-{} does", leader.node))).next(format!(
            "perhaps you want: {}",
            loaded.command(&format!(
                "node {act} {}{}",
                leader.node,
                option(&loaded.config, replica.shard, leader.node)
            ))
        )),
        None => failure.retold(message("no node is known to".to_owned())),
    }
}

/// Tells a node that its state is wrong: it serves and leads no more until it has the leader's.
///
/// # Errors
/// It is not a node, or not reachable, or leads, or knows no leader.
async fn resync(loaded: &Loaded, name: &str) -> Result<Answer, Failure> {
    let replica = replica_named(loaded, name)?;
    let mut node = nodes::operator(loaded, replica.node)?;
    let ask = async || {
        let asked = node.resync(ResyncRequest { route: nodes::route(replica) }).await;
        asked.map_err(|status| Failure::of_status(&status))
    };
    through_an_election(ask, |failure| failure.reason == CHANGE_NOT_YET).await?;
    let said = format!(
        "{name} is quarantined: it serves no reads and does not lead until its database was replaced by the leader's \
         (feira status tells when)"
    );
    Ok(Answer::line(said.clone(), json!({ "part": name, "done": said })))
}

/// Asks a node to keep commit orders back, or to send them again.
///
/// # Errors
/// It is not a node, or not reachable, or does not lead.
pub async fn hold_commit(loaded: &Loaded, name: &str, hold: bool) -> Result<Answer, Failure> {
    let replica = replica_named(loaded, name)?;
    let request = HoldCommitRequest { route: nodes::route(replica), hold };
    let held = nodes::operator(loaded, replica.node)?.hold_commit(request).await;
    held.map_err(|status| only_the_leader(loaded, replica, "hold-commit", &status))?;
    let said = if hold {
        format!(
            "{name} keeps its commit orders to itself: what it appends stays intermediate on the other nodes; itself it \
             commits, applies and answers"
        )
    } else {
        format!("{name} sends commit orders again")
    };
    Ok(Answer::line(said.clone(), json!({ "part": name, "hold": hold, "done": said })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_of_a_shard_is_named_with_it() {
        let mut config = Config::default();
        assert_eq!(option(&config.of_shard(1), 1, 2), "", "a cluster of one shard");
        config.store.nodes[1].shards = vec![1, 2];
        assert_eq!(option(&config, 1, 2), " --shard 1", "a node of several");
        assert_eq!(option(&config, 1, 3), "");
        config.store.nodes.iter_mut().for_each(|node| node.shards = vec![1, 2]);
        assert_eq!(option(&config.of_shard(2), 2, 3), " --shard 2");
    }
}
