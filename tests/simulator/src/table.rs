//! A node's table: layers, which a kill loses, over a table in memory, which only a crash of the machine does.

use store_db::layered::Limits;
use store_db::{Layered, Memory};

/// The table of a node.
pub(crate) type SimTable = Layered<Memory>;

/// Layers over what a kill leaves: small ones, middling ones, and such as are flushed for snapshots alone.
pub(crate) fn table_over(below: Memory, index: usize) -> SimTable {
    let layer_bytes = [4 << 10, 64 << 10, 4 << 20][index % 3];
    Layered::new(below, Limits { layer_bytes, ..Limits::default() })
}
