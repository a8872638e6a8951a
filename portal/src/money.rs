//! Money: decimal numbers as people write them ("2.55"), exact in every sum, never binary floating point.
//!
//! Accepted: 1 to 12 digits, then optionally a point and 1 to 6 digits; as a JSON string or as a plain JSON number,
//! which is read from its digits and never through an `f64`. No sign, no exponent, no blanks. Stored and shown in one
//! form: no leading zeros, at least two decimals, no further trailing zeros ("2.5" is "2.50", "0.0010" is "0.001").
//! Two equal amounts have the same bytes, which is why a transaction can guard a price by its JSON value.
//! Leaves out: currencies. Nothing here divides, and only what people are shown is rounded.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{PRICE_DECIMALS_MAX, PRICE_WHOLE_DIGITS_MAX};

/// A price of one unit: not negative, bounded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Price(Decimal);

/// A sum of prices times quantities: exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Total(Decimal);

/// Why a text is not a price.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAPrice {
    /// Another grammar.
    #[error("a price is digits with an optional decimal point and up to 6 decimals, like \"2.55\"")]
    Grammar,
    /// A decimal comma.
    #[error("a price has a decimal point, not a comma: \"2.55\", and nothing between thousands")]
    Comma,
    /// A minus sign.
    #[error("a price is not negative")]
    Negative,
    /// Too many digits before the point.
    #[error("a price has at most 12 digits before the decimal point")]
    TooLarge,
    /// Too many digits after the point.
    #[error("a price has at most 6 decimals")]
    TooFine,
}

impl Price {
    /// Reads a price.
    ///
    /// # Errors
    /// [`NotAPrice`] says what is wrong.
    pub fn parse(text: &str) -> Result<Price, NotAPrice> {
        if text.starts_with('-') {
            return Err(NotAPrice::Negative);
        }
        if text.contains(',') {
            return Err(NotAPrice::Comma);
        }
        let (whole, decimals) = match text.split_once('.') {
            Some((_, "")) => return Err(NotAPrice::Grammar),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) {
            return Err(NotAPrice::Grammar);
        }
        if decimals.len() > PRICE_DECIMALS_MAX {
            return Err(NotAPrice::TooFine);
        }
        if whole.len() > PRICE_WHOLE_DIGITS_MAX {
            return Err(NotAPrice::TooLarge);
        }
        let value = Decimal::from_str_exact(text).map_err(|_| NotAPrice::Grammar)?;
        Ok(Price(value.normalize()))
    }

    /// This price times a quantity. Exact: see the const asserts in `limits`.
    #[must_use]
    pub fn times(self, quantity: i64) -> Total {
        Total(self.0 * Decimal::from(quantity))
    }
}

impl Total {
    /// Nothing.
    pub const ZERO: Total = Total(Decimal::ZERO);

    /// The exact sum.
    #[must_use]
    pub fn plus(self, other: Total) -> Total {
        Total(self.0 + other.0)
    }

    /// What people pay: so many decimals, half of the last one rounded up. For showing alone: what is stored stays exact.
    #[must_use]
    pub fn rounded(self, decimals: u32) -> Total {
        // Away from zero is up: no total is negative.
        Total(self.0.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero))
    }

    /// The same as people are shown it: with exactly so many decimals.
    #[must_use]
    pub fn rounded_text(self, decimals: u32) -> String {
        format!("{:.*}", decimals as usize, self.rounded(decimals).0)
    }

    /// Reads a stored total.
    ///
    /// # Errors
    /// The text is not a plain decimal number.
    pub fn parse(text: &str) -> Result<Total, NotAPrice> {
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(NotAPrice::Grammar);
        }
        Decimal::from_str_exact(text).map(|value| Total(value.normalize())).map_err(|_| NotAPrice::Grammar)
    }
}

/// A sum of many totals, or the difference of two: exact, and may be below nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Sum(i128);

