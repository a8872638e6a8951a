//! Orders as people and programs see them.

use proto::portal::{Order, OrderState, OrderSummary};
use serde_json::{Value, json};

use crate::show::answer::{Answer, Table};

/// A state in one word.
#[must_use]
pub fn state(state: i32) -> &'static str {
    match OrderState::try_from(state) {
        Ok(OrderState::Open) => "open",
        Ok(OrderState::Confirmed) => "confirmed",
        Ok(OrderState::Cancelled) => "cancelled",
        _ => "unknown",
    }
}

/// An order as a document.
#[must_use]
pub fn order_document(order: &Order) -> Value {
    let lines: Vec<Value> = order
        .lines
        .iter()
        .map(|line| {
            json!({
                "pid": line.pid, "description": line.description, "quantity": line.quantity,
                "price": line.price, "subtotal": line.subtotal,
            })
        })
        .collect();
    json!({
        "oid": order.oid, "cid": order.cid, "state": state(order.state), "lines": lines,
        "total": order.total, "etag": order.etag, "version": order.version,
    })
}

/// One order: lines and total.
#[must_use]
pub fn order(what: &str, order: &Order) -> Answer {
    let mut table = Table::new(&["PID", "DESCRIPTION", "QUANTITY", "PRICE", "SUBTOTAL"], &[2, 3, 4]);
    for line in &order.lines {
        table.row([
            line.pid.clone(),
            line.description.clone(),
            line.quantity.to_string(),
            line.price.clone(),
            line.subtotal.clone(),
        ]);
    }
    let head = format!("{what}order {} ({}): total {}", order.oid, state(order.state), order.total);
    Answer::table(head, order_document(order), table)
}

/// Orders with their totals.
#[must_use]
pub fn orders(orders: &[OrderSummary]) -> Answer {
    let mut table = Table::new(&["OID", "STATE", "LINES", "TOTAL"], &[2, 3]);
    let mut documents = Vec::with_capacity(orders.len());
    for order in orders {
        table.row([
            order.oid.clone(),
            state(order.state).to_owned(),
            order.lines.to_string(),
            order.total.clone(),
        ]);
        documents.push(json!({
            "oid": order.oid, "state": state(order.state), "lines": order.lines, "total": order.total,
        }));
    }
    Answer::table(format!("orders: {}", orders.len()), documents.into(), table)
}
