//! An order change as ONE transaction. Pure: documents in, a transaction out.
//!
//! ```text
//!   guards      c/{CID}    /state = "active"                 (first: it routes, and remembers the request)
//!               o/…        absent, or exactly the version the change was made from
//!               p/{PID}    exactly the version whose price and rules were gone by, where a line comes or changes
//!               s/{PID}    /least = what the product's rules say, where it is not 0
//!   operations  s/{PID}    available − n (not under least), held + n, open_orders ± 1 when a line comes or goes
//!               h/{PID}/…  put when a line comes, deleted when it goes or the order is no longer open
//!               c/{CID}    open_orders ± 1 when the order is created, confirmed or cancelled
//!               i/o/…      the order's row in the list by time, from where it was to where it is
//!               o/…        the whole order, answered back, with the log's time; with a note if staff changed it
//!               f/…        what was done, for the feed
//! ```
//!
//! A line of a product that is not tracked takes no stock, and remembers that; it counts as an open order of the product all the same. A
//! line that is there stays what it was when it was added, as with its price.
//!
//! Nothing guards the stock's version or the client's: a product that everybody buys, and a client with many tills,
//! need no retry. The order's own version is guarded, since its lines are replaced.
//! Leaves out: what a refused one means (`order_refusal`); reading, sending, trying again (the portals' files, `attempt`).

mod import;
mod requested;

pub use import::{Imported, Seen, SeenClient};
pub use requested::{RequestedLine, merge, repriced};

use std::collections::HashMap;

use bytes::Bytes;
use proto::check::DATA_BYTES_MAX;
use proto::store::{Record, Txn};
use store_core::mutant;

use crate::document::event::{self, By, Event, Facts, Teller, What};
use crate::document::extra::ExtraChange;
use crate::document::order::{CHANGED, CREATED, HolderRecord, Line, OrderRecord, Phase};
use crate::document::order_move::{Step, Units};
use crate::document::product::ProductRecord;
use crate::document::rules::Rules;
use crate::document::staff_note::{Did, StaffNote, StaffReason};
use crate::document::stock::{ADJUSTED, AVAILABLE, HELD, LEAST, SOLD};
use crate::document::{OPEN_ORDERS, STATE, State, write};
use crate::error::{Error, Full};
use crate::id::{Cid, Oid, Pid};
use crate::key;
use crate::limits::{ORDER_BYTES_MAX, ORDER_LINES_MAX, ORDER_RECORD_BYTES_MAX, STAFF_NOTE_BYTES_MAX};
use crate::money::Price;
use crate::order_row::{OrderRow, Place};

/// An offset that no record ever has: a guard on it fails and brings the record back.
const NEVER: u64 = u64::MAX;
/// Where an order's lines stand in its record.
const LINES: &str = "/lines";
/// What no order has for its lines: a guard on it always fails.
const NO_LINES_VALUE: &str = "null";
/// What an operation or guard takes in an encoded transaction besides its key, at most.
const PART_BYTES: usize = 64;

/// What a change makes of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Demand {
    /// How many more it will have; below 0: fewer.
    pub more: i64,
    /// What it has before the change.
    pub holds: i64,
    /// It takes stock.
    pub takes: bool,
    /// Of a new line: the price that was shown, if it counts.
    pub expects: Option<Price>,
}

impl Demand {
    /// What the line will have.
    #[must_use]
    pub const fn quantity(&self) -> i64 {
        self.holds + self.more
    }

    /// Whether it takes units of the stock.
    #[must_use]
    pub const fn is_taking(&self) -> bool {
        self.takes && self.more > 0
    }
}

/// What a change makes of the lines that come or change, and stay.
pub type Demands = HashMap<Pid, Demand>;

/// A version of a product that a change goes by.
#[derive(Clone, PartialEq, Debug)]
pub struct KnownProduct {
    /// The product.
    pub product: ProductRecord,
    /// The offset of that version.
    pub offset: u64,
}

/// What is known of products; `None`: that one is not there.
pub type Products = HashMap<Pid, Option<KnownProduct>>;

/// A version of an order that a change starts from.
#[derive(Clone, Debug)]
pub struct Known {
    /// The order.
    pub order: OrderRecord,
    /// The offset of that version.
    pub offset: u64,
    /// The timestamp of its record, which says where its row is.
    pub timestamp_ms: i64,
}

