//! The rules of a product's stock as flags of `insert-product` and `update-product`, and as people read them.
//!
//! A flag changes its own rule and leaves the others; 0 takes a rule away.

use proto::portal::{Product, StockRules};

use crate::failure::Failure;

use crate::verb::call::Call;
use crate::verb::shared::{
    BACKORDER_LIMIT, LOW_STOCK, QUANTITY_MAX, QUANTITY_MIN, SAFETY_STOCK, TRACKED, UNTRACKED,
};

/// The rules that a command names; `None`: it says nothing of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleFlags {
    safety_stock: Option<i64>,
    backorder_limit: Option<i64>,
    quantity_min: Option<i64>,
    quantity_max: Option<i64>,
    untracked: Option<bool>,
    low_stock: Option<i64>,
}

impl RuleFlags {
    /// Those of a call.
    ///
    /// # Errors
    /// It says both that orders take stock and that they take none.
    pub fn of<O>(call: &Call<O>) -> Result<RuleFlags, Failure> {
        let untracked = match (call.has(UNTRACKED.name), call.has(TRACKED.name)) {
            (true, true) => {
                let both = format!("{} and {} contradict each other", UNTRACKED.name, TRACKED.name);
                return Err(Failure::usage(both).next("give one of them"));
            }
            (false, false) => None,
            (is_untracked, _) => Some(is_untracked),
        };
        Ok(RuleFlags {
            safety_stock: call.integer(SAFETY_STOCK.name),
            backorder_limit: call.integer(BACKORDER_LIMIT.name),
            quantity_min: call.integer(QUANTITY_MIN.name),
            quantity_max: call.integer(QUANTITY_MAX.name),
            untracked,
            low_stock: call.integer(LOW_STOCK.name),
        })
    }

    /// Whether it names any.
    #[must_use]
    pub fn are_given(&self) -> bool {
        let numbers =
            [self.safety_stock, self.backorder_limit, self.quantity_min, self.quantity_max, self.low_stock];
        self.untracked.is_some() || numbers.iter().any(Option::is_some)
    }

    /// What a product's rules become; `None`: it names none.
    #[must_use]
    pub fn over(&self, rules: Option<StockRules>) -> Option<StockRules> {
        let rules = rules.unwrap_or_default();
        self.are_given().then(|| StockRules {
            safety_stock: self.safety_stock.unwrap_or(rules.safety_stock),
            backorder_limit: self.backorder_limit.unwrap_or(rules.backorder_limit),
            quantity_min: self.quantity_min.unwrap_or(rules.quantity_min),
            quantity_max: self.quantity_max.unwrap_or(rules.quantity_max),
            untracked: self.untracked.unwrap_or(rules.untracked),
            low_stock: self.low_stock.unwrap_or(rules.low_stock),
        })
    }
}

/// A product's rules as fields, each with its name.
#[must_use]
pub fn fields(product: &Product) -> Vec<(String, String)> {
    let rules = product.rules.unwrap_or_default();
    let low = if product.low { " (it is)" } else { "" };
    let all = [
        ("safety stock", rules.safety_stock, ""),
        ("backorder limit", rules.backorder_limit, ""),
        ("least in an order", rules.quantity_min, ""),
        ("most in an order", rules.quantity_max, ""),
        ("low at", rules.low_stock, low),
    ];
    let mut fields: Vec<(String, String)> = all
        .into_iter()
        .filter(|(_, number, _)| *number != 0)
        .map(|(name, number, more)| (name.to_owned(), format!("{number}{more}")))
        .collect();
    if rules.untracked {
        fields.push(("stock".to_owned(), "not tracked".to_owned()));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::admin::{Admin, MENU};
    use crate::verb::call::parse;
    use crate::verb::words::words;

    #[test]
    fn a_flag_changes_its_own_rule_and_leaves_the_others() {
        let there = StockRules { safety_stock: 5, quantity_max: 9, ..StockRules::default() };
        assert_eq!(RuleFlags::default().over(Some(there)), None);
        let flags = RuleFlags { safety_stock: Some(0), quantity_min: Some(2), ..RuleFlags::default() };
        let made = StockRules { quantity_min: 2, quantity_max: 9, ..StockRules::default() };
        assert_eq!(flags.over(Some(there)), Some(made));
        let untracked = RuleFlags { untracked: Some(true), ..RuleFlags::default() };
        assert!(untracked.over(None).is_some_and(|rules| rules.untracked));
    }

    #[test]
    fn tracked_and_untracked_at_once_is_a_usage_error() {
        let flags = |line: &str| {
            let call: Call<Admin> = parse(&MENU, &words(line).expect("words")).expect("a command");
            RuleFlags::of(&call)
        };
        let refused = flags("update-product fig --tracked --untracked").unwrap_err();
        assert!(refused.to_string().contains("--untracked and --tracked contradict each other"), "{refused}");
        assert_eq!(
            flags("update-product fig --tracked").map(|flags| flags.untracked).ok(),
            Some(Some(false))
        );
        assert_eq!(flags("update-product fig").map(|flags| flags.are_given()).ok(), Some(false));
    }
}
