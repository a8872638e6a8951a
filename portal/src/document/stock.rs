//! A product's stock: `s/{PID}` is `{"initial":10,"adjusted":0,"available":7,"held":2,"sold":1,"open_orders":1}`.
//!
//! Invariant, at every offset: `initial + adjusted = available + held + sold`; `held` is what orders hold that were not sent,
//! `sold` what those have that were. It moves only by adds, inside the log's order, so that a product that everybody buys needs no lock and no
//! retry. `open_orders` counts the open orders that hold the product: a deletion guards that it is 0.
//!
//! Records of earlier versions have no `sold`, which is read as 0. An add to a member that is not there fails, so the portal writes it before
//! the first order with the product is sent, guarded by the record's offset (`stock_completion`).
//!
//! `available` never falls below `least`: 0, or what the product's rules say ([`super::rules`]); it is written with them, in one transaction. A
//! record without such a member, as those of earlier versions and of products without such rules, has 0.
//!
//! The record outlives its product while orders hold or have sold some of it (`available` is then 0): so the audit
//! holds after a deletion too, and a product inserted again under the same PID goes on from it.

use serde::{Deserialize, Serialize};

use proto::portal::Stock;
use proto::store::Record;

use super::read;
use super::rules::is_zero;
use crate::error::Error;

/// Where the units to sell stand.
pub const AVAILABLE: &str = "/available";
/// Where the units in open and confirmed orders stand.
pub const HELD: &str = "/held";
/// Where the units that were sent stand.
pub const SOLD: &str = "/sold";
/// Where the least that may be available stands.
pub const LEAST: &str = "/least";
/// Where the sum of adjustments stands.
pub const ADJUSTED: &str = "/adjusted";

/// A stock as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockRecord {
    /// Units when the product was inserted.
    pub initial: i64,
    /// The sum of all adjustments since.
    pub adjusted: i64,
    /// Units that are in no order; below 0: so many are still to come.
    pub available: i64,
    /// Units in orders that were not sent: open, confirmed, paid, packed.
    pub held: i64,
    /// Units in orders that were sent.
    #[serde(default)]
    pub sold: i64,
    /// Open orders that hold some.
    pub open_orders: i64,
    /// What `available` never falls below.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least: i64,
}

impl StockRecord {
    /// Whether orders hold or have sold some of it: it outlives its product.
    #[must_use]
    pub const fn remains(&self) -> bool {
        self.held != 0 || self.sold != 0
    }

    /// The stock of a new product.
    #[must_use]
    pub const fn new(quantity: i64) -> StockRecord {
        let (held, sold, open_orders, least) = (0, 0, 0, 0);
        StockRecord { initial: quantity, adjusted: 0, available: quantity, held, sold, open_orders, least }
    }

    /// The same, of which no less may ever be available.
    #[must_use]
    pub const fn with_least(self, least: i64) -> StockRecord {
        StockRecord { least, ..self }
    }

    /// Units that orders can take.
    #[must_use]
    pub const fn orderable(&self) -> i64 {
        let orderable = self.available.saturating_sub(self.least);
        if orderable > 0 { orderable } else { 0 }
    }

    /// Whether a stored record has the member `sold`: those of earlier versions do not.
    #[must_use]
    pub fn has_sold(record: &Record) -> bool {
        #[derive(Deserialize)]
        struct OfEither {
            sold: Option<i64>,
        }
        serde_json::from_slice(&record.data).is_ok_and(|OfEither { sold }| sold.is_some())
    }

    /// Reads what is stored under `key`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], record: &Record) -> Result<StockRecord, Error> {
        read(key, &record.data)
    }

    /// Whether nothing was lost or made, and no more taken than may be: the laws of one product.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        let had = i128::from(self.initial) + i128::from(self.adjusted);
        let has = i128::from(self.available) + i128::from(self.held) + i128::from(self.sold);
        had == has && self.available >= self.least && self.held >= 0 && self.sold >= 0
    }

    /// What people are shown.
    #[must_use]
    pub fn shown(&self, record: &Record) -> Stock {
        Stock {
            initial: self.initial,
            adjusted: self.adjusted,
            available: self.available,
            held: self.held,
            sold: self.sold,
            least: self.least,
            etag: record.offset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::write;

    #[test]
    fn a_stock_is_stored_as_documented() {
        let stored = r#"{"initial":10,"adjusted":0,"available":10,"held":0,"sold":0,"open_orders":0}"#;
        assert_eq!(String::from_utf8_lossy(&write(&StockRecord::new(10))), stored);
        let ruled = StockRecord::new(10).with_least(-5);
        assert_eq!(String::from_utf8_lossy(&write(&ruled)), stored.replace("0}", "0,\"least\":-5}"));
        assert_eq!(
            (ruled.orderable(), ruled.with_least(4).orderable(), ruled.with_least(11).orderable()),
            (15, 6, 0)
        );
    }

    #[test]
    fn a_stock_of_an_earlier_version_has_sold_nothing() {
        let of = |data: &str| Record { data: bytes::Bytes::from(data.to_owned()), ..Record::default() };
        let before = of(r#"{"initial":10,"adjusted":0,"available":7,"held":3,"open_orders":1}"#);
        let stock = StockRecord::read(b"s/{a}", &before).expect("a stock");
        assert_eq!((stock.sold, stock.is_conserved(), StockRecord::has_sold(&before)), (0, true, false));
        let now = of(r#"{"initial":10,"adjusted":0,"available":6,"held":3,"open_orders":1,"sold":1}"#);
        let stock = StockRecord::read(b"s/{a}", &now).expect("a stock");
        assert_eq!((stock.sold, stock.is_conserved(), StockRecord::has_sold(&now)), (1, true, true));
    }

    #[test]
    fn conservation_is_noticed_when_broken() {
        let good = StockRecord {
            adjusted: -2,
            available: 4,
            held: 3,
            sold: 1,
            open_orders: 1,
            ..StockRecord::new(10)
        };
        assert!(good.is_conserved());
        assert!(!StockRecord { available: 6, ..good }.is_conserved());
        assert!(!StockRecord { available: -1, held: 8, ..good }.is_conserved());
        assert!(
            StockRecord { available: -1, held: 8, least: -1, ..good }.is_conserved(),
            "as its rule allows"
        );
        assert!(!StockRecord { least: 5, ..good }.is_conserved(), "safety stock was taken");
        assert!(!StockRecord { available: 6, sold: -1, ..good }.is_conserved());
    }
}
