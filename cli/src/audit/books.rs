//! The rules of the shop, checked on one consistent view of all records, of all groups. Pure.
//!
//! - *stock-conserved*: for every product initial + adjusted = available + held + sold, and the last two not below zero;
//! - *never-below-least*: available is not below the record's own least, and that is what the product's rules say; 0 without rules or product;
//! - *held-is-ordered*: held is the sum of the lines of orders that were not sent: open, confirmed, paid, packed; but of those that took no stock;
//! - *sold-is-sent*: sold is the sum of the lines of orders that were sent, but of those that took no stock;
//! - *open-counted*: a product's and a client's `open_orders` are the open orders there are, and `h/` lists exactly those that hold a product;
//! - *order-has-owner*: whoever has an open order is registered;
//! - *order-has-row*: `i/o/` has exactly the rows of the orders, where the shop says that all have theirs; no other row in any case;
//! - *gone-has-orders*: a removed client has orders left, and none of them is open;
//! - *index-holds-its-records*: the rows by which lists are sorted are those of the records ([`super::rows`]);
//! - *change-has-event*: the last change of each order has its event in the feed ([`super::events`]);
//! - *note-is-of-what-goes*: a note of a deletion is of what is being deleted ([`super::deletions`]).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use portal::deletion;
use portal::document::State;
use portal::document::client::ClientRecord;
use portal::document::order::{OrderRecord, Phase};
use portal::document::product::ProductRecord;
use portal::document::shop::{self, ShopRecord};
use portal::document::stock::StockRecord;
use portal::document::{event, feed};
use portal::key::{oid_in, order_in};
use portal::order_row::{OrderRow, Place, ROWS};
use proto::store::{KeyRecord, Record};
use store_client::Group;

use super::deletions::Deletions;
use super::events::Events;
use super::rows::Rows;

/// What an audit asks for.
pub const PREFIXES: [&[u8]; 12] = [
    b"p/",
    b"s/",
    b"o/",
    b"h/",
    b"c/",
    ROWS.as_bytes(),
    shop::KEY,
    b"i/p",
    b"i/c",
    feed::KEY,
    event::KEYS,
    deletion::NOTES,
];

/// The records of one consistent view, summed up.
#[derive(Debug, Default)]
pub struct Books {
    stocks: BTreeMap<String, StockRecord>,
    /// The least that each product's rules allow to be available.
    products: BTreeMap<String, i64>,
    clients: BTreeMap<String, i64>,
    /// Clients who were removed, and whose orders are kept.
    gone: BTreeSet<String>,
    /// Those under whose ids orders lie, in whatever state.
    ordered: BTreeSet<String>,
    /// Units in orders that were not sent, by product.
    held: BTreeMap<String, i64>,
    /// Units in orders that were sent, by product.
    sold: BTreeMap<String, i64>,
    /// Open orders, by client.
    open: BTreeMap<String, i64>,
    /// Open orders that hold a product.
    holding: BTreeSet<(String, String)>,
    /// The same as `h/` lists them.
    listed: BTreeSet<(String, String)>,
    /// Rows that orders should have and that were not met yet, and those met that no order should have.
    rows_of_orders: BTreeMap<String, (RowOf, u64)>,
    /// The shop's own record.
    shop: ShopRecord,
    /// The rows of the indexes.
    rows: Rows,
    /// The events of the feed.
    events: Events,
    /// The notes of deletions.
    deletions: Deletions,
    /// Records by their first letter.
    counts: BTreeMap<char, u64>,
    /// What could not be understood.
    problems: Vec<String>,
}

/// What a row stands for that has no match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RowOf {
    /// An order that lacks it.
    Order,
    /// No order.
    Nothing,
}

/// One number for what a row says, but for the version of an order that was listed later.
fn digest(row: &OrderRow) -> u64 {
    let mut hasher = DefaultHasher::new();
    OrderRow { etag: None, ..row.clone() }.to_bytes().hash(&mut hasher);
    hasher.finish()
}

/// The client or product that a key is about: what stands in its braces.
fn named_in(key: &[u8]) -> Option<String> {
    let (encoded, _) = std::str::from_utf8(key).ok()?.get(2..)?.strip_prefix('{')?.split_once('}')?;
    proto::keys::decode_id(encoded).ok()
}

