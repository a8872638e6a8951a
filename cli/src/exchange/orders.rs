//! Orders in files: one line of JSON an order; in CSV a row for each of its lines, with the order's columns repeated.
//!
//! The rows of an order stand together, each with its oid. Below the first one the other cells of the order may be empty, and the notes
//! of staff and the order's own data are; what is in them is what the first row says. An order without lines is one row without a product.

use std::collections::HashSet;
use std::io::BufRead;

use portal::Error;
use portal::change::Imported;
use portal::document::extra::ExtraChange;
use portal::id::{Cid, Oid};
use portal::money::Price;
use proto::json::state;
use proto::portal::{ImportOrderRequest, ImportedLine, ImportedNote, Order, OrderState};

use super::cells::{Refusal, Row};
use super::table::Table;
use crate::failure::Failure;

/// The columns of an order, which its rows repeat.
const REPEATED: [&str; 6] = ["cid", "oid", "state", "created_ms", "changed_ms", "client_removed"];

/// The columns of a line; an order is without lines only if all of them are empty.
const OF_LINE: [&str; 7] =
    ["pid", "description", "quantity", "price", "untracked", "product_removed", LINE_EXTRA];

/// The columns that stand in an order's first row alone.
const OF_FIRST: [&str; 2] = ["staff", "extra"];

/// The column of a line's data.
const LINE_EXTRA: &str = "line_extra";

/// What is known of an order's client and products beyond the order.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// Its client was removed.
    pub client: bool,
    /// For each line, whether its product was.
    pub products: Vec<bool>,
}

/// An order as a portal imports it.
#[must_use]
pub fn of_order(order: &Order, removed: &Removed) -> ImportOrderRequest {
    let product_removed = |at: usize| removed.products.get(at).copied().unwrap_or(false);
    let lines = order.lines.iter().enumerate().map(|(at, line)| ImportedLine {
        pid: line.pid.clone(),
        description: line.description.clone(),
        quantity: line.quantity,
        price: line.price.clone(),
        untracked: line.untracked,
        product_removed: product_removed(at),
        extra: line.extra.clone(),
    });
    let staff = order.staff.iter().map(|note| ImportedNote {
        did: note.did.clone(),
        reason: note.reason.clone(),
        by: note.by.clone(),
        at_ms: note.at_ms,
    });
    ImportOrderRequest {
        cid: order.cid.clone(),
        oid: order.oid.clone(),
        state: order.state,
        lines: lines.collect(),
        created_ms: order.created_ms,
        changed_ms: order.changed_ms,
        staff: staff.collect(),
        client_removed: removed.client,
        request: None,
        extra: order.extra.clone(),
    }
}

/// What is different first in an order that is there, in words; `None`: it is the one.
#[must_use]
pub fn difference(there: &Order, wanted: &ImportOrderRequest) -> Option<String> {
    let there = of_order(there, &Removed::default());
    let differs = |name: &str, one: &str, other: &str| {
        (one != other).then(|| format!("its {name} is {one}, in the file {other}"))
    };
    let times = |order: &ImportOrderRequest| format!("{} to {}", order.created_ms, order.changed_ms);
    differs("state", state::word(there.state), state::word(wanted.state))
        .or_else(|| differs("time", &times(&there), &times(wanted)))
        .or_else(|| {
            let is_one = there.lines.len() == wanted.lines.len()
                && there.lines.iter().zip(&wanted.lines).all(|(one, other)| is_line(one, other));
            (!is_one).then(|| "its lines are others".to_owned())
        })
        .or_else(|| (!is_extra(&there.extra, &wanted.extra)).then(|| "its data are others".to_owned()))
        .or_else(|| {
            (!are_notes(&there.staff, &wanted.staff)).then(|| "what staff did to it is other".to_owned())
        })
}

/// As they are stored: without blanks around what was said.
fn are_notes(there: &[ImportedNote], wanted: &[ImportedNote]) -> bool {
    let said = |note: &ImportedNote| {
        (note.did.clone(), note.reason.trim().to_owned(), note.by.trim().to_owned(), note.at_ms)
    };
    there.iter().map(said).eq(wanted.iter().map(said))
}

