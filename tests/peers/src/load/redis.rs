//! The load on Redis, at its primary: SET and GET, and orders by a script; each write is followed by WAIT on its connection.
//!
//! A script runs whole or not at all among all others, and needs no retry. A connection a client: WAIT holds up whatever else is on
//! its connection.

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisError, Script};

use super::shop::{Books, CLIENT, Failed, KEYS, ORDER, PATIENCE, PRODUCT, SHOPPERS, STOCK};
use crate::args::Work;
use crate::system::redis::Running;

/// Replicas that have to have received a write.
const REPLICAS: u32 = 1;
/// How long a write waits for them, in milliseconds: as long as the patience of an operation.
const WAIT_MS: u64 = 9_000;
/// Commands of one pipeline beforehand.
const BATCH: u64 = 500;
/// The order: the client and the product exist, the stock suffices, it is taken, and the order is written.
const SCRIPT: &str = "
    if redis.call('EXISTS', KEYS[1]) == 0 then return 'NO_CLIENT' end
    if redis.call('EXISTS', KEYS[2]) == 0 then return 'NO_PRODUCT' end
    local available = tonumber(redis.call('HGET', KEYS[3], 'available'))
    if not available or available < 1 then return 'OUT_OF_STOCK' end
    if not redis.call('SET', KEYS[4], ARGV[1], 'NX') then return 'TAKEN' end
    redis.call('HINCRBY', KEYS[3], 'available', -1)
    redis.call('HINCRBY', KEYS[3], 'held', 1)
    return 'OK'";

/// The clients.
pub struct Clients {
    /// One each.
    connections: Vec<MultiplexedConnection>,
    products: u64,
    /// The script's name at the server.
    script: String,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

impl Clients {
    /// Clients at the primary.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connected(running: &Running, clients: usize, products: u64) -> anyhow::Result<Clients> {
        let client = running.client()?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(PATIENCE));
        let mut connections = Vec::new();
        for _ in 0..clients {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            connections.push(connection.context("cannot connect to Redis")?);
        }
        let mut first = connections[0].clone();
        let script = Script::new(SCRIPT)
            .prepare_invoke()
            .load_async(&mut first)
            .await
            .context("Redis refuses the script")?;
        Ok(Clients { connections, products, script })
    }

    /// Writes the records that a work needs.
    ///
    /// # Errors
    /// One is not written.
    pub async fn prepare(&self, work: Work, data: &str) -> anyhow::Result<()> {
        let mut pipe = redis::pipe();
        if work.is_order() {
            for shopper in 0..SHOPPERS {
                pipe.set(client_key(shopper), CLIENT).ignore();
            }
            for product in 0..self.products {
                pipe.set(product_key(product), PRODUCT).ignore();
                let fields = [("available", STOCK), ("held", 0)];
                pipe.hset_multiple(stock_key(product), &fields).ignore();
            }
            return self.written(&pipe).await;
        }
        for from in (0..KEYS).step_by(usize::try_from(BATCH)?) {
            pipe.clear();
            for key in from..KEYS.min(from + BATCH) {
                pipe.set(record_key(key), data).ignore();
            }
            self.written(&pipe).await?;
        }
        Ok(())
    }

    async fn written(&self, pipe: &Pipeline) -> anyhow::Result<()> {
        let done: Result<(), RedisError> = pipe.query_async(&mut self.connections[0].clone()).await;
        done.context("cannot write to Redis")
    }

    /// Replaces a record, or reads it.
    ///
    /// # Errors
    /// It was not done, or perhaps not.
    pub async fn record(&self, client: usize, key: u64, data: Option<&str>) -> Result<(), Failed> {
        let mut connection = self.connections[client].clone();
        if let Some(data) = data {
            let mut pipe = redis::pipe();
            pipe.set(record_key(key), data).ignore().cmd("WAIT").arg(REPLICAS).arg(WAIT_MS);
            let (replicas,): (u32,) =
                pipe.query_async(&mut connection).await.map_err(|error| failed(&error))?;
            return received(replicas);
        }
        let got: Result<Option<Vec<u8>>, RedisError> =
            redis::cmd("GET").arg(record_key(key)).query_async(&mut connection).await;
        got.map_err(|error| failed(&error))?.map(drop).ok_or_else(|| Failed::refused("ABSENT"))
    }

    /// Places an order.
    ///
    /// # Errors
    /// It was not done, or perhaps not.
    pub async fn order(&self, client: usize, shopper: u64, number: u64) -> Result<(), Failed> {
        let mut connection = self.connections[client].clone();
        let product = fastrand::u64(..self.products);
        let mut pipe = redis::pipe();
        pipe.cmd("EVALSHA").arg(&self.script).arg(4);
        pipe.arg(client_key(shopper))
            .arg(product_key(product))
            .arg(stock_key(product))
            .arg(format!("o/{number:010}"));
        pipe.arg(ORDER).cmd("WAIT").arg(REPLICAS).arg(WAIT_MS);
        let answer: Result<(String, u32), RedisError> = pipe.query_async(&mut connection).await;
        let (said, replicas) = answer.map_err(|error| failed(&error))?;
        if said != "OK" {
            return Err(Failed::refused(said));
        }
        received(replicas)
    }

    /// Adds up stock and orders.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn books(&self) -> anyhow::Result<Books> {
        let mut pipe = redis::pipe();
        (0..self.products).for_each(|product| {
            pipe.hmget(stock_key(product), &["available", "held"]);
        });
        let mut connection = self.connections[0].clone();
        let stocks: Result<Vec<(u64, u64)>, RedisError> = pipe.query_async(&mut connection).await;
        let stocks = stocks.context("cannot read the stock of Redis")?;
        let size: Result<u64, RedisError> = redis::cmd("DBSIZE").query_async(&mut connection).await;
        let others = SHOPPERS + 2 * self.products;
        Ok(Books {
            initial: STOCK * self.products,
            available: stocks.iter().map(|(available, _)| available).sum(),
            held: stocks.iter().map(|(_, held)| held).sum(),
            orders: size.context("cannot read the size of Redis")?.saturating_sub(others),
        })
    }
}

fn received(replicas: u32) -> Result<(), Failed> {
    if replicas >= REPLICAS { Ok(()) } else { Err(Failed::unknown("NO_REPLICA")) }
}

fn failed(error: &RedisError) -> Failed {
    Failed::unknown(error.code().unwrap_or("TRANSPORT"))
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
