//! An event as stored (`f/OFFSET.INDEX/{CID or PID}`): what one operation did, in its own transaction.
//!
//! ```json
//! {"did":"created","portal":"client-1","at_ms":1764403200000,"oid":"…","after":{"state":"open","total":"5.10"},
//!  "lines":[{"pid":"maca-fuji","is":2}]}
//! ```
//!
//! An event has an order if it is of one; else `of` says of what it is. It says what a reader needs to follow the shop, and no more: of an order
//! its state and total, and the lines that the operation changed or whose units it moved; of a product description, price and rules; of a
//! client no data at all, only the names of the members that changed: what people are called and where they live is not kept for longer than in
//! their record.
//!
//! What the portal does not know, and the entry does, the store sets in: the log time, what is available of a stock after it was adjusted or has
//! a threshold, and the note that staff left in the order.

use std::collections::HashMap;

use proto::store::{Quote, Txn};
use serde::{Deserialize, Serialize};

use super::order::{Line, OrderRecord, Phase};
use super::product::ProductRecord;
use super::rules::{Rules, is_zero};
use super::shop::ShopRecord;
use super::staff_note::{Did, StaffNote};
use super::{read, write};
use crate::error::{Error, Kind};
use crate::id::Oid;
use crate::limits::{
    EVENT_LINES_BYTES_MAX, EVENT_LOW_MAX, EVENT_MEMBER_BYTES_MAX, EVENT_MEMBERS_MAX, PORTAL_NAME_BYTES_MAX,
};
use crate::money::{Price, Total};

/// Where an event says when it was.
const AT: &str = "/at_ms";
/// Bytes of a line of an event beside its product's id.
const LINE_BYTES: usize = 48;

/// What an operation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A client or product was inserted.
    Inserted,
    /// The document of a client or product, or the shop's rules, were replaced.
    Updated,
    /// A deletion with cascade began: nothing more comes to it.
    Closing,
    /// A client or product was deleted.
    Deleted,
    /// The stock of a product was adjusted.
    Adjusted,
    /// An order was created.
    Created,
    /// Quantities of an order were set.
    Modified,
    /// An order was confirmed.
    Confirmed,
    /// An order was cancelled.
    Cancelled,
    /// An order was paid.
    Paid,
    /// An order was packed.
    Packed,
    /// An order was sent.
    Sent,
    /// An order came back, and its goods are sold again.
    Returned,
    /// An order came back, and its goods are of no use any more.
    Discarded,
    /// The client of an order got the money back.
    Refunded,
    /// An order was open for too long.
    Expired,
    /// An order was imported.
    Imported,
}

impl What {
    /// All of them.
    pub const ALL: [What; 17] = [
        What::Inserted,
        What::Updated,
        What::Closing,
        What::Deleted,
        What::Adjusted,
        What::Created,
        What::Modified,
        What::Confirmed,
        What::Cancelled,
        What::Paid,
        What::Packed,
        What::Sent,
        What::Returned,
        What::Discarded,
        What::Refunded,
        What::Expired,
        What::Imported,
    ];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            What::Inserted => "inserted",
            What::Updated => "updated",
            What::Closing => "closing",
            What::Deleted => "deleted",
            What::Adjusted => "adjusted",
            What::Created => "created",
            What::Modified => "modified",
            What::Confirmed => "confirmed",
            What::Cancelled => "cancelled",
            What::Paid => "paid",
            What::Packed => "packed",
            What::Sent => "sent",
            What::Returned => "returned",
            What::Discarded => "discarded",
            What::Refunded => "refunded",
            What::Expired => "expired",
            What::Imported => "imported",
        }
    }
}

impl From<Did> for What {
    fn from(did: Did) -> What {
        match did {
            Did::Modified => What::Modified,
            Did::Confirmed => What::Confirmed,
            Did::Cancelled => What::Cancelled,
            Did::Paid => What::Paid,
            Did::Packed => What::Packed,
            Did::Sent => What::Sent,
            Did::Returned => What::Returned,
            Did::Discarded => What::Discarded,
            Did::Refunded => What::Refunded,
            Did::Expired => What::Expired,
        }
    }
}