/// Decimals of the smallest part that a sum is counted in.
const SUM_DECIMALS: u32 = 6;
/// So many of that part make one.
const SUM_PARTS: i128 = 10_i128.pow(SUM_DECIMALS);

const _: () = assert!(SUM_DECIMALS as usize == PRICE_DECIMALS_MAX);

impl Sum {
    /// The exact sum.
    ///
    /// # Panics
    /// Never: it would take more totals than there are entries in a log.
    #[must_use]
    pub fn plus(self, total: Total) -> Sum {
        let Total(value) = total;
        let value = value.normalize();
        let scale = value.scale().min(SUM_DECIMALS);
        Sum(self.0 + value.mantissa() * 10_i128.pow(SUM_DECIMALS - scale))
    }

    /// Both together; the largest there is, if they are more.
    #[must_use]
    pub const fn and(self, other: Sum) -> Sum {
        Sum(self.0.saturating_add(other.0))
    }

    /// Without the other.
    #[must_use]
    pub const fn less(self, other: Sum) -> Sum {
        Sum(self.0.saturating_sub(other.0))
    }

    /// Reads what is shown; `None`: it is no sum.
    #[must_use]
    pub fn parse(text: &str) -> Option<Sum> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let number = |part: &str| -> Option<i128> {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { part.parse().ok() } else { None }
        };
        let scale = PRICE_DECIMALS_MAX.checked_sub(part.len())?;
        let part = number(part)? * 10_i128.pow(u32::try_from(scale).ok()?);
        Some(Sum(sign * number(whole)?.checked_mul(SUM_PARTS)?.checked_add(part)?))
    }

    /// As people are shown it: with exactly so many decimals, half of the last one rounded away from nothing.
    #[must_use]
    pub fn rounded_text(self, decimals: u32) -> String {
        let kept = decimals.min(SUM_DECIMALS);
        let unit = 10_i128.pow(SUM_DECIMALS - kept);
        let parts = self.0.unsigned_abs();
        let rounded = (parts + unit.unsigned_abs() / 2) / unit.unsigned_abs();
        let one = 10_u128.pow(kept);
        let sign = if self.0 < 0 && rounded > 0 { "-" } else { "" };
        let whole = format!("{sign}{}", rounded / one);
        match (decimals as usize, kept as usize) {
            (0, _) => whole,
            (decimals, kept) => {
                let part = format!("{:0kept$}", rounded % one);
                format!("{whole}.{part:0<decimals$}")
            }
        }
    }
}

/// At least two decimals, and no further zeros.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.rounded_text(SUM_DECIMALS);
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        write!(f, "{whole}.{:0<2}", part.trim_end_matches('0'))
    }
}

