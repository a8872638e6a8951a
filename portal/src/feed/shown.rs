//! Events as they are shown: what is stored, and what follows from it.

use proto::portal::{Event, EventFacts, EventOrderLine, StockMovement};
use store_client::Group;

use crate::document::event::{EventLine, EventRecord, Facts, StockMove, What};
use crate::document::order::Phase;
use crate::error::{Error, Kind};
use crate::event_place::{Cursor, Place};

const MINUTE_MS: i64 = 60_000;
/// What is said to have been done by an event that cannot be read; its id is its key.
const DAMAGED: &str = "damaged";

/// An event of the log of `group`, of the client, product or order of this id.
pub(super) fn shown(group: Group, place: Place, id: &str, record: EventRecord) -> Event {
    let mut cursor = Cursor::default();
    cursor.saw(group, place);
    let stocks = movements(id, &record);
    let kind = record.of.map_or(Kind::Order, |of| of.kind());
    let (id, cid) = match (&record.oid, kind) {
        (Some(oid), _) => (oid.clone(), id.to_owned()),
        (None, Kind::Shop) => ("rules".to_owned(), String::new()),
        (None, _) => (id.to_owned(), String::new()),
    };
    let line = |line: &EventLine| EventOrderLine { pid: line.pid.clone(), was: line.was, is: line.is };
    Event {
        cursor: cursor.to_string(),
        group,
        offset: place.offset,
        did: record.did.word().to_owned(),
        kind: kind.word().to_owned(),
        id,
        cid,
        by: record.by.word().to_owned(),
        portal: record.portal,
        at_ms: record.at_ms,
        previous: record.previous,
        before: facts(&record.before),
        after: facts(&record.after),
        changed: record.changed,
        lines: record.lines.iter().map(line).collect(),
        lines_left_out: record.lines_left_out,
        stocks,
        note: record.note.map(|note| note.shown()),
    }
}

/// What stands in the place of an event that cannot be read.
pub(super) fn damaged(group: Group, place: Place, key: &[u8], error: &Error) -> Event {
    tracing::warn!(%error, "an event is damaged");
    let mut cursor = Cursor::default();
    cursor.saw(group, place);
    let id = String::from_utf8_lossy(key).into_owned();
    Event {
        cursor: cursor.to_string(),
        group,
        offset: place.offset,
        did: DAMAGED.to_owned(),
        id,
        ..Event::default()
    }
}

/// Whether an event stands in the place of one that cannot be read.
#[must_use]
pub fn is_damaged(event: &Event) -> bool {
    event.did == DAMAGED
}

fn facts(facts: &Facts) -> Option<EventFacts> {
    let Facts { state, total, description, price, rules, hold_ms, currency, feed_days, decimals } = facts;
    let minutes = |ms: &i64| u32::try_from(ms.div_euclid(MINUTE_MS)).unwrap_or(u32::MAX);
    let shown = EventFacts {
        state: state.map_or_else(Default::default, Phase::shown).into(),
        total: total.map(|total| total.to_string()).unwrap_or_default(),
        description: description.clone().unwrap_or_default(),
        price: price.map(|price| price.to_string()).unwrap_or_default(),
        rules: rules.and_then(|rules| rules.shown()),
        hold_minutes: hold_ms.as_ref().map(minutes),
        currency: currency.clone(),
        feed_days: *feed_days,
        decimals: *decimals,
    };
    (*facts != Facts::default()).then_some(shown)
}

/// What the operation moved of stocks, as the laws have it: what is added to one number is taken from another.
fn movements(id: &str, record: &EventRecord) -> Vec<StockMovement> {
    if let Some(StockMove { by, available: left, low_stock }) = record.stock {
        // What a product is inserted with is `initial`, or an adjustment of what an earlier one left.
        let adjusted = if record.did == What::Inserted { 0 } else { by };
        let moved = StockMovement { pid: id.to_owned(), available: by, adjusted, ..StockMovement::default() };
        return vec![with_left(moved, left, low_stock)];
    }
    let tracked = record.lines.iter().filter(|line| !line.untracked);
    let moved = tracked.filter_map(|line| {
        let moved = movement(record, line)?;
        let low = record.low.iter().find(|low| low.pid == line.pid);
        Some(with_left(moved, low.and_then(|low| low.available), low.map_or(0, |low| low.low_stock)))
    });
    moved.collect()
}

