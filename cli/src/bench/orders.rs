//! The load of `order`: the transaction of a shop's order on the store itself, without portal and cache, on records under
//! `bench/` that no portal knows.
//!
//! ```text
//!   guard  bench/c/{shopper} exists · bench/o/{shopper}/{run}-{n} is absent · bench/p/{product} exists
//!   add    bench/s/{product}  /available -1, never below 0 · /held +1
//!   put    bench/o/{shopper}/{run}-{n}
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use portal::document::stock::{AVAILABLE, HELD};
use proto::store::Txn;
use store_client::{Error, Replicated, Store, now_ms, request_identity};

use super::reason;

/// Clients of the shop, who order in any order.
pub const SHOPPERS: u64 = 100;
/// What is left of each product at first: more than any measurement sells.
pub const STOCK: i64 = 1_000_000_000_000;
/// Records under way at once beforehand.
const IN_FLIGHT: usize = 64;

/// The orders.
pub struct Orders {
    store: Replicated,
    /// How many products are ordered, each as often.
    products: u64,
    /// Part of each order's key: no order of another run is in its way.
    run: i64,
    /// The next order's number.
    next: AtomicU64,
}

impl Orders {
    /// Orders of so many products, which are not there yet.
    #[must_use]
    pub fn new(store: Replicated, products: u64) -> Orders {
        Orders { store, products, run: now_ms(), next: AtomicU64::new(0) }
    }

    /// Writes clients, products and stocks.
    ///
    /// # Errors
    /// The first that was not written.
    pub async fn prepare(&self) -> Result<(), Error> {
        let clients = (0..SHOPPERS).map(|shopper| {
            Txn::new().put(client(shopper), now_ms(), "{\"state\":\"active\",\"open_orders\":0,\"data\":{}}")
        });
        let products = (0..self.products).map(|pid| {
            let product = "{\"description\":\"A PRODUCT OF THE BENCH\",\"price\":\"2.55\"}";
            let left = format!("{{\"initial\":{STOCK},\"adjusted\":0,\"available\":{STOCK},\"held\":0}}");
            Txn::new().put(product_key(pid), now_ms(), product).put(stock(pid), now_ms(), left)
        });
        let all = stream::iter(clients.chain(products).map(|txn| self.store.txn(txn, None)));
        all.buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await
    }

    /// Places an order of one unit of any product, by any client.
    ///
    /// # Errors
    /// The reason in a word.
    pub async fn place(&self) -> Result<(), String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (shopper, product) = (fastrand::u64(..SHOPPERS), fastrand::u64(..self.products));
        let (order, txn) = txn((shopper, product), (self.run, number), now_ms());
        let identity = request_identity(proto::hash::digest(&[&order]));
        match self.store.txn(txn, Some(identity)).await {
            Ok(answer) => reason::check(&answer),
            Err(error) => Err(reason::of_store(&error)),
        }
    }
}

/// The transaction of an order, with the order's key.
fn txn((shopper, product): (u64, u64), (run, number): (i64, u64), now_ms: i64) -> (Bytes, Txn) {
    let order = Bytes::from(format!("bench/o/{{{shopper}}}/{run:x}-{number:010}"));
    let data = format!(
        "{{\"state\":\"open\",\"lines\":[{{\"pid\":\"bench-p-{product}\",\"description\":\"A PRODUCT OF THE BENCH\",\
         \"quantity\":1,\"price\":\"2.55\"}}],\"total\":\"2.55\"}}"
    );
    let txn = Txn::new()
        .guard_exists(client(shopper))
        .guard_absent(order.clone())
        .guard_exists(product_key(product))
        .add(stock(product), now_ms, AVAILABLE, -1, Some(0))
        .add(stock(product), now_ms, HELD, 1, None)
        .put(order.clone(), now_ms, data);
    (order, txn)
}

fn client(shopper: u64) -> Bytes {
    Bytes::from(format!("bench/c/{{{shopper}}}"))
}

fn product_key(product: u64) -> Bytes {
    Bytes::from(format!("bench/p/{{{product}}}"))
}

fn stock(product: u64) -> Bytes {
    Bytes::from(format!("bench/s/{{{product}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_guards_what_it_needs_and_touches_only_keys_of_the_bench() {
        let (order, txn) = txn((7, 3), (255, 12), 1);
        assert_eq!(order, "bench/o/{7}/ff-0000000012");
        assert_eq!(proto::check::txn(&txn), Ok(()));
        assert_eq!((txn.guards.len(), txn.operations.len()), (3, 3));
        let guards = txn.guards.iter().map(|guard| &guard.key);
        let mut keys = guards.chain(txn.operations.iter().map(|operation| &operation.key));
        assert!(keys.all(|key| key.starts_with(b"bench/")));
        assert_eq!(txn.tag(), Some(&client(7)), "routed by the client");
    }
}
