//! Clients and products as people and programs see them.

use proto::portal::{Client, DeleteResponse, Product};
use serde_json::{Value, json};

use crate::show::answer::{Answer, Table, counted};
use crate::show::out::id;
use crate::verb::words::quoted;

use super::products::Changed;

/// Stored JSON as a document; what is none is text.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// A client as a document.
#[must_use]
pub fn client_document(client: &Client) -> Value {
    json!({
        "cid": client.cid,
        "data": json_of(&client.data),
        "open_orders": client.open_orders,
        "etag": client.etag,
        "version": client.version,
    })
}

/// One client.
#[must_use]
pub fn client(head: String, client: &Client) -> Answer {
    let mut answer = clients(std::slice::from_ref(client));
    answer.head = head;
    answer.document = client_document(client);
    answer
}

/// Clients.
#[must_use]
pub fn clients(clients: &[Client]) -> Answer {
    let mut table = Table::new(&["CID", "DATA", "OPEN ORDERS", "VERSION", "ETAG"], &[2, 3, 4]);
    for client in clients {
        table.row([
            id(&client.cid),
            client.data.clone(),
            client.open_orders.to_string(),
            client.version.to_string(),
            client.etag.to_string(),
        ]);
    }
    let head = format!("clients: {}", clients.len());
    Answer::table(head, clients.iter().map(client_document).collect(), table)
}

/// A product as a document.
#[must_use]
pub fn product_document(product: &Product) -> Value {
    let stock = product.stock.unwrap_or_default();
    json!({
        "pid": product.pid,
        "description": product.description,
        "price": product.price,
        "quantity": stock.available,
        "stock": {
            "initial": stock.initial, "adjusted": stock.adjusted,
            "available": stock.available, "held": stock.held, "etag": stock.etag,
        },
        "extra": serde_json::from_str::<Value>(&product.extra).unwrap_or(Value::Null),
        "etag": product.etag,
        "version": product.version,
        "stock_age_ms": product.stock_age_ms,
    })
}

/// One product.
#[must_use]
pub fn product(head: String, product: &Product) -> Answer {
    let mut answer = products(std::slice::from_ref(product));
    answer.head = head;
    if !product.extra.is_empty() && product.extra != "{}" {
        answer.notes.push(format!("and: {}", product.extra));
    }
    answer.document = product_document(product);
    answer
}

/// A price finer than people pay: kept exactly, since unit prices below a cent are real, and told, since most are a slip.
#[must_use]
pub fn fine_price(product: &Product) -> Option<String> {
    let decimals = product.price.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    (decimals > 2).then(|| {
        format!("the price {} has {decimals} decimals: it is kept and summed exactly", product.price)
    })
}

/// Products.
#[must_use]
pub fn products(products: &[Product]) -> Answer {
    let columns = ["PID", "DESCRIPTION", "PRICE", "LEFT", "IN ORDERS", "VERSION", "ETAG"];
    let mut table = Table::new(&columns, &[2, 3, 4, 5, 6]);
    for product in products {
        let stock = product.stock.unwrap_or_default();
        table.row([
            id(&product.pid),
            product.description.clone(),
            product.price.clone(),
            stock.available.to_string(),
            stock.held.to_string(),
            product.version.to_string(),
            product.etag.to_string(),
        ]);
    }
    let head = format!("products: {}", products.len());
    Answer::table(head, products.iter().map(product_document).collect(), table)
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
    let mut answer = Answer::line(format!("deleted {what} {}: {}", id(name), deleted.data), document);
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