/// On whose behalf an operation was done, as the portal took it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The order's client.
    #[default]
    Client,
    /// Staff.
    Staff,
    /// The deletion of a client or product, which staff began.
    Cascade,
    /// The shop, by its rules.
    Shop,
}

impl By {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            By::Client => "client",
            By::Staff => "staff",
            By::Cascade => "cascade",
            By::Shop => "shop",
        }
    }

    fn is_client(&self) -> bool {
        *self == By::Client
    }
}

/// What a document was before or after the operation, as far as an event says it. Members that did not change are left out of both.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// An order's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Phase>,
    /// An order's total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Total>,
    /// A product's description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A product's price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The rules of a product's stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// Of the shop: how long an order may be open, milliseconds; 0: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<i64>,
    /// Of the shop: the currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Of the shop: for how many days events are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_days: Option<u32>,
    /// Of the shop: with how many decimals totals are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u32>,
}

impl Facts {
    fn is_empty(&self) -> bool {
        *self == Facts::default()
    }

    /// Those of an order.
    #[must_use]
    pub fn of_order(order: &OrderRecord) -> Facts {
        Facts { state: Some(order.phase), total: Some(order.total), ..Facts::default() }
    }

    /// Those of a product.
    #[must_use]
    pub fn of_product(product: &ProductRecord) -> Facts {
        let (description, price) = (Some(product.description.clone()), Some(product.price));
        let rules = (!product.rules.is_none()).then_some(product.rules);
        Facts { description, price, rules, ..Facts::default() }
    }

    /// Those of the shop.
    #[must_use]
    pub fn of_shop(shop: &ShopRecord) -> Facts {
        let (hold_ms, currency) = (Some(shop.hold_ms), Some(shop.currency.clone()));
        let (feed_days, decimals) = (Some(shop.feed_days()), Some(shop.decimals()));
        Facts { hold_ms, currency, feed_days, decimals, ..Facts::default() }
    }

    /// Both without what is the same in them.
    #[must_use]
    pub fn differences(mut before: Facts, mut after: Facts) -> (Facts, Facts) {
        fn differ<T: PartialEq>(one: &mut Option<T>, other: &mut Option<T>) {
            if one == other {
                (*one, *other) = (None, None);
            }
        }
        differ(&mut before.state, &mut after.state);
        differ(&mut before.total, &mut after.total);
        differ(&mut before.description, &mut after.description);
        differ(&mut before.price, &mut after.price);
        differ(&mut before.rules, &mut after.rules);
        differ(&mut before.hold_ms, &mut after.hold_ms);
        differ(&mut before.currency, &mut after.currency);
        differ(&mut before.feed_days, &mut after.feed_days);
        differ(&mut before.decimals, &mut after.decimals);
        (before, after)
    }
}

/// A line of an order that was changed, or whose units were moved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLine {
    /// The product.
    pub pid: String,
    /// Its quantity before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub was: i64,
    /// Its quantity after.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub is: i64,
    /// It takes no stock.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untracked: bool,
    /// Of an imported order: the product was removed before, and its units came with the order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brought: bool,
}

impl EventLine {
    fn of(line: &Line, (was, is): (i64, i64)) -> EventLine {
        EventLine { pid: line.pid.clone(), was, is, untracked: line.untracked, brought: false }
    }
}

/// What became of a stock that was adjusted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockMove {
    /// By how much.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by: i64,
    /// What is available since; the store sets it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<i64>,
    /// The product counts as low at so many or fewer; 0: never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub low_stock: i64,
}

/// A stock with a threshold, of which an order took some.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Low {
    /// The product.
    pub pid: String,
    /// It counts as low at so many or fewer.
    pub low_stock: i64,
    /// What is available since; the store sets it in. `None`: the stock is in another group, whose records an event cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<i64>,
}

