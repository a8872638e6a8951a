//! One line of the Online Retail file: valid, or refused and why. Pure.
//!
//! A *valid line* has an invoice number that does not begin with C or A, a customer, and a quantity above 0; a
//! price of 0 is valid. Lines that are refused may still name a customer or describe a product.

use std::borrow::Cow;

use portal::limits::{DESCRIPTION_BYTES_MAX, ID_BYTES_MAX, STOCK_QUANTITY_MAX};
use portal::money::Price;

use super::rows::{BadLine, Raw, fields};

/// Why a line is refused. Each is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// More bytes than a line may have.
    LineTooLong,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A quote that does not close.
    Quotes,
    /// Not eight fields.
    FieldCount,
    /// The invoice is empty.
    NoInvoice,
    /// The invoice begins with C.
    Cancellation,
    /// The invoice begins with A.
    BadDebt,
    /// There is no customer.
    NoCustomer,
    /// The customer is no number.
    BadCustomer,
    /// The quantity is no whole number.
    BadQuantity,
    /// The quantity is 0 or negative.
    QuantityNotPositive,
    /// The stock code is empty.
    NoCode,
    /// The stock code is longer than a PID.
    CodeTooLong,
    /// The price is no decimal number that we can hold, or negative.
    BadPrice,
    /// The portal refused the client, the product or the order.
    ByPortal,
    /// An earlier run made an order of the invoice, and the file has other lines for it now.
    Changed,
}

impl Reason {
    /// All of them, in the order of reports.
    pub const ALL: [Reason; 16] = [
        Reason::LineTooLong,
        Reason::NotUtf8,
        Reason::Quotes,
        Reason::FieldCount,
        Reason::NoInvoice,
        Reason::Cancellation,
        Reason::BadDebt,
        Reason::NoCustomer,
        Reason::BadCustomer,
        Reason::BadQuantity,
        Reason::QuantityNotPositive,
        Reason::NoCode,
        Reason::CodeTooLong,
        Reason::BadPrice,
        Reason::ByPortal,
        Reason::Changed,
    ];

    /// For reports and for the file of refused lines.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Reason::LineTooLong => "the line is longer than 64 KiB",
            Reason::NotUtf8 => "the line is not UTF-8",
            Reason::Quotes => "quotes out of balance",
            Reason::FieldCount => "not eight fields",
            Reason::NoInvoice => "no invoice number",
            Reason::Cancellation => "cancellation (invoice C…)",
            Reason::BadDebt => "bad debt (invoice A…)",
            Reason::NoCustomer => "no customer",
            Reason::BadCustomer => "the customer is no number",
            Reason::BadQuantity => "the quantity is no whole number",
            Reason::QuantityNotPositive => "the quantity is not above 0",
            Reason::NoCode => "no stock code",
            Reason::CodeTooLong => "the stock code has more than 128 bytes",
            Reason::BadPrice => "the price is no decimal number from 0",
            Reason::ByPortal => "refused by the portal",
            Reason::Changed => "the invoice is there already, with other lines",
        }
    }
}

/// A valid line.
#[derive(Clone, PartialEq, Debug)]
pub struct ValidLine {
    /// The invoice's number.
    pub invoice: String,
    /// The stock code, trimmed.
    pub code: String,
    /// Above 0.
    pub quantity: i64,
    /// From 0.
    pub price: Price,
    /// The customer's number without `.0`.
    pub cid: String,
}

/// What a line says.
#[derive(Clone, PartialEq, Debug)]
pub struct Said {
    /// Valid, or why not.
    pub verdict: Result<ValidLine, Reason>,
    /// The customer it names, and their country.
    pub customer: Option<(String, String)>,
    /// The product it describes: code and description, neither empty.
    pub described: Option<(String, String)>,
}

impl Said {
    fn refused(reason: Reason) -> Said {
        Said { verdict: Err(reason), customer: None, described: None }
    }
}

/// Understands a line.
#[must_use]
pub fn classify(raw: &Raw) -> Said {
    let Raw::Line(bytes) = raw else { return Said::refused(Reason::LineTooLong) };
    let Ok(text) = std::str::from_utf8(bytes) else { return Said::refused(Reason::NotUtf8) };
    let fields = match fields(text) {
        Ok(fields) => fields,
        Err(BadLine::Quotes) => return Said::refused(Reason::Quotes),
        Err(BadLine::TooManyFields) => return Said::refused(Reason::FieldCount),
    };
    match <[Cow<'_, str>; 8]>::try_from(fields) {
        Ok(fields) => of_fields(&fields),
        Err(_) => Said::refused(Reason::FieldCount),
    }
}

fn of_fields(
    [invoice, code, description, quantity, _date, price, customer, country]: &[Cow<'_, str>; 8],
) -> Said {
    let customer = number_of(customer.trim());
    let (code, description) = (code.trim(), description.trim());
    let described = (!code.is_empty() && !description.is_empty())
        .then(|| (code.to_owned(), short(description).to_owned()));
    let named = match &customer {
        Ok(cid) => Some((cid.clone(), country.trim().to_owned())),
        Err(_) => None,
    };
    Said {
        verdict: valid(invoice.trim(), code, quantity.trim(), price.trim(), customer),
        customer: named,
        described,
    }
}

fn valid(
    invoice: &str,
    code: &str,
    quantity: &str,
    price: &str,
    customer: Result<String, Reason>,
) -> Result<ValidLine, Reason> {
    match invoice.as_bytes().first() {
        None => return Err(Reason::NoInvoice),
        Some(b'C') => return Err(Reason::Cancellation),
        Some(b'A') => return Err(Reason::BadDebt),
        Some(_) => {}
    }
    let cid = customer?;
    let quantity: i64 = quantity.parse().map_err(|_| Reason::BadQuantity)?;
    if quantity <= 0 {
        return Err(Reason::QuantityNotPositive);
    }
    if quantity > STOCK_QUANTITY_MAX {
        return Err(Reason::BadQuantity);
    }
    match code.len() {
        0 => return Err(Reason::NoCode),
        1..=ID_BYTES_MAX => {}
        _ => return Err(Reason::CodeTooLong),
    }
    Ok(ValidLine {
        invoice: invoice.to_owned(),
        code: code.to_owned(),
        quantity,
        price: price_of(price)?,
        cid,
    })
}

/// `17850.0` is 17850.
fn number_of(customer: &str) -> Result<String, Reason> {
    let number = customer.strip_suffix(".0").unwrap_or(customer);
    if number.is_empty() {
        return Err(Reason::NoCustomer);
    }
    let digits = number.len() <= ID_BYTES_MAX && number.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(number.to_owned()) } else { Err(Reason::BadCustomer) }
}

/// As the portals read prices.
fn price_of(price: &str) -> Result<Price, Reason> {
    Price::parse(price).map_err(|_| Reason::BadPrice)
}

/// A description cut to what a product can hold.
fn short(description: &str) -> &str {
    let mut end = description.len().min(DESCRIPTION_BYTES_MAX);
    while !description.is_char_boundary(end) {
        end -= 1;
    }
    description[..end].trim_end()
}
