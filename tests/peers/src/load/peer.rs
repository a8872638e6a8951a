//! The load on any peer: its clients, the count of its orders, and the check of its stock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::shop::{BYTES, Failed, KEYS, PRODUCTS, SHOPPERS};
use super::{etcd, postgres, redis};
use crate::args::Work;
use crate::system::all::Running;

/// The clients of a peer.
#[derive(Debug)]
pub enum Clients {
    /// Of etcd.
    Etcd(etcd::Clients),
    /// Of PostgreSQL.
    Postgres(postgres::Clients),
    /// Of Redis.
    Redis(redis::Clients),
}

/// A load.
#[derive(Debug)]
pub struct Load {
    clients: Clients,
    work: Work,
    data: String,
    /// Orders that were acknowledged, in all rounds and between them.
    acknowledged: AtomicU64,
    /// Orders whose outcome is unknown.
    unknown: AtomicU64,
    /// The next order's number.
    next: AtomicU64,
}

impl Load {
    /// The load of a work on a peer, for so many clients, with the records that it needs; `None`: it is no peer.
    ///
    /// # Errors
    /// It cannot be reached, or the records not be written.
    pub async fn prepared(running: &Running, work: Work, clients: usize) -> anyhow::Result<Option<Load>> {
        // Letters, so that every system takes it as it is; random, so that nothing on the way can pack it.
        let data: String = std::iter::repeat_with(fastrand::alphanumeric).take(BYTES).collect();
        let products = if work == Work::OrderHot { 1 } else { PRODUCTS };
        let clients = match running {
            Running::Feira(_) => return Ok(None),
            Running::Etcd(etcd) => {
                let clients = etcd::Clients::connected(etcd, clients, products).await?;
                clients.prepare(work, &data).await?;
                Clients::Etcd(clients)
            }
            Running::Postgres(postgres) => {
                let clients = postgres::Clients::prepared(postgres, work, &data, (clients, products)).await?;
                Clients::Postgres(clients)
            }
            Running::Redis(redis) => {
                let clients = redis::Clients::connected(redis, clients, products).await?;
                clients.prepare(work, &data).await?;
                Clients::Redis(clients)
            }
        };
        let none = AtomicU64::default;
        Ok(Some(Load { clients, work, data, acknowledged: none(), unknown: none(), next: none() }))
    }

    /// One operation of this client, numbered from 0.
    ///
    /// # Errors
    /// Why it was not done, or perhaps not.
    pub async fn once(&self, client: usize) -> Result<(), Failed> {
        if !self.work.is_order() {
            let key = fastrand::u64(..KEYS);
            let data = (self.work == Work::Put).then_some(self.data.as_str());
            return match &self.clients {
                Clients::Etcd(etcd) => etcd.record(client, key, data).await,
                Clients::Postgres(postgres) => postgres.record(key, data).await,
                Clients::Redis(redis) => redis.record(client, key, data).await,
            };
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let shopper = fastrand::u64(..SHOPPERS);
        let done = match &self.clients {
            Clients::Etcd(etcd) => etcd.order(client, shopper, number).await,
            Clients::Postgres(postgres) => postgres.order(shopper, number).await,
            Clients::Redis(redis) => redis.order(client, shopper, number).await,
        };
        match &done {
            Ok(()) => self.acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(failed) => self.unknown.fetch_add(u64::from(failed.perhaps_done), Ordering::Relaxed),
        };
        done
    }

    /// Transactions that were tried again since the last question; `None`: not by the client.
    pub fn retries(&self) -> Option<u64> {
        match &self.clients {
            Clients::Etcd(etcd) if self.work.is_order() => Some(etcd.retries()),
            _ => None,
        }
    }

    /// That what was sold is what was acknowledged, and that there is an order for each.
    ///
    /// # Errors
    /// It is not so, or the stock cannot be read.
    pub async fn check_stock(&self) -> anyhow::Result<()> {
        if !self.work.is_order() {
            return Ok(());
        }
        let books = match &self.clients {
            Clients::Etcd(etcd) => etcd.books().await?,
            Clients::Postgres(postgres) => postgres.books().await?,
            Clients::Redis(redis) => redis.books().await?,
        };
        books.check(self.acknowledged.load(Ordering::Relaxed), self.unknown.load(Ordering::Relaxed))
    }
}
