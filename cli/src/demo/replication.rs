//! Second act: the log. A commit order held back and given; a replica stopped, a conflict planted, the truncation and
//! resend shown.

use std::time::Duration;

use bytes::Bytes;
use proto::store::{Identity, LogLine, Txn};
use store_server::group_folder;
use tokio::time::{Instant, sleep};

use super::stage::Stage;
use crate::args::Act;
use crate::failure::Failure;
use crate::log::folder::Folder;
use crate::log::plant::{self, Plan};
use crate::log::show::{Shown, Wanted, of_folder, standing};
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};
use crate::up::act::{hold_commit, transfer_leadership};

/// How long the tour waits for entries to arrive.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Planting is tried anew when the leader wrote in between (a publish mark, say).
const PLANT_TRIES: u32 = 5;
/// A leader writes a publish mark at most so long after a change.
const QUIET: Duration = Duration::from_millis(1_500);

/// Plays the act.
///
/// # Errors
/// A promise does not hold.
pub async fn play(stage: &mut Stage) -> Result<(), Failure> {
    commit_order(stage).await?;
    conflict(stage).await
}

/// Writes a record straight into the store.
async fn put(stage: &Stage, key: &str) -> Result<u64, Failure> {
    let now = store_client::now_ms();
    let txn = Txn::new().put(Bytes::copy_from_slice(key.as_bytes()), now, "demo");
    // An id that people can read in the log; the cluster is new, so that nobody used it before.
    let identity = Identity::user(key.to_owned(), 0, 1, proto::hash::digest(&[key.as_bytes()]));
    let answer = stage.store.txn(txn, Some(identity)).await;
    Ok(answer.map_err(|error| crate::kv::send::failure_of(&error, None))?.offset())
}

fn line_at(shown: &Shown, offset: u64) -> Option<&LogLine> {
    shown.lines.iter().find(|line| line.position.is_some_and(|at| at.offset == offset))
}

/// The entry at an offset as each replica has it.
async fn everywhere(stage: &Stage, offset: u64) -> Result<Vec<(u64, Option<LogLine>)>, Failure> {
    let mut all = Vec::new();
    for node in stage.config().store.nodes.clone() {
        let shown = stage.log(node.id, offset).await?;
        all.push((node.id, line_at(&shown, offset).cloned()));
    }
    Ok(all)
}

/// An entry, or several, as replicas have them.
pub(crate) fn table(rows: &[(u64, Option<LogLine>)], head: &str) -> Answer {
    let mut table = Table::new(&[
        Column::number("NODE"),
        Column::number("EPOCH"),
        Column::number("OFFSET"),
        Column::words("STANDING"),
        Column::words("WHAT"),
    ]);
    for (node, line) in rows {
        let Some(line) = line else {
            table.row([node.to_string(), "-".into(), "-".into(), "absent".into(), String::new()]);
            continue;
        };
        let at = line.position.unwrap_or_default();
        table.row([
            node.to_string(),
            at.epoch.to_string(),
            at.offset.to_string(),
            standing(line, true).to_owned(),
            line.summary.clone(),
        ]);
    }
    Answer::table(head, serde_json::Value::Null, table)
}

async fn commit_order(stage: &mut Stage) -> Result<(), Failure> {
    stage.act("An entry is intermediate until the commit order");
    stage.settled().await?;
    let (leader, _) = stage.leader().await?;
    stage.command(&format!("node hold-commit {}", leader.id));
    hold_commit(&stage.supervisor.loaded, &leader.name(), true).await?;
    stage.command("kv set text:tour/commit demo");
    let offset = put(stage, "tour/commit").await?;
    let arrived = until(stage, offset, |line| !line.committed, leader.id).await?;
    stage.show(&table(&arrived, "the log of each replica, before the commit order:"));
    let followers = |rows: &[(u64, Option<LogLine>)], test: fn(&LogLine) -> bool| {
        let mut others = rows.iter().filter(|(node, _)| *node != leader.id);
        others.all(|(_, line)| line.as_ref().is_some_and(test))
    };
    stage.promise(
        followers(&arrived, |line| !line.committed && !line.applied),
        "each replica has the entry durably, as intermediate data that cannot be read",
    )?;
    stage.command(&format!("node hold-commit {} --off", leader.id));
    hold_commit(&stage.supervisor.loaded, &leader.name(), false).await?;
    let applied = until(stage, offset, |line| line.applied, leader.id).await?;
    stage.show(&table(&applied, "and after it:"));
    stage.promise(followers(&applied, |line| line.applied), "on the commit order each replica applied it")
}

/// Waits until every replica but the leader has the entry and it stands so.
async fn until(
    stage: &Stage,
    offset: u64,
    stands: fn(&LogLine) -> bool,
    leader: u64,
) -> Result<Vec<(u64, Option<LogLine>)>, Failure> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let rows = everywhere(stage, offset).await?;
        let fine = rows.iter().all(|(node, line)| *node == leader || line.as_ref().is_some_and(stands));
        if fine || Instant::now() >= deadline {
            return Ok(rows);
        }
        sleep(Duration::from_millis(30)).await;
    }
}

