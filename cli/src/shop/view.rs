//! Orders as people and programs see them.

use std::collections::BTreeMap;

use proto::portal::{Order, OrderLine, OrderState, OrderSummary, StaffNote};
use serde_json::Value;

use portal::document::staff_note::Did;
use portal::limits::DECIMALS_DEFAULT;
use portal::money::Total;

use crate::admin::view::fields_of;
use crate::show::answer::Answer;
use crate::show::document::document;
use crate::show::moment;
use crate::show::table::{Column, Table};
use crate::show::written::{id, in_line};
use crate::verb::call::GivenLine;

/// The lines of an order.
const LINES: [Column; 5] = [
    Column::whole("PID"),
    Column::words("DESCRIPTION").dropped(1),
    Column::number("QUANTITY"),
    Column::number("PRICE"),
    Column::number("SUBTOTAL"),
];

/// A sum as people pay it: with the shop's decimals, as the portal shows it. What is stored is exact.
#[must_use]
pub fn rounded(sum: &str, shown: &str) -> String {
    let is_said = !shown.is_empty();
    // A portal of an earlier version says no more than the sum.
    let two =
        || Total::parse(sum).map_or_else(|_| sum.to_owned(), |total| total.rounded_text(DECIMALS_DEFAULT));
    if is_said { shown.to_owned() } else { two() }
}

/// The sum itself, where it is another than what is shown of it.
fn exactly<'s>(sum: &'s str, shown: &str) -> Option<&'s str> {
    (Total::parse(&rounded(sum, shown)) != Total::parse(sum)).then_some(sum)
}

/// A part of a total, with as many decimals as that; exactly, if those are not enough.
fn part(sum: &str, shown: &str) -> String {
    let decimals = shown.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    match (Total::parse(sum), u32::try_from(decimals)) {
        (Ok(total), Ok(decimals)) if total.rounded(decimals) == total => total.rounded_text(decimals),
        _ => sum.to_owned(),
    }
}

/// A state in one word.
#[must_use]
pub fn state(state: i32) -> &'static str {
    proto::json::state::word(state)
}

/// An order as a document.
#[must_use]
pub fn order_document(order: &Order) -> Value {
    document(order)
}

/// One order: lines and total.
#[must_use]
pub fn order(what: &str, order: &Order) -> Answer {
    let total = rounded(&order.total, &order.total_shown);
    let has_extra = order.lines.iter().any(|line| !line.extra.is_empty());
    let mut columns = LINES.to_vec();
    columns.extend(has_extra.then_some(Column::words("EXTRA").dropped(2)));
    let mut table = Table::new(&columns);
    for line in &order.lines {
        let mut row = vec![
            id(&line.pid),
            line.description.clone(),
            line.quantity.to_string(),
            line.price.clone(),
            part(&line.subtotal, &total),
        ];
        row.extend(has_extra.then(|| extra_of(line)));
        table.rows.push(row);
    }
    // "opened", "confirmed" and "cancelled" say the state themselves.
    let state = match what {
        "" | "changed " => format!(" ({})", state(order.state)),
        _ => String::new(),
    };
    let exactly = exactly(&order.total, &order.total_shown)
        .map_or_else(String::new, |exact| format!(" (exactly {exact})"));
    let head = format!("{what}order {}{state}: total {total}{exactly}", order.oid);
    let empty = (order.lines.is_empty() && order.state() == OrderState::Open).then(|| {
        format!(
            "it has no lines yet: modify-order {0} PID=QUANTITY adds some, cancel-order {0} ends it; as long as it is \
             open its client cannot be deleted",
            order.oid
        )
    });
    let mut answer = Answer::table(head, order_document(order), table).noting(empty);
    answer.fields = extra_fields(order);
    answer.notes.extend(order.staff.iter().map(by_staff));
    answer.noting((order.expires_ms > 0).then(|| {
        let until = moment::shown(order.expires_ms);
        format!("held until {until}: it is cancelled then unless it is confirmed or changed before")
    }))
}

/// The data of staff and shops on an order, as fields.
#[must_use]
pub fn extra_fields(order: &Order) -> Vec<(String, String)> {
    if order.extra.is_empty() {
        return Vec::new();
    }
    fields_of(&order.extra, "").into_iter().map(|(name, says)| (format!("extra.{name}"), says)).collect()
}

/// Those on a line, in its cell.
fn extra_of(line: &OrderLine) -> String {
    if line.extra.is_empty() {
        return String::new();
    }
    let fields = fields_of(&line.extra, "").into_iter();
    fields.map(|(name, says)| format!("{name}={says}")).collect::<Vec<_>>().join(", ")
}

/// What staff did to an order, or the shop by its rules, in a line.
fn by_staff(note: &StaffNote) -> String {
    let StaffNote { did, reason, by, at_ms } = note;
    if did == Did::Expired.word() {
        return format!(
            "{} expired: it was open for too long, and the shop cancelled it",
            moment::shown(*at_ms)
        );
    }
    let who = if by.is_empty() { "staff".to_owned() } else { format!("staff ({})", in_line(by)) };
    let why = if reason.is_empty() { String::new() } else { format!(": {}", in_line(reason)) };
    format!("{} {did} by {who}{why}", moment::shown(*at_ms))
}

/// Products that a command names more than once: their quantities are added, which whoever meant something else must
/// see.
#[must_use]
pub fn merged(lines: &[GivenLine]) -> Option<String> {
    let mut sums: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for GivenLine { pid, quantity, .. } in lines {
        let (times, sum) = sums.entry(pid).or_default();
        (*times, *sum) = (*times + 1, sum.saturating_add(*quantity));
    }
    let several = sums.iter().filter(|(_, (times, _))| *times > 1);
    let said: Vec<String> = several.map(|(pid, (_, sum))| format!("{pid}={sum}")).collect();
    (!said.is_empty()).then(|| {
        let said = said.join(", ");
        format!("lines of one product were added up: {said}")
    })
}

