//! The state that all callers of a run share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use proto::portal::{Order, OrderState};

use super::journal::Journal;
use super::tally::Tally;

/// What is known of one order from its last answer.
#[derive(Clone, Debug)]
pub struct KnownOrder {
    /// Whose it is.
    pub cid: String,
    /// Its version.
    pub version: u64,
    /// Its state.
    pub state: OrderState,
    /// Its lines: the product, and how many.
    pub lines: BTreeMap<String, i64>,
    /// A request about it that was refused, or not answered, may still have a copy under way at the broker, which may be done.
    pub is_open_to_copies: bool,
}

impl KnownOrder {
    /// As an answer has it.
    #[must_use]
    pub fn of(order: &Order) -> KnownOrder {
        KnownOrder {
            cid: order.cid.clone(),
            version: order.etag,
            state: order.state(),
            lines: order.lines.iter().map(|line| (line.pid.clone(), line.quantity)).collect(),
            is_open_to_copies: false,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Shared {
    /// What was asked and heard.
    pub journal: Journal,
    /// Counted.
    pub tally: Tally,
    /// Orders that were made, by OID.
    pub orders: Mutex<BTreeMap<String, KnownOrder>>,
    /// OIDs of orders whose making was refused, or not answered, after a copy of the request was given to the broker.
    pub perhaps: Mutex<BTreeMap<String, String>>,
    /// Units by which stocks were adjusted, by PID.
    pub adjusted: Mutex<BTreeMap<String, i64>>,
    /// Prices and other contents that were given: each is given once.
    contents: AtomicU64,
    is_over: AtomicBool,
}

impl Shared {
    /// A number that no other content has.
    pub fn content(&self) -> u64 {
        self.contents.fetch_add(1, Ordering::Relaxed)
    }

    /// A price that no other product version has.
    pub fn price(&self) -> String {
        let cents = self.content() + 100;
        format!("{}.{:02}", cents / 100, cents % 100)
    }

    /// Callers end what they do and do no more.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether they do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// The products' ids.
#[must_use]
pub fn pids() -> Vec<String> {
    (1..=PRODUCTS).map(|at| format!("fruit-{at:02}")).collect()
}

/// Products.
const PRODUCTS: usize = 10;

/// Of the first product there are few, and more come now and then: orders are refused for it.
#[must_use]
pub fn is_scarce(pid: &str) -> bool {
    pid == "fruit-01"
}

/// The largest quantity in an order of the second product is changed again and again.
#[must_use]
pub fn is_ruled(pid: &str) -> bool {
    pid == "fruit-02"
}

/// Only duels change the second half of the products: whatever a cache has of them stays to be seen.
#[must_use]
pub fn is_duelled(pid: &str) -> bool {
    pids().iter().position(|one| one == pid).is_some_and(|at| at >= PRODUCTS / 2)
}
