//! The load: one operation of each kind of work, and what it needs beforehand.

use std::sync::Arc;
use std::time::Duration;

use super::args::Work;
use super::lane::Lane;
use super::orders::Orders;
use super::plan::Plan;
use super::records::Records;
use super::shop::Shop;
use super::unary::Unary;
use crate::config::load::Loaded;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::kv::send::failure_of;
use crate::reach::portals::Portals;
use crate::reach::whose;

/// What clients do.
pub enum Load {
    /// `put`.
    Put(Records),
    /// `get`.
    Get(Records),
    /// `unary-put`.
    UnaryPut(Unary),
    /// `order`.
    Order(Orders),
    /// `portal-order`.
    PortalOrder(Shop),
    /// `get-product`.
    GetProduct(Shop),
}

impl Load {
    /// The load of a plan in each of its lanes, with the records that it needs in the store.
    ///
    /// # Errors
    /// The cluster cannot be reached, or a record not be made.
    pub async fn prepared(plan: &Plan, loaded: &Loaded) -> Result<Vec<Arc<Load>>, Failure> {
        let mut loads = Vec::new();
        for (number, lane) in plan.lanes.iter().enumerate() {
            // All lanes need the same records.
            loads.push(Arc::new(Load::of(plan, lane, loaded, number == 0).await?));
        }
        Ok(loads)
    }

    async fn of(plan: &Plan, lane: &Lane, loaded: &Loaded, is_first: bool) -> Result<Load, Failure> {
        let config = &loaded.config;
        let patience = Duration::from_secs(config.tool.patience_seconds);
        let store = || whose::store_of_any_version(config, patience);
        let failed = |error| failure_of(&error, None);
        Ok(match plan.work {
            Work::Put | Work::Get => {
                let records = Records::new(store()?, plan.keys, plan.bytes);
                records.prepare().await.map_err(failed)?;
                if plan.work == Work::Put { Load::Put(records) } else { Load::Get(records) }
            }
            Work::UnaryPut => {
                Load::UnaryPut(Unary::new(config, plan.clients_max(), plan.bytes, patience).await?)
            }
            Work::Order => {
                let orders = Orders::new(store()?, plan.products());
                orders.prepare().await.map_err(failed)?;
                Load::Order(orders)
            }
            Work::PortalOrder | Work::GetProduct => {
                let admin: Vec<String> =
                    config.admin_portals.iter().map(|portal| portal.listen.clone()).collect();
                let admin = Portals::new("admin portal", &admin, config.whose(), patience, None)?;
                let shop = Shop::new(loaded, plan, lane)?;
                if is_first {
                    shop.prepare(&admin).await?;
                }
                if plan.work == Work::PortalOrder { Load::PortalOrder(shop) } else { Load::GetProduct(shop) }
            }
        })
    }

    /// Finds out before a round what a round does not.
    pub async fn follow(&self, config: &Config) {
        if let Load::UnaryPut(unary) = self {
            // Without a leader the round tells of it, by its errors.
            let _ = unary.follow(config).await;
        }
    }

    /// One operation of this client, numbered from 0.
    ///
    /// # Errors
    /// The reason in a word.
    pub async fn once(&self, client: usize) -> Result<(), String> {
        match self {
            Load::Put(records) => records.put().await,
            Load::Get(records) => records.get().await,
            Load::UnaryPut(unary) => unary.set(client).await,
            Load::Order(orders) => orders.place().await,
            Load::PortalOrder(shop) => shop.order(client).await,
            Load::GetProduct(shop) => shop.product(client).await,
        }
    }
}