/// An event as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRecord {
    /// What was done.
    pub did: What,
    /// Of what, if it is not an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Subject>,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "By::is_client")]
    pub by: By,
    /// The portal that did it.
    pub portal: String,
    /// When, milliseconds since 1970 by the log's time.
    pub at_ms: i64,
    /// The order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oid: Option<String>,
    /// The offset of the document's version before; 0: there was none.
    #[serde(default, skip_serializing_if = "is_zero_offset")]
    pub previous: u64,
    /// What was so before and is not after.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub before: Facts,
    /// What is so since.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub after: Facts,
    /// Members of the document that were changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Lines of the order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<EventLine>,
    /// They were too many to be here: the order has them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lines_left_out: bool,
    /// The stock, if it was adjusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<StockMove>,
    /// Stocks with a threshold, of which the order took some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub low: Vec<Low>,
    /// What staff said of it; the store sets it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<StaffNote>,
}

/// What an event is of, if not of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A client.
    Client,
    /// A product.
    Product,
    /// The shop.
    Shop,
}

impl Subject {
    /// The kind that errors and lists speak of.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Subject::Client => Kind::Client,
            Subject::Product => Kind::Product,
            Subject::Shop => Kind::Shop,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero_offset(offset: &u64) -> bool {
    *offset == 0
}

impl EventRecord {
    /// Reads a stored event.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], data: &[u8]) -> Result<EventRecord, Error> {
        read(key, data)
    }
}

/// An event on its way into its operation's transaction.
#[derive(Clone, Debug)]
pub struct Event {
    record: EventRecord,
    quotes: Vec<Quote>,
}

impl Event {
    /// What a portal does to a client, a product or the shop, at `now_ms` by its own clock.
    #[must_use]
    pub fn of(of: Subject, did: What, portal: &str, now_ms: i64) -> Event {
        Event::new(Some(of), did, By::Staff, (portal, now_ms))
    }

    /// What is done to an order.
    #[must_use]
    pub fn of_order(oid: &Oid, did: What, by: By, (portal, now_ms): (&str, i64)) -> Event {
        let event = Event::new(None, did, by, (portal, now_ms));
        Event { record: EventRecord { oid: Some(oid.to_string()), ..event.record }, ..event }
    }

    fn new(of: Option<Subject>, did: What, by: By, (portal, at_ms): (&str, i64)) -> Event {
        let record = EventRecord {
            did,
            of,
            by,
            portal: beginning(portal, PORTAL_NAME_BYTES_MAX).to_owned(),
            at_ms,
            oid: None,
            previous: 0,
            before: Facts::default(),
            after: Facts::default(),
            changed: Vec::new(),
            lines: Vec::new(),
            lines_left_out: false,
            stock: None,
            low: Vec::new(),
            note: None,
        };
        Event { record, quotes: Vec::new() }
    }

    /// It replaces the version of this offset; 0: there was none.
    #[must_use]
    pub fn after_version(mut self, previous: u64) -> Event {
        self.record.previous = previous;
        self
    }

    /// What the document was and is.
    #[must_use]
    pub fn facts(mut self, before: Facts, after: Facts) -> Event {
        (self.record.before, self.record.after) = (before, after);
        self
    }

    /// These members of the document were changed; of many the first.
    #[must_use]
    pub fn changing(mut self, mut members: Vec<String>) -> Event {
        members.truncate(EVENT_MEMBERS_MAX);
        let short = |name: String| beginning(&name, EVENT_MEMBER_BYTES_MAX).to_owned();
        self.record.changed = members.into_iter().map(short).collect();
        self
    }

    /// The lines of an order that were changed.
    #[must_use]
    pub fn lines(mut self, lines: Vec<EventLine>) -> Event {
        self.record.lines = lines;
        self
    }

