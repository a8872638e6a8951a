//! `feira key rotate`: another secret for the cluster, while everything goes on.
//!
//! ```text
//!   file      secret A        secret A         secret B          secret B
//!                             next B           former A
//!   nodes     prove A         prove A          prove B           prove B
//!             believe A       believe A, B     believe A, B      believe B
//!                    └── begin ──┘└─── turn ────┘└─── end ────────┘
//! ```
//!
//! Promises: no step is made before every member of the group has taken the one before, so that at no time one proves what
//! another does not believe. Where all members read the file here the steps follow by themselves; else each is a command,
//! and the file is copied to the other machines in between.

use std::time::{Duration, Instant};

use serde_json::json;
use store_keys::{ClusterId, ClusterKey, Purpose, Rotation};
use store_server::holds_replica;
use tokio::time::sleep;

use super::group::Group;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::key::follow::LOOK;
use crate::key::place;
use crate::reach::{nodes, whose};
use crate::show::answer::Answer;
use crate::show::out::Out;

/// How long members get to take a step.
const TAKEN_MAX: Duration = Duration::from_secs(30);
/// Between two looks at them.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes the next step, and those after it where every member reads the file here.
///
/// # Errors
/// A member does not answer or has not taken the last step; or the file cannot be written.
pub async fn run(loaded: &Loaded, out: &Out) -> Result<Answer, Failure> {
    let mut key = place::of_operator(loaded)?;
    taken(loaded, &key, Instant::now()).await?;
    let here = all_here(loaded).await?;
    loop {
        key = match key.rotation() {
            Rotation::None => key.with_second(place::secret()?),
            Rotation::Begun => key.turned(),
            Rotation::Turned => key.with_first_only(),
        };
        place::write(&place::path(loaded), &key)?;
        let (done, is_over) = match key.rotation() {
            Rotation::Begun => ("step 1 of 3: both secrets are believed", false),
            Rotation::Turned => ("step 2 of 3: the new secret proves", false),
            Rotation::None => ("step 3 of 3: the former secret is worthless", true),
        };
        if !here {
            return Ok(elsewhere(loaded, done, is_over));
        }
        out.say(done);
        taken(loaded, &key, Instant::now() + TAKEN_MAX).await?;
        // Portals follow the file as nodes do, and do not say so.
        sleep(2 * LOOK).await;
        if is_over {
            let head = format!("the secret of cluster {} is another; {done}", key.id());
            let document = json!({ "cluster": key.id().to_string(), "step": 3, "over": true });
            let mut answer = Answer::line(head, document);
            answer.notes.push(for_portals_elsewhere(loaded));
            return Ok(answer);
        }
    }
}

fn elsewhere(loaded: &Loaded, done: &str, is_over: bool) -> Answer {
    let file = place::path(loaded).display().to_string();
    let mut answer = Answer::line(done.to_owned(), json!({ "file": file, "done": done, "over": is_over }));
    answer.notes.push(format!("copy {file} to the other machines with nodes, beside their configuration"));
    answer.notes.push(for_portals_elsewhere(loaded));
    if !is_over {
        answer.notes.push(format!(
            "then the next step, which waits for all members: {}",
            loaded.command("key rotate")
        ));
    }
    answer
}

fn for_portals_elsewhere(loaded: &Loaded) -> String {
    format!(
        "machines with portals only, if there are any, need another file too; until they have it their caches are SUSPECT and \
         every read goes to the store: {}",
        loaded.command("key export --portals")
    )
}

/// Waits until every member says that it holds this very key.
async fn taken(loaded: &Loaded, key: &ClusterKey, until: Instant) -> Result<(), Failure> {
    let wanted: Vec<u64> = key.keys(Purpose::Peer).ids().map(|id| id.0).collect();
    loop {
        let Err(failure) = look(loaded, key.id(), &wanted).await else { return Ok(()) };
        if Instant::now() >= until {
            return Err(failure);
        }
        sleep(PAUSE).await;
    }
}

async fn look(loaded: &Loaded, cluster: ClusterId, wanted: &[u64]) -> Result<(), Failure> {
    for shard in loaded.config.store.shards() {
        look_at(&loaded.of_shard(shard), cluster, wanted).await?;
    }
    Ok(())
}

async fn look_at(shard: &Loaded, cluster: ClusterId, wanted: &[u64]) -> Result<(), Failure> {
    let mut group = Group::of(shard);
    let view = group.look().await?;
    for (member, _) in view.members() {
        let address = group.address_of(member);
        let status = nodes::status_at(address, group.route()).await.map_err(|failure| {
            failure
                .of(format!("node {}", member.node))
                .next("a rotation needs every member: start it, or remove it: feira member remove")
        })?;
        whose::check_node(Some(cluster), address, &status)?;
        if status.keys != wanted {
            return Err(Failure::refused(format!(
                "node {} at {address} has not taken the key file as it is here",
                member.node
            ))
            .next(
                "a node takes its file within seconds; if it was not copied yet, copy cluster.key to that machine, beside the \
                 configuration. If the file here is the older one, copy that machine's here instead: an old file cuts a node off",
            ));
        }
    }
    Ok(())
}

/// Whether every member is a node of this configuration whose folder is on this machine.
async fn all_here(loaded: &Loaded) -> Result<bool, Failure> {
    for shard in loaded.config.store.shards() {
        let view = Group::of(&loaded.of_shard(shard)).look().await?;
        let is_here = |id: u64| {
            let node = loaded.config.store.of_shard(shard).find(|node| node.id == id);
            node.is_some_and(|node| holds_replica(&node.folder_in(&loaded.folder()), shard))
        };
        if !view.members().all(|(member, _)| is_here(member.node)) {
            return Ok(false);
        }
    }
    Ok(true)
}