/// What the books hold, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Products with stock.
    pub products: usize,
    /// Clients.
    pub clients: usize,
    /// Orders in any state.
    pub orders: u64,
    /// Units in orders that were not sent.
    pub held: i64,
    /// Units in orders that were sent.
    pub sold: i64,
    /// Units to sell.
    pub available: i64,
}

impl Books {
    /// Enters a record of a group.
    pub fn enter(&mut self, group: Group, entry: &KeyRecord) {
        let Some(record) = &entry.record else { return };
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        if key.as_bytes() == shop::KEY {
            return self.shop(record);
        }
        if key.starts_with(ROWS) {
            return self.row(key, record);
        }
        if entry.key == feed::KEY || entry.key.starts_with(event::KEYS) {
            let is_feed = entry.key == feed::KEY;
            let entered =
                if is_feed { self.events.keep(record) } else { self.events.enter(group, &entry.key, record) };
            return self.problems.extend(entered.err().map(|error| error.to_string()));
        }
        if entry.key.starts_with(deletion::NOTES) {
            let entered = self.deletions.enter(&entry.key, record);
            return self.problems.extend(entered.err().map(|error| error.to_string()));
        }
        let letter = key.chars().next().unwrap_or('?');
        *self.counts.entry(letter).or_insert(0) += 1;
        if letter == 'i' {
            return self.rows.enter(&entry.key, record);
        }
        let Some(id) = named_in(&entry.key) else {
            return self.problems.push(format!("the key {key} names nothing"));
        };
        if matches!(letter, 'p' | 'c') {
            self.rows.expect(&entry.key, record);
        }
        let read = match letter {
            'p' => ProductRecord::read(&entry.key, record).map(|product| {
                self.goes(&entry.key, product.state);
                self.products.insert(id, product.rules.least());
            }),
            's' => StockRecord::read(&entry.key, record).map(|stock| {
                self.stocks.insert(id, stock);
            }),
            'c' => ClientRecord::read(&entry.key, record).map(|client| self.client(&entry.key, id, &client)),
            'o' => OrderRecord::read(&entry.key, record).map(|order| {
                self.order(&entry.key, &id, &order);
                self.wants_row(&entry.key, &order, record);
                if let Some(oid) = oid_in(&entry.key) {
                    self.events.expect(group, &oid.to_string(), record);
                }
            }),
            'h' => {
                if let Some(oid) = oid_in(&entry.key) {
                    self.listed.insert((id, oid.to_string()));
                }
                Ok(())
            }
            _ => return,
        };
        if let Err(error) = read {
            self.problems.push(error.to_string());
        }
    }

    fn client(&mut self, key: &Bytes, id: String, client: &ClientRecord) {
        self.goes(key, client.state);
        match client.state {
            State::Gone => drop(self.gone.insert(id)),
            State::Active | State::Closing => drop(self.clients.insert(id, client.open_orders)),
        }
    }

    fn goes(&mut self, key: &Bytes, state: State) {
        if state == State::Closing {
            self.deletions.goes(key);
        }
    }

