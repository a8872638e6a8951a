//! The load on PostgreSQL, at its primary: prepared statements, connections from a pool; orders in five statements or in one.
//!
//! That the client exists is a foreign key of the orders, as PostgreSQL's own users would have it.

use anyhow::Context;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::shop::{BYTES, Books, CLIENT, Failed, KEYS, ORDER, PATIENCE, PRODUCT, SHOPPERS, STOCK};
use crate::args::Work;
use crate::system::postgres::{Running, connected};

/// Connections of the pool: with one for each of 256 clients its writes are slower, and with far fewer too.
const CONNECTIONS_MAX: usize = 64;

const TABLES: &str = "
    CREATE TABLE record (key bigint PRIMARY KEY, data text NOT NULL);
    CREATE TABLE client (id bigint PRIMARY KEY, data text NOT NULL);
    CREATE TABLE product (id bigint PRIMARY KEY, data text NOT NULL);
    CREATE TABLE stock (product bigint PRIMARY KEY REFERENCES product, available bigint NOT NULL CHECK (available >= 0),
                        held bigint NOT NULL);
    CREATE TABLE orders (id bigint PRIMARY KEY, client bigint NOT NULL REFERENCES client, data text NOT NULL);";
const PUT: &str = "INSERT INTO record VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET data = excluded.data";
const GET: &str = "SELECT data FROM record WHERE key = $1";
const LOCK: &str = "SELECT available FROM stock WHERE product = $1 FOR UPDATE";
const TAKE: &str = "UPDATE stock SET available = available - 1, held = held + 1 WHERE product = $1";
const WRITE: &str = "INSERT INTO orders VALUES ($1, $2, $3)";
const AT_ONCE: &str = "
    WITH taken AS (
        UPDATE stock SET available = available - 1, held = held + 1 WHERE product = $1 AND available >= 1 RETURNING product)
    INSERT INTO orders SELECT $2, $3, $4 FROM taken";
const BOOKS: &str = "
    SELECT (SELECT sum(available)::bigint FROM stock), (SELECT sum(held)::bigint FROM stock), (SELECT count(*) FROM orders)";

/// The clients.
#[derive(Debug)]
pub struct Clients {
    /// A client has one of its own while there are enough.
    connections: Vec<Connection>,
    /// Those that nobody uses.
    idle: Mutex<Vec<usize>>,
    /// One permit for each of them; who comes first is served first.
    free: Semaphore,
    products: u64,
    one_statement: bool,
}

/// A connection that is taken from the pool until this is dropped.
struct Taken<'a> {
    pool: &'a Clients,
    number: usize,
    _permit: SemaphorePermit<'a>,
}

impl Taken<'_> {
    fn connection(&self) -> &Connection {
        &self.pool.connections[self.number]
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.pool.idle.lock().push(self.number);
    }
}

/// A connection and its statements.
struct Connection {
    client: Client,
    put: Statement,
    get: Statement,
    lock: Statement,
    take: Statement,
    write: Statement,
    at_once: Statement,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Clients {
    /// Clients at the primary, with tables and with the records that a work needs; `counts` are of clients and of products.
    ///
    /// # Errors
    /// It cannot be reached, or a record not be written.
    pub async fn prepared(
        running: &Running,
        work: Work,
        data: &str,
        counts: (usize, u64),
    ) -> anyhow::Result<Clients> {
        let (clients, products) = counts;
        let config = running.config();
        let first = connected(&config).await.context("cannot connect to PostgreSQL")?;
        let filled = fill(&first, work, data, products).await;
        filled.context("cannot write to PostgreSQL")?;
        let mut connections = Vec::new();
        for _ in 0..clients.min(CONNECTIONS_MAX) {
            let client = connected(&config).await.context("cannot connect to PostgreSQL")?;
            connections.push(Connection::prepared(client).await.context("PostgreSQL refuses a statement")?);
        }
        let count = connections.len();
        let (idle, free) = (Mutex::new((0..count).collect()), Semaphore::new(count));
        Ok(Clients { connections, idle, free, products, one_statement: running.one_statement })
    }

    async fn taken(&self) -> Result<Taken<'_>, Failed> {
        let permit = self.free.acquire().await.map_err(|_| Failed::refused("NO_POOL"))?;
        let number = self.idle.lock().pop().ok_or_else(|| Failed::refused("NO_POOL"))?;
        Ok(Taken { pool: self, number, _permit: permit })
    }

