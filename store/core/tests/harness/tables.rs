//! Tables of scripts: bare cores have none, so a script plays the applier and the replacement of a table.

use store_core::{Checkpoint, Input, NodeId, Offset};

use super::cluster::Cluster;
use super::script::Command;

pub(crate) fn tell(cluster: &mut Cluster, command: &Command) {
    let (node, input) = match command {
        Command::Checkpoint { node, offset, state_hash, version } => {
            let checkpoint = checkpoint(cluster, node.0, *offset, *state_hash, version.unwrap_or(1));
            (node, Input::Checkpointed(checkpoint))
        }
        Command::Quarantine(node) => (node, Input::Quarantine),
        Command::Damage(node) => (node, Input::Damaged),
        Command::Beside { node, offset } => {
            let position = cluster.nodes[&node.0].up().history().position_at(Offset(*offset));
            (node, Input::FetchedBeside { position: position.expect("the log has it") })
        }
        Command::Released { node, offset, state_hash } => {
            let checkpoint = checkpoint(cluster, node.0, *offset, *state_hash, 1);
            cluster.step(node.0, Input::Inherited(vec![checkpoint]), Vec::new());
            (node, Input::Released { snapshot: checkpoint.position })
        }
        _ => unreachable!("perform hands over only these"),
    };
    cluster.step(node.0, input, Vec::new());
}

fn checkpoint(cluster: &Cluster, node: NodeId, offset: u64, state_hash: u64, version: u32) -> Checkpoint {
    let position = cluster.nodes[&node].up().history().position_at(Offset(offset));
    Checkpoint { position: position.expect("the log has it"), state_hash, version }
}