    fn shop(&mut self, record: &Record) {
        match ShopRecord::read(Some(record)) {
            Ok(shop) => self.shop = shop,
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    fn wants_row(&mut self, key: &[u8], order: &OrderRecord, record: &Record) {
        let Some((cid, oid)) = order_in(key) else { return };
        let place = Place::of(order.phase, record.timestamp_ms, &cid, &oid);
        let row = OrderRow::of(order, record.timestamp_ms);
        self.meet(String::from_utf8_lossy(&place.key()).into_owned(), RowOf::Order, digest(&row));
    }

    fn row(&mut self, key: String, record: &Record) {
        match OrderRow::read(key.as_bytes(), record) {
            Ok(row) => self.meet(key, RowOf::Nothing, digest(&row)),
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    /// An order and its row take each other away, whichever comes first.
    fn meet(&mut self, key: String, of: RowOf, says: u64) {
        match self.rows_of_orders.get(&key) {
            Some((other, _)) if *other == of => {}
            Some((_, other)) => {
                if *other != says {
                    self.problems.push(format!("order-has-row: {key} says something else than its order"));
                }
                self.rows_of_orders.remove(&key);
            }
            None => drop(self.rows_of_orders.insert(key, (of, says))),
        }
    }

    fn order(&mut self, key: &[u8], cid: &str, order: &OrderRecord) {
        let Some(oid) = oid_in(key) else { return };
        self.ordered.insert(cid.to_owned());
        if order.phase.has_sold() {
            order
                .lines
                .iter()
                .for_each(|line| *self.sold.entry(line.pid.clone()).or_insert(0) += line.taken());
        }
        if !order.phase.holds() {
            return;
        }
        if order.phase == Phase::Open {
            *self.open.entry(cid.to_owned()).or_insert(0) += 1;
        }
        for line in &order.lines {
            *self.held.entry(line.pid.clone()).or_insert(0) += line.taken();
            if order.phase == Phase::Open {
                self.holding.insert((line.pid.clone(), oid.to_string()));
            }
        }
    }

    /// What the books hold.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            products: self.stocks.len(),
            clients: self.clients.len(),
            orders: self.counts.get(&'o').copied().unwrap_or(0),
            held: self.stocks.values().map(|stock| stock.held).sum(),
            sold: self.stocks.values().map(|stock| stock.sold).sum(),
            available: self.stocks.values().map(|stock| stock.available).sum(),
        }
    }

    /// The first rule that is broken, in words.
    #[must_use]
    pub fn first_difference(&self) -> Option<String> {
        let problem = self.problems.first().cloned();
        let of_records = || self.stock_difference().or_else(|| self.order_difference());
        let of_lists = || {
            let of_feed = || self.events.first_difference();
            self.rows.first_difference().or_else(of_feed).or_else(|| self.deletions.first_difference())
        };
        problem.or_else(of_records).or_else(of_lists)
    }

    fn stock_difference(&self) -> Option<String> {
        if let Some(pid) = self.products.keys().find(|pid| !self.stocks.contains_key(*pid)) {
            return Some(format!("product {pid} has no stock record"));
        }
        let mut open = BTreeMap::new();
        for (pid, _) in &self.holding {
            *open.entry(pid.as_str()).or_insert(0_i64) += 1;
        }
        let of_stock = |(pid, stock): (&String, &StockRecord)| {
            self.difference_of_stock(pid, stock, open.get(pid.as_str()).copied().unwrap_or(0))
        };
        if let Some(difference) = self.stocks.iter().find_map(of_stock) {
            return Some(difference);
        }
        let orphan = self.held.iter().find(|(pid, held)| **held != 0 && !self.stocks.contains_key(*pid));
        let orphan = orphan.map(|(pid, held)| {
            format!("held-is-ordered: orders hold {held} of {pid}, which has no stock record")
        });
        let sent = self.sold.iter().find(|(pid, sold)| **sold != 0 && !self.stocks.contains_key(*pid));
        orphan.or_else(|| {
            sent.map(|(pid, sold)| {
                format!("sold-is-sent: orders were sent with {sold} of {pid}, which has no stock record")
            })
        })
    }

    /// What is wrong with a stock that so many open orders hold.
    fn difference_of_stock(&self, pid: &str, stock: &StockRecord, open: i64) -> Option<String> {
        let least = self.products.get(pid).copied().unwrap_or(0);
        if stock.least != least {
            let has = stock.least;
            return Some(format!(
                "never-below-least: product {pid}: the stock says {has}, and the rules {least}"
            ));
        }
        if stock.available < least {
            let has = stock.available;
            return Some(format!(
                "never-below-least: product {pid}: available {has} is below the least, {least}"
            ));
        }
        if !stock.is_conserved() {
            return Some(format!(
                "stock-conserved: product {pid}: initial {} + adjusted {} is not available {} + held {} + sold {}",
                stock.initial, stock.adjusted, stock.available, stock.held, stock.sold
            ));
        }
        let held = self.held.get(pid).copied().unwrap_or(0);
        if held != stock.held {
            return Some(format!(
                "held-is-ordered: product {pid}: held {}, but orders hold {held}",
                stock.held
            ));
        }
        let sold = self.sold.get(pid).copied().unwrap_or(0);
        if sold != stock.sold {
            return Some(format!(
                "sold-is-sent: product {pid}: sold {}, but orders were sent with {sold}",
                stock.sold
            ));
        }
        if open != stock.open_orders {
            return Some(format!(
                "open-counted: product {pid}: open_orders {}, but {open} open orders hold it",
                stock.open_orders
            ));
        }
        None
    }

    fn order_difference(&self) -> Option<String> {
        for (cid, counted) in &self.clients {
            let open = self.open.get(cid).copied().unwrap_or(0);
            if open != *counted {
                return Some(format!(
                    "open-counted: client {cid}: open_orders {counted}, but {open} are open"
                ));
            }
        }
        if let Some(cid) = self.gone.difference(&self.ordered).next() {
            return Some(format!("gone-has-orders: client {cid} was removed, and no orders keep the id"));
        }
        if let Some((cid, open)) = self.open.iter().find(|(cid, _)| !self.clients.contains_key(*cid)) {
            return Some(format!("order-has-owner: {open} open orders of {cid}, who is not registered"));
        }
        if let Some((pid, oid)) = self.holding.difference(&self.listed).next() {
            return Some(format!("open-counted: open order {oid} holds {pid}, and h/ does not say so"));
        }
        if let Some((pid, oid)) = self.listed.difference(&self.holding).next() {
            return Some(format!(
                "open-counted: h/ says that {oid} holds {pid}, and it is no open order that does"
            ));
        }
        let wrong =
            |(_, (of, _)): &(&String, &(RowOf, u64))| *of == RowOf::Nothing || self.shop.orders_listed;
        let (row, (of, _)) = self.rows_of_orders.iter().find(wrong)?;
        Some(match of {
            RowOf::Order => format!("order-has-row: an order has no row {row}"),
            RowOf::Nothing => format!("order-has-row: {row} is the row of no order"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portal::document::order::Line;
    use portal::id::{Cid, Oid, Pid};
    use portal::key;
    use portal::money::Price;
    use proto::store::Record;

    struct Shop {
        cid: Cid,
        pid: Pid,
        oid: Oid,
        stock: StockRecord,
        open_orders: i64,
        phase: Phase,
        listed: bool,
        /// The state under which its row stands; `None`: it has none.
        row: Option<Phase>,
        /// How many lines more the row says that there are.
        row_lines: u32,
        client: &'static str,
        /// The rules of the product, as JSON.
        rules: &'static str,
        /// Whether the order took no stock.
        untracked: bool,
    }

    fn shop() -> Shop {
        let cid = Cid::parse("cid", "ana").unwrap();
        let oid = Oid::derive(&cid, b"r1");
        Shop {
            pid: Pid::parse("pid", "banana").unwrap(),
            stock: StockRecord { available: 7, held: 3, open_orders: 1, ..StockRecord::new(10) },
            open_orders: 1,
            phase: Phase::Open,
            listed: true,
            row: Some(Phase::Open),
            row_lines: 0,
            client: "active",
            rules: "{}",
            untracked: false,
            cid,
            oid,
        }
    }

    /// Another one like it.
    fn of(shop: &Shop) -> Shop {
        let Shop { cid, pid, .. } = shop;
        Shop { cid: cid.clone(), pid: pid.clone(), ..*shop }
    }

    fn entry(key: bytes::Bytes, data: String) -> KeyRecord {
        KeyRecord { key, record: Some(Record { data: data.into(), ..Record::default() }) }
    }

    impl Shop {
        fn difference(&self) -> Option<String> {
            let line = Line {
                pid: "banana".into(),
                description: "Banana".into(),
                quantity: 3,
                price: Price::parse("1").unwrap(),
                untracked: self.untracked,
                extra: None,
            };
            let json = |value| String::from_utf8(value).unwrap();
            let mut books = Books::default();
            let order = OrderRecord::new(self.phase, vec![line]);
            books.enter(1, &entry(key::order(&self.cid, &self.oid), json(order.to_bytes())));
            books.enter(1, &entry(key::stock(&self.pid), json(portal::document::write(&self.stock))));
            let rules = self.rules;
            let product = format!(
                r#"{{"state":"active","description":"Banana","price":"1.00","extra":{{}},"rules":{rules}}}"#
            );
            books.enter(1, &entry(key::product(&self.pid), product));
            let (state, open_orders) = (self.client, self.open_orders);
            let client = format!(r#"{{"state":"{state}","open_orders":{open_orders},"data":{{}}}}"#);
            books.enter(1, &entry(key::client(&self.cid), client));
            if self.listed {
                books.enter(1, &entry(key::holder(&self.pid, &self.oid), r#"{"cid":"ana"}"#.to_owned()));
            }
            if let Some(phase) = self.row {
                let row = OrderRow::of(&order, 0);
                let row = OrderRow { lines: row.lines + self.row_lines, ..row };
                let at = Place::of(phase, 0, &self.cid, &self.oid).key();
                books.enter(1, &entry(at, json(row.to_bytes())));
            }
            books.enter(1, &entry(shop::KEY.into(), r#"{"schema":2,"orders_listed":true}"#.to_owned()));
            books.first_difference()
        }

        /// The same in another state, its row with it.
        fn moved(&self, phase: Phase) -> Shop {
            Shop { phase, row: Some(phase), ..of(self) }
        }
    }

    #[test]
    fn right_books_have_no_difference() {
        assert_eq!(shop().difference(), None);
        let stock = StockRecord { open_orders: 0, ..shop().stock };
        let confirmed = Shop { open_orders: 0, listed: false, stock, ..shop() }.moved(Phase::Confirmed);
        assert_eq!(confirmed.difference(), None);
        for phase in [Phase::Paid, Phase::Packed] {
            assert_eq!(confirmed.moved(phase).difference(), None, "{phase:?}");
        }
        let stock = StockRecord { held: 0, sold: 3, ..confirmed.stock };
        assert_eq!(Shop { stock, ..confirmed.moved(Phase::Sent) }.difference(), None);
        for phase in [Phase::Returned, Phase::Refunded] {
            let stock = StockRecord { available: 10, held: 0, ..confirmed.stock };
            assert_eq!(Shop { stock, ..confirmed.moved(phase) }.difference(), None, "{phase:?}");
        }
        assert_eq!(Shop { client: "gone", ..confirmed }.difference(), None, "its client was removed");
    }

    #[test]
    fn books_of_products_with_rules_are_right_by_their_rules() {
        let stock = StockRecord { available: -3, held: 3, open_orders: 1, least: -5, ..StockRecord::new(0) };
        let ahead = Shop { stock, rules: r#"{"backorder_limit":5}"#, ..shop() };
        assert_eq!(ahead.difference(), None);
        let least = StockRecord { least: -2, ..stock };
        let below = Shop { stock: least, rules: r#"{"backorder_limit":2}"#, ..of(&ahead) };
        assert_eq!(
            below.difference().unwrap(),
            "never-below-least: product banana: available -3 is below the least, -2"
        );
        let other = Shop { rules: "{}", ..of(&ahead) };
        assert_eq!(
            other.difference().unwrap(),
            "never-below-least: product banana: the stock says -5, and the rules 0"
        );
        let stock = StockRecord { open_orders: 1, ..StockRecord::new(10) };
        let untracked = Shop { stock, untracked: true, rules: r#"{"untracked":true}"#, ..shop() };
        assert_eq!(untracked.difference(), None);
        assert!(
            Shop { untracked: false, ..untracked }
                .difference()
                .unwrap()
                .starts_with("held-is-ordered: product banana")
        );
    }

    #[test]
    fn each_broken_rule_is_named() {
        let broken = |change: fn(&mut Shop)| {
            let mut shop = shop();
            change(&mut shop);
            shop.difference().expect("a difference")
        };
        assert!(broken(|s| s.stock.available = 8).starts_with("stock-conserved: product banana"));
        assert!(
            broken(|s| (s.stock.available, s.stock.held) = (8, 2))
                .starts_with("held-is-ordered: product banana")
        );
        assert!(
            broken(|s| (s.stock.available, s.stock.sold) = (6, 1))
                .starts_with("sold-is-sent: product banana")
        );
        assert!(broken(|s| s.phase = Phase::Sent).starts_with("held-is-ordered: product banana"));
        assert!(broken(|s| s.stock.open_orders = 0).starts_with("open-counted: product banana"));
        assert!(broken(|s| s.open_orders = 2).starts_with("open-counted: client ana"));
        assert!(broken(|s| s.listed = false).starts_with("open-counted: open order"));
        assert!(broken(|s| s.row_lines = 7).contains("says something else than its order"));
        assert!(broken(|s| s.row = None).starts_with("order-has-row: an order has no row i/o/open/"));
        assert!(
            broken(|s| s.row = Some(Phase::Sent)).starts_with("order-has-row: an order has no row i/o/open/")
        );
        assert!(
            broken(|s| s.client = "gone").starts_with("order-has-owner: 1 open orders of ana, who is not")
        );
        let mut books = Books::default();
        let cid = Cid::parse("cid", "ana").unwrap();
        let gone = String::from_utf8(portal::document::write(&ClientRecord::gone())).unwrap();
        books.enter(1, &entry(key::client(&cid), gone));
        assert!(books.first_difference().unwrap().starts_with("gone-has-orders: client ana was removed"));
        assert!(broken(|s| s.phase = Phase::Cancelled).starts_with("held-is-ordered: product banana"));
    }
}
