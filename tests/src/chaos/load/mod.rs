//! The clients: many at once, each asking one thing after the other, as fast as the answers come or at a pace.
//!
//! | clients | ask | judged by |
//! |---|---|---|
//! | registers | get, set, put, delete, delete-version, test-and-set | the history, for linearizability |
//! | appends | `Txn` append, and the whole list | the history, for linearizability |
//! | inserts | a new key each time | the ledger: acknowledged is there, refused is not |
//! | transactions | `Txn` put and get over some records, of several groups on a ring | all together, for strict serializability |
//! | orders | create and cancel, through a portal | the ledger and `feira audit` |
//!
//! Half of the clients ask afterwards what became of a write that nobody answered (`Outcome`, or the same request
//! id again); for the others it stays unknown for ever.

mod appends;
mod book;
mod client;
mod gate;
mod inserts;
mod ledger;
mod orders;
mod registers;
mod shared;
mod spelling;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use proto::portal::shop_client::ShopClient;
use store_client::Sharded;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::wait;
pub use book::Transactions;
pub use client::Client;
pub use gate::Gate;
pub use ledger::Ledger;
pub use shared::Shared;

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Clients on registers.
    pub registers: u64,
    /// Clients that append.
    pub appends: u64,
    /// Clients that insert.
    pub inserts: u64,
    /// Clients that put and read some records at once.
    pub transactions: u64,
    /// Clients that order through a portal.
    pub orders: u64,
    /// Between two operations of one client, milliseconds at most; 0: none.
    pub pace_ms: u64,
    /// How long an operation may take with its retries, for half of the clients.
    pub deadline: Duration,
    /// And for the others: shorter than an election, so that there are outcomes that nobody learns.
    pub deadline_short: Duration,
    /// How long a portal may take over an order.
    pub deadline_order: Duration,
    /// Half of the clients ask again what became of a write that nobody answered.
    pub settles: bool,
}

impl Default for Volume {
    fn default() -> Volume {
        Volume {
            registers: 10,
            appends: 5,
            inserts: 6,
            transactions: 4,
            orders: 3,
            pace_ms: 12,
            deadline: Duration::from_secs(4),
            deadline_short: Duration::from_millis(250),
            // No call outlasts a round by much.
            deadline_order: Duration::from_secs(8),
            settles: true,
        }
    }
}

impl Volume {
    /// The same where each operation is asked once, and is to be done in this time: what a shop sees.
    #[must_use]
    pub fn within(self, time: Duration) -> Volume {
        Volume { deadline: time, deadline_short: time, deadline_order: time, settles: false, ..self }
    }
}

/// The clients under way.
#[derive(Debug)]
pub struct Load {
    /// What they share.
    pub shared: Arc<Shared>,
    /// One task a client; they end with the value.
    clients: JoinSet<()>,
}

impl Load {
    /// Registers shoppers, fills shelves and starts the clients.
    ///
    /// # Panics
    /// If the shop cannot be furnished.
    pub async fn start(cluster: &Cluster, shared: Arc<Shared>, volume: Volume, seed: u64) -> Load {
        if volume.orders > 0 {
            orders::furnish(cluster, volume.orders).await;
        }
        let mut clients = JoinSet::new();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut next = |at: u64| {
            // Of each four, by two bits: who waits long, and who asks what became of its writes.
            let deadline = if at & 1 == 0 { volume.deadline } else { volume.deadline_short };
            let store = store_of(cluster, deadline);
            let settles = volume.settles && at & 2 == 0;
            Client::new(Arc::clone(&shared), store, rng.fork(), settles, volume.pace_ms)
        };
        for at in 0..volume.registers {
            clients.spawn(registers::run(next(at)));
        }
        for at in 0..volume.appends {
            clients.spawn(appends::run(next(at)));
        }
        for at in 0..volume.inserts {
            clients.spawn(inserts::run(next(at), at));
        }
        for at in 0..volume.transactions {
            clients.spawn(transactions::run(next(at)));
        }
        for at in 0..volume.orders {
            clients.spawn(orders::run(next(at), cluster.shop(1), at, volume.deadline_order));
        }
        Load { shared, clients }
    }

    /// Lets nobody ask any more and waits until everybody has heard.
    pub async fn pause(&mut self, patience: Duration) {
        self.shared.gate.close();
        let shared = Arc::clone(&self.shared);
        wait::until("all clients to hear", patience, || async {
            let inside = shared.gate.inside();
            if inside == 0 { Ok(()) } else { Err(format!("{inside} wait")) }
        })
        .await;
        // A client that panicked would be missed by nobody.
        if let Some(ended) = self.clients.try_join_next() {
            panic!("a client ended: {ended:?}");
        }
    }

    /// Waits until so many writes more have succeeded.
    pub async fn more(&self, count: usize, patience: Duration) {
        let goal = self.shared.tally.writes() + count;
        wait::until("writes to succeed", patience, || async {
            let now = self.shared.tally.writes();
            if now >= goal { Ok(()) } else { Err(format!("{now} of {goal}")) }
        })
        .await;
    }

    /// Checks the ledger against what the store and the portals say; clients must be outside the gate.
    ///
    /// # Errors
    /// What was acknowledged and is not there, or is there and was refused.
    pub async fn verify(
        &self,
        store: &Sharded,
        mut shop: ShopClient<Channel>,
        everything: bool,
    ) -> Result<(), String> {
        let prefix = if everything { "w/".to_owned() } else { format!("w/{}/", self.shared.round()) };
        inserts::verify(store, &self.shared.ledger, &prefix).await?;
        self.shared.transactions.settle(store).await?;
        self.shared.transactions.read_all(store).await?;
        orders::verify(&mut shop, &self.shared.ledger).await
    }
}

/// A handle of its own to the store of a cluster.
///
/// # Panics
/// If the handle cannot be made.
#[must_use]
pub fn store_of(cluster: &Cluster, deadline: Duration) -> Arc<Sharded> {
    cluster.ring_within(deadline)
}
