//! The totals as people and programs see them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::check::Totals;
use super::plan::Plan;
use crate::show::answer::{Answer, Table, counted};

/// The answer of an import that took so long.
#[must_use]
pub fn report(plan: &Plan, totals: &Totals, took: Duration) -> Answer {
    let mut table = Table::new(&["LINES", "WHAT BECAME OF THEM"], &[0]);
    table.row([totals.accepted.to_string(), format!("accepted, in {}", counted(totals.orders, "order"))]);
    let mut reasons = Map::new();
    for (reason, count) in totals.by_reason() {
        table.row([count.to_string(), format!("refused: {}", reason.words())]);
        reasons.insert(reason.words().to_owned(), count.into());
    }
    table.row([totals.lines.to_string(), "lines in the file".to_owned()]);
    let seconds = took.as_secs_f64();
    let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "counts of lines, for a rate that people read")]
    let (orders, lines) = (rate(totals.orders as f64), rate(totals.accepted as f64));
    let head = format!(
        "{}, {}, {} in {seconds:.1} s ({orders:.0} orders/s, {lines:.0} lines/s)",
        counted(plan.clients.len(), "client"),
        counted(plan.products.len(), "product"),
        counted(totals.orders, "order"),
    );
    let document: Value = json!({
        "lines": totals.lines, "accepted": totals.accepted, "refused": totals.refused.len(),
        "reasons": reasons, "clients": plan.clients.len(), "products": plan.products.len(),
        "orders": totals.orders, "seconds": seconds, "orders_per_second": orders, "lines_per_second": lines,
    });
    Answer::table(head, document, table)
}
