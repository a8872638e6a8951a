//! The rules of a product's stock: safety stock, backorder limit, smallest and largest quantity of an order, not tracked, low stock.
//!
//! They stand in the product's record (`"rules":{"safety_stock":5}`; a product without rules has no such member, as those of earlier
//! versions). The least that `available` may reach follows from them, and stands in the stock's record too, as `least`: one transaction writes
//! both. Whatever takes stock guards the version of the product whose rules it went by.
//!
//! Promises: what staff send is checked with errors that name the member; clients are shown nothing of safety stock, backorder limit and
//! low stock, neither as rules nor as numbers from which they follow.

use serde::{Deserialize, Serialize};

use proto::portal::{Product, Stock, StockRules};

use crate::error::Error;
use crate::limits::{LINE_QUANTITY_MAX, STOCK_QUANTITY_MAX};

/// Where the rules stand in a product's record.
pub const RULES: &str = "/rules";

/// The rules of one product. 0 and false: there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Units that no order takes.
    #[serde(skip_serializing_if = "is_zero")]
    pub safety_stock: i64,
    /// Units that orders may take beyond what is there.
    #[serde(skip_serializing_if = "is_zero")]
    pub backorder_limit: i64,
    /// The smallest quantity of it in an order.
    #[serde(skip_serializing_if = "is_zero")]
    pub quantity_min: i64,
    /// The largest.
    #[serde(skip_serializing_if = "is_zero")]
    pub quantity_max: i64,
    /// Orders take no stock of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untracked: bool,
    /// It is low when no more than this are available.
    #[serde(skip_serializing_if = "is_zero")]
    pub low_stock: i64,
}

/// Whether a number says that there is no rule.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(super) fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Rules {
    /// Checks the `rules` of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the member that is wrong.
    pub fn parse(rules: &StockRules) -> Result<Rules, Error> {
        let StockRules { safety_stock, backorder_limit, quantity_min, quantity_max, untracked, low_stock } =
            *rules;
        for (name, number, most) in [
            ("safety_stock", safety_stock, STOCK_QUANTITY_MAX),
            ("backorder_limit", backorder_limit, STOCK_QUANTITY_MAX),
            ("quantity_min", quantity_min, LINE_QUANTITY_MAX),
            ("quantity_max", quantity_max, LINE_QUANTITY_MAX),
            ("low_stock", low_stock, STOCK_QUANTITY_MAX),
        ] {
            if !(0..=most).contains(&number) {
                let why = format!("{number} is not within 0 (no such rule) and {most}");
                return Err(Error::invalid(format!("rules.{name}"), why));
            }
        }
        if safety_stock > 0 && backorder_limit > 0 {
            let why = "units that are kept back and units beyond what is there exclude each other; give one";
            return Err(Error::invalid("rules.backorder_limit", why));
        }
        if quantity_max > 0 && quantity_min > quantity_max {
            let why = format!("the smallest quantity, {quantity_min}, is above the largest, {quantity_max}");
            return Err(Error::invalid("rules.quantity_min", why));
        }
        if untracked && (safety_stock > 0 || backorder_limit > 0 || low_stock > 0) {
            let why = "orders take no stock of what is not tracked; leave out safety_stock, backorder_limit and low_stock";
            return Err(Error::invalid("rules.untracked", why));
        }
        Ok(Rules { safety_stock, backorder_limit, quantity_min, quantity_max, untracked, low_stock })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Rules::default()
    }

    /// The least that `available` may reach.
    #[must_use]
    pub const fn least(&self) -> i64 {
        self.safety_stock - self.backorder_limit
    }

    /// Whether an order may have so many of the product.
    #[must_use]
    pub const fn allows(&self, quantity: i64) -> bool {
        quantity >= self.quantity_min && (self.quantity_max == 0 || quantity <= self.quantity_max)
    }

    /// Whether the product is low with so many available.
    #[must_use]
    pub const fn is_low(&self, available: i64) -> bool {
        self.low_stock > 0 && available <= self.low_stock
    }

    /// What staff are shown; `None`: there is none.
    #[must_use]
    pub fn shown(&self) -> Option<StockRules> {
        let Rules { safety_stock, backorder_limit, quantity_min, quantity_max, untracked, low_stock } = *self;
        let shown =
            StockRules { safety_stock, backorder_limit, quantity_min, quantity_max, untracked, low_stock };
        (!self.is_none()).then_some(shown)
    }
}

