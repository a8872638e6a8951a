//! Third act: kill -9 of the leader of every shard in the middle of a stream of orders; then the books.

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
use crate::config::shape::Node;
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
    let whose = if leaders.len() == 1 { "the leader" } else { "the leader of every shard" };
    stage.act(&format!("kill -9 of {whose} in the middle of {ORDERS} orders"));
    let progress = Arc::new((AtomicUsize::new(0), Notify::new()));
    let stream = start(stage, &progress)?;
    while progress.0.load(Ordering::SeqCst) < KILL_AFTER {
        progress.1.notified().await;
    }
    for (leader, _) in &leaders {
        stage.command(&format!("node kill {}", leader.id));
        stage.part(&leader.name(), Act::Kill).await?;
    }
    let acknowledged = tokio::time::timeout(STREAM_MAX, gather(stream))
        .await
        .map_err(|_| Failure::unreachable(format!("the orders did not end within {STREAM_MAX:?}")))??;
    let later = stage.leaders().await?;
    for (leader, epoch) in &later {
        stage.out.tell(&format!("  node-{} leads now, in epoch {epoch}", leader.id));
    }
    let is_new =
        |((old, before), (new, after)): (&(Node, u64), &(Node, u64))| after > before && old.id != new.id;
    stage.promise(leaders.iter().zip(&later).all(is_new), "the others elected a new leader")?;
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
    for (leader, _) in &leaders {
        stage.command(&format!("node restart {}", leader.id));
        stage.part(&leader.name(), Act::Restart).await?;
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
