//! `feira node`: orders to the supervisor of a running cluster, and planted faults to a node itself.

use std::time::Duration;

use proto::store::{HandOverRequest, HoldCommitRequest, ResyncRequest};
use serde_json::json;

use super::control::{Order, give, look};
use super::parts::{name_of, parts};
use super::ready;
use super::supervisor::Supervisor;
use crate::args::{Act, NodeAct};
use crate::config::load::Loaded;
use crate::config::shape::Node;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;

/// What a part gets to recover before it serves.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// Breaks or mends a part.
///
/// # Errors
/// No cluster runs, there is no such part, or it refused.
pub async fn node(loaded: &Loaded, asked: &NodeAct) -> Result<Answer, Failure> {
    let name = name_of(&loaded.config, &asked.id)?;
    if asked.off && asked.act != Act::HoldCommit {
        return Err(Failure::usage("--off belongs to hold-commit"));
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
        Act::HandOver => return hand_over(loaded, &name).await,
        Act::Resync => return resync(loaded, &name).await,
    };
    let mut said = give(&Supervisor::run_folder(loaded), &order).await?;
    if matches!(asked.act, Act::Start | Act::Restart) {
        let part = parts(&loaded.config).into_iter().find(|part| part.name == name);
        let part = part.ok_or_else(|| Failure::usage(format!("there is no part {name}")))?;
        let run_folder = Supervisor::run_folder(loaded);
        ready::one(loaded, &part, RECOVERY_MAX, async || look(&run_folder, &name).await).await?;
        said.push_str(" and serving");
    }
    Ok(Answer::line(said.clone(), json!({ "part": name, "done": said })))
}

fn node_named<'a>(loaded: &'a Loaded, name: &str) -> Result<&'a Node, Failure> {
    let node = loaded.config.store.nodes.iter().find(|node| node.name() == name);
    node.ok_or_else(|| Failure::usage(format!("{name} is no node of the store")))
}

/// Asks a leader to give its place to the most advanced other node.
///
/// # Errors
/// It is not a node, or not reachable, or does not lead, or nobody can take over.
pub async fn hand_over(loaded: &Loaded, name: &str) -> Result<Answer, Failure> {
    let request = HandOverRequest { route: nodes::route(), to: 0 };
    let answer = nodes::cluster(node_named(loaded, name)?)?.hand_over(request).await;
    let leader =
        answer.map_err(|status| Failure::of_status(&status))?.into_inner().leader.unwrap_or_default();
    let said = format!("{name} handed over to node-{}, epoch {}", leader.node, leader.epoch);
    Ok(Answer::line(
        said.clone(),
        json!({ "part": name, "leader": leader.node, "epoch": leader.epoch, "done": said }),
    ))
}

/// Tells a node that its state is wrong: it serves and leads no more until it has the leader's.
///
/// # Errors
/// It is not a node, or not reachable, or leads, or knows no leader.
async fn resync(loaded: &Loaded, name: &str) -> Result<Answer, Failure> {
    let node = node_named(loaded, name)?;
    let request = ResyncRequest { route: nodes::route() };
    let told = nodes::cluster(node)?.resync(request).await;
    told.map_err(|status| Failure::of_status(&status))?;
    let said = format!(
        "{name} is fenced: it serves no reads and does not lead until its database was replaced by the leader's \
         (feira status tells when)"
    );
    Ok(Answer::line(said.clone(), json!({ "part": name, "done": said })))
}

/// Asks a node to keep commit orders back, or to send them again.
///
/// # Errors
/// It is not a node, or not reachable, or does not lead.
pub async fn hold_commit(loaded: &Loaded, name: &str, hold: bool) -> Result<Answer, Failure> {
    let node = node_named(loaded, name)?;
    let request = HoldCommitRequest { route: nodes::route(), hold };
    nodes::cluster(node)?.hold_commit(request).await.map_err(|status| Failure::of_status(&status))?;
    let said = if hold {
        format!("{name} keeps its commit orders to itself: what it appends stays intermediate everywhere")
    } else {
        format!("{name} sends commit orders again")
    };
    Ok(Answer::line(said.clone(), json!({ "part": name, "hold": hold, "done": said })))
}
