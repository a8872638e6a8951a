//! An order (`o/{CID}/OID`), and its note at each product that it holds while it is open (`h/{PID}/OID`).
//!
//! The first is `{"state":"open","lines":[{"pid":…,"description":…,"quantity":2,"price":"2.55"}],"total":"5.10"}`, the
//! second `{"cid":"ana"}`.
//!
//! Price and description of a line are those of the moment when the line was added. Lines keep the order in which
//! they were added. A state never goes back: open → confirmed or open → cancelled.

use serde::{Deserialize, Serialize};

use proto::portal::{Order, OrderLine, OrderState, OrderSummary, StaffOrderSummary};
use proto::store::Record;

use super::{read, write};
use crate::error::Error;
use crate::id::{Cid, Oid};
use crate::money::{Price, Total};

/// Where an order stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It can be changed; it holds stock.
    Open,
    /// Frozen; it holds stock for good.
    Confirmed,
    /// Its stock went back.
    Cancelled,
}

impl Phase {
    /// The word in records and errors.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Confirmed => "confirmed",
            Phase::Cancelled => "cancelled",
        }
    }

    /// The JSON value, for a guard.
    #[must_use]
    pub const fn json(self) -> &'static str {
        match self {
            Phase::Open => "\"open\"",
            Phase::Confirmed => "\"confirmed\"",
            Phase::Cancelled => "\"cancelled\"",
        }
    }

    /// As it is shown.
    #[must_use]
    pub const fn shown(self) -> OrderState {
        match self {
            Phase::Open => OrderState::Open,
            Phase::Confirmed => OrderState::Confirmed,
            Phase::Cancelled => OrderState::Cancelled,
        }
    }
}

/// A line of an order as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The product.
    pub pid: String,
    /// What it was called when the line was added.
    pub description: String,
    /// At least 1.
    pub quantity: i64,
    /// Of one unit, when the line was added.
    pub price: Price,
}

/// An order as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRecord {
    /// Its state.
    #[serde(rename = "state")]
    pub phase: Phase,
    /// In the order in which they were added; no product twice.
    pub lines: Vec<Line>,
    /// Σ price × quantity, exact.
    pub total: Total,
}

/// Which client's open order holds a product, as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderRecord {
    /// The client.
    pub cid: String,
}

impl OrderRecord {
    /// An order of these lines.
    #[must_use]
    pub fn new(phase: Phase, lines: Vec<Line>) -> OrderRecord {
        let subtotals = lines.iter().map(|line| line.price.times(line.quantity));
        let total = subtotals.fold(Total::ZERO, Total::plus);
        OrderRecord { phase, lines, total }
    }

    /// Reads what is stored under `key`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], record: &Record) -> Result<OrderRecord, Error> {
        read(key, &record.data)
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// What its client is shown.
    #[must_use]
    pub fn shown(&self, cid: &Cid, oid: &Oid, record: &Record) -> Order {
        let lines = self.lines.iter().map(|line| OrderLine {
            pid: line.pid.clone(),
            description: line.description.clone(),
            quantity: line.quantity,
            price: line.price.to_string(),
            subtotal: line.price.times(line.quantity).to_string(),
        });
        Order {
            oid: oid.to_string(),
            cid: cid.to_string(),
            state: self.phase.shown().into(),
            lines: lines.collect(),
            total: self.total.to_string(),
            etag: record.offset(),
            version: record.version,
            changed_ms: record.timestamp_ms,
        }
    }

    /// What the list of all clients' orders shows of it.
    #[must_use]
    pub fn staff_summary(&self, cid: &Cid, oid: &Oid, record: &Record) -> StaffOrderSummary {
        let OrderSummary { oid, total, state, lines } = self.summary(oid);
        let (changed_ms, etag) = (record.timestamp_ms, record.offset());
        StaffOrderSummary { cid: cid.to_string(), oid, state, lines, total, changed_ms, etag }
    }

    /// What its client's list shows of it.
    #[must_use]
    pub fn summary(&self, oid: &Oid) -> OrderSummary {
        OrderSummary {
            oid: oid.to_string(),
            total: self.total.to_string(),
            state: self.phase.shown().into(),
            lines: u32::try_from(self.lines.len()).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_stored_as_documented() {
        let price = Price::parse("2.55").expect("a price");
        let line = Line { pid: "maca".into(), description: "Maçã".into(), quantity: 2, price };
        let order = OrderRecord::new(Phase::Open, vec![line]);
        let stored = r#"{"state":"open","lines":[{"pid":"maca","description":"Maçã","quantity":2,"price":"2.55"}],"total":"5.10"}"#;
        assert_eq!(String::from_utf8_lossy(&order.to_bytes()), stored);
        let record = Record { data: stored.into(), ..Record::default() };
        assert_eq!(OrderRecord::read(b"o/{ana}/x", &record), Ok(order));
    }
}