/// Orders with their totals.
#[must_use]
pub fn orders(orders: &[OrderSummary]) -> Answer {
    let mut columns = vec![
        Column::whole("OID"),
        Column::whole("STATE"),
        Column::number("LINES").dropped(1),
        Column::number("TOTAL"),
    ];
    let is_fine = orders.iter().any(|order| exactly(&order.total, &order.total_shown).is_some());
    columns.extend(is_fine.then_some(Column::number("EXACTLY").dropped(2)));
    let mut table = Table::new(&columns);
    let mut documents = Vec::with_capacity(orders.len());
    for order in orders {
        let mut row = vec![
            order.oid.clone(),
            state(order.state).to_owned(),
            order.lines.to_string(),
            rounded(&order.total, &order.total_shown),
        ];
        row.extend(is_fine.then(|| exactly(&order.total, &order.total_shown).unwrap_or_default().to_owned()));
        table.rows.push(row);
        documents.push(document(order));
    }
    Answer::table(format!("orders: {}", orders.len()), documents.into(), table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(state: OrderState, lines: usize) -> Order {
        let lines = vec![proto::portal::OrderLine::default(); lines];
        Order { oid: "7".into(), total: "0.00".into(), state: state.into(), lines, ..Order::default() }
    }

    #[test]
    fn the_state_is_said_once() {
        assert_eq!(super::order("opened ", &order(OrderState::Open, 1)).head, "opened order 7: total 0.00");
        let changed = super::order("changed ", &order(OrderState::Open, 1));
        assert_eq!((changed.head.as_str(), changed.notes.len()), ("changed order 7 (open): total 0.00", 0));
        assert_eq!(
            super::order("", &order(OrderState::Cancelled, 1)).head,
            "order 7 (cancelled): total 0.00"
        );
    }

    #[test]
    fn a_total_is_shown_rounded_and_exactly_where_that_is_another() {
        let of = |total: &str| Order { total: total.into(), ..order(OrderState::Open, 1) };
        assert_eq!(super::order("opened ", &of("4.345")).head, "opened order 7: total 4.35 (exactly 4.345)");
        assert_eq!(
            super::order("opened ", &of("0.0049")).head,
            "opened order 7: total 0.00 (exactly 0.0049)"
        );
        assert_eq!(super::order("opened ", &of("4.30")).head, "opened order 7: total 4.30");
        let listed = |total: &str| OrderSummary { total: total.into(), ..OrderSummary::default() };
        let both = orders(&[listed("1.00"), listed("2.005")]).table.unwrap();
        assert_eq!(both.rows[0][3..], ["1.00", ""]);
        assert_eq!(both.rows[1][3..], ["2.01", "2.005"]);
        assert_eq!(orders(&[listed("1.00")]).table.unwrap().columns.len(), 4);
    }

    #[test]
    fn a_total_is_shown_with_the_decimals_that_the_portal_shows_it_with() {
        let of = |total: &str, shown: &str| Order {
            total: total.into(),
            total_shown: shown.into(),
            ..order(OrderState::Open, 1)
        };
        let head = |total: &str, shown: &str| super::order("opened ", &of(total, shown)).head;
        assert_eq!(head("450.00", "450"), "opened order 7: total 450");
        assert_eq!(head("4.3455", "4.346"), "opened order 7: total 4.346 (exactly 4.3455)");
        assert_eq!(head("4.30", "4.300"), "opened order 7: total 4.300");
        assert_eq!(
            [part("450.00", "450"), part("0.50", "451"), part("1.20", "9.000")],
            ["450", "0.50", "1.200"]
        );
    }

    #[test]
    fn data_on_an_order_are_fields_and_those_on_lines_a_column() {
        let bare = order(OrderState::Open, 2);
        assert_eq!(super::order("", &bare).table.unwrap().columns.len(), 5);
        let mut with = Order { extra: r#"{"note":"gate 2","van":{"no":3}}"#.into(), ..bare };
        with.lines[1].extra = r#"{"colour":"red"}"#.into();
        let shown = super::order("", &with);
        let fields: Vec<(&str, &str)> = shown.fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(fields, [("extra.note", "gate 2"), ("extra.van.no", "3")]);
        let table = shown.table.unwrap();
        assert_eq!((table.rows[0][5].as_str(), table.rows[1][5].as_str()), ("", "colour=red"));
    }

    #[test]
    fn an_empty_open_order_is_no_surprise() {
        let opened = super::order("opened ", &order(OrderState::Open, 0));
        assert!(opened.notes[0].contains("modify-order 7") && opened.notes[0].contains("cancel-order 7"));
        assert!(super::order("cancelled ", &order(OrderState::Cancelled, 0)).notes.is_empty());
    }

    #[test]
    fn lines_that_are_added_up_are_told() {
        let line = |(pid, quantity): &(&str, i64)| GivenLine::of(pid, *quantity);
        let lines = |pairs: &[(&str, i64)]| pairs.iter().map(line).collect::<Vec<_>>();
        assert_eq!(merged(&lines(&[("a", 1), ("b", 2)])), None);
        let said = merged(&lines(&[("b", 1), ("a", 1), ("b", 2), ("a", 0)])).unwrap();
        assert_eq!(said, "lines of one product were added up: a=1, b=3");
    }
}
