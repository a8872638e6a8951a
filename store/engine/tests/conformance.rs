//! The conformance suite of `Store` on the store in memory.

use std::sync::Arc;

use store_engine::memory::MemoryStore;

#[tokio::test]
async fn the_store_in_memory_conforms() {
    store_client::suite::run(Arc::new(MemoryStore::new().raised())).await;
}
