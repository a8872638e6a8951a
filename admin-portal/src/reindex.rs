//! Reindex: the rows of the indexes made anew, one bounded step a request (`portal::index` has their invariant).
//!
//! ```text
//!   products: each record has its rows ─► each row is its record's ─► the mark i/p
//!   clients:  each record has its rows ─► each row is its record's ─► the mark i/c
//! ```
//!
//! A step looks at a page of records or of rows, and changes what is wrong in transactions that guard the version of the record that they
//! rest on, so that portals go on writing meanwhile. What it has passed stays right, since every change writes its rows. The cursor
//! names the part and the last key looked at. It carries a check, so that none is made up by hand: a mark is set at the end of a
//! pass alone that came from its beginning. Nothing here needs a request's id: a step that is repeated finds its work done.
//!
//! Leaves out: rows of orders, and records that no portal wrote, which are named and have none.

use bytes::Bytes;
use futures::StreamExt as _;
use portal::attempt::{pause, send_step};
use portal::document::shop::ShopRecord;
use portal::error::Kind;
use portal::index::{self, Row};
use portal::limits::{ATTEMPTS_MAX, REINDEX_PARALLEL};
use portal::page::{self, LeftOut, Page};
use portal::{Error, Portal, key};
use proto::portal::{ReindexRequest, ReindexResponse};
use proto::store::{Freshness, KeyRecord, Record, Txn};
use store_client::{Range, now_ms};

/// A part of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// The records of a kind.
    Records(Kind),
    /// Their rows.
    Rows(Kind),
}

/// The parts, in their order.
const PARTS: [Part; 4] = [
    Part::Records(Kind::Product),
    Part::Rows(Kind::Product),
    Part::Records(Kind::Client),
    Part::Rows(Kind::Client),
];

impl Part {
    fn range(self) -> Range {
        Range::Prefix(match self {
            Part::Records(Kind::Client) => key::beginning_with('c', ""),
            Part::Records(_) => key::beginning_with('p', ""),
            Part::Rows(kind) => index::rows(kind),
        })
    }
}

/// `PART.CHECK.KEY`, of a key that can stand in a request; without a key the part begins.
fn cursor(part: usize, at: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(at).ok().filter(|text| !text.contains(char::is_control))?;
    let digest = proto::hash::digest(&[b"reindex", &[u8::try_from(part).ok()?], at]);
    let check = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    Some(format!("{part}.{check:08x}.{text}"))
}

/// The part that a cursor is in, and the key behind which it goes on.
fn place(after: &str) -> Result<(usize, Option<Bytes>), Error> {
    if after.is_empty() {
        return Ok((0, None));
    }
    let read = || {
        let mut pieces = after.splitn(3, '.');
        let (part, _, at) = (pieces.next()?.parse().ok()?, pieces.next()?, pieces.next()?);
        let is_ours = part < PARTS.len() && cursor(part, at.as_bytes())? == after;
        is_ours.then(|| (part, Some(Bytes::copy_from_slice(at.as_bytes())).filter(|at| !at.is_empty())))
    };
    let why = "is no cursor of this operation; give back the answer's `next`, or leave it out to begin anew";
    read().ok_or_else(|| Error::invalid("after", why))
}

pub(crate) async fn reindex(portal: &Portal, input: &ReindexRequest) -> Result<ReindexResponse, Error> {
    let limit = page::limit(input.limit)?;
    let (part, after) = place(&input.after)?;
    if input.after.is_empty() {
        // A portal gives orders their rows again meanwhile, and takes away those that are no order's.
        portal.change_shop(|shop| ShopRecord { orders_listed: false, ..shop }).await?;
    }
    let kind_of_part = PARTS[part];
    let Page { records, next } =
        portal.page(kind_of_part.range(), limit, after, |at| cursor(part, at)).await?;
    let mut answer = ReindexResponse { looked_at: records.len() as u64, next, ..ReindexResponse::default() };
    let mut left_out = LeftOut::default();
    let each = records.into_iter().map(|one| in_part(portal, kind_of_part, one));
    let mut done = futures::stream::iter(each).buffered(REINDEX_PARALLEL);
    while let Some(one) = done.next().await {
        let Done { written, removed } = left_out.or(one)?.unwrap_or_default();
        (answer.written, answer.removed) = (answer.written + written, answer.removed + removed);
    }
    answer.damage = left_out.damage();
    if answer.next.is_empty() {
        if let Part::Rows(kind) = kind_of_part {
            portal.complete_index(kind).await?;
        }
        answer.next = cursor(part + 1, b"").filter(|_| part + 1 < PARTS.len()).unwrap_or_default();
    }
    Ok(answer)
}

