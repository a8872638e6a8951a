//! The totals at the end, and whether the market agrees with them.

use std::collections::{BTreeMap, HashMap, HashSet};

use proto::portal::Product;

use super::classify::Reason;
use super::plan::Plan;
use super::refused::Entry;
use super::send::Refusals;

/// What came of an import.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// Lines after the header.
    pub lines: u64,
    /// Lines in orders that the portals took.
    pub accepted: u64,
    /// All others.
    pub refused: Vec<Entry>,
    /// Orders that the portals took.
    pub orders: usize,
    /// What those orders take of each product, by PID.
    pub taken: BTreeMap<String, i64>,
}

impl Totals {
    /// Refused lines by reason.
    #[must_use]
    pub fn by_reason(&self) -> BTreeMap<Reason, u64> {
        let mut counts = BTreeMap::new();
        for entry in &self.refused {
            *counts.entry(entry.reason).or_insert(0) += 1;
        }
        counts
    }
}

/// Counts. Pure.
#[must_use]
pub fn totals(plan: &Plan, refusals: &Refusals) -> Totals {
    let mut totals = Totals { lines: plan.lines, ..Totals::default() };
    for line in &plan.refused {
        totals.refused.push(Entry { number: line.number, reason: line.reason, detail: String::new() });
    }
    for (at, order) in plan.orders.iter().enumerate() {
        let refused = refusals.orders.get(&at).map(|why| (Reason::ByPortal, why));
        let changed = refusals.changed.get(&at).map(|why| (Reason::Changed, why));
        if let Some((reason, why)) = refused.or(changed) {
            let refused = |number: &u64| Entry { number: *number, reason, detail: why.clone() };
            totals.refused.extend(order.numbers.iter().map(refused));
            continue;
        }
        totals.orders += 1;
        totals.accepted += order.numbers.len() as u64;
        for (product, quantity) in &order.lines {
            *totals.taken.entry(plan.products[*product].pid.clone()).or_insert(0) += quantity;
        }
    }
    totals.refused.sort();
    totals
}

/// The first product whose stock is not what the orders of this import leave, in words. Pure.
#[must_use]
pub fn first_difference(
    plan: &Plan,
    totals: &Totals,
    refusals: &Refusals,
    there: &[Product],
) -> Option<String> {
    let there: HashMap<&str, &Product> =
        there.iter().map(|product| (product.pid.as_str(), product)).collect();
    // What an order holds that differs from the file, the file does not tell.
    let untold = refusals.changed.keys().flat_map(|order| plan.orders[*order].lines.keys());
    let untold: HashSet<&usize> = untold.chain(refusals.stocks.keys()).collect();
    for (at, new) in plan.products.iter().enumerate() {
        if refusals.products.contains_key(&at) || untold.contains(&at) {
            continue;
        }
        let taken = totals.taken.get(&new.pid).copied().unwrap_or(0);
        let Some(stock) = there.get(new.pid.as_str()).and_then(|product| product.stock) else {
            return Some(format!("product {} is not there", new.pid));
        };
        if (stock.available, stock.held) != (new.stock - taken, taken) {
            return Some(format!(
                "product {}: {} left and {} in orders; {} and {} expected",
                new.pid,
                stock.available,
                stock.held,
                new.stock - taken,
                taken
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::plan::read;
    use proto::portal::Stock;

    const FILE: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
        1,A,a,2,d,1,5.0,X\n1,B,b,3,d,1,5.0,X\n2,A,a,4,d,1,6.0,X\nC3,A,a,-4,d,1,6.0,X\n";

    fn product(pid: &str, available: i64, held: i64) -> Product {
        let stock = Some(Stock { available, held, ..Stock::default() });
        Product { pid: pid.into(), stock, ..Product::default() }
    }

    #[test]
    fn accepted_and_refused_are_all_lines_whatever_the_portal_refuses() {
        let plan = read(&mut FILE.as_bytes()).unwrap();
        let all = totals(&plan, &Refusals::default());
        assert_eq!((all.lines, all.accepted, all.refused.len(), all.orders), (4, 3, 1, 2));
        assert_eq!(all.taken, [("A".to_owned(), 6), ("B".to_owned(), 3)].into_iter().collect());
        let refusals =
            Refusals { orders: [(0, "no".to_owned())].into_iter().collect(), ..Refusals::default() };
        let some = totals(&plan, &refusals);
        assert_eq!((some.accepted, some.refused.len(), some.orders), (1, 3, 1));
        assert_eq!(some.by_reason()[&Reason::ByPortal], 2);
        assert_eq!(some.refused.iter().map(|entry| entry.number).collect::<Vec<_>>(), [2, 3, 5]);
    }

    #[test]
    fn the_first_difference_is_named() {
        let plan = read(&mut FILE.as_bytes()).unwrap();
        let none = Refusals::default();
        let all = totals(&plan, &none);
        let right = [product("A", 0, 6), product("B", 0, 3)];
        assert_eq!(first_difference(&plan, &all, &none, &right), None);
        let wrong = [product("A", 0, 6), product("B", 1, 2)];
        assert!(first_difference(&plan, &all, &none, &wrong).unwrap().contains("product B: 1 left"));
        assert!(first_difference(&plan, &all, &none, &right[..1]).unwrap().contains("B is not there"));
    }
}