/// As they are stored: without blanks between their parts. What is no such data a portal refuses.
fn is_extra(there: &str, wanted: &str) -> bool {
    let stored = |text: &str| ExtraChange::of_order(text).ok().map(|extra| extra.over(None));
    stored(there) == stored(wanted)
}

fn is_line(there: &ImportedLine, wanted: &ImportedLine) -> bool {
    let price = |text: &str| Price::parse(text).ok();
    let same = |line: &ImportedLine| (line.quantity, line.untracked, price(&line.price));
    (&there.pid, &there.description) == (&wanted.pid, &wanted.description)
        && same(there) == same(wanted)
        && is_extra(&there.extra, &wanted.extra)
}

/// Checks an order as a portal does.
///
/// # Errors
/// INVALID_ARGUMENT, with the field; PERMISSION_DENIED: its id is another client's.
pub fn check(order: &ImportOrderRequest) -> Result<(), Error> {
    Imported::parse(order, store_client::now_ms())?;
    let cid = Cid::parse("cid", &order.cid)?;
    match Oid::parse(&order.oid) {
        Some(oid) if oid.belongs_to(&cid) => Ok(()),
        Some(_) => Err(Error::invalid("oid", format!("is the id of another client's order, not of {cid}'s"))),
        None => Err(Error::invalid("oid", "is the id of no order: no portal made it")),
    }
}

/// An order as the cells of its rows.
#[must_use]
pub fn rows(order: &ImportOrderRequest) -> Vec<Vec<String>> {
    let time = |ms: i64| if ms == 0 { String::new() } else { ms.to_string() };
    let flag = |is: bool| if is { "true".to_owned() } else { String::new() };
    let notes = match order.staff.is_empty() {
        true => String::new(),
        false => serde_json::to_string(&order.staff).expect("our messages are JSON"),
    };
    let of_order = vec![
        order.cid.clone(),
        order.oid.clone(),
        state::word(order.state).to_owned(),
        time(order.created_ms),
        time(order.changed_ms),
        flag(order.client_removed),
    ];
    if order.lines.is_empty() {
        return vec![[of_order, vec![notes, order.extra.clone()], vec![String::new(); 7]].concat()];
    }
    let row = |(at, line): (usize, &ImportedLine)| {
        let (notes, extra) = if at == 0 { (notes.clone(), order.extra.clone()) } else { Default::default() };
        let of_line = vec![
            notes,
            extra,
            line.pid.clone(),
            line.description.clone(),
            line.quantity.to_string(),
            line.price.clone(),
            flag(line.untracked),
            flag(line.product_removed),
            line.extra.clone(),
        ];
        [of_order.clone(), of_line].concat()
    };
    order.lines.iter().enumerate().map(row).collect()
}

/// An order as a line of JSON.
#[must_use]
pub fn line(order: &ImportOrderRequest) -> String {
    serde_json::to_string(order).expect("our messages are JSON")
}

/// A row with its order's id: of one without it nobody knows whose it is.
///
/// # Errors
/// It has none.
pub fn with_oid(row: Row) -> Result<Row, Refusal> {
    match row.text("oid").trim() {
        "" => Err(Refusal::new(row.line, "oid", "is empty: each row of an order has its oid")),
        _ => Ok(row),
    }
}

/// The digest of the id of a row's order.
#[must_use]
pub fn digest(row: &Row) -> [u8; 16] {
    proto::hash::digest(&[row.text("oid").trim().to_lowercase().as_bytes()])
}

/// The digests of the orders whose rows do not stand together.
///
/// # Errors
/// The file cannot be read on.
pub fn apart<R: BufRead>(table: &mut Table<R>) -> Result<HashSet<[u8; 16]>, Failure> {
    let (mut seen, mut apart) = (HashSet::new(), HashSet::new());
    let mut first: Option<Row> = None;
    while let Some(row) = table.next_row()? {
        let Ok(row) = row.and_then(with_oid) else { continue };
        if first.as_ref().is_some_and(|first| is_same(first, &row)) {
            continue;
        }
        if !seen.insert(digest(&row)) {
            apart.insert(digest(&row));
        }
        first = Some(row);
    }
    Ok(apart)
}

