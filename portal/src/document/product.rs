//! A product: `p/{PID}` is `{"state":"active","description":"Maçã Fuji","price":"2.55","extra":{…}}`.
//!
//! It changes only when staff change it, so that it caches well; the numbers that move with every order are in `s/{PID}`. To
//! people both are one document: description, quantity, price, and whatever other members they gave (`extra`).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use proto::portal::Product;
use proto::store::Record;

use super::rules::Rules;
use super::stock::StockRecord;
use super::{Members, State, raw, read, string};
use crate::error::Error;
use crate::id::{Pid, plain};
use crate::limits::{DESCRIPTION_BYTES_MAX, STOCK_QUANTITY_MAX};
use crate::money::Price;

/// Where the description stands in its record.
pub const DESCRIPTION: &str = "/description";
/// Where the price stands in its record.
pub const PRICE: &str = "/price";
/// Where the further members stand in its record.
pub const EXTRA: &str = "/extra";

/// A product as stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductRecord {
    /// Whether it can be ordered.
    pub state: State,
    /// What it is.
    pub description: String,
    /// Of one unit.
    pub price: Price,
    /// Further members that staff gave.
    pub extra: Members,
    /// The rules of its stock; a product without any, and one of an earlier version, has no such member.
    #[serde(default, skip_serializing_if = "Rules::is_none")]
    pub rules: Rules,
}

/// A product's document as staff sent it, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct ProductData {
    /// What it is.
    pub description: String,
    /// Of one unit.
    pub price: Price,
    /// How many there are to sell; `None`: not said.
    pub quantity: Option<i64>,
    /// Further members.
    pub extra: Members,
}

impl ProductData {
    /// Checks the `data` of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the member that is wrong.
    pub fn parse(text: &str) -> Result<ProductData, Error> {
        let mut members = Members::parse("data", text)?;
        let missing = |name: &str| Error::invalid(format!("data.{name}"), "is missing");
        let description =
            description_of(&members.take("description").ok_or_else(|| missing("description"))?)?;
        let price = price_of(&members.take("price").ok_or_else(|| missing("price"))?)?;
        let quantity = members.take("quantity").map(|value| quantity_of(&value)).transpose()?;
        Ok(ProductData { description, price, quantity, extra: members })
    }
}

fn description_of(value: &RawValue) -> Result<String, Error> {
    let text = string("data.description", value)?;
    plain("data.description", text.trim())?;
    match text.trim().len() {
        0 => Err(Error::invalid("data.description", "is empty")),
        1..=DESCRIPTION_BYTES_MAX => Ok(text.trim().to_owned()),
        bytes => {
            let why = format!("{bytes} bytes; a description has at most {DESCRIPTION_BYTES_MAX}");
            Err(Error::invalid("data.description", why))
        }
    }
}

/// A decimal string, or a plain number taken by its digits.
fn price_of(value: &RawValue) -> Result<Price, Error> {
    let text =
        if value.get().starts_with('"') { string("data.price", value)? } else { value.get().to_owned() };
    Price::parse(&text).map_err(|error| Error::invalid("data.price", error.to_string()))
}

fn quantity_of(value: &RawValue) -> Result<i64, Error> {
    match value.get().parse::<i64>() {
        Ok(quantity @ 0..=STOCK_QUANTITY_MAX) => Ok(quantity),
        _ => {
            let why = format!("must be an integer from 0 to {STOCK_QUANTITY_MAX}");
            Err(Error::invalid("data.quantity", why))
        }
    }
}

impl ProductRecord {
    /// An orderable product of this document.
    #[must_use]
    pub fn new(data: &ProductData) -> ProductRecord {
        ProductRecord {
            state: State::Active,
            description: data.description.clone(),
            price: data.price,
            extra: data.extra.clone(),
            rules: Rules::default(),
        }
    }

    /// The same, with these rules of its stock.
    #[must_use]
    pub fn ruled(self, rules: Rules) -> ProductRecord {
        ProductRecord { rules, ..self }
    }