async fn conflict(stage: &mut Stage) -> Result<(), Failure> {
    stage.act("A replica with entries that no leader sent is corrected");
    let (follower, first, old_epoch) = planted(stage).await?;
    let name = format!("node-{follower}");
    let folder = Folder::at(replica_folder(stage, follower))?;
    let before = of_folder(&folder, Wanted { from: Some(first), limit: 5 })?;
    let rows: Vec<(u64, Option<LogLine>)> =
        before.lines.iter().map(|l| (follower, Some(l.clone()))).collect();
    stage.command(&format!("log show {follower} --from {first}"));
    stage.show(&table(&rows, "the planted conflict, in the stopped replica's folder:"));
    stage.promise(
        before.lines.len() == 3 && before.lines.iter().all(|line| !line.committed),
        "three intermediate entries of an older epoch stand where the leader has others",
    )?;
    let offset = put(stage, "tour/conflict").await?;
    stage.command(&format!("node restart {follower}"));
    stage.part(&name, Act::Restart).await?;
    let end = stage.settled().await?;
    let (leader, epoch) = stage.leader().await?;
    let after = stage.log(follower, first).await?;
    let right = stage.log(leader.id, first).await?;
    let rows: Vec<(u64, Option<LogLine>)> = after.lines.iter().map(|l| (follower, Some(l.clone()))).collect();
    stage.show(&table(&rows, "the same log after the leader resent from the point of agreement:"));
    let position = |line: Option<&LogLine>| line.and_then(|line| line.position);
    let corrected = position(line_at(&after, first)).is_some_and(|at| at.epoch > old_epoch);
    stage.promise(corrected, &format!("the planted entries were truncated; epoch {epoch} leads"))?;
    // Up to where all had settled: the leader may have appended a publish mark since.
    let places = |shown: &Shown| -> Vec<_> {
        let places = shown.lines.iter().filter_map(|line| line.position);
        places.filter(|at| at.offset <= end).collect()
    };
    stage.promise(places(&after) == places(&right) && end >= offset, "both logs are equal")?;
    let seen = stage.read(&format!("planted/{first}")).await?;
    stage.promise(seen.is_none(), "nobody ever read a planted entry")?;
    committed_is_safe(stage, &name, follower).await
}

/// The folder of a node's replica of the one shard.
fn replica_folder(stage: &Stage, id: u64) -> std::path::PathBuf {
    let mut replicas = stage.config().store.replicas().into_iter();
    let replica = replicas.find(|replica| replica.node.id == id);
    let folder = stage.supervisor.loaded.folder();
    replica.map(|one| group_folder(&one.node.folder_in(&folder), one.shard)).unwrap_or_default()
}

/// Stops a follower, makes a new epoch, and plants three entries of the old one. Returns the follower, the first
/// planted offset, and the old epoch.
async fn planted(stage: &mut Stage) -> Result<(u64, u64, u64), Failure> {
    let plan = Plan { epoch: None, entries: 3, at: None, force: false };
    for _ in 0..PLANT_TRIES {
        // Until the last publish mark is written, so that nothing is appended between stop and leadership transfer.
        let end = stage.settled().await?;
        sleep(QUIET).await;
        if stage.settled().await? != end {
            continue;
        }
        let (leader, epoch) = stage.leader().await?;
        let follower = stage.config().store.nodes.iter().map(|node| node.id).find(|id| *id != leader.id);
        let follower = follower.ok_or_else(|| Failure::usage("the tour needs at least three nodes"))?;
        let name = format!("node-{follower}");
        stage.command(&format!("node stop {follower}"));
        stage.part(&name, Act::Stop).await?;
        let mut heirs =
            stage.config().store.nodes.iter().filter(|node| ![leader.id, follower].contains(&node.id));
        let heir = heirs
            .next_back()
            .cloned()
            .ok_or_else(|| Failure::usage("the tour needs at least three nodes"))?;
        stage.command(&format!("node transfer-leadership {}", heir.id));
        if let Err(failure) = transfer_leadership(&stage.supervisor.loaded, &heir.name()).await {
            stage.out.tell(&format!("  {}", stage.out.told(&failure)));
        }
        stage.command(&format!("log plant {follower} --entries 3"));
        match plant::run(&stage.supervisor.loaded, follower, plan).await {
            Ok(answer) => {
                stage.show(&answer);
                let first = answer.document["first"].as_u64().unwrap_or(end + 1);
                return Ok((follower, first, epoch));
            }
            Err(failure) => {
                stage.out.tell(&format!("  {}", stage.out.told(&failure)));
                stage.part(&name, Act::Restart).await?;
            }
        }
    }
    Err(Failure::refused(format!("no conflict could be planted in {PLANT_TRIES} tries")))
}

async fn committed_is_safe(stage: &mut Stage, name: &str, follower: u64) -> Result<(), Failure> {
    stage.command(&format!("node stop {follower}"));
    stage.part(name, Act::Stop).await?;
    stage.command(&format!("log plant {follower} --at 2"));
    let plan = Plan { epoch: None, entries: 1, at: Some(2), force: false };
    let refused = plant::in_folder(&replica_folder(stage, follower), stage.config().store.map_bytes, plan);
    if let Err(failure) = &refused {
        stage.out.tell(&format!("  {}", stage.out.told(failure)));
    }
    stage.promise(refused.is_err(), "what is committed is not touched")?;
    stage.part(name, Act::Restart).await
}
