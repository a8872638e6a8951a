//! Third act: kill -9 of leaders in the middle of a stream of orders; then the books. Of every shard, where each has nodes of its
//! own; else of as many as leave every shard a majority, since a process takes all of its replicas along.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::market::buyers;
use super::stage::Stage;
use crate::admin::paging::Part;
use crate::args::Act;
use crate::audit;
use crate::config::shape::{Node, Store};
use crate::failure::Failure;
use crate::reach::request::request_id;
use crate::shop::orders;
use crate::verb::call::GivenLine;

/// Orders of the stream, one unit each.
const ORDERS: usize = 120;
/// So many are acknowledged when the leader is killed.
const KILL_AFTER: usize = 40;
/// Shoppers at once.
const SHOPPERS: usize = 4;
/// What they all buy.
const PID: &str = "laranja-pera";
/// The whole stream, election included.
const STREAM_MAX: Duration = Duration::from_secs(120);

/// Plays the act.
///
/// # Errors
/// A promise does not hold.
pub async fn play(stage: &mut Stage) -> Result<(), Failure> {
    let leaders = stage.leaders().await?;
    let killed = victims(&stage.config().store, &leaders);
    stage.act(&format!("kill -9 of {} in the middle of {ORDERS} orders", whom(&leaders, &killed)));
    if let Some(shared) = killed.iter().find(|node| node.is_shared()) {
        stage.out.tell(&format!("  {} goes {}", shared.name(), shared.with_its_replicas()));
    }
    let progress = Arc::new((AtomicUsize::new(0), Notify::new()));
    let stream = start(stage, &progress)?;
    while progress.0.load(Ordering::SeqCst) < KILL_AFTER {
        progress.1.notified().await;
    }
    for node in &killed {
        stage.command(&format!("node kill {}", node.id));
        stage.part(&node.name(), Act::Kill).await?;
    }
    let acknowledged = tokio::time::timeout(STREAM_MAX, gather(stream))
        .await
        .map_err(|_| Failure::unreachable(format!("the orders did not end within {STREAM_MAX:?}")))??;
    let later = stage.leaders().await?;
    let is_killed = |node: &Node| killed.iter().any(|killed| killed.id == node.id);
    let changes = || leaders.iter().zip(&later).filter(|((old, _), _)| is_killed(old));
    for (_, (leader, epoch)) in changes() {
        stage.out.tell(&format!("  node-{} leads now, in epoch {epoch}", leader.id));
    }
    let is_new = changes().all(|((_, before), (new, after))| after > before && !is_killed(new));
    stage.promise(is_new, "the others elected a new leader")?;
    stage.promise(
        acknowledged.len() == ORDERS,
        "every order was acknowledged, once, without a person's help",
    )?;
    let listed = listed(stage).await?;
    stage.promise(acknowledged.is_subset(&listed), "every acknowledged order is there")?;
    stage.promise(listed.len() == ORDERS, "and none was made twice")?;
    let held = serde_json::from_slice::<serde_json::Value>(
        &stage.read(&format!("s/{{{PID}}}")).await?.unwrap_or_default(),
    );
    let held = held.ok().and_then(|stock| stock["held"].as_i64());
    stage.promise(held == i64::try_from(ORDERS).ok(), "the stock moved by exactly one unit an order")?;
    for node in &killed {
        stage.command(&format!("node restart {}", node.id));
        stage.part(&node.name(), Act::Restart).await?;
    }
    stage.settled().await?;
    stage.act(if leaders.len() > 1 {
        "The books of all shards, at one moment, on every replica"
    } else {
        "The books, at one position of the log, on every replica"
    });
    stage.command("audit");
    let audited = audit::run::run(&stage.supervisor.loaded).await?;
    stage.show(&audited);
    stage.promise(
        true,
        "initial + adjusted = available + held + sold for every product, and all replicas are equal",
    )
}

/// The leaders that are killed: as many as leave every shard a majority of its nodes, and one at least.
fn victims(store: &Store, leaders: &[(Node, u64)]) -> Vec<Node> {
    let mut killed: Vec<Node> = Vec::new();
    for (leader, _) in leaders {
        let is_killed = |id: u64| id == leader.id || killed.iter().any(|node| node.id == id);
        let keeps_majority = |shard: u64| {
            let nodes = store.of_shard(shard).count();
            let left = store.of_shard(shard).filter(|node| !is_killed(node.id)).count();
            left * 2 > nodes
        };
        let is_new = killed.iter().all(|node| node.id != leader.id);
        if is_new && (killed.is_empty() || store.shards().into_iter().all(keeps_majority)) {
            // With all of its replicas: a leader is known as the node of its shard.
            killed.extend(store.nodes.iter().find(|node| node.id == leader.id).cloned());
        }
    }
    killed
}

