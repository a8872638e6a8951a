//! The expectation of a request: what its person was shown of an order, and must still be so. Pure.
//!
//! Promise: prices and totals are compared by value. A total is as shown if it is the exact one, or the one that people are shown of it,
//! rounded.
//! Leaves out: the prices of products, which new lines get: they are guarded with the product (`change`).

use crate::change::RequestedLine;
use crate::document::order::OrderRecord;
use crate::document::shop::ShopRecord;
use crate::error::{Error, Repriced};
use crate::id::Oid;
use crate::money::Total;

/// What a request expects of the order that it changes.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// Lines that name a price.
    lines: Vec<RequestedLine>,
    /// The total.
    total: Option<Total>,
}

impl Expectation {
    /// That of a change of these lines.
    #[must_use]
    pub fn of_lines(lines: &[RequestedLine]) -> Expectation {
        let lines = lines.iter().filter(|line| line.expects.is_some()).cloned().collect();
        Expectation { lines, total: None }
    }

    /// That of a confirmation, as its request says; empty: none.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it is no number.
    pub fn of_total(text: &str) -> Result<Expectation, Error> {
        if text.is_empty() {
            return Ok(Expectation::default());
        }
        let why = "must be the total as it was shown: digits with an optional decimal point, like \"12.30\"";
        let total = Total::parse(text).map_err(|_| Error::invalid("expect_total", why))?;
        Ok(Expectation { lines: Vec::new(), total: Some(total) })
    }

    /// Refuses a total in a request that confirms nothing.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: there is one.
    pub fn none_in(text: &str) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        Err(Error::invalid("expect_total", "is of confirmations alone; leave it out"))
    }

    /// What of an order is not as expected in this shop; `None`: everything is.
    #[must_use]
    pub fn refusal(&self, oid: &Oid, order: &OrderRecord, shop: &ShopRecord) -> Option<Error> {
        let changed: Vec<Repriced> = self.lines.iter().filter_map(|line| line.repriced_in(order)).collect();
        if !changed.is_empty() {
            return Some(Error::PriceChanged { changed, more: 0 });
        }
        let total = order.total;
        let rounded = total.rounded(shop.decimals());
        let expected = self.total.filter(|expected| *expected != total && *expected != rounded)?;
        Some(Error::TotalChanged { oid: oid.to_string(), expected, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::tests::{cid, known, pid};
    use crate::money::Price;

    fn expecting(of: &str, price: &str) -> RequestedLine {
        RequestedLine { expects: Price::parse(price).ok(), ..RequestedLine::of(pid(of), 1) }
    }

    #[test]
    fn prices_are_compared_by_value_and_of_lines_that_are_there() {
        let oid = Oid::derive(&cid(), b"r");
        let order = known(&[("a", 2, "2.50"), ("b", 1, "1.005")]).order;
        let shop = ShopRecord::default();
        let refusal = |lines: &[RequestedLine]| Expectation::of_lines(lines).refusal(&oid, &order, &shop);
        assert_eq!(refusal(&[expecting("a", "2.5"), expecting("new", "9"), expecting("b", "1.0050")]), None);
        let refused = refusal(&[expecting("b", "1.01"), expecting("a", "2.51")]);
        let Some(Error::PriceChanged { changed, more: 0 }) = refused else { panic!("{refused:?}") };
        let told: Vec<String> = changed.iter().map(Repriced::to_string).collect();
        assert_eq!(told, ["b (1.01 expected, 1.005 now)", "a (2.51 expected, 2.50 now)"]);
    }

    #[test]
    fn a_total_is_as_shown_exactly_or_rounded() {
        let oid = Oid::derive(&cid(), b"r");
        let order = known(&[("a", 1, "4.345")]).order;
        for (shown, is_so) in [("", true), ("4.345", true), ("4.3450", true), ("4.35", true), ("4.34", false)]
        {
            let expectation = Expectation::of_total(shown).expect("a total");
            assert_eq!(expectation.refusal(&oid, &order, &ShopRecord::default()).is_none(), is_so, "{shown}");
        }
        let whole = ShopRecord { decimals: Some(0), ..ShopRecord::default() };
        let expectation = Expectation::of_total("4").expect("a total");
        assert!(expectation.refusal(&oid, &order, &whole).is_none());
        assert!(expectation.refusal(&oid, &order, &ShopRecord::default()).is_some());
        for wrong in ["-1", "4,35", "four", "1e2", " 4"] {
            let refused = Expectation::of_total(wrong);
            assert!(
                matches!(&refused, Err(Error::Invalid { field, .. }) if field == "expect_total"),
                "{wrong}"
            );
        }
    }
}