fn show(value: Decimal, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut value = value.normalize();
    if value.scale() < 2 {
        value.rescale(2);
    }
    write!(f, "{value}")
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, f)
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, f)
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Total {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Price, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Price::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Total {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Total, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Total::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices_have_one_form() {
        for (text, shown) in [
            ("2.55", "2.55"),
            ("2.5", "2.50"),
            ("3", "3.00"),
            ("0", "0.00"),
            ("000.0010", "0.001"),
            ("999999999999.999999", "999999999999.999999"),
        ] {
            assert_eq!(Price::parse(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_price_says_why() {
        for (text, why) in [
            ("", NotAPrice::Grammar),
            (".5", NotAPrice::Grammar),
            ("1.", NotAPrice::Grammar),
            ("1e2", NotAPrice::Grammar),
            ("1_000", NotAPrice::Grammar),
            (" 1", NotAPrice::Grammar),
            ("1,50", NotAPrice::Comma),
            ("-1", NotAPrice::Negative),
            ("1234567890123", NotAPrice::TooLarge),
            ("0.0000001", NotAPrice::TooFine),
        ] {
            assert_eq!(Price::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn half_a_cent_is_rounded_up() {
        for (exact, shown) in
            [("0.005", "0.01"), ("0.004999", "0.00"), ("2.675", "2.68"), ("9.995", "10.00"), ("3", "3.00")]
        {
            assert_eq!(Total::parse(exact).expect(exact).rounded(2).to_string(), shown);
        }
    }

    #[test]
    fn a_total_is_shown_with_the_decimals_of_the_shop() {
        for (exact, decimals, shown) in [
            ("4.5", 0, "5"),
            ("4.4999", 0, "4"),
            ("450", 0, "450"),
            ("4.3", 2, "4.30"),
            ("4.3455", 3, "4.346"),
            ("0.0000005", 6, "0.000001"),
            ("1999999999999999998000.000001", 8, "1999999999999999998000.00000100"),
        ] {
            assert_eq!(Total::parse(exact).expect(exact).rounded_text(decimals), shown);
        }
    }

    #[test]
    fn a_sum_may_be_below_nothing_and_is_shown_as_totals_are() {
        for (exact, decimals, shown) in [
            ("4.50", 0, "5"),
            ("-4.50", 0, "-5"),
            ("-0.004", 2, "0.00"),
            ("-0.005", 2, "-0.01"),
            ("0.035", 2, "0.04"),
            ("12.30", 8, "12.30000000"),
            ("79999999999999999920000.000001", 6, "79999999999999999920000.000001"),
        ] {
            let sum = Sum::parse(exact).expect(exact);
            assert_eq!((sum.to_string().as_str(), sum.rounded_text(decimals).as_str()), (exact, shown));
        }
        assert_eq!(Sum::default().to_string(), "0.00");
        for no_sum in ["", "-", "1.", ".5", "1.0000001", "+1", "1e3", "--1", "1.-5"] {
            assert_eq!(Sum::parse(no_sum), None, "{no_sum}");
        }
    }

    #[test]
    fn the_largest_order_is_exact() {
        let price = Price::parse("999999999999.999999").expect("the largest price");
        let mut total = Total::ZERO;
        for _ in 0..crate::limits::ORDER_LINES_MAX {
            total = total.plus(price.times(crate::limits::LINE_QUANTITY_MAX));
        }
        assert_eq!(total.to_string(), "1999999999999999998000.00");
    }

    proptest! {
        #[test]
        fn totals_agree_with_integers(lines in proptest::collection::vec((0u64..1_000_000_000, 0i64..1_000_000), 0..50)) {
            let mut total = Total::ZERO;
            let mut expected = 0i128;
            for (millionths, quantity) in lines {
                let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
                total = total.plus(Price::parse(&text).expect("in the grammar").times(quantity));
                expected += i128::from(millionths) * i128::from(quantity);
            }
            let text = format!("{}.{:06}", expected / 1_000_000, expected % 1_000_000);
            prop_assert_eq!(total, Total::parse(&text).expect("a plain number"));
            prop_assert_eq!(Total::parse(&total.to_string()), Ok(total));
        }

        #[test]
        fn a_sum_of_totals_and_of_pages_of_them_is_exact(totals in proptest::collection::vec((0u64..1_000_000_000_000, proptest::bool::ANY), 0..50)) {
            let (mut sum, mut expected) = (Sum::default(), 0i128);
            for (millionths, is_back) in totals {
                let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
                let one = Sum::default().plus(Total::parse(&text).expect("a total"));
                prop_assert_eq!(Sum::parse(&text), Some(one));
                sum = if is_back { sum.less(one) } else { sum.and(one) };
                expected += if is_back { -i128::from(millionths) } else { i128::from(millionths) };
            }
            prop_assert_eq!(sum, Sum(expected));
            prop_assert_eq!(Sum::parse(&sum.to_string()), Some(sum));
        }

        #[test]
        fn any_text_is_a_price_or_an_error(text in "\\PC{0,20}") {
            if let Ok(price) = Price::parse(&text) {
                prop_assert_eq!(Price::parse(&price.to_string()), Ok(price));
            }
        }
    }
}
