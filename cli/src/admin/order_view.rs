//! Orders as staff see them: whose they are, when they were changed, and what staff did.

use proto::portal::{Order, StaffOrderSummary};

use crate::shop::view::{self, rounded, state};
use crate::show::answer::Answer;
use crate::show::document::document;
use crate::show::moment;
use crate::show::table::{Column, Table};
use crate::show::written::id;

/// One order.
#[must_use]
pub fn order(what: &str, order: &Order) -> Answer {
    let mut answer = view::order(what, order);
    answer.fields = vec![
        ("CID".to_owned(), id(&order.cid)),
        ("CREATED".to_owned(), moment::shown(order.created_ms)),
        ("CHANGED".to_owned(), moment::shown(order.changed_ms)),
        ("VERSION".to_owned(), order.version.to_string()),
        ("ETAG".to_owned(), order.etag.to_string()),
    ];
    answer.fields.extend(view::extra_fields(order));
    if order.imported {
        answer.fields.push(("IMPORTED".to_owned(), "with the times that it came with".to_owned()));
    }
    answer
}

/// Orders of all clients.
#[must_use]
pub fn orders(orders: &[StaffOrderSummary]) -> Answer {
    let mut table = Table::new(&[
        Column::whole("CID"),
        Column::whole("OID"),
        Column::whole("STATE"),
        Column::number("LINES").dropped(2),
        Column::number("TOTAL"),
        Column::whole("CHANGED").dropped(3),
        Column::number("ETAG").dropped(1),
    ]);
    for order in orders {
        table.row([
            id(&order.cid),
            order.oid.clone(),
            state(order.state).to_owned(),
            order.lines.to_string(),
            rounded(&order.total, &order.total_shown),
            moment::shown(order.changed_ms),
            order.etag.to_string(),
        ]);
    }
    let documents = orders.iter().map(document);
    Answer::table(format!("orders: {}", orders.len()), documents.collect(), table)
}