/// Whether a row is of the same order as the rows before it.
#[must_use]
pub fn is_same(first: &Row, row: &Row) -> bool {
    row.text("oid") == first.text("oid")
        && matches!(row.text("cid"), cid if cid.is_empty() || cid == first.text("cid"))
}

/// The order of its rows.
///
/// # Errors
/// The row and column that is wrong.
pub fn of_rows(rows: &[Row]) -> Result<ImportOrderRequest, Refusal> {
    let first = &rows[0];
    let word = first.text("state").trim();
    let state = state::named(word).ok_or_else(|| {
        Refusal::new(
            first.line,
            "state",
            format!("{word:?} is no state of an order; there are {}", state::all()),
        )
    })?;
    for row in &rows[1..] {
        let other =
            REPEATED.iter().find(|name| !matches!(row.text(name), "") && row.text(name) != first.text(name));
        if let Some(name) = other {
            let why =
                format!("{:?} is not {:?}, as in the order's first row", row.text(name), first.text(name));
            return Err(Refusal::new(row.line, *name, why));
        }
        if let Some(name) = OF_FIRST.into_iter().find(|name| !row.text(name).is_empty()) {
            return Err(Refusal::new(row.line, name, "stands in the order's first row alone"));
        }
    }
    let is_empty = rows.len() == 1 && OF_LINE.iter().all(|name| first.text(name).trim().is_empty());
    let lines = if is_empty { Vec::new() } else { rows.iter().map(line_of).collect::<Result<_, _>>()? };
    Ok(ImportOrderRequest {
        cid: first.text("cid").to_owned(),
        oid: first.text("oid").to_owned(),
        state: OrderState::into(state),
        lines,
        created_ms: first.whole_or_0("created_ms")?,
        changed_ms: first.whole("changed_ms")?,
        staff: notes_of(first)?,
        client_removed: first.flag("client_removed")?,
        request: None,
        extra: first.text("extra").to_owned(),
    })
}

fn line_of(row: &Row) -> Result<ImportedLine, Refusal> {
    if row.text("pid").trim().is_empty() {
        return Err(Refusal::new(row.line, "pid", "is empty, and other cells of the line are not"));
    }
    Ok(ImportedLine {
        pid: row.text("pid").to_owned(),
        description: row.text("description").to_owned(),
        quantity: row.whole("quantity")?,
        price: row.decimal("price")?,
        untracked: row.flag("untracked")?,
        product_removed: row.flag("product_removed")?,
        extra: row.text(LINE_EXTRA).to_owned(),
    })
}

fn notes_of(row: &Row) -> Result<Vec<ImportedNote>, Refusal> {
    match row.text("staff") {
        "" => Ok(Vec::new()),
        notes => serde_json::from_str(notes)
            .map_err(|error| Refusal::new(row.line, "staff", format!("is no list of notes: {error}"))),
    }
}

/// What is wrong with an order, at the row of the line that it is about.
#[must_use]
pub fn refused(rows: &[Row], error: &Error) -> Refusal {
    let first = rows[0].line;
    let Error::Invalid { field, why } = error else { return Refusal::of(first, error) };
    let of_line = field.strip_prefix("lines[").and_then(|rest| rest.split_once("]."));
    let row = of_line.and_then(|(at, column)| Some((rows.get(at.parse::<usize>().ok()?)?, column)));
    match row {
        Some((row, column)) if column.starts_with("extra") => {
            Refusal::new(row.line, format!("line_{column}"), why)
        }
        Some((row, column)) => Refusal::new(row.line, column, why),
        None => Refusal::new(first, field.as_str(), why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_compared_as_they_are_stored() {
        let note = |reason: &str| ImportedNote {
            did: "paid".into(),
            reason: reason.into(),
            ..ImportedNote::default()
        };
        assert!(are_notes(&[note("agreed")], &[note(" agreed ")]));
        assert!(!are_notes(&[note("agreed")], &[note("paid")]));
        assert!(!are_notes(&[note("agreed")], &[]));
    }
}
