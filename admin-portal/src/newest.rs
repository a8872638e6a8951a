//! ListOrders with `sort` = `newest`: the orders of all clients, the last changed first.
//!
//! Each order has a row ([`portal::order_row`]); those of one state are one range, the newest first. The list merges the ranges of the
//! states that are wanted, and reads no order: a row says what is shown. The cursor is the last row *looked at*, `TIME/CID/OID`,
//! and it means the same place in each range. Filters of time are by the time of the rows (`listed_ms`). A request reads [`FILTERED_PAGES_MAX`] pages at most besides the first of each state.
//!
//! Promises: an order that nobody changes meanwhile is on one page, and on one only. One that is changed goes to the front, where a list
//! that began before does not look any more. States go one way; their ranges are read in that order, so that an order that moves on between two
//! reads is seen twice rather than not at all, and then shown once.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use portal::document::order::Phase;
use portal::id::{Cid, Oid};
use portal::limits::{FILTERED_PAGES_MAX, PAGE_MAX};
use portal::order_row::{OrderRow, Place, ROWS, end, not_after, of_phase};
use portal::page::LeftOut;
use portal::{Error, Portal};
use proto::portal::{StaffListOrdersResponse, StaffOrderSummary};
use proto::store::KeyRecord;
use store_client::Range;

/// Which orders are wanted.
pub(crate) struct Wanted {
    /// Of which state; `None`: of any.
    pub(crate) phase: Option<Phase>,
    /// Of which client; `None`: of any.
    pub(crate) cid: Option<Cid>,
    /// The time of the last change as the list has it, from (inclusive) to (exclusive).
    pub(crate) changed_ms: std::ops::Range<i64>,
    /// How many.
    pub(crate) limit: usize,
}

impl Wanted {
    fn phases(&self) -> impl Iterator<Item = Phase> {
        Phase::ALL.into_iter().filter(|phase| self.phase.is_none_or(|wanted| wanted == *phase))
    }

    /// The keys of this state's rows that may be wanted.
    fn keys(&self, phase: Phase) -> (Bytes, Bytes) {
        let (from_ms, to_ms) = (self.changed_ms.start, self.changed_ms.end);
        let first = match to_ms {
            i64::MAX => Bytes::from(of_phase(phase)),
            to_ms => not_after(phase, to_ms - 1),
        };
        let last = if from_ms > 0 { not_after(phase, from_ms - 1) } else { end(phase) };
        (first, last)
    }

    fn takes(&self, place: &Place) -> bool {
        self.cid.as_ref().is_none_or(|cid| *cid == place.cid)
    }
}

/// The rows of one state, as far as they were read.
struct Rows {
    range: Range,
    phase: Phase,
    after: Option<Bytes>,
    read: VecDeque<KeyRecord>,
    more: bool,
}

impl Rows {
    fn of(phase: Phase, wanted: &Wanted, cursor: Option<&Cursor>) -> Rows {
        let (first, last) = wanted.keys(phase);
        let after = cursor.map(|cursor| cursor.in_range(phase));
        Rows { range: Range::Between(first, last), phase, after, read: VecDeque::new(), more: true }
    }

    /// Reads on where nothing is left to take.
    async fn fill(&mut self, portal: &Portal, limit: u32) -> Result<(), Error> {
        let listed = portal.list(self.range.clone(), limit, self.after.take()).await?;
        self.after = listed.records.last().map(|one| one.key.clone());
        (self.more, self.read) = (listed.more, listed.records.into());
        Ok(())
    }

    /// Where the next row stands among those of all states.
    fn next(&self) -> Option<&[u8]> {
        self.read.front().map(|one| &one.key[of_phase(self.phase).len()..])
    }
}

/// The last row that was looked at.
struct Cursor {
    listed_ms: i64,
    cid: Cid,
    oid: Oid,
}

impl Cursor {
    fn parse(text: &str) -> Result<Option<Cursor>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = || {
            let why = "is no cursor of the list by time; give back the answer's `next` (TIME/CID/OID) with the same `sort`";
            Error::invalid("after", why)
        };
        let (time, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (cid, oid) = rest.rsplit_once('/').ok_or_else(wrong)?;
        let listed_ms = time.parse().map_err(|_| wrong())?;
        let cid = Cid::stored("after", cid).map_err(|_| wrong())?;
        Ok(Some(Cursor { listed_ms, cid, oid: Oid::parse(oid).ok_or_else(wrong)? }))
    }

    fn in_range(&self, phase: Phase) -> Bytes {
        Place::of(phase, self.listed_ms, &self.cid, &self.oid).key()
    }
}

fn cursor(place: &Place) -> String {
    format!("{}/{}/{}", place.listed_ms, place.cid, place.oid)
}

/// One page.
pub(crate) async fn list(
    portal: &Portal,
    wanted: &Wanted,
    after: &str,
) -> Result<StaffListOrdersResponse, Error> {
    let begun = Cursor::parse(after)?;
    if !portal.orders_listed().await? {
        return Err(Error::NotListed);
    }
    let size = if wanted.cid.is_some() { PAGE_MAX } else { u32::try_from(wanted.limit).unwrap_or(PAGE_MAX) };
    let mut ranges: Vec<Rows> =
        wanted.phases().map(|phase| Rows::of(phase, wanted, begun.as_ref())).collect();
    for rows in &mut ranges {
        rows.fill(portal, size).await?;
    }
    let mut page = Merged::default();
    let mut further = FILTERED_PAGES_MAX;
    while page.orders.len() < wanted.limit {
        let nearest = ranges.iter_mut().filter(|rows| rows.next().is_some());
        let Some(rows) = nearest.min_by(|a, b| a.next().cmp(&b.next())) else { break };
        let Some(one) = rows.read.pop_front() else { break };
        page.take(wanted, &one)?;
        if rows.read.is_empty() && rows.more {
            if further == 0 {
                break;
            }
            further -= 1;
            rows.fill(portal, size).await?;
        }
    }
    let is_over = ranges.iter().all(|rows| rows.read.is_empty() && !rows.more);
    let next = match page.last {
        _ if is_over => String::new(),
        Some(last) => last,
        None => {
            let why = "and thousands after it: keys that no portal wrote; delete them with feira kv";
            return Err(Error::damaged(ROWS.as_bytes(), why));
        }
    };
    Ok(StaffListOrdersResponse { orders: page.orders, next, damage: page.left_out.damage() })
}

/// A page on its way.
#[derive(Default)]
struct Merged {
    orders: Vec<StaffOrderSummary>,
    shown: HashSet<Oid>,
    left_out: LeftOut,
    /// The cursor of the last row that was looked at.
    last: Option<String>,
}

impl Merged {
    fn take(&mut self, wanted: &Wanted, one: &KeyRecord) -> Result<(), Error> {
        let Some(record) = &one.record else { return Ok(()) };
        let Some(place) = Place::parse(&one.key) else {
            let damaged = Err::<(), _>(Error::damaged(&one.key, "not a row of an order"));
            return self.left_out.or(damaged).map(drop);
        };
        self.last = Some(cursor(&place));
        let Some(row) = self.left_out.or(OrderRow::read(&one.key, record))? else { return Ok(()) };
        if wanted.takes(&place) && self.shown.insert(place.oid) {
            self.orders.push(row.summary(&place, record));
        }
        Ok(())
    }
}
