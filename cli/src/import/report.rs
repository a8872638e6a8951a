//! The totals as people and programs see them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::check::Totals;
use super::plan::Plan;
use super::send::Refusals;
use crate::show::answer::{Answer, counted};
use crate::show::table::{Column, Table};

/// What has changed since an earlier run is told up to so many times; the file of refused lines has all of it.
const TOLD_MAX: usize = 20;
/// What is done to every order of an import, told beside the answer.
pub const CONFIRMED: &str = "invoices are of the past: their orders are confirmed, and hold what was sold";

/// The answer of an import that took so long.
#[must_use]
pub fn report(plan: &Plan, totals: &Totals, refusals: &Refusals, took: Duration) -> Answer {
    let there = match refusals.there {
        0 => String::new(),
        there => format!(" ({there} of them there already)"),
    };
    let mut table = Table::new(&[Column::number("LINES"), Column::words("WHAT BECAME OF THEM")]);
    table.row([
        totals.accepted.to_string(),
        format!("accepted, in {}{there}", counted(totals.orders, "confirmed order")),
    ]);
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
        "orders": totals.orders, "there_already": refusals.there, "changed": refusals.changed.len(),
        "raised": refusals.raised.len(), "seconds": seconds, "orders_per_second": orders, "lines_per_second": lines,
    });
    let raised = refusals.raised.iter().map(|(at, by)| {
        format!(
            "the stock of {} was raised by {by}, which the file needs more than before",
            plan.products[*at].pid
        )
    });
    let told: Vec<String> =
        refusals.changed.values().chain(refusals.stocks.values()).cloned().chain(raised).collect();
    let more = told.len().saturating_sub(TOLD_MAX);
    let more = (more > 0).then(|| format!("and {more} more like these"));
    let mut answer = Answer::table(head, document, table);
    answer.warnings.extend(told.into_iter().take(TOLD_MAX).chain(more));
    answer
}
