//! Clients and products as people and programs see them.

use proto::portal::{Client, DeleteResponse, Product};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::document::{Members, members_of};
use crate::show::answer::{Answer, counted};
use crate::show::document::document;
use crate::show::table::{Column, Table};
use crate::show::written::id;
use crate::verb::words::quoted;

use super::products::Changed;
use super::stock_rules;
use crate::failure::Reader;

/// Fields inside fields are named with a point between, so deep; what is deeper is shown as JSON.
const DEPTH_MAX: usize = 3;

/// Stored JSON as a document; what is none is text.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// The members of a stored document as a person reads them: their names and what they say, the one that names the thing
/// first. Numbers stand as they were written.
#[must_use]
pub fn fields_of(data: &str, first: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    match members_of(data) {
        Ok(members) => {
            for (name, value) in members {
                flatten(name, value.get(), DEPTH_MAX, &mut fields);
            }
        }
        Err(_) => fields.push(("data".to_owned(), data.to_owned())),
    }
    fields.sort_by_key(|(name, _)| name != first);
    fields
}

fn flatten(name: String, json: &str, depth: usize, into: &mut Vec<(String, String)>) {
    if depth > 0
        && let Ok(members) = serde_json::from_str::<Members>(json)
        && !members.is_empty()
    {
        for (inner, value) in members {
            flatten(format!("{name}.{inner}"), value.get(), depth - 1, into);
        }
        return;
    }
    let is_simple = |item: &RawValue| !item.get().starts_with(['{', '[']);
    let shown = match serde_json::from_str::<Vec<Box<RawValue>>>(json) {
        Ok(items) if items.iter().all(|item| is_simple(item)) => {
            items.iter().map(|item| text_of_json(item.get())).collect::<Vec<_>>().join(", ")
        }
        _ => text_of_json(json),
    };
    into.push((name, shown));
}

/// A string as its text, anything else as it was written.
fn text_of_json(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())
}

