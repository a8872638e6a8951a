//! An imported order as ONE transaction. Pure, as all of [`super`].
//!
//! ```text
//!   guards      c/{CID}    /state = "active"                 (first: it routes, and remembers the request)
//!                          or, of a removed client: absent, or /state = "gone"
//!               o/…        absent
//!               p/{PID}    exactly the version whose rules were gone by, where a line has units; else there
//!               s/{PID}    /least = what the product's rules say, where it is not 0
//!   operations  c/{CID}    open_orders + 1 (open) or + 0: the client's version moves, and a deletion that saw no order fails
//!               s/{PID}    available − n (not under least), held + n (open, confirmed, paid, packed) or sold + n (sent)
//!                          of a removed product: adjusted + n instead, or the whole record, if there is none
//!               h/{PID}/…  put for each line of an open order
//!               i/o/…      its row in the list by time, at the time of its last change
//!               o/…        the whole order with the times that it came with
//! ```
//!
//! Bounds of quantities do not count: the order was made under other rules, or none.

use std::collections::{HashMap, HashSet};

use proto::store::Txn;

use super::{Change, Known, Products};
use crate::document::client::ClientRecord;
use crate::document::extra::ExtraChange;
use crate::document::order::{HolderRecord, Line, OrderRecord, Phase};
use crate::document::stock::{ADJUSTED, AVAILABLE, HELD, SOLD, StockRecord};
use crate::document::{OPEN_ORDERS, STATE, State, write};
use crate::error::Error;
use crate::id::{Cid, Oid, Pid};
use crate::key;

/// An order that is to be imported, checked.
#[derive(Clone, Debug)]
pub struct Imported {
    /// As it is to be stored.
    pub order: OrderRecord,
    /// Its client was removed before.
    pub client_removed: bool,
    /// Products of its lines that were removed before.
    pub products_removed: HashSet<Pid>,
}

impl Imported {
    /// Where the units of its lines are counted; `None`: they were given back.
    #[must_use]
    pub fn counted_in(&self) -> Option<&'static str> {
        match self.order.phase {
            phase if phase.holds() => Some(HELD),
            phase if phase.has_sold() => Some(SOLD),
            _ => None,
        }
    }
}

/// The client of an imported order, as the transaction takes it to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeenClient {
    /// Registered.
    Active,
    /// Nobody has the id: from now on it is kept.
    Absent,
    /// Removed, and the id kept for other orders.
    Gone,
}

/// What an import goes by.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The client.
    pub client: SeenClient,
    /// The products that were not removed.
    pub products: Products,
    /// Whether a removed product has a stock.
    pub remains: HashMap<Pid, bool>,
}

impl<'a> Change<'a> {
    /// An import, for a client as it was seen.
    #[must_use]
    pub fn by_import(cid: &'a Cid, oid: &'a Oid, timestamp_ms: i64, client: SeenClient) -> Change<'a> {
        let (at, txn) = (key::client(cid), Txn::new());
        let txn = match client {
            SeenClient::Active => txn.guard_json(at, STATE, State::Active.json()),
            SeenClient::Absent => txn.guard_absent(at),
            SeenClient::Gone => txn.guard_json(at, STATE, State::Gone.json()),
        };
        Change { cid, oid, timestamp_ms, staff: None, is_new: true, extra: ExtraChange::Keep, txn }
    }

    /// Puts the order as it came, and counts its units.
    ///
    /// # Errors
    /// The order would be too large.
    pub fn import(mut self, import: &Imported, seen: &Seen) -> Result<Txn, Error> {
        let is_open = import.order.phase == Phase::Open;
        self.txn = std::mem::take(&mut self.txn).guard_absent(key::order(self.cid, self.oid));
        self.count_client(seen.client, is_open);
        let counted_in = import.counted_in();
        for line in &import.order.lines {
            let pid = Pid::stored("pid", &line.pid)?;
            let units = counted_in.filter(|_| line.taken() > 0);
            if import.products_removed.contains(&pid) {
                if let Some(counted_in) = units {
                    let remains = seen.remains.get(&pid).copied().unwrap_or(false);
                    self.bring(&pid, line.taken(), counted_in, remains);
                }
                continue;
            }
            self.take_for(&pid, line, units, (is_open, seen));
            if is_open {
                self.hold_open(&pid);
            }
        }
        self.finish(None, import.order.clone(), None)
    }

    fn count_client(&mut self, client: SeenClient, is_open: bool) {
        let (at, now) = (key::client(self.cid), self.timestamp_ms);
        let txn = std::mem::take(&mut self.txn);
        self.txn = match client {
            SeenClient::Active => txn.add(at, now, OPEN_ORDERS, i64::from(is_open), Some(0)),
            SeenClient::Absent => txn.put(at, now, write(&ClientRecord::gone())),
            SeenClient::Gone => txn,
        };
    }

    /// Takes a line's units out of what is available. A product that is not there, or not to be in open orders, makes the transaction
    /// fail and show it.
    fn take_for(
        &mut self,
        pid: &Pid,
        line: &Line,
        units: Option<&'static str>,
        (is_open, seen): (bool, &Seen),
    ) {
        let known = seen.products.get(pid).and_then(Option::as_ref);
        match known {
            Some(known) if is_open && known.product.state != State::Active => self.ask_for_product(pid),
            Some(known) if is_open || units.is_some() => self.guard_product(pid, known),
            Some(_) => self.txn = std::mem::take(&mut self.txn).guard_exists(key::product(pid)),
            // If it came meanwhile, its rules are to be gone by.
            None => self.ask_for_product(pid),
        }
        let Some(counted_in) = units else { return };
        let (stock, now) = (key::stock(pid), self.timestamp_ms);
        let least = known.map_or(0, |known| known.product.rules.least());
        self.txn = std::mem::take(&mut self.txn)
            .add(stock.clone(), now, AVAILABLE, -line.taken(), Some(least))
            .add(stock, now, counted_in, line.taken(), Some(0));
    }

    fn hold_open(&mut self, pid: &Pid) {
        let holder = write(&HolderRecord { cid: self.cid.to_string() });
        self.txn = std::mem::take(&mut self.txn)
            .add(key::stock(pid), self.timestamp_ms, OPEN_ORDERS, 1, Some(0))
            .put(key::holder(pid, self.oid), self.timestamp_ms, holder);
    }

    /// Adds units that no product of now has: those of one that was removed.
    fn bring(&mut self, pid: &Pid, units: i64, counted_in: &'static str, remains: bool) {
        let (stock, now) = (key::stock(pid), self.timestamp_ms);
        let txn = std::mem::take(&mut self.txn);
        self.txn = if remains {
            txn.add(stock.clone(), now, ADJUSTED, units, None).add(stock, now, counted_in, units, Some(0))
        } else {
            let (held, sold) = if counted_in == HELD { (units, 0) } else { (0, units) };
            let record = StockRecord { adjusted: units, held, sold, ..StockRecord::new(0) };
            txn.guard_absent(stock.clone()).put(stock, now, write(&record))
        };
    }
}

/// The order as one that is known, for what is done to the stocks of its lines.
impl From<&Imported> for Known {
    fn from(import: &Imported) -> Known {
        Known { order: import.order.clone(), offset: 0, timestamp_ms: 0 }
    }
}
