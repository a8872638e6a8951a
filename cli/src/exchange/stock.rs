//! Stock in files: what is left of each product. What is held and sold follows from the orders, and is only shown.

use portal::Error;
use portal::id::Pid;
use portal::limits::STOCK_QUANTITY_MAX;
use proto::portal::Product;
use serde::{Deserialize, Serialize};

use super::cells::{Refusal, Row};

/// What is left of a product; a line of JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockLine {
    /// Which.
    pub pid: String,
    /// Units that orders can take; below 0: so many are still to come.
    pub available: i64,
    /// Units in orders that were not sent. An import passes over it.
    #[serde(default)]
    pub held: i64,
    /// Units in orders that were sent. An import passes over it.
    #[serde(default)]
    pub sold: i64,
}

impl StockLine {
    /// Of a product.
    #[must_use]
    pub fn of(product: &Product) -> StockLine {
        let stock = product.stock.unwrap_or_default();
        StockLine { pid: product.pid.clone(), available: stock.available, held: stock.held, sold: stock.sold }
    }

    /// The line of a row.
    ///
    /// # Errors
    /// Its cells are none of a stock.
    pub fn of_row(row: &Row) -> Result<StockLine, Refusal> {
        Ok(StockLine {
            pid: row.text("pid").to_owned(),
            available: row.whole("available")?,
            held: row.whole_or_0("held")?,
            sold: row.whole_or_0("sold")?,
        })
    }

    /// As the cells of a row.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let StockLine { pid, available, held, sold } = self;
        vec![pid.clone(), available.to_string(), held.to_string(), sold.to_string()]
    }

    /// As a line of JSON.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("it is JSON")
    }

    /// Checks it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the field.
    pub fn checked(self) -> Result<StockLine, Error> {
        Pid::parse("pid", &self.pid)?;
        if self.available.unsigned_abs() > STOCK_QUANTITY_MAX.unsigned_abs() {
            let why = format!("must be within -{STOCK_QUANTITY_MAX} and {STOCK_QUANTITY_MAX}");
            return Err(Error::invalid("available", why));
        }
        Ok(self)
    }
}
