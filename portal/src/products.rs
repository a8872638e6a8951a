//! Products as people see them: descriptions and stocks joined, one or a list of them.
//!
//! Leaves out: which ones a list has, and in which order (`list`).

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::try_join_all;
use proto::portal::{Damage, Product};
use proto::store::{KeyRecord, Record};
use store_client::Range;

use crate::document::product::ProductRecord;
use crate::document::stock::StockRecord;
use crate::error::Error;
use crate::handle::Portal;
use crate::id::Pid;
use crate::key;
use crate::limits::{LISTED_PARALLEL, PAGE_MAX};
use crate::list::{Found, Query};

/// Pages of stocks read for one page of products: some belong to products that are gone.
const STOCK_PAGES_MAX: usize = 16;

/// One page of products, joined with their stocks.
#[derive(Debug)]
pub struct Products {
    /// In the order of the list.
    pub products: Vec<Product>,
    /// The cursor; empty: that was all.
    pub next: String,
    /// What was left out.
    pub damage: Option<Damage>,
}

impl Portal {
    /// The products that a request wants, joined with their stocks.
    ///
    /// # Errors
    /// FAILED_PRECONDITION: their index is not complete; UNAVAILABLE.
    pub async fn products(&self, query: &Query) -> Result<Products, Error> {
        let Found { records, next, mut left_out, .. } = self.found(query).await?;
        let stocks = match query.is_plain() {
            true => self.stocks_of(&records).await?,
            false => self.stocks_each(&records).await?,
        };
        let mut products = Vec::with_capacity(records.len());
        for one in &records {
            products.extend(left_out.or(joined(one, &stocks))?.flatten());
        }
        Ok(Products { products, next, damage: left_out.damage() })
    }

    /// The stocks of these products, each read by itself: they are far from each other.
    async fn stocks_each(&self, products: &[KeyRecord]) -> Result<HashMap<Bytes, Stocked>, Error> {
        let mut stocks = HashMap::with_capacity(products.len());
        for some in products.chunks(LISTED_PARALLEL) {
            let reads = some.iter().map(async |one| {
                let at = stock_key(&one.key);
                let seen = self.read(&at).await?;
                Ok::<_, Error>(seen.record.map(|record| (at, Stocked { record, age_ms: seen.age_ms })))
            });
            stocks.extend(try_join_all(reads).await?.into_iter().flatten());
        }
        Ok(stocks)
    }

    /// The stocks between the first and the last of these products.
    async fn stocks_of(&self, products: &[KeyRecord]) -> Result<HashMap<Bytes, Stocked>, Error> {
        let (Some(first), Some(last)) = (products.first(), products.last()) else {
            return Ok(HashMap::new());
        };
        let end = [&stock_key(&last.key)[..], &[0]].concat();
        let range = Range::Between(stock_key(&first.key), end.into());
        let mut stocks = HashMap::with_capacity(products.len());
        let mut after = None;
        for _ in 0..STOCK_PAGES_MAX {
            let listed = self.list(range.clone(), PAGE_MAX, after).await?;
            after = listed.records.last().map(|one| one.key.clone());
            let found = listed.records.into_iter();
            let stocked = |record| Stocked { record, age_ms: 0 };
            stocks.extend(found.filter_map(|one| Some((one.key, stocked(one.record?)))));
            if !listed.more {
                break;
            }
        }
        Ok(stocks)
    }

    /// One product as people see it; `None`: there is none, which was checked at the store.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn product(&self, pid: &Pid) -> Result<Option<Product>, Error> {
        let (at, stock_at) = (key::product(pid), key::stock(pid));
        let (product, stock) =
            futures::future::try_join(self.read_verifying_absence(&at), self.read(&stock_at)).await?;
        let Some(record) = product.record else { return Ok(None) };
        let shown = match &stock.record {
            Some(stock) => Some((StockRecord::read(&stock_at, stock)?, stock)),
            None => None,
        };
        let product = ProductRecord::read(&at, &record)?;
        Ok(Some(product.shown(
            pid,
            &record,
            shown.as_ref().map(|(stock, record)| (stock, *record)),
            stock.age_ms,
        )))
    }
}

/// A stock, and how old it may be.
struct Stocked {
    record: Record,
    age_ms: u64,
}

/// The key of the stock of the product under a key.
fn stock_key(product: &[u8]) -> Bytes {
    Bytes::from([b"s", &product[1..]].concat())
}

fn joined(one: &KeyRecord, stocks: &HashMap<Bytes, Stocked>) -> Result<Option<Product>, Error> {
    let Some(record) = &one.record else { return Ok(None) };
    let damaged = || Error::damaged(&one.key, "not a product's key");
    let pid = key::id_in(&one.key).and_then(|id| Pid::stored("pid", &id).ok()).ok_or_else(damaged)?;
    let product = ProductRecord::read(&one.key, record)?;
    let stock_at = key::stock(&pid);
    let Some(Stocked { record: stock, age_ms }) = stocks.get(&stock_at) else {
        return Ok(Some(product.shown(&pid, record, None, 0)));
    };
    let of_stock = StockRecord::read(&stock_at, stock)?;
    Ok(Some(product.shown(&pid, record, Some((&of_stock, stock)), *age_ms)))
}