    /// Reads what is stored under `key`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], record: &Record) -> Result<ProductRecord, Error> {
        let product: ProductRecord = read(key, &record.data)?;
        match product.state {
            State::Active | State::Closing => Ok(product),
            State::Gone => Err(Error::damaged(key, "the state gone is of clients only")),
        }
    }

    /// The price as a JSON value.
    #[must_use]
    pub fn price_json(&self) -> String {
        format!("\"{}\"", self.price)
    }

    /// What people are shown; the stock is joined from its own record.
    #[must_use]
    pub fn shown(
        &self,
        pid: &Pid,
        record: &Record,
        stock: Option<(&StockRecord, &Record)>,
        age_ms: u64,
    ) -> Product {
        Product {
            pid: pid.to_string(),
            description: self.description.clone(),
            price: self.price.to_string(),
            stock: stock.map(|(stock, record)| stock.shown(record)),
            extra: self.extra.to_json(),
            etag: record.offset(),
            version: record.version,
            stock_age_ms: age_ms,
            rules: self.rules.shown(),
            low: stock.is_some_and(|(stock, _)| self.rules.is_low(stock.available)),
        }
    }

    /// The whole document as one JSON object, for the answer of a deletion.
    #[must_use]
    pub fn document(&self, stock: &StockRecord) -> String {
        let mut members = Members::default();
        members.push("description", raw(&self.description));
        members.push("quantity", raw(&stock.available));
        members.push("price", raw(&self.price));
        for (name, value) in self.extra.iter() {
            members.push(name, value.to_owned());
        }
        members.to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::write;

    #[test]
    fn a_product_is_stored_as_documented() {
        let sent = r#"{"price":2.5,"quantity":10,"origin":"SC","description":" Maçã Fuji "}"#;
        let data = ProductData::parse(sent).expect("a product");
        assert_eq!(data.quantity, Some(10));
        let bytes = write(&ProductRecord::new(&data));
        let stored = r#"{"state":"active","description":"Maçã Fuji","price":"2.50","extra":{"origin":"SC"}}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), stored);
        let record = Record { data: bytes.into(), ..Record::default() };
        let read = ProductRecord::read(b"p/{x}", &record).expect("what we wrote");
        assert_eq!(read, ProductRecord::new(&data));
        let ruled = read.clone().ruled(Rules { safety_stock: 5, ..Rules::default() });
        let with_rules = stored.replace("\"SC\"}}", "\"SC\"},\"rules\":{\"safety_stock\":5}}");
        assert_eq!(String::from_utf8_lossy(&write(&ruled)), with_rules);
        let record = Record { data: with_rules.into(), ..Record::default() };
        assert_eq!(ProductRecord::read(b"p/{x}", &record), Ok(ruled));
        let document = read.document(&StockRecord::new(10));
        assert_eq!(document, r#"{"description":"Maçã Fuji","quantity":10,"price":"2.50","origin":"SC"}"#);
    }

    #[test]
    fn wrong_members_are_named() {
        for (sent, field) in [
            (r#"{"price":"1","quantity":1}"#, "data.description"),
            (r#"{"description":"","price":"1"}"#, "data.description"),
            (r#"{"description":7,"price":"1"}"#, "data.description"),
            (r#"{"description":"two\nlines","price":"1"}"#, "data.description"),
            (r#"{"description":"x"}"#, "data.price"),
            (r#"{"description":"x","price":1e2}"#, "data.price"),
            (r#"{"description":"x","price":-1}"#, "data.price"),
            (r#"{"description":"x","price":null}"#, "data.price"),
            (r#"{"description":"x","price":"1","quantity":1.5}"#, "data.quantity"),
            (r#"{"description":"x","price":"1","quantity":-1}"#, "data.quantity"),
            (r#"{"description":"x","price":"1","quantity":"5"}"#, "data.quantity"),
            (r#"{"description":"x","price":"1","quantity":1000000000001}"#, "data.quantity"),
            ("[]", "data"),
        ] {
            let error = ProductData::parse(sent).expect_err(sent);
            assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{sent}: {error}");
        }
    }

    #[test]
    fn a_number_does_not_pass_through_binary_floating_point() {
        let sent = r#"{"description":"x","price":123456789012.654321}"#;
        assert_eq!(ProductData::parse(sent).expect("a product").price.to_string(), "123456789012.654321");
    }
}
