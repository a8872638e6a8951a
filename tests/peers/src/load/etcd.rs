//! The load on etcd, at its leader: puts, linearizable ranges, and orders as a transaction that compares revisions.
//!
//! ```text
//!   get s/{product}                                            the stock and its revision
//!   txn  if    c/{shopper}, p/{product} exist, o/{n} does not, s/{product} has that revision
//!        then  put s/{product}, put o/{n}
//!        else  get s/{product}                                 and again
//! ```
//! As in etcd's own package of software transactional memory, a transaction that came second is tried again at once, with what
//! its other branch has read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, KeyValue, KvClient, Txn, TxnOp,
    TxnOpResponse,
};
use tokio::time::timeout;

use super::shop::{Books, CLIENT, Failed, KEYS, ORDER, PATIENCE, PRODUCT, SHOPPERS, STOCK};
use crate::args::Work;
use crate::system::etcd::Running;

/// Connections, shared by all clients: their calls go beside each other. With one for each client etcd is slower.
const CONNECTIONS_MAX: usize = 4;
/// Puts of one transaction beforehand; etcd takes 128.
const BATCH: usize = 100;

/// The clients.
#[derive(Debug)]
pub struct Clients {
    /// To the leader.
    connections: Vec<Kv>,
    products: u64,
    retries: AtomicU64,
}

/// A connection; the library's has no `Debug`.
#[derive(Clone)]
struct Kv(KvClient);

impl std::fmt::Debug for Kv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kv")
    }
}

