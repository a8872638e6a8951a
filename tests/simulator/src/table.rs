//! A node's table: layers, which a kill loses, over a table in memory, which only a crash of the machine does.

use bytes::Bytes;
use proto::store::Record;
use proto::store::scan_request::Range;
use store_db::layered::Limits;
use store_db::{Layered, Memory, Table as _, query};

/// The table of a node.
pub(crate) type SimTable = Layered<Memory>;

/// Layers over what a kill leaves: small ones, middling ones, and such as are flushed for snapshots alone.
pub(crate) fn table_over(below: Memory, index: usize) -> SimTable {
    let layer_bytes = [4 << 10, 64 << 10, 4 << 20][index % 3];
    Layered::new(below, Limits { layer_bytes, ..Limits::default() })
}

/// Records whose keys begin so.
pub(crate) fn versions(table: &SimTable, prefix: &'static [u8]) -> Vec<(Bytes, Record)> {
    let (mut all, mut after) = (Vec::new(), Bytes::new());
    loop {
        let range = Range::Prefix(Bytes::from_static(prefix));
        let page = table.read(|read| query::scan(read, &range, 1_000, &after));
        let (found, next) = page.expect("a table in memory can be read");
        all.extend(found.into_iter().map(|found| (found.key, found.record.unwrap_or_default())));
        match next {
            Some(next) => after = next,
            None => return all,
        }
    }
}
