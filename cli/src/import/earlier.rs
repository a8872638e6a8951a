//! The traces of earlier runs of an import in the shop, compared with the file as it is now. Asked once a client, before
//! any order is sent; the comparisons are pure.
//!
//! An order's OID follows from its client and its request id, so that an import finds its own orders again, also when the store
//! has forgotten the request. A file may be mended between two runs: what it says otherwise of an order that is there is told, and
//! nothing there is touched; an order that was refused before gets the next of [`VERSIONS_MAX`] request ids.

use std::collections::{BTreeMap, HashMap, HashSet};

use portal::id::{Cid, Oid};
use portal::money::Price;
use proto::portal::{Order, OrderState, Product};

use super::plan::NewProduct;

/// How often an invoice that was refused may be mended under one label.
pub const VERSIONS_MAX: usize = 8;

/// The orders that clients had before this run, by CID.
#[derive(Debug, Default)]
pub struct Earlier(HashMap<String, HashSet<String>>);

impl FromIterator<(String, HashSet<String>)> for Earlier {
    fn from_iter<I: IntoIterator<Item = (String, HashSet<String>)>>(clients: I) -> Earlier {
        Earlier(clients.into_iter().filter(|(_, orders)| !orders.is_empty()).collect())
    }
}

impl Earlier {
    /// The order that one of these request ids made, in their order: which, and its OID.
    #[must_use]
    pub fn order(&self, cid: &str, requests: &[String]) -> Option<(usize, String)> {
        let orders = self.0.get(cid)?;
        let cid = Cid::parse("cid", cid).ok()?;
        let made = |id: &String| Oid::derive(&cid, id.as_bytes()).to_string();
        requests.iter().map(made).enumerate().find(|(_, oid)| orders.contains(oid))
    }
}

/// How an order that is there compares with what the file wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Compared {
    /// It is the one, and open: it is yet to be confirmed.
    Open,
    /// It is the one, and needs nothing more (somebody may have cancelled it since).
    Done,
    /// It is open and has a part of the lines: an earlier run was cut off.
    Unfinished,
    /// An earlier run took it back, since a part of it was refused.
    TakenBack,
    /// It has other lines: what is different first.
    Other(String),
}

/// Compares an order with the quantities that are wanted. `in_parts`: they are more than one request may name.
#[must_use]
pub fn compare(there: &Order, wanted: &BTreeMap<&str, i64>, in_parts: bool) -> Compared {
    let has: BTreeMap<&str, i64> =
        there.lines.iter().map(|line| (line.pid.as_str(), line.quantity)).collect();
    if has == *wanted {
        return if there.state() == OrderState::Open { Compared::Open } else { Compared::Done };
    }
    let is_part = has.iter().all(|(pid, quantity)| wanted.get(pid) == Some(quantity));
    match there.state() {
        OrderState::Open if is_part && in_parts => Compared::Unfinished,
        OrderState::Cancelled if is_part && in_parts => Compared::TakenBack,
        _ => Compared::Other(difference(&has, wanted)),
    }
}

fn difference(has: &BTreeMap<&str, i64>, wanted: &BTreeMap<&str, i64>) -> String {
    let of = |lines: &BTreeMap<&str, i64>, pid: &str| lines.get(pid).copied().unwrap_or(0);
    let all = has.keys().chain(wanted.keys());
    let differs = all.copied().find(|pid| of(has, pid) != of(wanted, pid)).unwrap_or_default();
    format!("has {} of {differs}, and the file {}", of(has, differs), of(wanted, differs))
}

/// How a product that is there compares with the one that the file makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stocked {
    /// As wanted.
    Same,
    /// There is so much too little in all.
    Short(i64),
    /// There is so much more than the file needs.
    Over(i64),
    /// It is sold in another way.
    Other(String),
}

/// Compares.
#[must_use]
pub fn compare_product(there: &Product, new: &NewProduct) -> Stocked {
    if !Price::parse(&there.price).is_ok_and(|price| price == new.price) {
        return Stocked::Other(format!("costs {}, and {} in the file", there.price, new.price));
    }
    if there.description != new.description {
        return Stocked::Other(format!(
            "is described as {:?}, in the file as {:?}",
            there.description, new.description
        ));
    }
    let in_all = there.stock.map_or(0, |stock| stock.initial.saturating_add(stock.adjusted));
    match new.stock.saturating_sub(in_all) {
        0 => Stocked::Same,
        short @ 1.. => Stocked::Short(short),
        over => Stocked::Over(over.saturating_neg()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::portal::{OrderLine, Stock};

    fn order(state: OrderState, lines: &[(&str, i64)]) -> Order {
        let line = |(pid, quantity): &(&str, i64)| OrderLine {
            pid: (*pid).to_owned(),
            quantity: *quantity,
            ..OrderLine::default()
        };
        Order { state: state.into(), lines: lines.iter().map(line).collect(), ..Order::default() }
    }

    #[test]
    fn an_import_finds_its_own_orders_again() {
        let cid = Cid::parse("cid", "501").unwrap();
        let oid = Oid::derive(&cid, b"x:order:1/501~1").to_string();
        let earlier: Earlier = [("501".to_owned(), HashSet::from([oid.clone()]))].into_iter().collect();
        let ids = ["x:order:1/501".to_owned(), "x:order:1/501~1".to_owned()];
        assert_eq!(earlier.order("501", &ids), Some((1, oid)));
        assert_eq!((earlier.order("502", &ids), earlier.order("501", &ids[..1])), (None, None));
    }

    #[test]
    fn what_is_there_counts_as_done_and_what_differs_is_told() {
        let wanted = BTreeMap::from([("a", 2), ("b", 3)]);
        let whole = [("a", 2), ("b", 3)];
        assert_eq!(compare(&order(OrderState::Open, &whole), &wanted, false), Compared::Open);
        assert_eq!(compare(&order(OrderState::Confirmed, &whole), &wanted, false), Compared::Done);
        assert_eq!(compare(&order(OrderState::Cancelled, &whole), &wanted, true), Compared::Done);
        assert_eq!(compare(&order(OrderState::Open, &whole[..1]), &wanted, true), Compared::Unfinished);
        assert_eq!(compare(&order(OrderState::Cancelled, &whole[..1]), &wanted, true), Compared::TakenBack);
        let other = Compared::Other("has 0 of b, and the file 3".to_owned());
        assert_eq!(compare(&order(OrderState::Confirmed, &whole[..1]), &wanted, false), other);
    }

    #[test]
    fn a_product_with_less_than_the_mended_file_needs_is_short_of_the_difference() {
        let new = NewProduct {
            pid: "a".into(),
            description: "A".into(),
            price: Price::parse("1.50").unwrap(),
            stock: 9,
        };
        let there = |price: &str, adjusted: i64| Product {
            price: price.to_owned(),
            description: "A".to_owned(),
            stock: Some(Stock { initial: 5, adjusted, ..Stock::default() }),
            ..Product::default()
        };
        assert_eq!(compare_product(&there("1.5", 4), &new), Stocked::Same);
        assert_eq!(compare_product(&there("1.5", 1), &new), Stocked::Short(3));
        assert_eq!(compare_product(&there("1.5", 6), &new), Stocked::Over(2));
        assert!(
            matches!(compare_product(&there("2", 4), &new), Stocked::Other(why) if why.contains("costs 2"))
        );
    }
}
