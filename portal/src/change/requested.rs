//! The lines that a request names: checked, and those of one product merged. Pure.

use std::collections::HashMap;

use proto::portal::LineChange;

use crate::document::extra::ExtraChange;
use crate::document::order::OrderRecord;
use crate::error::{Error, Repriced};
use crate::id::Pid;
use crate::limits::{LINE_QUANTITY_MAX, REQUEST_LINES_MAX};
use crate::money::Price;

/// One product of a request: this many of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestedLine {
    /// Which product.
    pub pid: Pid,
    /// 0: none of it.
    pub quantity: i64,
    /// The price that was shown; `None`: it does not count.
    pub expects: Option<Price>,
    /// What is said of its data.
    pub extra: ExtraChange,
}

impl RequestedLine {
    /// So many of a product, and nothing more is said.
    #[must_use]
    pub fn of(pid: Pid, quantity: i64) -> RequestedLine {
        RequestedLine { pid, quantity, expects: None, extra: ExtraChange::Keep }
    }

    /// What is wrong with the price of this line, if it is in the order already.
    #[must_use]
    pub fn repriced_in(&self, order: &OrderRecord) -> Option<Repriced> {
        let line = order.lines.iter().find(|line| line.pid == self.pid.as_str())?;
        repriced(&line.pid, self.expects, line.price)
    }
}

/// A price that is not the one that was shown.
#[must_use]
pub fn repriced(pid: &str, expects: Option<Price>, price: Price) -> Option<Repriced> {
    let expected = expects.filter(|expected| *expected != price)?;
    Some(Repriced { pid: pid.to_owned(), expected, price })
}

/// Checks the lines of a request and merges those of one product (their quantities added), in the order in which
/// the products were first named.
///
/// # Errors
/// INVALID_ARGUMENT, with the line.
pub fn merge(lines: &[LineChange]) -> Result<Vec<RequestedLine>, Error> {
    if lines.len() > REQUEST_LINES_MAX {
        return Err(Error::invalid("lines", format!("{} lines; at most {REQUEST_LINES_MAX}", lines.len())));
    }
    let mut merged: Vec<RequestedLine> = Vec::with_capacity(lines.len());
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let field = || format!("lines[{at}].quantity");
        if !(0..=LINE_QUANTITY_MAX).contains(&line.quantity) {
            let why = format!("{} is not within 0 and {LINE_QUANTITY_MAX}", line.quantity);
            return Err(Error::invalid(field(), why));
        }
        if let Some(place) = places.get(line.pid.as_str()) {
            let sum = merged[*place].quantity + line.quantity; // At most 1,000 × 1,000,000.
            if sum > LINE_QUANTITY_MAX {
                let why = format!("{} adds up to {sum}; at most {LINE_QUANTITY_MAX} of a product", line.pid);
                return Err(Error::invalid(field(), why));
            }
            let before = &mut merged[*place];
            before.quantity = sum;
            before.expects = one_price(at, line, before.expects)?;
            before.extra = one_extra(at, line, &before.extra)?;
        } else {
            places.insert(&line.pid, merged.len());
            let pid = Pid::parse(&format!("lines[{at}].pid"), &line.pid)?;
            let (expects, extra) = (one_price(at, line, None)?, one_extra(at, line, &ExtraChange::Keep)?);
            merged.push(RequestedLine { pid, quantity: line.quantity, expects, extra });
        }
    }
    Ok(merged)
}

/// The price that a line expects; lines of one product expect one.
fn one_price(at: usize, line: &LineChange, before: Option<Price>) -> Result<Option<Price>, Error> {
    if line.expect_price.is_empty() {
        return Ok(before);
    }
    let wrong = |why: String| Error::invalid(format!("lines[{at}].expect_price"), why);
    let price = Price::parse(&line.expect_price).map_err(|error| wrong(error.to_string()))?;
    match before {
        Some(other) if other != price => {
            let pid = &line.pid;
            Err(wrong(format!(
                "{price}, and an earlier line of {pid} expects {other}; a product has one price"
            )))
        }
        _ => Ok(Some(price)),
    }
}

/// What is said of a line's data; lines of one product say one thing.
fn one_extra(at: usize, line: &LineChange, before: &ExtraChange) -> Result<ExtraChange, Error> {
    let field = format!("lines[{at}].extra");
    let extra = ExtraChange::of_line(&field, &line.extra)?;
    match (before, extra) {
        (before, ExtraChange::Keep) => Ok(before.clone()),
        (ExtraChange::Keep, extra) => Ok(extra),
        (before, extra) if *before == extra => Ok(extra),
        _ => Err(Error::invalid(field, format!("is another than in an earlier line of {}", line.pid))),
    }
}