impl Clients {
    /// Clients at the leader.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connected(running: &Running, clients: usize, products: u64) -> anyhow::Result<Clients> {
        let leader = running.leader().await.context("etcd has no leader")?;
        let mut connections = Vec::new();
        for _ in 0..clients.min(CONNECTIONS_MAX) {
            let options = ConnectOptions::new().with_connect_timeout(PATIENCE);
            let client = Client::connect([running.endpoint(leader)], Some(options)).await;
            connections.push(Kv(client.context("cannot connect to etcd")?.kv_client()));
        }
        Ok(Clients { connections, products, retries: AtomicU64::new(0) })
    }

    /// Writes the records that a work needs.
    ///
    /// # Errors
    /// One is not written.
    pub async fn prepare(&self, work: Work, data: &str) -> anyhow::Result<()> {
        let puts: Vec<TxnOp> = if work.is_order() {
            let clients = (0..SHOPPERS).map(|shopper| TxnOp::put(client_key(shopper), CLIENT, None));
            let products = (0..self.products).map(|product| TxnOp::put(product_key(product), PRODUCT, None));
            let stocks =
                (0..self.products).map(|product| TxnOp::put(stock_key(product), stock(STOCK, 0), None));
            clients.chain(products).chain(stocks).collect()
        } else {
            (0..KEYS).map(|key| TxnOp::put(record_key(key), data, None)).collect()
        };
        for batch in puts.chunks(BATCH) {
            self.kv(0).txn(Txn::new().and_then(batch)).await.context("cannot write to etcd")?;
        }
        Ok(())
    }

    fn kv(&self, client: usize) -> KvClient {
        self.connections[client % self.connections.len()].0.clone()
    }

    /// Transactions tried again since the last question.
    pub fn retries(&self) -> u64 {
        self.retries.swap(0, Ordering::Relaxed)
    }

    /// Replaces a record, or reads it.
    ///
    /// # Errors
    /// It was not done, or perhaps not.
    pub async fn record(&self, client: usize, key: u64, data: Option<&str>) -> Result<(), Failed> {
        let mut kv = self.kv(client);
        if let Some(data) = data {
            return answered(kv.put(record_key(key), data, None)).await.map(drop);
        }
        let got = answered(kv.get(record_key(key), None)).await?;
        if got.kvs().is_empty() { Err(Failed::refused("ABSENT")) } else { Ok(()) }
    }

    /// Places an order.
    ///
    /// # Errors
    /// It was not done, or perhaps not.
    pub async fn order(&self, client: usize, shopper: u64, number: u64) -> Result<(), Failed> {
        let product = fastrand::u64(..self.products);
        let until = Instant::now() + PATIENCE;
        let mut kv = self.kv(client);
        let got = answered(kv.get(stock_key(product), None)).await?;
        let mut seen = got.kvs().first().and_then(seen_stock);
        loop {
            let Some(Seen { available, held, revision }) = seen else {
                return Err(Failed::refused("NO_PRODUCT"));
            };
            if available == 0 {
                return Err(Failed::refused("OUT_OF_STOCK"));
            }
            let order = format!("o/{number:010}");
            let guards = [
                Compare::create_revision(client_key(shopper), CompareOp::Greater, 0),
                Compare::create_revision(product_key(product), CompareOp::Greater, 0),
                Compare::create_revision(order.as_str(), CompareOp::Equal, 0),
                Compare::mod_revision(stock_key(product), CompareOp::Equal, revision),
            ];
            let writes = [
                TxnOp::put(stock_key(product), stock(available - 1, held + 1), None),
                TxnOp::put(order, ORDER, None),
            ];
            let reads = [TxnOp::get(stock_key(product), None)];
            let answer = answered(kv.txn(Txn::new().when(guards).and_then(writes).or_else(reads))).await?;
            if answer.succeeded() {
                return Ok(());
            }
            let other = answer.op_responses().into_iter().next();
            let Some(TxnOpResponse::Get(got)) = other else {
                return Err(Failed::refused("NO_ANSWER_OF_ELSE"));
            };
            seen = got.kvs().first().and_then(seen_stock);
            if seen.as_ref().is_some_and(|seen| seen.revision == revision) {
                return Err(Failed::refused("GUARD_FAILED"));
            }
            if Instant::now() >= until {
                return Err(Failed::refused("CONFLICT"));
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds up stock and orders, at one revision.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn books(&self) -> anyhow::Result<Books> {
        let reads = [
            TxnOp::get("s/", Some(GetOptions::new().with_prefix())),
            TxnOp::get("o/", Some(GetOptions::new().with_prefix().with_count_only())),
        ];
        let answer = self.kv(0).txn(Txn::new().and_then(reads)).await.context("cannot read etcd's stock")?;
        let answers = answer.op_responses();
        let [TxnOpResponse::Get(stocks), TxnOpResponse::Get(orders)] = answers.as_slice() else {
            bail!("etcd answers two reads otherwise");
        };
        let mut books = Books {
            initial: STOCK * self.products,
            available: 0,
            held: 0,
            orders: u64::try_from(orders.count()).unwrap_or(0),
        };
        for record in stocks.kvs() {
            let seen = seen_stock(record).context("a stock in etcd is none")?;
            books.available += seen.available;
            books.held += seen.held;
        }
        Ok(books)
    }
}

/// A stock, and when it was written.
#[derive(Debug)]
struct Seen {
    available: u64,
    held: u64,
    revision: i64,
}

fn seen_stock(record: &KeyValue) -> Option<Seen> {
    let (available, held) = parsed(record.value_str().ok()?)?;
    Some(Seen { available, held, revision: record.mod_revision() })
}

fn stock(available: u64, held: u64) -> String {
    format!("{available} {held}")
}

fn parsed(text: &str) -> Option<(u64, u64)> {
    let (available, held) = text.split_once(' ')?;
    Some((available.parse().ok()?, held.parse().ok()?))
}

/// The answer of a call, within the patience of an operation.
async fn answered<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Failed> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Error::GRpcStatus(status))) => Err(Failed::unknown(format!("{:?}", status.code()))),
        Ok(Err(_)) => Err(Failed::unknown("TRANSPORT")),
        Err(_) => Err(Failed::unknown("NO_ANSWER")),
    }
}

fn record_key(key: u64) -> String {
    format!("k/{key:07}")
}

fn client_key(shopper: u64) -> String {
    format!("c/{shopper}")
}

fn product_key(product: u64) -> String {
    format!("p/{product}")
}

fn stock_key(product: u64) -> String {
    format!("s/{product}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_is_read_as_it_is_written() {
        assert_eq!(parsed(&stock(STOCK - 3, 3)), Some((STOCK - 3, 3)));
        assert_eq!((parsed(""), parsed("1"), parsed("a b")), (None, None, None));
    }
}
