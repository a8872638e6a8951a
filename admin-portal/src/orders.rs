//! ListOrders and GetOrder: the orders of all clients, also of those who were removed, since orders outlive them.
//!
//! The list is in key order, unless the newest are wanted first ([`crate::newest`]): by client, then by order id, which is made by chance
//! and says nothing of time. A request looks through a bounded piece
//! ([`FILTERED_PAGES_MAX`] pages of the store), and time is a filter. The cursor is the last order *looked at*, `CID/OID`: a page
//! that a filter has emptied goes on behind it, and no page skips or repeats what was there all the time.
//!
//! The time is that of the order's last change, by the store's log time: an order id tells none.

use portal::document::order::{OrderRecord, Phase};
use portal::error::Kind;
use portal::id::{Cid, Oid, Pid};
use portal::limits::{FILTERED_PAGES_MAX, PAGE_MAX};
use portal::page::{LeftOut, Page};
use portal::{Error, Portal, key, page};
use proto::json::state;
use proto::portal::{
    Order, OrderState, StaffGetOrderRequest, StaffListOrdersRequest, StaffListOrdersResponse,
    StaffOrderSummary,
};
use proto::store::{KeyRecord, Record};
use store_client::Range;

use crate::newest;

/// Which orders are wanted.
struct Wanted {
    state: Option<OrderState>,
    cid: Option<Cid>,
    pid: Option<Pid>,
    /// The time of the last change, from (inclusive) to (exclusive).
    changed_ms: std::ops::Range<i64>,
}

impl Wanted {
    async fn of(portal: &Portal, input: &StaffListOrdersRequest) -> Result<Wanted, Error> {
        let state = match OrderState::try_from(input.state) {
            Ok(OrderState::Unspecified) => None,
            Ok(state) => Some(state),
            Err(_) => {
                let why = format!("{} is no state of an order; there are {}", input.state, state::all());
                return Err(Error::invalid("state", why));
            }
        };
        let cid = match input.cid.as_str() {
            "" => None,
            cid => Some(portal.cid("cid", cid).await?),
        };
        let pid = match input.pid.as_str() {
            "" => None,
            pid => Some(portal.pid("pid", pid).await?),
        };
        Ok(Wanted { state, cid, pid, changed_ms: times(input.changed_from_ms, input.changed_to_ms)? })
    }

    fn range(&self) -> Range {
        Range::Prefix(self.cid.as_ref().map_or_else(key::orders, key::orders_of))
    }

    /// Whether every order of the range is wanted.
    fn takes_all(&self) -> bool {
        self.state.is_none() && self.pid.is_none() && self.changed_ms == (0..i64::MAX)
    }

    fn takes(&self, order: &OrderRecord, record: &Record) -> bool {
        let has = |pid: &Pid| order.lines.iter().any(|line| line.pid == pid.as_str());
        self.state.is_none_or(|state| order.phase.shown() == state)
            && self.pid.as_ref().is_none_or(has)
            && (self.changed_ms == (0..i64::MAX) || self.changed_ms.contains(&order.changed_ms(record)))
    }

    /// Where the list goes on.
    fn after(&self, cursor: &str) -> Result<Option<bytes::Bytes>, Error> {
        if cursor.is_empty() {
            return Ok(None);
        }
        let wrong = |what: &str| {
            let why = format!("{what}; give back the answer's `next` (CID/OID, the last order looked at)");
            Error::invalid("after", why)
        };
        let (cid, oid) = cursor.rsplit_once('/').ok_or_else(|| wrong("is no cursor of this list"))?;
        let cid = Cid::parse("after", cid)?;
        let oid = Oid::parse(oid).ok_or_else(|| wrong("does not end in the id of an order"))?;
        if self.cid.as_ref().is_some_and(|wanted| *wanted != cid) {
            return Err(wrong("is of another client than `cid`"));
        }
        Ok(Some(key::order(&cid, &oid)))
    }
}

/// A range of time; 0 leaves an end open.
fn times(from_ms: i64, to_ms: i64) -> Result<std::ops::Range<i64>, Error> {
    for (field, ms) in [("changed_from_ms", from_ms), ("changed_to_ms", to_ms)] {
        if ms < 0 {
            return Err(Error::invalid(field, "must not be negative: milliseconds since 1970, or 0"));
        }
    }
    let to_ms = if to_ms == 0 { i64::MAX } else { to_ms };
    if from_ms >= to_ms {
        let why = format!("{to_ms} is not later than changed_from_ms, {from_ms}: no order is in between");
        return Err(Error::invalid("changed_to_ms", why));
    }
    Ok(from_ms..to_ms)
}

/// What a cursor says of a key; `None`: it is no order's.
fn cursor_of(at: &[u8]) -> Option<String> {
    let (cid, oid) = key::order_in(at)?;
    Cid::parse("after", cid.as_str()).is_ok().then(|| format!("{cid}/{oid}"))
}

