//! The shop's record as a portal knows it, and what a portal tends to by itself while it runs.
//!
//! ```text
//!   run ──► the record is looked at, about once a second
//!      └──► tend, about once a second: the record is raised to this program's version; orders without a row are listed
//!           (`listing`); orders that were open for too long expire (`sweeper`)
//! ```
//!
//! Promises: a portal serves nothing before it has seen the record, and changes nothing before the record says that its program's forms may
//! be there. A portal of a later version's shop serves nothing ([`Error::Outdated`]) from its next look on: a period and a cache lease
//! later at most. Every portal may tend at the same time as all others, and may be killed anywhere: each step is a
//! transaction that guards what it was decided on.
//!
//! Leaves out: the rules themselves ([`crate::document::shop`]).

use std::sync::Arc;
use std::time::Duration;

use proto::store::Txn;
use tokio::time::sleep;

use crate::attempt::send_step;
use crate::document::shop::{KnownShop, SCHEMA_VERSION, ShopRecord};
use crate::error::Error;
use crate::handle::Portal;
use crate::limits::FEED_DAYS_MAX;
use crate::{key, listing, sweeper};

/// Between two rounds, on average: portals do not go in step.
const PERIOD_MS: u64 = 1_000;

/// Looks at the record and tends the shop until dropped. Looking waits for nothing: what is tended may take minutes.
pub async fn run(portal: Arc<Portal>) {
    let looking = async {
        loop {
            // What it says is kept; that the store cannot be read, whoever tends tells.
            let _ = portal.look_at_shop().await;
            sleep(pause()).await;
        }
    };
    let tending = async {
        let mut told = None;
        loop {
            let problem = tend(&portal).await.err();
            if problem != told {
                match &problem {
                    Some(error) => tracing::warn!(%error, "the shop cannot be tended for now"),
                    None => tracing::info!("the shop is tended again"),
                }
                told = problem;
            }
            sleep(pause()).await;
        }
    };
    tokio::join!(looking, tending);
}

/// Portals do not go in step.
fn pause() -> Duration {
    Duration::from_millis(fastrand::u64(PERIOD_MS / 2..=PERIOD_MS * 3 / 2))
}

/// One round.
///
/// # Errors
/// UNAVAILABLE: the store cannot be used; the shop is of a later program; its record is damaged.
pub async fn tend(portal: &Portal) -> Result<(), Error> {
    let mut known = portal.raised_shop().await?;
    if !known.shop.orders_listed {
        listing::list_all(portal).await?;
        known = portal.change_shop(|shop| ShopRecord { orders_listed: true, ..shop }).await?;
    }
    sweeper::sweep(portal, &known).await
}

impl Portal {
    /// Lets a request pass if this portal knows the forms of the shop's records; one that `writes` only when the record says that they
    /// are of this program's version, so that earlier portals serve nothing any more.
    ///
    /// # Errors
    /// [`Error::Outdated`]; until the record was seen once, also UNAVAILABLE and that it is damaged.
    pub(crate) async fn may_serve(&self, writes: bool) -> Result<(), Error> {
        let schema = |known: &KnownShop| known.shop.schema;
        let seen =
            self.shared.shop.lock().as_ref().map(|seen| seen.as_ref().map(schema).map_err(Error::clone));
        let schema = match seen {
            Some(seen) => seen?,
            None => self.look_at_shop().await?.shop.schema,
        };
        if writes && schema < SCHEMA_VERSION {
            self.raised_shop().await?;
        }
        Ok(())
    }

    /// Lets work pass that this portal does by itself, as [`Portal::may_serve`] lets a request pass that writes.
    ///
    /// # Errors
    /// As there.
    pub async fn may_change(&self) -> Result<(), Error> {
        self.may_serve(true).await
    }

    /// The shop's record, raised to this program's version.
    async fn raised_shop(&self) -> Result<KnownShop, Error> {
        let known = self.look_at_shop().await?;
        if known.shop.schema >= SCHEMA_VERSION {
            return Ok(known);
        }
        self.change_shop(|shop| ShopRecord { schema: SCHEMA_VERSION, ..shop }).await
    }

    /// The rules last seen, by which orders are shown; those of a shop without any until they were seen.
    #[must_use]
    pub fn rules_seen(&self) -> ShopRecord {
        self.shop_seen(ShopRecord::clone).unwrap_or_default()
    }

    /// For how many days events are kept by the rules last seen.
    #[must_use]
    pub fn feed_days(&self) -> u32 {
        self.shop_seen(ShopRecord::feed_days).unwrap_or(FEED_DAYS_MAX)
    }

    /// Whether every order has its row.
    ///
    /// # Errors
    /// As of [`Portal::shop`].
    pub async fn orders_listed(&self) -> Result<bool, Error> {
        let is_seen = self.shop_seen(|shop| shop.orders_listed);
        Ok(is_seen == Some(true) || self.shop().await?.shop.orders_listed)
    }

    /// What the shop's record says, as last seen; `None`: it was not, or could not be read.
    fn shop_seen<T>(&self, what: impl Fn(&ShopRecord) -> T) -> Option<T> {
        let seen = self.shared.shop.lock();
        seen.as_ref().and_then(|seen| seen.as_ref().ok()).map(|known| what(&known.shop))
    }

    /// The shop's record, at most a lease old.
    async fn look_at_shop(&self) -> Result<KnownShop, Error> {
        let record = self.read(&key::shop()).await?.record;
        self.know_shop(record.as_ref())
    }

    /// The shop's record as the store has it.
    ///
    /// # Errors
    /// UNAVAILABLE; it is damaged, or of a later program.
    pub async fn shop(&self) -> Result<KnownShop, Error> {
        let record = self.read_through(&key::shop()).await?.record;
        self.know_shop(record.as_ref())
    }

    /// What a record says is what the portal goes by from now on.
    fn know_shop(&self, record: Option<&proto::store::Record>) -> Result<KnownShop, Error> {
        let offset = record.map_or(0, proto::store::Record::offset);
        let known = ShopRecord::read(record).map(|shop| KnownShop { shop, offset });
        *self.shared.shop.lock() = Some(known.clone());
        known
    }

    /// Changes the record, whoever else does; if it is so already, nothing is written.
    ///
    /// # Errors
    /// UNAVAILABLE; it is damaged, or of a later program.
    pub async fn change_shop(&self, change: impl Fn(ShopRecord) -> ShopRecord) -> Result<KnownShop, Error> {
        loop {
            let known = self.shop().await?;
            let shop = change(known.shop.clone());
            if shop == known.shop {
                return Ok(known);
            }
            let txn = guarding(known.offset).put(key::shop(), store_client::now_ms(), shop.to_bytes());
            let answer = send_step(self, txn).await?;
            if answer.success {
                tracing::info!(
                    schema = shop.schema,
                    listed = shop.orders_listed,
                    "the shop's record was written"
                );
            }
        }
    }
}

/// A transaction on the record of this version; 0: that is not there.
#[must_use]
pub fn guarding(offset: u64) -> Txn {
    match offset {
        0 => Txn::new().guard_absent(key::shop()),
        offset => Txn::new().guard_offset(key::shop(), offset),
    }
}
