//! The row of an order in the list by time: `i/o/STATE/TIME/{CID}/OID`, one for each order.
//!
//! ```json
//! {"lines":2,"total":"5.10","created_ms":1764403200000,"changed_ms":1764403260000}
//! ```
//!
//! TIME is the order's time of change, turned round (9999999999999 less it, 13 digits), so that the newest come first in key order; it is
//! the `timestamp_ms` of the order's record, by the clock of the portal that wrote it. So the order's own record says where its row is, and
//! every change of the order, which guards that version, moves the row in the same transaction. The state stands before the time: the
//! open ones that have not changed for long are one range.
//!
//! Invariant (`order-has-row`, which `feira audit` checks): an order has one row, under its record's state and timestamp, and
//! no row is without its order. Orders of earlier versions have none until a portal has listed them ([`crate::listing`]).
//!
//! The row says what a list shows, so that a page of a list is one scan. Its tag is the client, as the order's: both are in one log,
//! and made at one offset. The row of an order that was listed later names the order's version itself (`etag`).

use bytes::Bytes;
use proto::portal::StaffOrderSummary;
use proto::store::Record;
use serde::{Deserialize, Serialize};

use crate::document::order::{OrderRecord, Phase};
use crate::document::{read, write};
use crate::error::Error;
use crate::id::{Cid, Oid};
use crate::money::Total;

/// The latest time that a key can say: the year 2286.
const TIME_MS_MAX: i64 = 9_999_999_999_999;
/// What the keys of all rows begin with.
pub const ROWS: &str = "i/o/";

/// Where the row of an order is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The order's state.
    pub phase: Phase,
    /// The timestamp of its record, within what a key can say.
    pub listed_ms: i64,
    /// Its client.
    pub cid: Cid,
    /// Its id.
    pub oid: Oid,
}

impl Place {
    /// Where the row of an order is whose record has this timestamp.
    #[must_use]
    pub fn of(phase: Phase, timestamp_ms: i64, cid: &Cid, oid: &Oid) -> Place {
        let listed_ms = listed_ms(timestamp_ms);
        Place { phase, listed_ms, cid: cid.clone(), oid: *oid }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Bytes {
        let Place { phase, listed_ms, cid, oid } = self;
        Bytes::from(format!(
            "{}{:013}/{{{}}}/{oid}",
            of_phase(*phase),
            TIME_MS_MAX - listed_ms,
            cid.encoded()
        ))
    }

    /// The place that a key names; `None`: it is of another form.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<Place> {
        let text = std::str::from_utf8(key).ok()?;
        let (word, rest) = text.strip_prefix(ROWS)?.split_once('/')?;
        let phase = Phase::ALL.into_iter().find(|phase| phase.word() == word)?;
        let (turned, rest) = rest.split_once("/{")?;
        let (encoded, oid) = rest.split_once("}/")?;
        let listed_ms = TIME_MS_MAX.checked_sub(turned.parse().ok()?)?;
        let cid = Cid::stored("cid", &proto::keys::decode_id(encoded).ok()?).ok()?;
        let place = Place { phase, listed_ms, cid, oid: Oid::parse(oid)? };
        (place.key() == key).then_some(place)
    }
}

/// The time that a key says of a record with this timestamp.
#[must_use]
pub fn listed_ms(timestamp_ms: i64) -> i64 {
    timestamp_ms.clamp(0, TIME_MS_MAX)
}

/// What the keys of the rows of one state begin with.
#[must_use]
pub fn of_phase(phase: Phase) -> String {
    format!("{ROWS}{}/", phase.word())
}

/// The first key of rows of this state that may be of `listed_ms` or before.
#[must_use]
pub fn not_after(phase: Phase, listed_ms: i64) -> Bytes {
    let turned = TIME_MS_MAX - listed_ms.clamp(0, TIME_MS_MAX);
    Bytes::from(format!("{}{turned:013}/", of_phase(phase)))
}

/// The first key after all rows of this state.
#[must_use]
pub fn end(phase: Phase) -> Bytes {
    // The byte after the slash.
    Bytes::from(format!("{ROWS}{}0", phase.word()))
}

