//! The books of a store that nobody changes meanwhile, over any number of shards.
//!
//! An audit of one shard is at one position of its log. Shards have no position in common; while nobody writes, what
//! they hold one after the other is one consistent view all the same. Whoever calls this sees to it that nobody does.

use bytes::Bytes;
use proto::store::Freshness;
use store_client::{Error, Range, Store};

use super::books::{Books, PREFIXES};

/// Records in a page.
const PAGE: u32 = 1_000;

/// Sums up all records of the shop.
///
/// # Errors
/// A page cannot be read.
pub async fn books_of(store: &dyn Store) -> Result<Books, Error> {
    let mut books = Books::default();
    for prefix in PREFIXES {
        let mut after = None;
        loop {
            let range = Range::Prefix(Bytes::from_static(prefix));
            let page = store.scan(range, PAGE, after, Freshness::linearizable()).await?;
            page.records.iter().for_each(|record| books.enter(store.group_of(&record.key), record));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(books)
}
