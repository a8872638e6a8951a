//! The plan of an import: made of the classified lines, in memory, before anything is sent. Pure.
//!
//! - a client for every customer named in the file;
//! - a product for every stock code with a valid line: its first non-empty description in the file, the price of
//!   its first valid line, stock = the sum of its valid lines;
//! - an order for every invoice with valid lines (one for each customer of it), lines of one code merged.
//!
//! Promise: every line is either part of exactly one order or refused: `lines = ordered + refused`.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use portal::money::Price;

use super::classify::{Reason, Said, ValidLine, classify};
use super::rows::{Raw, fields, next};
use crate::exchange::collection::{Collection, ONLINE_RETAIL};
use crate::failure::Failure;

/// More lines than this are another kind of work than one process's memory is for.
pub const LINES_MAX: u64 = 20_000_000;

/// A product to be inserted.
#[derive(Clone, PartialEq, Debug)]
pub struct NewProduct {
    /// The stock code.
    pub pid: String,
    /// What it is; the stock code if nothing in the file describes it.
    pub description: String,
    /// Of the first valid line.
    pub price: Price,
    /// The sum of the valid lines.
    pub stock: i64,
}

/// An order to be created.
#[derive(Clone, PartialEq, Debug)]
pub struct NewOrder {
    /// The invoice's number.
    pub invoice: String,
    /// Who ordered.
    pub cid: String,
    /// Quantity by product (its place in [`Plan::products`]).
    pub lines: BTreeMap<usize, i64>,
    /// The lines of the file it was made of.
    pub numbers: Vec<u64>,
}

/// A refused line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedLine {
    /// Its number in the file; the header is line 1.
    pub number: u64,
    /// Why.
    pub reason: Reason,
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Customers, with their countries.
    pub clients: BTreeMap<String, String>,
    /// In the order of their first valid lines.
    pub products: Vec<NewProduct>,
    /// In the order of their first valid lines.
    pub orders: Vec<NewOrder>,
    /// In the order of the file.
    pub refused: Vec<RefusedLine>,
    /// Lines after the header.
    pub lines: u64,
}

/// A plan in the making.
#[derive(Default)]
struct Builder {
    plan: Plan,
    product_at: HashMap<String, usize>,
    order_at: HashMap<(String, String), usize>,
    descriptions: HashMap<String, String>,
}

/// Reads a whole file.
///
/// # Errors
/// It cannot be read, its first line is not the header expected, or it is too long.
pub fn read(input: &mut impl BufRead) -> Result<Plan, Failure> {
    let broken = |error| Failure::refused(format!("the file cannot be read: {error}"));
    check_header(next(input).map_err(broken)?)?;
    let mut builder = Builder::default();
    while let Some(raw) = next(input).map_err(broken)? {
        if builder.plan.lines == LINES_MAX {
            return Err(Failure::refused(format!("the file has more than {LINES_MAX} lines")));
        }
        builder.plan.lines += 1;
        builder.line(builder.plan.lines + 1, classify(&raw));
    }
    Ok(builder.finish())
}

fn check_header(first: Option<Raw>) -> Result<(), Failure> {
    let header = match first {
        Some(Raw::Line(bytes)) => String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').to_owned(),
        _ => String::new(),
    };
    let names = fields(&header).unwrap_or_default();
    if ONLINE_RETAIL.iter().any(|edition| names == *edition) {
        return Ok(());
    }
    let names: Vec<String> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    if let Some(found) = Collection::of(&names) {
        let word = found.word();
        return Err(Failure::usage(format!(
            "the file has the columns of {word}, not those of Online Retail"
        ))
        .next(format!("feira import {word} FILE")));
    }
    let shown: String = header.chars().take(100).collect();
    Err(Failure::usage(format!("the first line is {shown:?}, not the header of Online Retail"))
        .next(format!("it must be {}", ONLINE_RETAIL.map(|edition| edition.join(",")).join(", or "))))
}

impl Builder {
    fn line(&mut self, number: u64, said: Said) {
        if let Some((cid, country)) = said.customer {
            self.plan.clients.entry(cid).or_insert(country);
        }
        if let Some((code, description)) = said.described {
            self.descriptions.entry(code).or_insert(description);
        }
        match said.verdict {
            Ok(line) => self.valid(number, line),
            Err(reason) => self.plan.refused.push(RefusedLine { number, reason }),
        }
    }

    fn valid(&mut self, number: u64, line: ValidLine) {
        let product = self.product(&line);
        self.plan.products[product].stock += line.quantity;
        let key = (line.invoice, line.cid);
        let at = match self.order_at.get(&key) {
            Some(at) => *at,
            None => {
                let (invoice, cid) = key.clone();
                let order = NewOrder { invoice, cid, lines: BTreeMap::new(), numbers: Vec::new() };
                self.plan.orders.push(order);
                self.order_at.insert(key, self.plan.orders.len() - 1);
                self.plan.orders.len() - 1
            }
        };
        let order = &mut self.plan.orders[at];
        *order.lines.entry(product).or_insert(0) += line.quantity;
        order.numbers.push(number);
    }

    fn product(&mut self, line: &ValidLine) -> usize {
        if let Some(at) = self.product_at.get(&line.code) {
            return *at;
        }
        self.plan.products.push(NewProduct {
            pid: line.code.clone(),
            description: String::new(),
            price: line.price,
            stock: 0,
        });
        self.product_at.insert(line.code.clone(), self.plan.products.len() - 1);
        self.plan.products.len() - 1
    }

    fn finish(mut self) -> Plan {
        for product in &mut self.plan.products {
            let described = self.descriptions.remove(&product.pid);
            product.description = described.unwrap_or_else(|| product.pid.clone());
        }
        let ordered: u64 = self.plan.orders.iter().map(|order| order.numbers.len() as u64).sum();
        assert_eq!(
            ordered + self.plan.refused.len() as u64,
            self.plan.lines,
            "a line is in one order or refused"
        );
        self.plan
    }
}
