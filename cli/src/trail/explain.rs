//! `feira explain`: one order's way: each step, which portal did it, where in the log it stands, and how long it took to come there.

use proto::portal::Event;
use serde_json::{Value, json};

use super::view::{by, changes};
use crate::failure::Failure;
use crate::show::answer::{Answer, counted};
use crate::show::document::document;
use crate::show::moment;
use crate::show::table::{Column, Table};

/// The way of an order through these events, the oldest first.
///
/// # Errors
/// There are none.
pub fn order(oid: &str, events: &[Event]) -> Result<Answer, Failure> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Err(Failure::refused(format!("no event of order {oid} is kept"))
            .next("check the id; events are kept for as many days as get-shop says, get-order shows the order itself"));
    };
    let mut table = Table::new(&[
        Column::whole("WHEN"),
        Column::number("AFTER"),
        Column::whole("STEP"),
        Column::whole("BY").dropped(2),
        Column::whole("PORTAL").dropped(3),
        Column::number("OFFSET").dropped(1),
        Column::words("CHANGED"),
    ]);
    let mut steps = Vec::with_capacity(events.len());
    let mut before_ms = first.at_ms;
    for event in events {
        let after_ms = event.at_ms.saturating_sub(before_ms);
        before_ms = event.at_ms;
        table.row([
            moment::shown(event.at_ms),
            span(after_ms),
            event.did.clone(),
            by(event),
            event.portal.clone(),
            event.offset.to_string(),
            changes(event),
        ]);
        let mut step: Value = document(event);
        step["after_ms"] = after_ms.into();
        steps.push(step);
    }
    let whole_ms = last.at_ms.saturating_sub(first.at_ms);
    let cut = (first.previous > 0).then(|| "what was before is kept no more".to_owned());
    let head = format!(
        "order {oid} of {}: {} in {}",
        first.cid,
        counted(events.len() as u64, "step"),
        span(whole_ms)
    );
    let document = json!({ "oid": oid, "cid": first.cid, "steps": steps, "whole_ms": whole_ms });
    Ok(Answer::table(head, document, table).noting(cut))
}

/// `340 ms`, `12.4 s`, `3 min 5 s`, `2 h 7 min`, `3 d 4 h`.
fn span(ms: i64) -> String {
    let s = ms / 1_000;
    match (s / 86_400, s / 3_600, s / 60) {
        (0, 0, 0) if s == 0 => format!("{ms} ms"),
        (0, 0, 0) => format!("{s}.{} s", ms % 1_000 / 100),
        (0, 0, min) => format!("{min} min {} s", s % 60),
        (0, h, min) => format!("{h} h {} min", min % 60),
        (d, h, _) => format!("{d} d {} h", h % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_two_units_at_most() {
        let ms = [0, 340, 12_450, 185_000, 7_620_000, 273_600_000];
        let texts = ["0 ms", "340 ms", "12.4 s", "3 min 5 s", "2 h 7 min", "3 d 4 h"];
        assert_eq!(ms.map(span), texts);
    }

    #[test]
    fn an_order_is_explained_step_by_step_and_one_without_events_is_not() {
        let step = |did: &str, at_ms: i64, offset: u64, previous: u64| Event {
            did: did.into(),
            id: "o".into(),
            cid: "ana".into(),
            by: "client".into(),
            portal: "client-1".into(),
            at_ms,
            offset,
            previous,
            ..Event::default()
        };
        let told = order("o", &[step("created", 1_000, 7, 0), step("confirmed", 13_000, 9, 7)]).unwrap();
        assert_eq!(told.head, "order o of ana: 2 steps in 12.0 s");
        assert_eq!((&told.document["steps"][1]["after_ms"], told.notes.len()), (&json!(12_000), 0));
        let cut = order("o", &[step("confirmed", 13_000, 9, 7)]).unwrap();
        assert_eq!(cut.notes, ["what was before is kept no more"]);
        assert!(order("o", &[]).unwrap_err().message.contains("no event of order o is kept"));
    }
}