/// What a client is shown of a product. With safety stock or backorder limit that is what it can order, since from the other numbers
/// the rule would follow.
#[must_use]
pub fn for_client(mut product: Product) -> Product {
    if let Some(stock) = product.stock.as_mut().filter(|stock| stock.least != 0) {
        let available = (stock.available - stock.least).max(0);
        *stock = Stock { available, etag: stock.etag, ..Stock::default() };
    }
    let of_client = product.rules.map(|rules| StockRules {
        quantity_min: rules.quantity_min,
        quantity_max: rules.quantity_max,
        untracked: rules.untracked,
        ..StockRules::default()
    });
    product.rules = of_client.filter(|rules| *rules != StockRules::default());
    product.low = false;
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_rules_are_named() {
        let none = StockRules::default();
        for (rules, field) in [
            (StockRules { safety_stock: -1, ..none }, "rules.safety_stock"),
            (StockRules { backorder_limit: STOCK_QUANTITY_MAX + 1, ..none }, "rules.backorder_limit"),
            (StockRules { quantity_max: LINE_QUANTITY_MAX + 1, ..none }, "rules.quantity_max"),
            (StockRules { low_stock: i64::MIN, ..none }, "rules.low_stock"),
            (StockRules { safety_stock: 1, backorder_limit: 1, ..none }, "rules.backorder_limit"),
            (StockRules { quantity_min: 3, quantity_max: 2, ..none }, "rules.quantity_min"),
            (StockRules { untracked: true, low_stock: 1, ..none }, "rules.untracked"),
        ] {
            let error = Rules::parse(&rules).expect_err(field);
            assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
        }
        assert_eq!(Rules::parse(&none), Ok(Rules::default()));
    }

    #[test]
    fn rules_say_what_may_be_left_and_ordered() {
        let rules =
            Rules { safety_stock: 5, quantity_min: 2, quantity_max: 4, low_stock: 7, ..Rules::default() };
        assert_eq!((rules.least(), Rules { backorder_limit: 3, ..Rules::default() }.least()), (5, -3));
        assert_eq!([1, 2, 4, 5].map(|quantity| rules.allows(quantity)), [false, true, true, false]);
        assert!(Rules { quantity_min: 2, ..Rules::default() }.allows(1_000_000));
        assert!(rules.is_low(7) && !rules.is_low(8) && !Rules::default().is_low(0));
        let text = r#"{"safety_stock":5,"quantity_min":2,"quantity_max":4,"low_stock":7}"#;
        assert_eq!(serde_json::to_string(&rules).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<Rules>(text).expect("rules"), rules);
        assert_eq!(serde_json::from_str::<Rules>("{}").expect("rules"), Rules::default());
    }

    #[test]
    fn a_client_is_shown_nothing_of_what_is_the_shops_alone() {
        let stock = Stock { initial: 10, adjusted: 2, available: 9, held: 2, sold: 1, least: 5, etag: 7 };
        let all = Rules { safety_stock: 5, quantity_min: 2, low_stock: 20, ..Rules::default() };
        let product = Product { stock: Some(stock), rules: all.shown(), low: true, ..Product::default() };
        let shown = for_client(product.clone());
        assert_eq!(shown.stock, Some(Stock { available: 4, etag: 7, ..Stock::default() }));
        assert_eq!(shown.rules, Some(StockRules { quantity_min: 2, ..StockRules::default() }));
        assert!(!shown.low);
        let low = Rules { low_stock: 20, ..Rules::default() };
        let unruled = Stock { least: 0, ..stock };
        let shown = for_client(Product { stock: Some(unruled), rules: low.shown(), ..product });
        assert_eq!((shown.stock, shown.rules), (Some(unruled), None));
    }
}