impl Known {
    /// Reads what is stored under an order's key.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], record: &Record) -> Result<Known, Error> {
        let order = OrderRecord::read(key, record)?;
        Ok(Known { order, offset: record.offset(), timestamp_ms: record.timestamp_ms })
    }
}

/// A change of one order, being put together.
#[derive(Debug)]
pub struct Change<'a> {
    cid: &'a Cid,
    oid: &'a Oid,
    timestamp_ms: i64,
    /// Why staff make it; `None`: they do not.
    staff: Option<&'a StaffReason>,
    /// On whose behalf.
    by: By,
    /// Who tells of it.
    teller: Teller<'a>,
    /// It creates the order.
    is_new: bool,
    /// The products with a threshold of whose stock some is taken: the threshold, and the operation that takes it.
    low: Vec<(String, i64, usize)>,
    /// Removed products whose units come with an imported order.
    brought: Vec<String>,
    /// What is said of the order's data.
    extra: ExtraChange,
    txn: Txn,
}

impl<'a> Change<'a> {
    /// A change by a client, who must be active.
    #[must_use]
    pub fn by_client(cid: &'a Cid, oid: &'a Oid, timestamp_ms: i64) -> Change<'a> {
        let txn = Txn::new().guard_json(key::client(cid), STATE, State::Active.json());
        Change::of(cid, oid, timestamp_ms, By::Client, txn)
    }

    /// Changes nothing yet.
    fn of(cid: &'a Cid, oid: &'a Oid, timestamp_ms: i64, by: By, txn: Txn) -> Change<'a> {
        let (teller, low, brought) = (Teller::default(), Vec::new(), Vec::new());
        let (staff, extra) = (None, ExtraChange::Keep);
        Change { cid, oid, timestamp_ms, staff, by, teller, is_new: false, low, brought, extra, txn }
    }

    /// Its event says that this portal made it.
    #[must_use]
    pub fn told_by(self, teller: Teller<'a>) -> Change<'a> {
        Change { teller, ..self }
    }

    /// A change by staff for a client, who must be active; the order notes why.
    #[must_use]
    pub fn by_staff(cid: &'a Cid, oid: &'a Oid, timestamp_ms: i64, reason: &'a StaffReason) -> Change<'a> {
        Change { staff: Some(reason), by: By::Staff, ..Change::by_client(cid, oid, timestamp_ms) }
    }

    /// A move of a confirmed order by staff, whose client may have been removed since.
    #[must_use]
    pub fn by_move(cid: &'a Cid, oid: &'a Oid, timestamp_ms: i64, reason: &'a StaffReason) -> Change<'a> {
        Change { staff: Some(reason), ..Change::of(cid, oid, timestamp_ms, By::Staff, Txn::new()) }
    }

    /// A change by a cascade, while `closing` (the key of the client or product that it deletes) is in that state: one
    /// that was deleted and inserted anew meanwhile is not what the cascade was asked for.
    #[must_use]
    pub fn by_cascade(cid: &'a Cid, oid: &'a Oid, timestamp_ms: i64, closing: Bytes) -> Change<'a> {
        let txn = Txn::new().guard_exists(key::client(cid));
        let txn = txn.guard_json(closing, STATE, State::Closing.json());
        Change::of(cid, oid, timestamp_ms, By::Cascade, txn)
    }

    /// A change by the shop's rules, whatever the client's state.
    #[must_use]
    pub fn by_shop(cid: &'a Cid, oid: &'a Oid, timestamp_ms: i64) -> Change<'a> {
        let txn = Txn::new().guard_exists(key::client(cid));
        Change::of(cid, oid, timestamp_ms, By::Shop, txn)
    }

    /// The same change, which says this of the order's data as well.
    #[must_use]
    pub fn with_extra(self, extra: ExtraChange) -> Change<'a> {
        Change { extra, ..self }
    }

    /// A transaction that changes nothing: it fails and shows the order, unless the request was done before.
    #[must_use]
    pub fn ask(mut self) -> Txn {
        let key = key::order(self.cid, self.oid);
        self.txn = self.txn.guard_offset(key.clone(), NEVER);
        self.txn.get(key)
    }

    /// Creates the order with these lines. `products`: what is known of each; one that is unknown makes the
    /// transaction fail and say so.
    ///
    /// # Errors
    /// The order would be too large.
    pub fn create(mut self, requested: &[RequestedLine], products: &Products) -> Result<Txn, Error> {
        self.txn = self.txn.guard_absent(key::order(self.cid, self.oid));
        self.count_open_order(1);
        let lines = self.lines(Vec::new(), requested, products)?;
        let created_ms = Some(self.timestamp_ms);
        self.is_new = true;
        let extra = self.extra.over(None);
        self.finish(None, OrderRecord { created_ms, extra, ..OrderRecord::new(Phase::Open, lines) }, None)
    }

    /// Sets the quantities asked for in an open order.
    ///
    /// # Errors
    /// The order would be too large.
    pub fn modify(
        mut self,
        known: &Known,
        requested: &[RequestedLine],
        products: &Products,
    ) -> Result<Txn, Error> {
        assert_eq!(known.order.phase, Phase::Open, "only open orders are modified");
        self.guard(known);
        let lines = self.lines(known.order.lines.clone(), requested, products)?;
        let extra = self.extra.over(known.order.extra.clone());
        let order = OrderRecord { extra, ..known.order.with_lines(lines) };
        self.finish(Some(known), order, Some(Did::Modified))
    }

    /// Freezes an open order: it holds its stock for good.
    ///
    /// # Errors
    /// Never for an order that a portal made, but for one of earlier versions that has no room for the note of staff.
    pub fn confirm(mut self, known: &Known) -> Result<Txn, Error> {
        assert_eq!(known.order.phase, Phase::Open, "only open orders are confirmed");
        self.guard(known);
        self.count_open_order(-1);
        for line in &known.order.lines {
            self.release(&Pid::stored("pid", &line.pid)?, 0);
        }
        let order = OrderRecord { phase: Phase::Confirmed, ..known.order.clone() };
        self.finish(Some(known), order, Some(Did::Confirmed))
    }

    /// Refuses to confirm an order without lines: fails with `WrongValue` alone as long as it is the version
    /// that has none, and as every change does if it has become another since.
    #[must_use]
    pub fn confirm_none(mut self, known: &Known) -> Txn {
        assert!(known.order.lines.is_empty(), "an order with lines is confirmed");
        self.guard(known);
        let key = key::order(self.cid, self.oid);
        self.txn.guard_json(key.clone(), LINES, NO_LINES_VALUE).get(key)
    }

    /// Cancels an open order: its stock goes back.
    ///
    /// # Errors
    /// As for [`Change::confirm`].
    pub fn cancel(self, known: &Known) -> Result<Txn, Error> {
        self.end(known, Did::Cancelled)
    }

    /// Cancels an order that was open for too long: not before this log time, and only while the record under `rules`, whose rule it is,
    /// has this version. If the order has changed since, nothing is done.
    ///
    /// # Errors
    /// Never for an order that a portal made.
    pub fn expire(mut self, known: &Known, due_ms: i64, rules: (Bytes, u64)) -> Result<Txn, Error> {
        let (at, offset) = rules;
        let txn = std::mem::take(&mut self.txn).guard_offset(at, offset);
        self.txn = if mutant!(HoldByPortalClock) {
            txn
        } else {
            txn.guard_not_before(key::order(self.cid, self.oid), due_ms)
        };
        self.end(known, Did::Expired)
    }

    /// Cancels an open order, for whatever reason.
    fn end(mut self, known: &Known, did: Did) -> Result<Txn, Error> {
        assert_eq!(known.order.phase, Phase::Open, "only open orders are cancelled");
        if did != Did::Expired || !mutant!(HoldUnguarded) {
            self.guard(known);
        }
        self.count_open_order(-1);
        for line in &known.order.lines {
            self.release(&Pid::stored("pid", &line.pid)?, line.taken());
        }
        self.finish(Some(known), OrderRecord { phase: Phase::Cancelled, ..known.order.clone() }, Some(did))
    }

    /// Moves a confirmed order on.
    ///
    /// # Errors
    /// As for [`Change::confirm`].
    pub fn advance(mut self, known: &Known, step: Step) -> Result<Txn, Error> {
        self.guard(known);
        for line in known.order.lines.iter().filter(|line| !line.untracked) {
            let stock = key::stock(&Pid::stored("pid", &line.pid)?);
            // Where units come from is never below zero; what is available may be, and of what is written off adjustments are.
            let (from, to, by, least) = match step.units {
                Units::Stay => break,
                Units::Sell => (HELD, SOLD, line.quantity, Some(0)),
                Units::Release => (HELD, AVAILABLE, line.quantity, None),
                Units::Restock => (SOLD, AVAILABLE, line.quantity, None),
                Units::WriteOff => (SOLD, ADJUSTED, -line.quantity, None),
            };
            self.txn = std::mem::take(&mut self.txn)
                .add(stock.clone(), self.timestamp_ms, from, -line.quantity, Some(0))
                .add(stock, self.timestamp_ms, to, by, least);
        }
        self.finish(Some(known), OrderRecord { phase: step.to, ..known.order.clone() }, Some(step.did))
    }

    /// Nothing to do: the order stands as wanted already. Guards that, and answers with it.
    #[must_use]
    pub fn leave(mut self, known: &Known) -> Txn {
        self.guard(known);
        self.txn.get(key::order(self.cid, self.oid))
    }

    fn guard(&mut self, known: &Known) {
        let txn = std::mem::take(&mut self.txn);
        self.txn = txn.guard_offset(key::order(self.cid, self.oid), known.offset);
    }

    fn count_open_order(&mut self, by: i64) {
        let txn = std::mem::take(&mut self.txn);
        self.txn = txn.add(key::client(self.cid), self.timestamp_ms, OPEN_ORDERS, by, Some(0));
    }

    /// The lines after the change; their guards and moves are added to the transaction.
    fn lines(
        &mut self,
        mut lines: Vec<Line>,
        requested: &[RequestedLine],
        products: &Products,
    ) -> Result<Vec<Line>, Error> {
        let places: HashMap<String, usize> =
            lines.iter().enumerate().map(|(at, line)| (line.pid.clone(), at)).collect();
        for RequestedLine { pid, quantity, expects, extra } in requested {
            let product = products.get(pid).and_then(Option::as_ref);
            let allowed = product.filter(|known| known.product.rules.allows(*quantity));
            let is_as_shown = |known: &&KnownProduct| repriced("", *expects, known.product.price).is_none();
            if let Some(at) = places.get(pid.as_str()) {
                lines[*at].extra = extra.over(lines[*at].extra.take());
            }
            match places.get(pid.as_str()) {
                Some(at) if *quantity == 0 => {
                    let line = &mut lines[*at];
                    self.release(pid, line.taken());
                    line.quantity = 0;
                }
                Some(at) if lines[*at].quantity == *quantity => {}
                Some(at) => self.change_line(&mut lines[*at], pid, *quantity, allowed),
                None if *quantity == 0 => {}
                None => {
                    match allowed.filter(|known| known.product.state == State::Active).filter(is_as_shown) {
                        Some(known) => {
                            let line = self.new_line(pid, *quantity, known);
                            lines.push(Line { extra: extra.over(None), ..line });
                        }
                        None => self.ask_for_product(pid),
                    }
                }
            }
        }
        lines.retain(|line| line.quantity > 0);
        Ok(lines)
    }

    /// Makes the transaction fail and show the product: it is not there, not to be ordered, or not in this quantity or at this price.
    fn ask_for_product(&mut self, pid: &Pid) {
        self.txn = std::mem::take(&mut self.txn).guard_offset(key::product(pid), NEVER);
    }

    /// Guards what was gone by: the product's version, and with it its price and its rules. The stock has the least of them, too.
    fn guard_product(&mut self, pid: &Pid, known: &KnownProduct) {
        let txn = std::mem::take(&mut self.txn).guard_offset(key::product(pid), known.offset);
        self.txn = match known.product.rules.least() {
            0 => txn,
            least => txn.guard_json(key::stock(pid), LEAST, least.to_string()),
        };
    }

    /// Moves units from available to held, of which no fewer may be left than the rules say.
    fn take(&mut self, pid: &Pid, units: i64, rules: &Rules) {
        let stock = key::stock(pid);
        if rules.low_stock > 0 {
            self.low.push((pid.to_string(), rules.low_stock, self.txn.operations.len()));
        }
        self.txn = std::mem::take(&mut self.txn)
            .add(stock.clone(), self.timestamp_ms, AVAILABLE, -units, Some(rules.least()))
            .add(stock, self.timestamp_ms, HELD, units, Some(0));
    }

    /// Moves units back. What is available may be below 0 before and after.
    fn give_back(&mut self, pid: &Pid, units: i64) {
        let stock = key::stock(pid);
        self.txn = std::mem::take(&mut self.txn)
            .add(stock.clone(), self.timestamp_ms, AVAILABLE, units, None)
            .add(stock, self.timestamp_ms, HELD, -units, Some(0));
    }

    fn new_line(&mut self, pid: &Pid, quantity: i64, known: &KnownProduct) -> Line {
        self.guard_product(pid, known);
        let product = &known.product;
        let untracked = product.rules.untracked;
        if !untracked {
            self.take(pid, quantity, &product.rules);
        }
        let holder = write(&HolderRecord { cid: self.cid.to_string() });
        self.txn = std::mem::take(&mut self.txn)
            .add(key::stock(pid), self.timestamp_ms, OPEN_ORDERS, 1, Some(0))
            .put(key::holder(pid, self.oid), self.timestamp_ms, holder);
        let description = product.description.clone();
        Line { pid: pid.to_string(), description, quantity, price: product.price, untracked, extra: None }
    }

    /// Price and description stay, and whether it takes stock. A line that grows needs an orderable product; one that shrinks may be of
    /// one that is being deleted.
    fn change_line(&mut self, line: &mut Line, pid: &Pid, quantity: i64, allowed: Option<&KnownProduct>) {
        let more = quantity - line.quantity;
        match allowed {
            Some(known) if known.product.state == State::Active => self.guard_product(pid, known),
            Some(_) if more < 0 => {}
            _ => self.ask_for_product(pid),
        }
        if !line.untracked && more > 0 {
            self.take(pid, more, &allowed.map_or_else(Rules::default, |known| known.product.rules));
        } else if !line.untracked {
            self.give_back(pid, -more);
        }
        line.quantity = quantity;
    }

    /// The order no longer holds the product open; `back` units go back to be sold.
    fn release(&mut self, pid: &Pid, back: i64) {
        if back > 0 {
            self.give_back(pid, back);
        }
        self.txn = std::mem::take(&mut self.txn)
            .add(key::stock(pid), self.timestamp_ms, OPEN_ORDERS, -1, Some(0))
            .delete(key::holder(pid, self.oid));
    }

    /// Puts the order as it is from now on, with the note of staff if they `did` it, and its row. An open order is never larger than what
    /// one transaction can cancel, note and all.
    fn finish(
        mut self,
        before: Option<&Known>,
        mut order: OrderRecord,
        did: Option<Did>,
    ) -> Result<Txn, Error> {
        let is_import = self.is_new && order.imported;
        if !is_import {
            // By this clock until the store stamps it.
            order.changed_ms = Some(self.timestamp_ms);
        }
        let is_open = order.phase == Phase::Open;
        let most = if is_open { ORDER_RECORD_BYTES_MAX } else { DATA_BYTES_MAX };
        let txn_most = if is_open { ORDER_BYTES_MAX } else { ORDER_BYTES_MAX + STAFF_NOTE_BYTES_MAX };
        let letting_go: usize = order.lines.iter().map(|line| 4 * (3 * line.pid.len() + PART_BYTES)).sum();
        let note = match (self.staff, did) {
            (Some(reason), Some(did)) => Some(reason.note(did, self.timestamp_ms)),
            (None, Some(Did::Expired)) => Some(StaffNote::of_shop(Did::Expired, self.timestamp_ms)),
            _ => None,
        };
        let is_bounded = is_open || is_import || self.staff.is_some();
        let order = match note {
            Some(note) => order.noting(note, most.min(txn_most.saturating_sub(letting_go))),
            None => order,
        };
        let bytes = order.to_bytes();
        let over = |bytes: usize, most: usize| {
            (bytes > most).then_some(Full::Bytes { bytes: bytes as u64, most: most as u64 })
        };
        let too_many = order.lines.len() > ORDER_LINES_MAX;
        let full = too_many
            .then_some(Full::Lines(order.lines.len() as u64))
            .or_else(|| over(bytes.len(), most))
            .or_else(|| over(letting_go + bytes.len(), txn_most));
        if let Some(full) = full.filter(|_| is_bounded) {
            return Err(Error::OrderFull { oid: self.oid.to_string(), full });
        }
        let stamps = match (is_import, self.is_new) {
            (true, _) => &[][..],
            (false, true) => &[CREATED, CHANGED],
            (false, false) => &[CHANGED],
        };
        self.list(before, &order, stamps);
        let event = self.event(before, &order, did);
        let put = self.txn.put(key::order(self.cid, self.oid), self.timestamp_ms, bytes);
        if did == Some(Did::Expired) && mutant!(ExpiryUntold) {
            return Ok(put.stamped(stamps).returning_after());
        }
        Ok(event.append_to(put.stamped(stamps).returning_after(), self.cid.encoded()))
    }

    /// What is told of the change; the order is put by the next operation.
    fn event(&self, before: Option<&Known>, order: &OrderRecord, did: Option<Did>) -> Event {
        let what = match did {
            Some(did) => What::from(did),
            None if order.imported => What::Imported,
            None => What::Created,
        };
        let old = before.map(|known| &known.order);
        let (was, is) =
            Facts::differences(old.map(Facts::of_order).unwrap_or_default(), Facts::of_order(order));
        let mut event = Event::of_order(self.oid, what, self.by, (self.teller.portal, self.timestamp_ms))
            .after_version(before.map_or(0, |known| known.offset))
            .facts(was, is);
        let lines = || event::changed(old.map_or(&[], |order| &order.lines), &order.lines);
        event = match what {
            What::Created | What::Modified => event.lines(lines()),
            What::Imported => event.all_lines(event::with_brought(lines(), &self.brought)),
            // Nothing of the stock moves.
            What::Confirmed | What::Paid | What::Packed => event,
            _ => event.all_lines(event::moved(&order.lines)),
        };
        for (pid, low_stock, taken) in &self.low {
            event = event.taking_of(pid, *low_stock, self.teller.is_one_group.then_some(*taken));
        }
        match (self.staff, order.staff.len().checked_sub(1)) {
            (Some(_), Some(nth)) if did.is_some() => event.noted(nth, self.txn.operations.len()),
            _ => event,
        }
    }

    /// Moves the order's row to where the version that is written belongs.
    fn list(&mut self, before: Option<&Known>, order: &OrderRecord, stamps: &[&str]) {
        let place = |phase, timestamp_ms| Place::of(phase, timestamp_ms, self.cid, self.oid).key();
        let there = place(order.phase, self.timestamp_ms);
        let left = before.map(|known| place(known.order.phase, known.timestamp_ms));
        let row = OrderRow::of(order, self.timestamp_ms).to_bytes();
        let mut txn = std::mem::take(&mut self.txn);
        if let Some(left) = left.filter(|left| *left != there) {
            txn = txn.delete(left);
        }
        self.txn = txn.put(there, self.timestamp_ms, row).stamped(stamps);
    }
}

/// What a change of `before` to these quantities makes of its lines.
#[must_use]
pub fn demands(before: Option<&OrderRecord>, requested: &[RequestedLine], products: &Products) -> Demands {
    let lines = before.map_or(&[][..], |order| &order.lines);
    let had: HashMap<&str, &Line> = lines.iter().map(|line| (line.pid.as_str(), line)).collect();
    let change = |one: &RequestedLine| {
        let line = had.get(one.pid.as_str());
        let holds = line.map_or(0, |line| line.quantity);
        let is_tracked = || products.get(&one.pid).and_then(Option::as_ref).is_none_or(is_tracked);
        let takes = line.map_or_else(is_tracked, |line| !line.untracked);
        let expects = one.expects.filter(|_| line.is_none());
        (one.pid.clone(), Demand { more: one.quantity - holds, holds, takes, expects })
    };
    let changed = requested.iter().filter(|one| one.quantity > 0).map(change);
    changed.filter(|(_, demand)| demand.more != 0).collect()
}

fn is_tracked(known: &KnownProduct) -> bool {
    !known.product.rules.untracked
}

#[cfg(test)]
pub(crate) mod tests;
