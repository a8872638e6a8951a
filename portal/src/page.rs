//! Pages of lists: limits, cursors, and products joined with their stocks.
//!
//! Lists are in key order, which is the order of the ids' bytes as they stand in keys (`{ } / %` and control
//! characters percent-encoded). A cursor is the id of the last thing shown. The store ends a page
//! early when its records grow large (1 MiB), so that the answer fits in a message: only an empty cursor is the end.
//!
//! One damaged record must not take a list down: it is left out and named ([`LeftOut`]), and the cursor goes past it
//! also where its key holds no id that a cursor could be ([`Portal::page`]).

use std::collections::HashMap;

use bytes::Bytes;
use proto::portal::{Damage, DamagedRecord, Product};
use proto::store::{KeyRecord, Record};
use store_client::Range;

use crate::document::product::ProductRecord;
use crate::document::stock::StockRecord;
use crate::error::Error;
use crate::handle::Portal;
use crate::id::{Pid, plain};
use crate::key;
use crate::limits::{ERROR_LIST_MAX, ID_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX};
use crate::status::cut_damage;

/// Pages of stocks read for one page of products: some belong to products that are gone.
const STOCK_PAGES_MAX: usize = 16;
/// Pages read on in one request because no cursor can name the key that a page ends at.
const STRAY_PAGES_MAX: usize = 16;

/// The size of a page that a request asks for.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn limit(limit_wanted: u32) -> Result<u32, Error> {
    match limit_wanted {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(limit_wanted),
        _ => Err(Error::invalid(
            "limit",
            format!("{limit_wanted} is not within 1 and {PAGE_MAX} (0 means {PAGE_DEFAULT})"),
        )),
    }
}

/// The prefix that a request asks for.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn prefix(limit_wanted: &str) -> Result<&str, Error> {
    if limit_wanted.len() > ID_BYTES_MAX {
        return Err(Error::invalid(
            "prefix",
            format!("{} bytes; ids have at most {ID_BYTES_MAX}", limit_wanted.len()),
        ));
    }
    plain("prefix", limit_wanted)?;
    Ok(limit_wanted)
}

/// One page of records.
#[derive(Debug)]
pub struct Page {
    /// In key order.
    pub records: Vec<KeyRecord>,
    /// The cursor; empty: that was all.
    pub next: String,
}

/// One page of products, joined with their stocks.
#[derive(Debug)]
pub struct Products {
    /// In key order.
    pub products: Vec<Product>,
    /// The cursor; empty: that was all.
    pub next: String,
    /// What was left out.
    pub damage: Option<Damage>,
}

/// The records of a page that are not what portals write, each named, up to a bound.
#[derive(Debug, Default)]
pub struct LeftOut(Damage);

impl LeftOut {
    /// What a record shows; a damaged one is noted and shows nothing.
    ///
    /// # Errors
    /// Any other error.
    pub fn or<T>(&mut self, shown: Result<T, Error>) -> Result<Option<T>, Error> {
        match shown {
            Ok(shown) => Ok(Some(shown)),
            Err(Error::Damaged { key, why }) => {
                tracing::warn!(%key, %why, "a damaged record is left out of a list");
                if self.0.records.len() < ERROR_LIST_MAX {
                    let (key, why) = cut_damage(&key, &why);
                    self.0.records.push(DamagedRecord { key, why });
                } else {
                    self.0.more += 1;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// For the answer; `None`: nothing was left out.
    #[must_use]
    pub fn damage(self) -> Option<Damage> {
        Some(self.0).filter(|damage| !damage.records.is_empty())
    }
}

impl Portal {
    /// One page of the store, past the cache. `cursor_of` is what a cursor says of a key; where it has no words, which
    /// only keys that no portal wrote have, the page goes on to the next key that has.
    ///
    /// # Errors
    /// UNAVAILABLE; [`Error::Damaged`] if there are too many such keys in a row.
    pub async fn page(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        cursor_of: impl Fn(&[u8]) -> Option<String>,
    ) -> Result<Page, Error> {
        let mut listed = self.list(range.clone(), limit, after).await?;
        for _ in 0..STRAY_PAGES_MAX {
            let last = listed.records.last().filter(|_| listed.more).map(|one| one.key.clone());
            let Some(last) = last else { return Ok(Page { records: listed.records, next: String::new() }) };
            if let Some(next) = cursor_of(&last) {
                return Ok(Page { records: listed.records, next });
            }
            let mut further = self.list(range.clone(), PAGE_MAX, Some(last)).await?;
            let keep = further.records.iter().position(|one| cursor_of(&one.key).is_some());
            let keep = keep.map_or(further.records.len(), |at| at + 1);
            listed.more = further.more || keep < further.records.len();
            listed.records.extend(further.records.drain(..keep));
        }
        let last = listed.records.last().map_or(&b""[..], |one| &one.key);
        Err(Error::damaged(
            last,
            "and thousands before it: keys that no portal wrote; delete them with feira kv",
        ))
    }

    /// Products whose PID begins with `prefix`, after the PID `after`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, UNAVAILABLE.
    pub async fn products(
        &self,
        asked_prefix: &str,
        limit_wanted: u32,
        after: &str,
    ) -> Result<Products, Error> {
        let (limit, prefix) = (limit(limit_wanted)?, prefix(asked_prefix)?);
        let after = match after {
            "" => None,
            pid => Some(key::product(&Pid::parse("after", pid)?)),
        };
        let range = Range::Prefix(key::beginning_with('p', prefix));
        let cursor_of = |key: &[u8]| key::id_in(key).filter(|id| Pid::parse("after", id).is_ok());
        let Page { records, next } = self.page(range, limit, after, cursor_of).await?;
        let stocks = self.stocks_of(&records).await?;
        let mut products = Vec::with_capacity(records.len());
        let mut left_out = LeftOut::default();
        for one in &records {
            products.extend(left_out.or(joined(one, &stocks))?.flatten());
        }
        Ok(Products { products, next, damage: left_out.damage() })
    }

    /// The stocks between the first and the last of these products.
    async fn stocks_of(&self, products: &[KeyRecord]) -> Result<HashMap<Bytes, Record>, Error> {
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

fn joined(one: &KeyRecord, stocks: &HashMap<Bytes, Record>) -> Result<Option<Product>, Error> {
    let Some(record) = &one.record else { return Ok(None) };
    let damaged = || Error::damaged(&one.key, "not a product's key");
    let pid = key::id_in(&one.key).and_then(|id| Pid::stored("pid", &id).ok()).ok_or_else(damaged)?;
    let product = ProductRecord::read(&one.key, record)?;
    let stock_at = key::stock(&pid);
    let stock =
        stocks.get(&stock_at).map(|stock| Ok::<_, Error>((StockRecord::read(&stock_at, stock)?, stock)));
    let stock = stock.transpose()?;
    Ok(Some(product.shown(&pid, record, stock.as_ref().map(|(stock, record)| (stock, *record)), 0)))
}
