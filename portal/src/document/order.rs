//! An order (`o/{CID}/OID`), and its note at each product that it holds while it is open (`h/{PID}/OID`).
//!
//! The first is `{"state":"open","lines":[{"pid":…,"description":…,"quantity":2,"price":"2.55"}],"total":"5.10"}`, the
//! second `{"cid":"ana"}`.
//!
//! From version 2 of the store's state machine on it has `"created_ms"` and `"changed_ms"` as well, by the log's time: the store stamps
//! them. Orders of before have none until they are changed, and never the first.
//!
//! The order and each line may have `"extra":{…}`, data of staff and shops ([`super::extra`]).
//!
//! An order that staff changed has a member more, `"staff":[…]`, with the last of their notes ([`super::staff_note`]); one that was
//! imported has `"imported":true`, and the times that it came with.
//!
//! Price and description of a line are those of the moment when the line was added, and so is whether it takes stock: what is given back
//! is what was taken. Lines keep the order in which
//! they were added. A state never goes back: open → confirmed or open → cancelled, and from confirmed on by the table of
//! [`super::order_move`].

use serde::{Deserialize, Serialize};

use proto::portal::{Order, OrderLine, OrderState, OrderSummary, StaffOrderSummary};
use proto::store::Record;

use super::extra::{Extra, text_of};
use super::shop::ShopRecord;
use super::staff_note::StaffNote;
use super::{read, write};
use crate::error::Error;
use crate::id::{Cid, Oid};
use crate::limits::STAFF_NOTES_MAX;
use crate::money::{Price, Total};