    /// As [`Event::lines`], of an order as a whole; all of them are left out if they are long: the order has them.
    #[must_use]
    pub fn all_lines(mut self, lines: Vec<EventLine>) -> Event {
        let bytes: usize = lines.iter().map(|line| line.pid.len() + LINE_BYTES).sum();
        self.record.lines_left_out = bytes > EVENT_LINES_BYTES_MAX;
        if self.record.lines_left_out { self } else { self.lines(lines) }
    }

    /// The stock is adjusted by `by`; `operation` of the transaction leaves what is available in it.
    #[must_use]
    pub fn adjusting(mut self, by: i64, low_stock: i64, operation: usize) -> Event {
        self.record.stock = Some(StockMove { by, available: None, low_stock });
        self.quoting("/stock/available", operation, "/available")
    }

    /// An order takes units of a stock with a threshold; `operation` as above, `None`: it cannot be told here. Of more than a few such stocks
    /// the first are told.
    #[must_use]
    pub fn taking_of(mut self, pid: &str, low_stock: i64, operation: Option<usize>) -> Event {
        let nth = self.record.low.len();
        if nth >= EVENT_LOW_MAX {
            return self;
        }
        self.record.low.push(Low { pid: pid.to_owned(), low_stock, available: None });
        match operation {
            Some(operation) => self.quoting(&format!("/low/{nth}/available"), operation, "/available"),
            None => self,
        }
    }

    /// The note of this number, in the order that `operation` writes.
    #[must_use]
    pub fn noted(self, nth: usize, operation: usize) -> Event {
        self.quoting("/note", operation, &format!("/staff/{nth}"))
    }

    fn quoting(mut self, pointer: &str, operation: usize, source: &str) -> Event {
        self.quotes.push(Quote::of(u32::try_from(operation).unwrap_or(u32::MAX), source, pointer));
        self
    }

    /// Appends it to a transaction on the records of the id that is encoded so.
    #[must_use]
    pub fn append_to(self, txn: Txn, encoded_id: &str) -> Txn {
        let at_ms = self.record.at_ms;
        let after = format!("/{{{encoded_id}}}");
        txn.append_within((KEYS, after.as_bytes()), at_ms, write(&self.record), self.quotes).stamped(&[AT])
    }
}

/// Who puts events into transactions.
#[derive(Clone, Copy, Debug)]
pub struct Teller<'a> {
    /// The portal's name.
    pub portal: &'a str,
    /// All records are in one group: an event can tell those of any id.
    pub is_one_group: bool,
}

impl Default for Teller<'_> {
    fn default() -> Self {
        Teller { portal: "", is_one_group: true }
    }
}

/// What the keys of all events begin with.
pub const KEYS: &[u8] = b"f/";

/// The beginning of a name.
fn beginning(name: &str, bytes_max: usize) -> &str {
    let mut end = name.len().min(bytes_max);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// The lines of an order whose units are moved, and stay in it.
#[must_use]
pub fn moved(lines: &[Line]) -> Vec<EventLine> {
    lines.iter().map(|line| EventLine::of(line, (line.quantity, line.quantity))).collect()
}

/// The same lines, with what came with them marked.
#[must_use]
pub fn with_brought(mut lines: Vec<EventLine>, brought: &[String]) -> Vec<EventLine> {
    lines.iter_mut().for_each(|line| line.brought = brought.contains(&line.pid));
    lines
}

/// The lines that differ: those that were there in their order, then those that came.
#[must_use]
pub fn changed(before: &[Line], after: &[Line]) -> Vec<EventLine> {
    let by_pid = |lines: &[Line]| -> HashMap<String, i64> {
        lines.iter().map(|line| (line.pid.clone(), line.quantity)).collect()
    };
    let (had, has) = (by_pid(before), by_pid(after));
    let of = |line: &Line| has.get(&line.pid).copied().unwrap_or(0);
    let kept = before.iter().map(|line| EventLine::of(line, (line.quantity, of(line))));
    let come = after.iter().filter(|line| !had.contains_key(&line.pid));
    let come = come.map(|line| EventLine::of(line, (0, line.quantity)));
    kept.filter(|line| line.was != line.is).chain(come).collect()
}
