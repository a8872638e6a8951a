//! Pages of lists: limits, cursors, and products joined with their stocks.
//!
//! Lists are in key order, which is the order of the ids' bytes as they stand in keys (`{ } / %` and control
//! characters percent-encoded). A cursor is the id of the last thing shown. The store ends a page
//! early when its records grow large (1 MiB), so that the answer fits in a message: only an empty cursor is the end.

use std::collections::HashMap;

use bytes::Bytes;
use proto::portal::Product;
use proto::store::Record;
use store_client::Range;

use crate::document::product::ProductRecord;
use crate::document::stock::StockRecord;
use crate::error::Error;
use crate::handle::Portal;
use crate::id::{Pid, plain};
use crate::key;
use crate::limits::{ID_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX};

/// Pages of stocks read for one page of products: some belong to products that are gone.
const STOCK_PAGES_MAX: usize = 16;

/// The size of a page that a request asks for.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn limit(asked: u32) -> Result<u32, Error> {
    match asked {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(asked),
        _ => Err(Error::invalid(
            "limit",
            format!("{asked} is not within 1 and {PAGE_MAX} (0 means {PAGE_DEFAULT})"),
        )),
    }
}

/// The prefix that a request asks for.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn prefix(asked: &str) -> Result<&str, Error> {
    if asked.len() > ID_BYTES_MAX {
        return Err(Error::invalid(
            "prefix",
            format!("{} bytes; ids have at most {ID_BYTES_MAX}", asked.len()),
        ));
    }
    plain("prefix", asked)?;
    Ok(asked)
}

/// One page of products, joined with their stocks.
#[derive(Debug)]
pub struct Products {
    /// In key order.
    pub products: Vec<Product>,
    /// The cursor; empty: that was all.
    pub next: String,
}

impl Portal {
    /// Products whose PID begins with `prefix`, after the PID `after`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, UNAVAILABLE.
    pub async fn products(&self, asked_prefix: &str, asked: u32, after: &str) -> Result<Products, Error> {
        let (limit, prefix) = (limit(asked)?, prefix(asked_prefix)?);
        let after = match after {
            "" => None,
            pid => Some(key::product(&Pid::parse("after", pid)?)),
        };
        let range = Range::Prefix(key::beginning_with('p', prefix));
        let listed = self.list(range, limit, after).await?;
        let records = listed.records;
        let stocks = self.stocks_of(&records).await?;
        let mut products = Vec::with_capacity(records.len());
        for one in &records {
            products.extend(joined(one, &stocks)?);
        }
        let last = records.last().and_then(|one| key::id_in(&one.key));
        let next = if listed.more { last.unwrap_or_default() } else { String::new() };
        Ok(Products { products, next })
    }

    /// The stocks between the first and the last of these products.
    async fn stocks_of(&self, products: &[proto::store::KeyRecord]) -> Result<HashMap<Bytes, Record>, Error> {
        let (Some(first), Some(last)) = (products.first(), products.last()) else {
            return Ok(HashMap::new());
        };
        let stock_key = |product: &Bytes| [b"s", &product[1..]].concat();
        let mut end = stock_key(&last.key);
        end.push(0);
        let range = Range::Between(stock_key(&first.key).into(), end.into());
        let mut stocks = HashMap::with_capacity(products.len());
        let mut after = None;
        for _ in 0..STOCK_PAGES_MAX {
            let listed = self.list(range.clone(), PAGE_MAX, after).await?;
            after = listed.records.last().map(|one| one.key.clone());
            let found = listed.records.into_iter();
            stocks.extend(found.filter_map(|one| Some((one.key, one.record?))));
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
            futures::future::try_join(self.read_certain_absence(&at), self.read(&stock_at)).await?;
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

fn joined(one: &proto::store::KeyRecord, stocks: &HashMap<Bytes, Record>) -> Result<Option<Product>, Error> {
    let Some(record) = &one.record else { return Ok(None) };
    let damaged = || Error::damaged(&one.key, "not a product's key");
    let pid = Pid::stored("pid", &key::id_in(&one.key).ok_or_else(damaged)?)?;
    let product = ProductRecord::read(&one.key, record)?;
    let stock_at = key::stock(&pid);
    let stock =
        stocks.get(&stock_at).map(|stock| Ok::<_, Error>((StockRecord::read(&stock_at, stock)?, stock)));
    let stock = stock.transpose()?;
    Ok(Some(product.shown(&pid, record, stock.as_ref().map(|(stock, record)| (stock, *record)), 0)))
}