fn movement(record: &EventRecord, line: &EventLine) -> Option<StockMovement> {
    let moved = StockMovement { pid: line.pid.clone(), ..StockMovement::default() };
    let units = line.is;
    Some(match record.did {
        What::Created | What::Modified => {
            let taken = line.is - line.was;
            StockMovement { available: -taken, held: taken, ..moved }
        }
        What::Cancelled | What::Expired => StockMovement { available: units, held: -units, ..moved },
        What::Refunded if record.before.state != Some(Phase::Returned) => {
            StockMovement { available: units, held: -units, ..moved }
        }
        What::Sent => StockMovement { held: -units, sold: units, ..moved },
        What::Returned => StockMovement { available: units, sold: -units, ..moved },
        What::Discarded => StockMovement { adjusted: -units, sold: -units, ..moved },
        What::Imported => {
            let state = record.after.state?;
            let (held, sold) = match (state.holds(), state.has_sold()) {
                (true, _) => (units, 0),
                (_, true) => (0, units),
                _ => return None,
            };
            let (available, adjusted) = if line.brought { (0, units) } else { (-units, 0) };
            StockMovement { available, adjusted, held, sold, ..moved }
        }
        _ => return None,
    })
}

/// It is low since this movement if it was not before.
fn with_left(moved: StockMovement, left: Option<i64>, low_stock: i64) -> StockMovement {
    let is_low = |left: i64| low_stock > 0 && left <= low_stock;
    let low = left.is_some_and(|left| is_low(left) && !is_low(left.saturating_sub(moved.available)));
    StockMovement { left, low, ..moved }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> EventRecord {
        EventRecord::read(b"f/", text.as_bytes()).expect(text)
    }

    fn of(text: &str) -> Event {
        shown(1, Place { offset: 7, index: 2 }, "ana", read(text))
    }

    #[test]
    fn a_stock_is_low_once_when_it_falls_to_its_threshold() {
        let taken = |left: i64| {
            let text = format!(
                r#"{{"did":"created","portal":"p","at_ms":1,"oid":"o","lines":[{{"pid":"pen","is":3}}],"low":[{{"pid":"pen","low_stock":5,"available":{left}}}]}}"#
            );
            let stock = of(&text).stocks[0].clone();
            assert_eq!((stock.available, stock.held, stock.left), (-3, 3, Some(left)));
            stock.low
        };
        assert_eq!([9, 6, 5, 3, 2, 0].map(taken), [false, false, true, true, false, false]);
    }

    #[test]
    fn what_one_number_of_a_stock_gains_others_lose() {
        let text = |did: &str, from: &str, to: &str| {
            let state = |word: &str| format!(r#"{{"state":"{word}"}}"#);
            format!(
                r#"{{"did":"{did}","portal":"p","at_ms":1,"oid":"o","before":{},"after":{},"lines":[{{"pid":"pen","was":4,"is":4}},{{"pid":"work","was":1,"is":1,"untracked":true}}]}}"#,
                state(from),
                state(to)
            )
        };
        for (did, from, to, moved) in [
            ("cancelled", "open", "cancelled", Some((4, -4, 0, 0))),
            ("expired", "open", "cancelled", Some((4, -4, 0, 0))),
            ("sent", "packed", "sent", Some((0, -4, 4, 0))),
            ("returned", "sent", "returned", Some((4, 0, -4, 0))),
            ("discarded", "sent", "returned", Some((0, 0, -4, -4))),
            ("refunded", "paid", "refunded", Some((4, -4, 0, 0))),
            ("refunded", "returned", "refunded", None),
            ("imported", "open", "paid", Some((-4, 4, 0, 0))),
            ("imported", "open", "sent", Some((-4, 0, 4, 0))),
            ("imported", "open", "cancelled", None),
        ] {
            let event = of(&text(did, from, to));
            let stocks: Vec<_> =
                event.stocks.iter().map(|one| (one.available, one.held, one.sold, one.adjusted)).collect();
            assert_eq!(stocks, moved.into_iter().collect::<Vec<_>>(), "{did} from {from}");
            for (available, held, sold, adjusted) in stocks {
                assert_eq!(adjusted, available + held + sold, "the law of the stock holds after {did}");
            }
            assert_eq!((event.kind.as_str(), event.id.as_str(), event.cid.as_str()), ("order", "o", "ana"));
        }
    }
}