/// Where an order says when it was created.
pub const CREATED: &str = "/created_ms";
/// Where an order says when it was last changed.
pub const CHANGED: &str = "/changed_ms";

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
    /// Confirmed, and the client has paid.
    Paid,
    /// Its goods are packed; it still holds them.
    Packed,
    /// Its goods have left: they are sold.
    Sent,
    /// Its goods came back.
    Returned,
    /// The client got the money back.
    Refunded,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 8] = [
        Phase::Open,
        Phase::Confirmed,
        Phase::Cancelled,
        Phase::Paid,
        Phase::Packed,
        Phase::Sent,
        Phase::Returned,
        Phase::Refunded,
    ];

    /// The word in records and errors.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Confirmed => "confirmed",
            Phase::Cancelled => "cancelled",
            Phase::Paid => "paid",
            Phase::Packed => "packed",
            Phase::Sent => "sent",
            Phase::Returned => "returned",
            Phase::Refunded => "refunded",
        }
    }

    /// Whether the units of its lines are held: neither for sale nor sold.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(self, Phase::Open | Phase::Confirmed | Phase::Paid | Phase::Packed)
    }

    /// Whether the units of its lines are sold.
    #[must_use]
    pub const fn has_sold(self) -> bool {
        matches!(self, Phase::Sent)
    }

    /// The state that a request names; `None`: it names none.
    #[must_use]
    pub fn named(state: OrderState) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.shown() == state)
    }

    /// As it is shown.
    #[must_use]
    pub const fn shown(self) -> OrderState {
        match self {
            Phase::Open => OrderState::Open,
            Phase::Confirmed => OrderState::Confirmed,
            Phase::Cancelled => OrderState::Cancelled,
            Phase::Paid => OrderState::Paid,
            Phase::Packed => OrderState::Packed,
            Phase::Sent => OrderState::Sent,
            Phase::Returned => OrderState::Returned,
            Phase::Refunded => OrderState::Refunded,
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
    /// It takes no stock, since the product was not tracked when the line was added; other lines have no such member.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untracked: bool,
    /// Data of staff and shops, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
}

impl Line {
    /// Units of the product's stock that it has.
    #[must_use]
    pub const fn taken(&self) -> i64 {
        if self.untracked { 0 } else { self.quantity }
    }
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
    /// When it was created, milliseconds since 1970 by the log's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<i64>,
    /// When this version was made, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ms: Option<i64>,
    /// It came from elsewhere, with its times; other orders have no such member.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
    /// What staff did to it, the oldest first; orders that no staff changed, and those of earlier versions, have no such member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staff: Vec<StaffNote>,
    /// Data of staff and shops, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
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
        let (created_ms, changed_ms, imported, staff) = (None, None, false, Vec::new());
        OrderRecord { phase, lines, total, created_ms, changed_ms, imported, staff, extra: None }
    }

    /// The same order with other lines.
    #[must_use]
    pub fn with_lines(&self, lines: Vec<Line>) -> OrderRecord {
        let (created_ms, imported, staff) = (self.created_ms, self.imported, self.staff.clone());
        let extra = self.extra.clone();
        OrderRecord { created_ms, imported, staff, extra, ..OrderRecord::new(self.phase, lines) }
    }

    /// When the version in this record was made: of an order of earlier versions as its portal's clock said.
    #[must_use]
    pub fn changed_ms(&self, record: &Record) -> i64 {
        self.changed_ms.unwrap_or(record.timestamp_ms)
    }

    /// The same order with one more note, and as many of those before it as fit in so many bytes.
    #[must_use]
    pub fn noting(mut self, note: StaffNote, bytes_max: usize) -> OrderRecord {
        self.staff.push(note);
        let mut over = self.staff.len().saturating_sub(STAFF_NOTES_MAX);
        while over > 0 || (self.staff.len() > 1 && self.to_bytes().len() > bytes_max) {
            self.staff.remove(0);
            over = over.saturating_sub(1);
        }
        self
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

    /// What its client is shown, by the rules of this shop.
    #[must_use]
    pub fn shown(&self, cid: &Cid, oid: &Oid, record: &Record, shop: &ShopRecord) -> Order {
        let lines = self.lines.iter().map(|line| OrderLine {
            pid: line.pid.clone(),
            description: line.description.clone(),
            quantity: line.quantity,
            price: line.price.to_string(),
            subtotal: line.price.times(line.quantity).to_string(),
            untracked: line.untracked,
            extra: text_of(line.extra.as_ref()),
        });
        Order {
            oid: oid.to_string(),
            cid: cid.to_string(),
            state: self.phase.shown().into(),
            lines: lines.collect(),
            total: self.total.to_string(),
            etag: record.offset(),
            version: record.version,
            changed_ms: self.changed_ms(record),
            created_ms: self.created_ms.unwrap_or_default(),
            expires_ms: shop
                .hold_ms()
                .filter(|_| self.phase == Phase::Open)
                .map_or(0, |hold_ms| self.changed_ms(record).saturating_add(hold_ms)),
            imported: self.imported,
            staff: self.staff.iter().map(StaffNote::shown).collect(),
            extra: text_of(self.extra.as_ref()),
            total_shown: self.total.rounded_text(shop.decimals()),
        }
    }

    /// What the list of all clients' orders shows of it, but for the total as people are shown it.
    #[must_use]
    pub fn staff_summary(&self, cid: &Cid, oid: &Oid, record: &Record) -> StaffOrderSummary {
        let OrderSummary { oid, total, state, lines, total_shown } = self.summary(oid);
        let (changed_ms, etag) = (self.changed_ms(record), record.offset());
        let created_ms = self.created_ms.unwrap_or_default();
        let (cid, listed_ms) = (cid.to_string(), record.timestamp_ms.max(0));
        StaffOrderSummary {
            cid,
            oid,
            state,
            lines,
            total,
            changed_ms,
            etag,
            created_ms,
            listed_ms,
            total_shown,
        }
    }

    /// What its client's list shows of it, but for the total as people are shown it.
    #[must_use]
    pub fn summary(&self, oid: &Oid) -> OrderSummary {
        OrderSummary {
            oid: oid.to_string(),
            total: self.total.to_string(),
            state: self.phase.shown().into(),
            lines: u32::try_from(self.lines.len()).unwrap_or(u32::MAX),
            total_shown: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::staff_note::{Did, StaffReason};

    #[test]
    fn an_order_is_stored_as_documented() {
        let price = Price::parse("2.55").expect("a price");
        let line = Line {
            pid: "maca".into(),
            description: "Maçã".into(),
            quantity: 2,
            price,
            untracked: false,
            extra: None,
        };
        let untracked =
            OrderRecord::new(Phase::Open, vec![Line { untracked: true, ..line.clone() }]).to_bytes();
        assert!(
            String::from_utf8_lossy(&untracked)
                .contains(r#""price":"2.55","untracked":true}],"total":"5.10""#)
        );
        let order = OrderRecord::new(Phase::Open, vec![line]);
        let stored = r#"{"state":"open","lines":[{"pid":"maca","description":"Maçã","quantity":2,"price":"2.55"}],"total":"5.10"}"#;
        assert_eq!(String::from_utf8_lossy(&order.to_bytes()), stored);
        let record = Record { data: stored.into(), ..Record::default() };
        assert_eq!(OrderRecord::read(b"o/{ana}/x", &record), Ok(order.clone()));
        let reason = StaffReason::parse("by telephone", "joana").expect("a reason");
        let noted = order.noting(reason.note(Did::Modified, 7), usize::MAX);
        let stored = stored.replace(
            r#""5.10"}"#,
            r#""5.10","staff":[{"did":"modified","reason":"by telephone","by":"joana","at_ms":7}]}"#,
        );
        assert_eq!(String::from_utf8_lossy(&noted.to_bytes()), stored);
        let record = Record { data: stored.into(), ..Record::default() };
        assert_eq!(OrderRecord::read(b"o/{ana}/x", &record), Ok(noted));
    }

    #[test]
    fn data_of_staff_and_shops_are_stored_as_documented_and_stay() {
        let stored = concat!(
            r#"{"state":"open","lines":[{"pid":"maca","description":"Maçã","quantity":2,"price":"2.55","extra":{"n":1.0}}],"#,
            r#""total":"5.10","extra":{"note":"gate 2","a":{"b":[]}}}"#
        );
        let record = Record { data: stored.into(), ..Record::default() };
        let order = OrderRecord::read(b"o/{ana}/x", &record).expect("an order");
        assert_eq!(String::from_utf8_lossy(&order.to_bytes()), stored);
        assert_eq!(order.with_lines(Vec::new()).extra, order.extra);
        let text = r#"{"state":"open","lines":[],"total":"0.00","extra":[]}"#;
        let record = Record { data: text.into(), ..Record::default() };
        assert!(matches!(OrderRecord::read(b"o/{ana}/x", &record), Err(Error::Damaged { .. })));
    }

    #[test]
    fn an_imported_order_is_stored_as_documented_and_stays_marked() {
        let times = OrderRecord {
            created_ms: Some(5),
            changed_ms: Some(9),
            ..OrderRecord::new(Phase::Open, Vec::new())
        };
        let order = OrderRecord { imported: true, ..times };
        let stored =
            r#"{"state":"open","lines":[],"total":"0.00","created_ms":5,"changed_ms":9,"imported":true}"#;
        assert_eq!(String::from_utf8_lossy(&order.to_bytes()), stored);
        let record = Record { data: stored.into(), ..Record::default() };
        assert_eq!(OrderRecord::read(b"o/{ana}/x", &record), Ok(order.clone()));
        assert!(order.with_lines(Vec::new()).imported);
    }

    #[test]
    fn an_order_keeps_the_last_notes_that_fit() {
        let note = |at_ms: i64| StaffReason::parse("why", "").expect("a reason").note(Did::Modified, at_ms);
        let kept = |order: &OrderRecord| order.staff.iter().map(|note| note.at_ms).collect::<Vec<_>>();
        let mut order = OrderRecord::new(Phase::Open, Vec::new());
        for at_ms in 1..=10 {
            order = order.noting(note(at_ms), usize::MAX);
        }
        assert_eq!(kept(&order), [3, 4, 5, 6, 7, 8, 9, 10]);
        let two = OrderRecord { staff: vec![note(10), note(9)], ..order.clone() }.to_bytes().len();
        assert_eq!(kept(&order.clone().noting(note(9), two)), [10, 9]);
        assert_eq!(kept(&order.noting(note(11), 0)), [11], "the newest stays in any case");
    }
}