    /// Replaces a record, or reads it.
    ///
    /// # Errors
    /// It was not done, or perhaps not.
    pub async fn record(&self, key: u64, data: Option<&str>) -> Result<(), Failed> {
        let taken = self.taken().await?;
        let connection = taken.connection();
        let key = key.cast_signed();
        let Some(data) = data else {
            let got = answered(connection.client.query_opt(&connection.get, &[&key])).await?;
            let length = got.and_then(|row| row.try_get::<_, &str>(0).ok().map(str::len));
            return if length == Some(BYTES) { Ok(()) } else { Err(Failed::refused("ABSENT")) };
        };
        answered(connection.client.execute(&connection.put, &[&key, &data])).await.map(drop)
    }

    /// Places an order.
    ///
    /// # Errors
    /// It was not done, or perhaps not.
    pub async fn order(&self, shopper: u64, number: u64) -> Result<(), Failed> {
        let taken = self.taken().await?;
        let connection = taken.connection();
        let product = fastrand::u64(..self.products).cast_signed();
        let (shopper, number) = (shopper.cast_signed(), number.cast_signed());
        if self.one_statement {
            let values: [&(dyn ToSql + Sync); 4] = [&product, &number, &shopper, &ORDER];
            let written = answered(connection.client.execute(&connection.at_once, &values)).await?;
            return if written == 1 { Ok(()) } else { Err(Failed::refused("OUT_OF_STOCK")) };
        }
        let done = connection.order(product, shopper, number).await;
        if done.is_err() {
            // Without an open transaction this is a warning; without a connection the next order fails too.
            let _ = connection.client.batch_execute("ROLLBACK").await;
        }
        done
    }

    /// Adds up stock and orders, in one snapshot.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn books(&self) -> anyhow::Result<Books> {
        let row = self.connections[0]
            .client
            .query_one(BOOKS, &[])
            .await
            .context("cannot read the stock of PostgreSQL")?;
        let number = |at: usize| {
            row.try_get::<_, i64>(at).context("a sum of PostgreSQL is none").map(i64::cast_unsigned)
        };
        Ok(Books {
            initial: STOCK * self.products,
            available: number(0)?,
            held: number(1)?,
            orders: number(2)?,
        })
    }
}

impl Connection {
    async fn prepared(client: Client) -> Result<Connection, Error> {
        Ok(Connection {
            put: client.prepare(PUT).await?,
            get: client.prepare(GET).await?,
            lock: client.prepare(LOCK).await?,
            take: client.prepare(TAKE).await?,
            write: client.prepare(WRITE).await?,
            at_once: client.prepare(AT_ONCE).await?,
            client,
        })
    }

    /// The order in five statements, each after the answer of the one before.
    async fn order(&self, product: i64, shopper: i64, number: i64) -> Result<(), Failed> {
        let Connection { client, .. } = self;
        answered(client.batch_execute("BEGIN")).await?;
        let stock = answered(client.query_opt(&self.lock, &[&product])).await?;
        let available: Option<i64> = stock.and_then(|row| row.try_get(0).ok());
        match available {
            None => return Err(Failed::refused("NO_PRODUCT")),
            Some(..1) => return Err(Failed::refused("OUT_OF_STOCK")),
            Some(_) => {}
        }
        answered(client.execute(&self.take, &[&product])).await?;
        answered(client.execute(&self.write, &[&number, &shopper, &ORDER])).await?;
        answered(client.batch_execute("COMMIT")).await
    }
}

async fn fill(client: &Client, work: Work, data: &str, products: u64) -> Result<(), Error> {
    client.batch_execute(TABLES).await?;
    let (last_key, last_product) = (KEYS.cast_signed() - 1, products.cast_signed() - 1);
    if work.is_order() {
        let shoppers = SHOPPERS.cast_signed() - 1;
        client
            .execute(
                "INSERT INTO client SELECT n, $2 FROM generate_series(0, $1::bigint) n",
                &[&shoppers, &CLIENT],
            )
            .await?;
        let product = "INSERT INTO product SELECT n, $2 FROM generate_series(0, $1::bigint) n";
        client.execute(product, &[&last_product, &PRODUCT]).await?;
        let stock = "INSERT INTO stock SELECT n, $2, 0 FROM generate_series(0, $1::bigint) n";
        client.execute(stock, &[&last_product, &STOCK.cast_signed()]).await?;
    } else {
        let record = "INSERT INTO record SELECT n, $2 FROM generate_series(0, $1::bigint) n";
        client.execute(record, &[&last_key, &data]).await?;
    }
    // What autovacuum would do some time later.
    client.batch_execute("VACUUM ANALYZE").await
}

/// The answer of a statement, within the patience of an operation.
async fn answered<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Failed> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(match error.code() {
            Some(state) => Failed::unknown(state.code()),
            None => Failed::unknown("TRANSPORT"),
        }),
        Err(_) => Err(Failed::unknown("NO_ANSWER")),
    }
}