/// The same in one cell.
fn in_a_cell(fields: &[(String, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.join("; ")
}

/// A client as a document.
#[must_use]
pub fn client_document(client: &Client) -> Value {
    document(client)
}

/// One client.
#[must_use]
pub fn client(head: String, client: &Client) -> Answer {
    let mut fields = vec![("CID".to_owned(), id(&client.cid))];
    fields.extend(fields_of(&client.data, "name"));
    let counts = [("OPEN ORDERS", client.open_orders.to_string()), ("VERSION", client.version.to_string())];
    fields.extend(counts.map(|(name, value)| (name.to_owned(), value)));
    fields.push(("ETAG".to_owned(), client.etag.to_string()));
    Answer { fields, ..Answer::line(head, client_document(client)) }
}

/// Clients.
#[must_use]
pub fn clients(clients: &[Client]) -> Answer {
    let mut table = Table::new(&[
        Column::whole("CID"),
        Column::words("NAME"),
        Column::words("DATA").dropped(3),
        Column::number("OPEN ORDERS"),
        Column::number("VERSION").dropped(2),
        Column::number("ETAG").dropped(1),
    ]);
    for client in clients {
        let mut fields = fields_of(&client.data, "name");
        let is_named = fields.first().is_some_and(|(name, _)| name == "name");
        let name = if is_named { fields.remove(0).1 } else { String::new() };
        table.row([
            id(&client.cid),
            name,
            in_a_cell(&fields),
            client.open_orders.to_string(),
            client.version.to_string(),
            client.etag.to_string(),
        ]);
    }
    let head = format!("clients: {}", clients.len());
    Answer::table(head, clients.iter().map(client_document).collect(), table)
}

/// A product as a document, with what is left of it as `quantity` too, as in the data that people send.
#[must_use]
pub fn product_document(product: &Product) -> Value {
    let mut document = document(product);
    document["quantity"] = product.stock.unwrap_or_default().available.into();
    document
}

/// One product.
#[must_use]
pub fn product(head: String, product: &Product, reader: Reader) -> Answer {
    let mut answer = products(std::slice::from_ref(product), reader);
    answer.head = head;
    if !product.extra.is_empty() {
        answer.fields = fields_of(&product.extra, "");
    }
    answer.fields.extend(stock_rules::fields(product));
    answer.document = product_document(product);
    answer
}

/// What shoppers see of each product; staff see what follows, too.
const OF_SHOPPERS: usize = 4;
const PRODUCTS: [Column; 8] = [
    Column::whole("PID"),
    Column::words("DESCRIPTION"),
    Column::number("PRICE"),
    Column::number("LEFT"),
    Column::number("IN ORDERS").dropped(4),
    Column::number("SOLD").dropped(3),
    Column::number("VERSION").dropped(2),
    Column::number("ETAG").dropped(1),
];

/// Products.
#[must_use]
pub fn products(products: &[Product], reader: Reader) -> Answer {
    let shown = if reader == Reader::Shopper { OF_SHOPPERS } else { PRODUCTS.len() };
    let mut table = Table::new(&PRODUCTS[..shown]);
    for product in products {
        let stock = product.stock.unwrap_or_default();
        let mut row = vec![
            id(&product.pid),
            product.description.clone(),
            product.price.clone(),
            match product.rules {
                Some(rules) if rules.untracked => "any".to_owned(),
                _ => stock.available.to_string(),
            },
            stock.held.to_string(),
            stock.sold.to_string(),
            product.version.to_string(),
            product.etag.to_string(),
        ];
        row.truncate(shown);
        table.rows.push(row);
    }
    let head = format!("products: {}", products.len());
    let mut answer = Answer::table(head, products.iter().map(product_document).collect(), table);
    let low: Vec<String> =
        products.iter().filter(|product| product.low).map(|product| id(&product.pid)).collect();
    if !low.is_empty() {
        answer.notes.push(format!("low in stock: {}", low.join(", ")));
    }
    answer
}

/// A quantity sets what is left, whatever was sold since it was counted: who meant to add some must see it.
#[must_use]
pub fn overwritten(pid: &str, changed: &Changed) -> Option<String> {
    let before = changed.left_before?;
    let now = changed.product.stock.unwrap_or_default().available;
    (before != now).then(|| {
        format!(
            "quantity= wrote over what was left: {before} before, {now} now; to add or take some: adjust-stock {} {:+}",
            quoted(pid),
            now - before
        )
    })
}

/// What was deleted, and the orders that were changed for it.
#[must_use]
pub fn deleted(what: &str, name: &str, deleted: &DeleteResponse) -> Answer {
    let orders: Vec<Value> =
        deleted.orders.iter().map(|order| json!({ "cid": order.cid, "oid": order.oid })).collect();
    let document = json!({
        "deleted": name,
        "data": json_of(&deleted.data),
        "orders": orders, "orders_more": deleted.orders_more, "continued": deleted.continued,
    });
    let fields = fields_of(&deleted.data, if what == "client" { "name" } else { "description" });
    let head = format!("deleted {what} {}", id(name));
    let mut answer = Answer { fields, ..Answer::line(head, document) };
    let count = deleted.orders.len() as u64 + deleted.orders_more;
    if count > 0 {
        let did = if what == "client" { "cancelled" } else { "taken out of" };
        let oids: Vec<&str> = deleted.orders.iter().map(|order| order.oid.as_str()).collect();
        let more = if deleted.orders_more > 0 {
            format!(" and {} more", deleted.orders_more)
        } else {
            String::new()
        };
        answer.notes.push(format!("{did} {}: {}{more}", counted(count, "order"), oids.join(", ")));
    }
    answer.noting(
        deleted.continued.then(|| {
            "the deletion was begun before: orders that it changed then are not named here".to_owned()
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_numbers_stand_as_they_were_written() {
        let data =
            r#"{"tax":12345678901234567890123,"rate":0.10,"name":"Ana","at":{"x":[1.0,"b"],"y":[{"z":1}]}}"#;
        let fields = fields_of(data, "name");
        let shown: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            shown,
            [
                ("name", "Ana"),
                ("at.x", "1.0, b"),
                ("at.y", r#"[{"z":1}]"#),
                ("rate", "0.10"),
                ("tax", "12345678901234567890123"),
            ]
        );
        assert_eq!(fields_of("no JSON", "name"), [("data".to_owned(), "no JSON".to_owned())]);
    }
}
