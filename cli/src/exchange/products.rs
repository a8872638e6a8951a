//! Products in files: each with its rules, and the quantity that makes its stock come out as it is when its orders are imported.
//!
//! An export's `quantity` is what is available, held and sold together: a shop that is imported gets its products first, and its
//! orders take theirs. It is not below 0: of one that is (more was promised than there is) the file of the stock says so.

use portal::Error;
use portal::document::product::ProductData;
use portal::document::rules::Rules;
use portal::document::{Members, raw};
use portal::id::{Pid, slug};
use portal::limits::STOCK_QUANTITY_MAX;
use proto::portal::{InsertProductRequest, Product, StockRules};

use super::cells::{Refusal, Row, on_one_line};
use super::collection::Collection;

/// The columns of rules.
const RULES: [&str; 6] =
    ["safety_stock", "backorder_limit", "quantity_min", "quantity_max", "untracked", "low_stock"];

/// Whether a file with these columns says nothing of a product's further members, so that an update keeps them.
#[must_use]
pub fn keeps_extra(header: &[String]) -> bool {
    let has_place =
        |name: &String| name != "extra" && Collection::Products.columns().contains(&name.as_str());
    header.iter().all(has_place)
}

/// A product's document with the further members that it has already.
///
/// # Errors
/// They cannot be read: nothing is written over them.
pub fn with_extra(data: &str, extra: &str) -> Result<String, Error> {
    let mut members = Members::parse("data", data)?;
    let there = if extra.is_empty() { Members::default() } else { Members::parse("extra", extra)? };
    there.iter().for_each(|(name, value)| members.push(name, value.to_owned()));
    Ok(members.to_json())
}

/// The product of a row.
///
/// # Errors
/// Its cells are no product's.
pub fn of_row(row: &Row) -> Result<InsertProductRequest, Refusal> {
    let rules = StockRules {
        safety_stock: row.whole_or_0("safety_stock")?,
        backorder_limit: row.whole_or_0("backorder_limit")?,
        quantity_min: row.whole_or_0("quantity_min")?,
        quantity_max: row.whole_or_0("quantity_max")?,
        untracked: row.flag("untracked")?,
        low_stock: row.whole_or_0("low_stock")?,
    };
    let mut members = Members::default();
    members.push("description", raw(&row.text("description")));
    members.push("quantity", raw(&row.whole("quantity")?));
    members.push("price", raw(&row.decimal("price")?));
    match row.text("extra") {
        "" => {}
        extra => {
            let extra = Members::parse("extra", extra).map_err(|error| Refusal::of(row.line, &error))?;
            extra.iter().for_each(|(name, value)| members.push(name, value.to_owned()));
        }
    }
    for (name, text) in row.others(Collection::Products.columns()).filter(|(_, text)| !text.is_empty()) {
        members.push(name, raw(&text));
    }
    // A file that says nothing of rules leaves them as they are.
    let rules = RULES.iter().any(|name| row.get(name).is_some()).then_some(rules);
    Ok(InsertProductRequest {
        pid: row.text("pid").to_owned(),
        data: members.to_json(),
        request: None,
        rules,
    })
}

/// Checks a product as a portal does, and makes the id that a portal would make.
///
/// # Errors
/// INVALID_ARGUMENT, with the field.
pub fn checked(product: InsertProductRequest) -> Result<InsertProductRequest, Error> {
    let data = ProductData::parse(&product.data)?;
    let rules = product.rules.as_ref().map(Rules::parse).transpose()?.unwrap_or_default();
    let quantity = data.quantity.ok_or_else(|| Error::invalid("data.quantity", "is missing"))?;
    if quantity < rules.safety_stock {
        let why = format!("{quantity} is less than the safety stock, {}", rules.safety_stock);
        return Err(Error::invalid("data.quantity", why));
    }
    let made = match product.pid.as_str() {
        "" => slug(&data.description).ok_or_else(|| {
            Error::invalid("pid", "is empty, and the description has no letters or digits to make one from")
        })?,
        pid => pid.to_owned(),
    };
    let pid = Pid::chosen("pid", &made)?.to_string();
    let rules = product.rules.map(|_| rules.shown().unwrap_or_default());
    Ok(InsertProductRequest { pid, rules, request: None, ..product })
}

/// What a shop needs of it before its orders come.
fn quantity(product: &Product) -> i64 {
    let stock = product.stock.unwrap_or_default();
    stock.available.saturating_add(stock.held).saturating_add(stock.sold).clamp(0, STOCK_QUANTITY_MAX)
}

/// A product as the cells of a row.
#[must_use]
pub fn cells(product: &Product) -> Vec<String> {
    let rules = product.rules.unwrap_or_default();
    let number = |number: i64| if number == 0 { String::new() } else { number.to_string() };
    let extra = if product.extra == "{}" { String::new() } else { product.extra.clone() };
    vec![
        product.pid.clone(),
        product.description.clone(),
        quantity(product).to_string(),
        product.price.clone(),
        number(rules.safety_stock),
        number(rules.backorder_limit),
        number(rules.quantity_min),
        number(rules.quantity_max),
        if rules.untracked { "true".to_owned() } else { String::new() },
        number(rules.low_stock),
        extra,
    ]
}

/// A product as a line of JSON.
///
/// # Errors
/// Its further members cannot be read: without them the line would not be the product.
pub fn line(product: &Product) -> Result<String, Error> {
    let mut members = Members::default();
    members.push("description", raw(&product.description));
    members.push("quantity", raw(&quantity(product)));
    members.push("price", raw(&product.price));
    let (pid, data) = (product.pid.clone(), on_one_line(&with_extra(&members.to_json(), &product.extra)?));
    let product = InsertProductRequest { pid, data, request: None, rules: product.rules };
    Ok(serde_json::to_string(&product).expect("our messages are JSON"))
}

/// A product's document without its quantity: an update of the others leaves the stock as it is.
#[must_use]
pub fn without_quantity(data: &str) -> String {
    let mut members = Members::parse("data", data).expect("it was checked");
    members.take("quantity");
    members.to_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_whose_members_cannot_be_read_is_no_line_rather_than_one_without_them() {
        let product =
            Product { pid: "fig".into(), description: "Fig".into(), price: "1".into(), ..Product::default() };
        assert!(line(&product).is_ok());
        for extra in ["{\"a\":1,\"a\":2}", "no"] {
            assert!(line(&Product { extra: extra.into(), ..product.clone() }).is_err(), "{extra}");
        }
    }
}
