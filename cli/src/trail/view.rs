//! Events as people see them: when, what, on whose behalf, and what it changed.

use proto::portal::{Event, EventFacts, StockMovement};

use crate::shop::view::state;
use crate::show::answer::{Answer, counted};
use crate::show::document::document;
use crate::show::moment;
use crate::show::table::{Column, Table};
use crate::show::written::id;

/// A list of events.
#[must_use]
pub fn events(events: &[Event]) -> Answer {
    let mut table = Table::new(&[
        Column::whole("WHEN"),
        Column::whole("WHAT"),
        Column::whole("OF"),
        Column::whole("BY").dropped(2),
        Column::words("CHANGED"),
        Column::whole("CURSOR").dropped(1),
    ]);
    for event in events {
        table.row([
            moment::shown(event.at_ms),
            format!("{} {}", event.kind, event.did),
            of(event),
            by(event),
            changes(event),
            event.cursor.clone(),
        ]);
    }
    let documents = events.iter().map(document);
    Answer::table(format!("events: {}", counted(events.len() as u64, "event")), documents.collect(), table)
}

/// Of what it is: an order with its client.
fn of(event: &Event) -> String {
    match event.cid.as_str() {
        "" => id(&event.id),
        cid => format!("{} of {}", event.id, id(cid)),
    }
}

/// On whose behalf, and who of staff as they said.
#[must_use]
pub fn by(event: &Event) -> String {
    match event.note.as_ref().map(|note| note.by.as_str()) {
        Some(name) if !name.is_empty() => format!("{} ({})", event.by, id(name)),
        _ => event.by.clone(),
    }
}

/// What it changed, in a few words.
#[must_use]
pub fn changes(event: &Event) -> String {
    let (before, after) = (event.before.clone().unwrap_or_default(), event.after.clone().unwrap_or_default());
    let mut parts = facts(&before, &after);
    if !event.changed.is_empty() {
        parts.push(event.changed.join(", "));
    }
    for line in &event.lines {
        if line.was != line.is {
            parts.push(format!("{} {} → {}", id(&line.pid), line.was, line.is));
        }
    }
    if event.lines_left_out {
        parts.push("lines: as in the order".to_owned());
    }
    parts.extend(event.stocks.iter().map(stock));
    if let Some(note) = event.note.as_ref().filter(|note| !note.reason.is_empty()) {
        parts.push(format!("\"{}\"", note.reason));
    }
    parts.join("; ")
}

fn facts(before: &EventFacts, after: &EventFacts) -> Vec<String> {
    let went = |name: &str, was: String, is: String| match (was.as_str(), is.as_str()) {
        ("", "") => None,
        ("", is) => Some(format!("{name} {is}")),
        (was, "") => Some(format!("{name} was {was}")),
        (was, is) => Some(format!("{name} {was} → {is}")),
    };
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let word = |of: i32| if of == 0 { String::new() } else { state(of).to_owned() };
    let mut parts: Vec<String> = [
        went("state", word(before.state), word(after.state)),
        went("total", before.total.clone(), after.total.clone()),
        went("description", before.description.clone(), after.description.clone()),
        went("price", before.price.clone(), after.price.clone()),
        went("hold minutes", number(before.hold_minutes), number(after.hold_minutes)),
        went(
            "currency",
            before.currency.clone().unwrap_or_default(),
            after.currency.clone().unwrap_or_default(),
        ),
        went("days of events", number(before.feed_days), number(after.feed_days)),
        went("decimals", number(before.decimals), number(after.decimals)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if before.rules != after.rules {
        parts.push("rules of the stock".to_owned());
    }
    parts
}

/// `pen: available −2, held +2; 3 left, low`.
fn stock(moved: &StockMovement) -> String {
    let StockMovement { pid, available, held, sold, adjusted, left, low } = moved;
    let numbers = [("available", available), ("held", held), ("sold", sold), ("adjusted", adjusted)];
    let moved = numbers.into_iter().filter(|(_, by)| **by != 0).map(|(name, by)| format!("{name} {by:+}"));
    let mut text = format!("{}: {}", id(pid), moved.collect::<Vec<_>>().join(", "));
    if let Some(left) = left {
        text += &format!(", {left} left");
    }
    if *low {
        text += ", low";
    }
    text
}

#[cfg(test)]
mod tests {
    use proto::portal::{EventOrderLine, OrderState, StaffNote};

    use super::*;

    #[test]
    fn an_event_is_told_in_a_few_words() {
        let event = Event {
            before: Some(EventFacts { total: "7.50".into(), ..EventFacts::default() }),
            after: Some(EventFacts {
                total: "12.50".into(),
                state: OrderState::Open.into(),
                ..EventFacts::default()
            }),
            lines: vec![EventOrderLine { pid: "pen".into(), was: 3, is: 5 }],
            stocks: vec![StockMovement {
                pid: "pen".into(),
                available: -2,
                held: 2,
                left: Some(3),
                low: true,
                ..StockMovement::default()
            }],
            note: Some(StaffNote { reason: "two more".into(), by: "joana".into(), ..StaffNote::default() }),
            by: "staff".into(),
            ..Event::default()
        };
        assert_eq!(
            changes(&event),
            "state open; total 7.50 → 12.50; pen 3 → 5; pen: available -2, held +2, 3 left, low; \"two more\""
        );
        assert_eq!(by(&event), "staff (joana)");
    }
}
