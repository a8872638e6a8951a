//! The arguments of `feira demo`.

use clap::Args;

/// The demo.
#[derive(Args, Debug)]
pub struct Demo {
    /// Shards of the ring, all on the same nodes; on several the tour leaves out the protocol of one group
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=5))]
    pub shards: u64,
    /// Nodes of the store: 1, 3, 4, 5 or 7
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: u64,
    /// So many nodes for each shard, which then shares no process with another
    #[arg(long)]
    pub apart: bool,
    /// Play the tour even on a terminal
    #[arg(long)]
    pub tour: bool,
    /// Keep the folder, and say where it is
    #[arg(long)]
    pub keep: bool,
}