/// What was done for one record or row.
#[derive(Clone, Copy, Default)]
struct Done {
    written: u64,
    removed: u64,
}

/// Makes right what a record or row of a part lacks or is too many.
async fn in_part(portal: &Portal, part: Part, one: KeyRecord) -> Result<Done, Error> {
    match part {
        Part::Records(_) => of_record(portal, &one).await,
        Part::Rows(_) => of_row(portal, &one).await,
    }
}

/// What is stored under a key now. Rows are past the cache, and so is this: a pass reads each record once.
async fn stored(portal: &Portal, at: &Bytes) -> Result<Option<Record>, Error> {
    Ok(portal.store().get(at.clone(), Freshness::linearizable()).await?.record)
}

/// Writes the rows that a record lacks.
async fn of_record(portal: &Portal, one: &KeyRecord) -> Result<Done, Error> {
    let mut record = one.record.clone();
    for failed in 1..=ATTEMPTS_MAX {
        let Some(found) = record else { return Ok(Done::default()) };
        let lacking = lacking(portal, index::rows_of(&one.key, &found)?).await?;
        if lacking.is_empty() {
            return Ok(Done::default());
        }
        let guarded = Txn::new().guard_offset(one.key.clone(), found.offset());
        if send_step(portal, index::moved(guarded, &[], &lacking, now_ms())).await?.success {
            return Ok(Done { written: lacking.len() as u64, removed: 0 });
        }
        pause(failed).await;
        record = stored(portal, &one.key).await?;
    }
    Err(Error::Contended { attempts: ATTEMPTS_MAX })
}

/// Those of a record's rows that are not there, or say something else.
async fn lacking(portal: &Portal, rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    let mut lacking = Vec::new();
    for row in rows {
        if stored(portal, &row.key).await?.is_none_or(|there| there.data != row.data) {
            lacking.push(row);
        }
    }
    Ok(lacking)
}

/// Removes a row that is not its record's.
async fn of_row(portal: &Portal, one: &KeyRecord) -> Result<Done, Error> {
    let Some(there) = &one.record else { return Ok(Done::default()) };
    let Some(place) = index::place(&one.key) else {
        // No portal wrote it: whoever did may change it now.
        let txn = Txn::new().guard_offset(one.key.clone(), there.offset()).delete(one.key.clone());
        let is_removed = send_step(portal, txn).await?.success;
        return Ok(Done { written: 0, removed: u64::from(is_removed) });
    };
    for failed in 1..=ATTEMPTS_MAX {
        let record = stored(portal, &place.record).await?;
        let guarded = match &record {
            Some(record) => Txn::new().guard_offset(place.record.clone(), record.offset()),
            None => Txn::new().guard_absent(place.record.clone()),
        };
        // A record that cannot be read has no rows.
        let rows = record.map(|record| index::rows_of(&place.record, &record).unwrap_or_default());
        if rows.is_some_and(|rows| rows.iter().any(|row| row.key == one.key)) {
            return Ok(Done::default());
        }
        if send_step(portal, guarded.delete(one.key.clone())).await?.success {
            return Ok(Done { written: 0, removed: 1 });
        }
        pause(failed).await;
    }
    Err(Error::Contended { attempts: ATTEMPTS_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place_and_none_is_made_up() {
        for (part, at) in [(0, &b"p/{fig}"[..]), (1, b"i/p/d/fig /{fig}"), (3, "c/{a.b.ç}".as_bytes())] {
            let text = cursor(part, at).expect("a cursor");
            assert_eq!(place(&text), Ok((part, Some(Bytes::copy_from_slice(at)))));
        }
        assert_eq!(place(&cursor(2, b"").expect("a cursor")), Ok((2, None)));
        assert_eq!(place(""), Ok((0, None)));
        let last = cursor(3, b"i/c/n/a /{a}").expect("a cursor");
        for made_up in ["3", "fig", "0..p/{fig}", "3.00000000.", &last.replace("{a}", "{z}"), "9.00000000.x"]
        {
            assert!(matches!(place(made_up), Err(Error::Invalid { .. })), "{made_up}");
        }
        assert_eq!((cursor(0, b"p/{\xff}"), cursor(0, b"p/{a\n}")), (None, None));
    }
}
