//! Tables, as scripts have them: bare cores have none, so a script plays the applier and whoever replaces a table.

use store_core::{Checkpoint, Input, NodeId, Offset};

use super::cluster::Cluster;
use super::script::Command;

pub(crate) fn tell(cluster: &mut Cluster, command: &Command) {
    let (node, input) = match command {
        Command::Checkpoint { node, offset, effects, version } => {
            let checkpoint = checkpoint(cluster, node.0, *offset, *effects, version.unwrap_or(1));
            (node, Input::Checkpointed(checkpoint))
        }
        Command::Fence(node) => (node, Input::Fence),
        Command::Damage(node) => (node, Input::Damaged),
        Command::Beside { node, offset } => {
            let position = cluster.nodes[&node.0].up().history().position_at(Offset(*offset));
            (node, Input::FetchedBeside { position: position.expect("the log has it") })
        }
        Command::Unfenced { node, offset, effects } => {
            let checkpoint = checkpoint(cluster, node.0, *offset, *effects, 1);
            cluster.step(node.0, Input::Inherited(vec![checkpoint]), Vec::new());
            (node, Input::Unfenced { snapshot: checkpoint.position })
        }
        _ => unreachable!("perform hands over only these"),
    };
    cluster.step(node.0, input, Vec::new());
}

fn checkpoint(cluster: &Cluster, node: NodeId, offset: u64, effects: u64, version: u32) -> Checkpoint {
    let position = cluster.nodes[&node].up().history().position_at(Offset(offset));
    Checkpoint { position: position.expect("the log has it"), effects, version }
}