pub(crate) async fn list_orders(
    portal: &Portal,
    input: &StaffListOrdersRequest,
) -> Result<StaffListOrdersResponse, Error> {
    let mut page = listed_orders(portal, input).await?;
    let shop = portal.rules_seen();
    page.orders.iter_mut().for_each(|order| order.total_shown = shop.total_shown(&order.total));
    Ok(page)
}

async fn listed_orders(
    portal: &Portal,
    input: &StaffListOrdersRequest,
) -> Result<StaffListOrdersResponse, Error> {
    let limit = page::limit(input.limit)?;
    let wanted = Wanted::of(portal, input).await?;
    if by_time(input)? {
        return newest_first(portal, wanted, limit as usize, &input.after).await;
    }
    let mut after = wanted.after(&input.after)?;
    let (mut orders, mut left_out, mut is_empty) = (Vec::new(), LeftOut::default(), after.is_none());
    let mut next = String::new();
    for _ in 0..FILTERED_PAGES_MAX {
        let missing = limit - u32::try_from(orders.len()).unwrap_or(limit);
        let most = if wanted.takes_all() { missing } else { PAGE_MAX };
        let Page { records, next: behind } = portal.page(wanted.range(), most, after, cursor_of).await?;
        is_empty &= records.is_empty();
        let looked_at = taken(&wanted, &records, limit as usize, &mut orders, &mut left_out)?;
        let is_cut = looked_at < records.len();
        let last = records[..looked_at].last().map(|one| one.key.clone());
        next = if is_cut { last.as_deref().and_then(cursor_of).unwrap_or_default() } else { behind };
        if next.is_empty() || orders.len() >= limit as usize {
            break;
        }
        after = last;
    }
    if is_empty && next.is_empty() {
        is_known(portal, wanted.cid.as_ref()).await?;
    }
    Ok(StaffListOrdersResponse { orders, next, damage: left_out.damage() })
}

/// Whether the newest are wanted first.
fn by_time(input: &StaffListOrdersRequest) -> Result<bool, Error> {
    match input.sort.as_str() {
        "" | "id" => Ok(false),
        "newest" if input.pid.is_empty() => Ok(true),
        "newest" => {
            let why = "is not known to the list by time; leave out one of `pid` and `sort`";
            Err(Error::invalid("pid", why))
        }
        other => {
            let why = format!("{other:?} is no order of this list; there are id and newest");
            Err(Error::invalid("sort", why))
        }
    }
}

async fn newest_first(
    portal: &Portal,
    wanted: Wanted,
    limit: usize,
    after: &str,
) -> Result<StaffListOrdersResponse, Error> {
    let Wanted { state, cid, changed_ms, .. } = wanted;
    let phase = Phase::ALL.into_iter().find(|phase| state == Some(phase.shown()));
    let wanted = newest::Wanted { phase, cid, changed_ms, limit };
    let page = newest::list(portal, &wanted, after).await?;
    if page.orders.is_empty() && page.next.is_empty() && after.is_empty() {
        is_known(portal, wanted.cid.as_ref()).await?;
    }
    Ok(page)
}

/// Takes the wanted ones until there are enough; how many were looked at.
fn taken(
    wanted: &Wanted,
    records: &[KeyRecord],
    limit: usize,
    orders: &mut Vec<StaffOrderSummary>,
    left_out: &mut LeftOut,
) -> Result<usize, Error> {
    for (at, one) in records.iter().enumerate() {
        orders.extend(left_out.or(listed(wanted, one))?.flatten());
        // Only where a cursor can go on.
        if orders.len() >= limit && cursor_of(&one.key).is_some() {
            return Ok(at + 1);
        }
    }
    Ok(records.len())
}

fn listed(wanted: &Wanted, one: &KeyRecord) -> Result<Option<StaffOrderSummary>, Error> {
    let Some(record) = &one.record else { return Ok(None) };
    let (cid, oid) = key::order_in(&one.key).ok_or_else(|| Error::damaged(&one.key, "not an order's key"))?;
    let order = OrderRecord::read(&one.key, record)?;
    Ok(wanted.takes(&order, record).then(|| order.staff_summary(&cid, &oid, record)))
}

/// A client without orders may be one whose id was mistyped.
async fn is_known(portal: &Portal, cid: Option<&Cid>) -> Result<(), Error> {
    let Some(cid) = cid else { return Ok(()) };
    match portal.read_verifying_absence(&key::client(cid)).await?.record {
        Some(_) => Ok(()),
        None => Err(Error::NotFound { kind: Kind::Client, id: cid.to_string() }),
    }
}

pub(crate) async fn get_order(portal: &Portal, input: &StaffGetOrderRequest) -> Result<Order, Error> {
    let named = portal.named_by_staff(&input.cid, &input.oid).await?;
    portal.order(&named).await
}
