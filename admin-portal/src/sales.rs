//! GetSales: what was sold in a span of time, added up from the feed, a page at a time.
//!
//! An order is *sold* when it is confirmed, with the lines that it has then: they are frozen. It is *taken back* when its goods come back (returned or
//! discarded) or, if they never left, when its money goes back (refunded): once, since no state comes twice. The event says when, the order what: nothing
//! is written for it when an order is confirmed.
//!
//! An imported order was sold elsewhere, at a time that no event tells: it is not counted as sold here, unless it was imported open and is confirmed
//! here. What is taken back here counts on the day on which it came.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use portal::calendar::UtcOffset;
use portal::document::event::What;
use portal::document::order::{OrderRecord, Phase};
use portal::feed::is_damaged;
use portal::feed::span::Spanned;
use portal::id::{Cid, Oid};
use portal::limits::{PAGE_MAX, READS_PARALLEL, SALES_LINES_MAX};
use portal::money::Sum;
use portal::page::LeftOut;
use portal::{Error, Portal, key};
use proto::portal::{Event, GetSalesRequest, OrderState, Sales, SalesOfDay, SalesOfProduct};

/// Which way goods and money went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Sold,
    Back,
}

/// What an event is to the sales; `None`: nothing.
fn way(event: &Event) -> Option<Way> {
    let was = || event.before.as_ref().map(|before| before.state());
    let did = |what: What| event.did == what.word();
    if did(What::Confirmed) {
        return Some(Way::Sold);
    }
    // The money of goods that came back follows them.
    let is_back = did(What::Returned)
        || did(What::Discarded)
        || (did(What::Refunded) && was() != Some(OrderState::Returned));
    is_back.then_some(Way::Back)
}

/// Orders, units, money.
#[derive(Clone, Copy, Default)]
struct Count {
    orders: u64,
    units: u64,
    amount: Sum,
}

/// Both ways of a day or a product.
#[derive(Clone, Copy, Default)]
struct Counts {
    sold: Count,
    back: Count,
}

impl Counts {
    fn of(&mut self, way: Way) -> &mut Count {
        match way {
            Way::Sold => &mut self.sold,
            Way::Back => &mut self.back,
        }
    }
}

/// A page on its way.
#[derive(Default)]
struct Added {
    days: BTreeMap<String, Counts>,
    /// By id, with the description of the last line.
    products: BTreeMap<String, (String, Counts)>,
    lines: usize,
}

impl Added {
    fn add(&mut self, day: String, way: Way, order: OrderRecord) {
        let of_day = self.days.entry(day).or_default().of(way);
        of_day.orders += 1;
        of_day.amount = of_day.amount.plus(order.total);
        self.lines += order.lines.len();
        for line in order.lines {
            let units = line.quantity.unsigned_abs();
            of_day.units += units;
            let (description, counts) = self.products.entry(line.pid).or_default();
            *description = line.description;
            let of_product = counts.of(way);
            of_product.orders += 1;
            of_product.units += units;
            of_product.amount = of_product.amount.plus(line.price.times(line.quantity));
        }
    }
}

fn days(days: BTreeMap<String, Counts>) -> Vec<SalesOfDay> {
    let day = |(day, Counts { sold, back })| SalesOfDay {
        day,
        orders: sold.orders,
        units: sold.units,
        amount: sold.amount.to_string(),
        orders_back: back.orders,
        units_back: back.units,
        amount_back: back.amount.to_string(),
    };
    days.into_iter().map(day).collect()
}

fn products(products: BTreeMap<String, (String, Counts)>) -> Vec<SalesOfProduct> {
    let product = |(pid, (description, Counts { sold, back }))| SalesOfProduct {
        pid,
        description,
        orders: sold.orders,
        units: sold.units,
        amount: sold.amount.to_string(),
        orders_back: back.orders,
        units_back: back.units,
        amount_back: back.amount.to_string(),
    };
    products.into_iter().map(product).collect()
}

/// The span that is asked for.
fn span(input: &GetSalesRequest) -> Result<std::ops::Range<i64>, Error> {
    for (field, ms) in [("from_ms", input.from_ms), ("to_ms", input.to_ms)] {
        if ms < 0 {
            return Err(Error::invalid(field, "must not be negative: milliseconds since 1970, or 0"));
        }
    }
    let to_ms = if input.to_ms == 0 { i64::MAX } else { input.to_ms };
    if input.from_ms >= to_ms {
        let why = format!("{to_ms} is not later than from_ms, {}: nothing is in between", input.from_ms);
        return Err(Error::invalid("to_ms", why));
    }
    Ok(input.from_ms..to_ms)
}

/// One page.
pub(crate) async fn get_sales(portal: &Portal, input: &GetSalesRequest) -> Result<Sales, Error> {
    let limit = match input.limit {
        0 => PAGE_MAX,
        limit if limit > PAGE_MAX => {
            return Err(Error::invalid("limit", format!("{limit} is more than {PAGE_MAX}")));
        }
        limit => limit,
    };
    let span = span(input)?;
    let place = UtcOffset::parse(&input.utc_offset).ok_or_else(|| {
        Error::invalid("utc_offset", "is no offset from UTC, such as -03:00 or +05:30 (Z, or nothing: UTC)")
    })?;
    let Spanned { events, mut next, since_ms } = portal.events_between(&span, &input.after, limit).await?;
    let (mut added, mut left_out) = (Added::default(), LeftOut::default());
    let counted = events.into_iter().filter_map(|event| {
        let way = if is_damaged(&event) { None } else { Some(way(&event)?) };
        Some((event, way))
    });
    let mut orders = stream::iter(counted)
        .map(async |(event, way)| match way {
            Some(way) => (order_of(portal, &event).await.map(|order| Some((way, order))), event),
            None => (Err(Error::damaged(event.id.as_bytes(), "not an event")), event),
        })
        .buffered(READS_PARALLEL);
    while let Some((order, event)) = orders.next().await {
        if let Some((way, order)) = left_out.or(order)?.flatten() {
            added.add(place.day_of(event.at_ms), way, order);
        }
        if added.lines >= SALES_LINES_MAX {
            // Whether there is more the next page says.
            next = event.cursor;
            break;
        }
    }
    let shop = portal.rules_seen();
    Ok(Sales {
        days: days(added.days),
        products: products(added.products),
        next,
        since_ms,
        so_far: portal.log_time_ms() < span.end,
        damage: left_out.damage(),
        decimals: shop.decimals(),
        currency: shop.currency,
    })
}

/// The order that an event is of, as the store has it: a cache may have it as it was before it was frozen.
async fn order_of(portal: &Portal, event: &Event) -> Result<OrderRecord, Error> {
    let unreadable =
        |what: &str| Error::damaged(event.id.as_bytes(), format!("the event at {}: {what}", event.cursor));
    let cid = Cid::stored("cid", &event.cid).map_err(|_| unreadable("its client's id is none"))?;
    let oid = Oid::parse(&event.id).ok_or_else(|| unreadable("its order's id is none"))?;
    let at = key::order(&cid, &oid);
    let Some(record) = portal.read_through(&at).await?.record else {
        return Err(Error::damaged(
            &at,
            format!("no order is there, and the event at {} is of one", event.cursor),
        ));
    };
    let order = OrderRecord::read(&at, &record)?;
    match order.phase {
        Phase::Open | Phase::Cancelled => {
            let why =
                format!("{}, though the event at {} says {}", order.phase.word(), event.cursor, event.did);
            Err(Error::damaged(&at, why))
        }
        _ => Ok(order),
    }
}