/// A row as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRow {
    /// How many lines the order has.
    pub lines: u32,
    /// Their sum.
    pub total: Total,
    /// As in the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<i64>,
    /// As the order's, of which every version has one here.
    pub changed_ms: i64,
    /// The version of an order that was listed after it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<u64>,
}

impl OrderRow {
    /// The row of a version of an order that is being written.
    #[must_use]
    pub fn of(order: &OrderRecord, timestamp_ms: i64) -> OrderRow {
        OrderRow {
            lines: u32::try_from(order.lines.len()).unwrap_or(u32::MAX),
            total: order.total,
            created_ms: order.created_ms,
            changed_ms: order.changed_ms.unwrap_or(timestamp_ms),
            etag: None,
        }
    }

    /// The row of a version that is there.
    #[must_use]
    pub fn of_stored(order: &OrderRecord, record: &Record) -> OrderRow {
        OrderRow { etag: Some(record.offset()), ..OrderRow::of(order, record.timestamp_ms) }
    }

    /// Reads what is stored under `key`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], record: &Record) -> Result<OrderRow, Error> {
        read(key, &record.data)
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// What a list shows of it, but for the total as people are shown it.
    #[must_use]
    pub fn summary(&self, place: &Place, record: &Record) -> StaffOrderSummary {
        StaffOrderSummary {
            cid: place.cid.to_string(),
            oid: place.oid.to_string(),
            state: place.phase.shown().into(),
            lines: self.lines,
            total: self.total.to_string(),
            changed_ms: self.changed_ms,
            etag: self.etag.unwrap_or_else(|| record.offset()),
            created_ms: self.created_ms.unwrap_or_default(),
            listed_ms: place.listed_ms,
            total_shown: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::ID_BYTES_MAX;

    /// The store's longest key.
    const KEY_BYTES_MAX: usize = 480;

    fn place(phase: Phase, timestamp_ms: i64, cid: &str) -> Place {
        let cid = Cid::stored("cid", cid).expect("an id");
        Place::of(phase, timestamp_ms, &cid, &Oid::derive(&cid, b"request"))
    }

    #[test]
    fn a_row_is_stored_as_documented() {
        let place = place(Phase::Open, 1_764_403_200_000, "ana/b");
        let key = String::from_utf8(place.key().to_vec()).expect("text");
        assert_eq!(key, format!("i/o/open/8235596799999/{{ana%2Fb}}/{}", place.oid));
        let row = OrderRow { lines: 0, total: Total::ZERO, created_ms: Some(5), changed_ms: 7, etag: None };
        let text = r#"{"lines":0,"total":"0.00","created_ms":5,"changed_ms":7}"#;
        assert_eq!(String::from_utf8_lossy(&row.to_bytes()), text);
        let record = Record { data: text.into(), ..Record::default() };
        assert_eq!(OrderRow::read(b"i/o/", &record), Ok(row));
    }

    #[test]
    fn the_longest_row_fits_in_a_key() {
        for phase in Phase::ALL {
            let longest = place(phase, 0, &"%".repeat(ID_BYTES_MAX));
            assert!(longest.key().len() <= KEY_BYTES_MAX, "{phase:?}");
        }
    }

    proptest! {
        #[test]
        fn a_rows_key_gives_its_place_back(phase in 0..Phase::ALL.len(), at: i64, cid in "\\PC{1,32}") {
            let place = place(Phase::ALL[phase], at, &cid);
            prop_assert_eq!(Place::parse(&place.key()), Some(place.clone()));
            prop_assert_eq!(Place::parse(&place.key()[1..]), None);
        }

        #[test]
        fn the_newest_come_first_within_their_state(a in 0..TIME_MS_MAX, b in 0..TIME_MS_MAX) {
            let (older, newer) = (a.min(b), a.max(b));
            let key = |at| place(Phase::Open, at, "ana").key();
            prop_assert!(key(newer) <= key(older));
            prop_assert!(not_after(Phase::Open, older) <= key(older) && key(older) < end(Phase::Open));
            prop_assert!(older == newer || key(newer) < not_after(Phase::Open, older));
        }
    }
}