/// Whose leaders are killed, in words.
fn whom(leaders: &[(Node, u64)], killed: &[Node]) -> String {
    let is_hit = |leader: &Node| killed.iter().any(|node| node.id == leader.id);
    let hit: Vec<String> = (1..)
        .zip(leaders)
        .filter(|(_, (leader, _))| is_hit(leader))
        .map(|(shard, _)| shard.to_string())
        .collect();
    match hit.as_slice() {
        _ if leaders.len() == 1 => "the leader".to_owned(),
        all if all.len() == leaders.len() => "the leader of every shard".to_owned(),
        [one] => format!("the leader of shard {one}"),
        several => format!("the leaders of the shards {}", several.join(", ")),
    }
}

type Stream = JoinSet<Result<Vec<(String, String)>, Failure>>;

/// Several shoppers, each ordering one unit again and again.
fn start(stage: &Stage, progress: &Arc<(AtomicUsize, Notify)>) -> Result<Stream, Failure> {
    let mut stream = JoinSet::new();
    for buyer in buyers()?.into_iter().take(SHOPPERS) {
        let (shop, progress) = (Arc::clone(&stage.shop), Arc::clone(progress));
        stream.spawn(async move {
            let mut acknowledged = Vec::new();
            for _ in 0..ORDERS / SHOPPERS {
                let lines = orders::lines(&[GivenLine::of(PID, 1)]);
                let order = orders::create(&shop, &buyer.cid, lines, request_id(None), true).await?;
                acknowledged.push((buyer.cid.clone(), order.oid));
                progress.0.fetch_add(1, Ordering::SeqCst);
                progress.1.notify_one();
            }
            Ok(acknowledged)
        });
    }
    Ok(stream)
}

async fn gather(mut stream: Stream) -> Result<BTreeSet<(String, String)>, Failure> {
    let mut all = BTreeSet::new();
    while let Some(ended) = stream.join_next().await {
        all.extend(ended.map_err(|e| Failure::refused(format!("a shopper was cut off: {e}")))??);
    }
    Ok(all)
}

/// Every order of the shoppers, as the portal lists them.
async fn listed(stage: &Stage) -> Result<BTreeSet<(String, String)>, Failure> {
    let mut all = BTreeSet::new();
    for buyer in buyers()?.into_iter().take(SHOPPERS) {
        let found = orders::list(&stage.shop, &buyer.cid, Part::default()).await?.items;
        all.extend(found.into_iter().map(|order| (buyer.cid.clone(), order.oid)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of three shards, and who leads each.
    fn ring(nodes: Vec<Node>, leaders: [u64; 3]) -> (Store, Vec<(Node, u64)>) {
        let leads = |(shard, id): (u64, u64)| (Node { id, shards: vec![shard], ..Node::default() }, 1);
        let leaders = (1..).zip(leaders).map(leads).collect();
        (Store { nodes, ..Store::default() }, leaders)
    }

    fn shared(nodes: u64) -> Vec<Node> {
        (1..=nodes).map(|id| Node { id, shards: vec![1, 2, 3], ..Node::default() }).collect()
    }

    fn of(ring: (Store, Vec<(Node, u64)>)) -> (Vec<u64>, String) {
        let (store, leaders) = ring;
        let killed = victims(&store, &leaders);
        assert!(killed.iter().all(|node| store.nodes.contains(node)), "with all of their replicas");
        (killed.iter().map(|node| node.id).collect(), whom(&leaders, &killed))
    }

    #[test]
    fn every_shard_keeps_a_majority_of_its_nodes() {
        assert_eq!(of(ring(shared(3), [1, 2, 3])), (vec![1], "the leader of shard 1".to_owned()));
        assert_eq!(of(ring(shared(3), [2, 1, 2])), (vec![2], "the leaders of the shards 1, 3".to_owned()));
        assert_eq!(of(ring(shared(3), [2, 2, 2])), (vec![2], "the leader of every shard".to_owned()));
        assert_eq!(of(ring(shared(5), [1, 2, 3])), (vec![1, 2], "the leaders of the shards 1, 2".to_owned()));
        let apart = (1..=9).map(|id: u64| Node { id, shards: vec![id.div_ceil(3)], ..Node::default() });
        let all = of(ring(apart.collect(), [1, 5, 9]));
        assert_eq!(all, (vec![1, 5, 9], "the leader of every shard".to_owned()));
    }
}
