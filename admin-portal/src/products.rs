//! InsertProduct, UpdateProduct, GetProduct, ListProducts: to people one document, in the store `p` and `s`.
//!
//! The rules of the stock come beside the document, and stay as they are if an update has none. They are written into `p`, and the least that
//! may be available into `s`, in one transaction that fails if fewer are available: a rule that the present stock breaks never comes to be.
//!
//! The rows of the indexes are written with `p`: an update guards the version whose rows it removes (`portal::index`).

use bytes::Bytes;
use portal::attempt::{Attempts, Request, shown};
use portal::document::event::{Event, Facts, Subject, What};
use portal::document::product::{DESCRIPTION, EXTRA, PRICE, ProductData, ProductRecord};
use portal::document::rules::{RULES, Rules};
use portal::document::stock::{ADJUSTED, AVAILABLE, LEAST, StockRecord};
use portal::document::{STATE, State, raw, write};
use portal::error::Kind;
use portal::id::{Pid, slug};
use portal::index::{self, Row};
use portal::list::Query;
use portal::{Error, Portal, key};
use proto::portal::{
    GetProductRequest, InsertProductRequest, ListProductsResponse, ListRequest, Product, StockRules,
    UpdateProductRequest,
};
use proto::store::failed_guard::Reason;
use proto::store::{FailedGuard, Record, Txn, TxnResponse};
use store_client::now_ms;

pub(crate) async fn insert_product(
    portal: &Portal,
    mut input: InsertProductRequest,
) -> Result<Product, Error> {
    let given = input.request.take();
    let request = Request::new("InsertProduct", given, &input)?;
    let data = ProductData::parse(&input.data)?;
    let quantity = data.quantity.ok_or_else(|| Error::invalid("data.quantity", "is missing"))?;
    let rules = parsed(input.rules.as_ref())?.unwrap_or_default();
    if quantity < rules.safety_stock {
        let why = format!(
            "{quantity} is less than the safety stock, {}; give more, or less safety stock",
            rules.safety_stock
        );
        return Err(Error::invalid("data.quantity", why));
    }
    let new = New { product: ProductRecord::new(&data).ruled(rules), quantity };
    let pid = match input.pid.as_str() {
        "" => {
            let why = "is empty, and the description has no letters or digits to make one from";
            Pid::chosen("pid", &slug(&data.description).ok_or_else(|| Error::invalid("pid", why))?)?
        }
        pid => Pid::chosen("pid", pid)?,
    };
    portal.begin_index(Kind::Product).await?;
    let mut attempts = Attempts::new(portal, request);
    let mut remains: Option<(StockRecord, u64)> = None;
    loop {
        let txn = insertion(&pid, &new, remains.as_ref());
        let by = remains.as_ref().map_or(new.quantity, |(seen, _)| new.quantity - seen.available);
        let event = portal
            .event(Subject::Product, What::Inserted)
            .facts(Facts::default(), Facts::of_product(&new.product))
            .adjusting(by, 0, txn.operations.len() - 1);
        let answer = attempts.send(event.append_to(txn, pid.encoded())).await?;
        if answer.success {
            return answered(portal, &pid, &answer).await;
        }
        if answer.failed.iter().any(|failed| failed.key == key::product(&pid)) {
            return Err(Error::AlreadyExists { kind: Kind::Product, id: pid.to_string() });
        }
        attempts.again(&answer).await?;
        let stock_at = key::stock(&pid);
        let record = portal.read_through(&stock_at).await?.record;
        let read = |record: Record| Ok::<_, Error>((StockRecord::read(&stock_at, &record)?, record.offset()));
        remains = record.map(read).transpose()?;
    }
}

/// A product that is to be.
struct New {
    product: ProductRecord,
    quantity: i64,
}

/// The rules of a request, if it has any.
fn parsed(rules: Option<&StockRules>) -> Result<Option<Rules>, Error> {
    rules.map(Rules::parse).transpose()
}

/// `remains`: the stock that an earlier product of this PID left, because orders hold or have sold some of it, and its version. What
/// came back since is among the quantity.
fn insertion(pid: &Pid, new: &New, remains: Option<&(StockRecord, u64)>) -> Txn {
    let (at, stock, now) = (key::product(pid), key::stock(pid), now_ms());
    let (quantity, least) = (new.quantity, new.product.rules.least());
    let product = write(&new.product);
    let txn = Txn::new().guard_absent(at.clone());
    let txn = match remains {
        None => txn.guard_absent(stock.clone()),
        Some((_, offset)) => txn.guard_offset(stock.clone(), *offset),
    };
    let txn = txn.put(at, now, product).returning_after();
    let txn = index::moved(txn, &[], &index::rows_of_product(pid, &new.product), now);
    match remains {
        None => {
            let record = StockRecord::new(quantity).with_least(least);
            txn.put(stock, now, write(&record)).returning_after()
        }
        Some((seen, _)) => {
            let difference = quantity - seen.available;
            let txn = match seen.least == least {
                true => txn,
                false => txn.set_json(stock.clone(), now, LEAST, least.to_string()),
            };
            txn.add(stock.clone(), now, ADJUSTED, difference, None)
                .add(stock, now, AVAILABLE, difference, Some(least))
                .returning_after()
        }
    }
}

/// The product as the transaction left it.
pub(crate) async fn answered(portal: &Portal, pid: &Pid, answer: &TxnResponse) -> Result<Product, Error> {
    let (at, stock_at) = (key::product(pid), key::stock(pid));
    match (shown(answer, &at), shown(answer, &stock_at)) {
        (Some(record), Some(stock)) => {
            let of_stock = StockRecord::read(&stock_at, stock)?;
            Ok(ProductRecord::read(&at, record)?.shown(pid, record, Some((&of_stock, stock)), 0))
        }
        // Too large to be remembered with the answer: as it is now.
        _ => product(portal, pid).await,
    }
}

async fn product(portal: &Portal, pid: &Pid) -> Result<Product, Error> {
    let product = portal.product(pid).await?;
    product.ok_or_else(|| Error::NotFound { kind: Kind::Product, id: pid.to_string() })
}

/// An offset that no record ever has: a guard on it fails and says what is there.
const NEVER: u64 = u64::MAX;

/// A product as it is, which is to be another or to go, and its version.
pub(crate) struct Seen {
    pub(crate) product: ProductRecord,
    pub(crate) offset: u64,
    /// Its rows in the indexes.
    pub(crate) rows: Vec<Row>,
}

/// The product as it is; `None`: there is none.
///
/// # Errors
/// [`Error::Damaged`]; UNAVAILABLE.
pub(crate) async fn look(portal: &Portal, pid: &Pid) -> Result<Option<Seen>, Error> {
    let at = key::product(pid);
    let Some(record) = portal.read_through(&at).await?.record else { return Ok(None) };
    let product = ProductRecord::read(&at, &record)?;
    let rows = index::rows_of_product(pid, &product);
    Ok(Some(Seen { product, offset: record.offset(), rows }))
}

/// The product must be of the version that was seen, which must be the one that the administrator saw, if one was named. A guard that
/// never holds shows what is there instead.
pub(crate) fn guard_seen(txn: Txn, pid: &Pid, if_match: u64, seen: Option<u64>) -> Txn {
    let meant = seen.filter(|offset| [0, *offset].contains(&if_match));
    txn.guard_offset(key::product(pid), meant.unwrap_or(NEVER))
}

/// Why [`guard_seen`], or a guard on the product's state beside it, failed; `None`: the product was changed meanwhile, or none of them
/// failed.
pub(crate) fn refused(pid: &Pid, if_match: u64, answer: &TxnResponse) -> Option<Error> {
    let at = key::product(pid);
    let failed: Vec<&FailedGuard> = answer.failed.iter().filter(|failed| failed.key == at).collect();
    let (kind, id) = (Kind::Product, pid.to_string());
    let etag = failed.first()?.record.as_ref().map_or(0, Record::offset);
    let is_of = |reason| failed.iter().any(|failed| failed.reason() == reason);
    if is_of(Reason::Absent) {
        return Some(Error::NotFound { kind, id });
    }
    if if_match != 0 && is_of(Reason::WrongOffset) && etag != if_match {
        return Some(Error::Changed { kind, id, etag });
    }
    is_of(Reason::WrongValue).then_some(Error::Closing { kind, id })
}

/// What the stock is to be, and the version of it that this rests on.
struct Wanted {
    quantity: i64,
    seen: Option<(StockRecord, u64)>,
}

/// A change of a product.
struct Update<'r> {
    input: &'r UpdateProductRequest,
    data: ProductData,
    /// The rules from now on; `None`: as they are.
    rules: Option<Rules>,
}

pub(crate) async fn update_product(
    portal: &Portal,
    mut input: UpdateProductRequest,
) -> Result<Product, Error> {
    let given = input.request.take();
    let request = Request::new("UpdateProduct", given, &input)?;
    let data = ProductData::parse(&input.data)?;
    let rules = parsed(input.rules.as_ref())?;
    if data.quantity.is_none() && input.if_match_stock != 0 {
        return Err(Error::invalid("if_match_stock", "is given, but the data has no \"quantity\""));
    }
    let pid = portal.pid("pid", &input.pid).await?;
    let update = Update { input: &input, data, rules };
    let mut attempts = Attempts::new(portal, request);
    loop {
        let seen = look(portal, &pid).await?;
        let wanted = update.wanted(portal, &pid).await?;
        let txn = update.txn(&pid, seen.as_ref(), wanted.as_ref());
        let event = portal.event(Subject::Product, What::Updated);
        let event = update.told(event, seen.as_ref(), wanted.as_ref(), txn.operations.len() - 1);
        let answer = attempts.send(event.append_to(txn, pid.encoded())).await?;
        if answer.success {
            return answered(portal, &pid, &answer).await;
        }
        if let Some(error) = update.refused(&pid, &answer)? {
            return Err(error);
        }
        attempts.again(&answer).await?;
    }
}

impl Update<'_> {
    async fn wanted(&self, portal: &Portal, pid: &Pid) -> Result<Option<Wanted>, Error> {
        let Some(quantity) = self.data.quantity else { return Ok(None) };
        let at = key::stock(pid);
        let record = portal.read_through(&at).await?.record;
        let read = |record: Record| Ok::<_, Error>((StockRecord::read(&at, &record)?, record.offset()));
        Ok(Some(Wanted { quantity, seen: record.map(read).transpose()? }))
    }

    /// Sets the document's members, and the rules if there are any, with the rows of the product that is to be; moves the stock by the
    /// difference to what was seen of it.
    fn txn(&self, pid: &Pid, product: Option<&Seen>, wanted: Option<&Wanted>) -> Txn {
        let (at, stock, now) = (key::product(pid), key::stock(pid), now_ms());
        let offset = product.map(|seen| seen.offset);
        let mut txn = guard_seen(Txn::new(), pid, self.input.if_match, offset).guard_json(
            at.clone(),
            STATE,
            State::Active.json(),
        );
        if self.input.if_match_stock != 0 {
            txn = txn.guard_offset(stock.clone(), self.input.if_match_stock);
        }
        let seen = match wanted {
            // There was no stock, hence no product. A guard that never holds shows whether that is still so.
            Some(Wanted { seen: None, .. }) => return txn.guard_offset(stock.clone(), NEVER).get(stock),
            Some(Wanted { seen: Some((seen, offset)), .. }) => {
                txn = txn.guard_offset(stock.clone(), *offset);
                Some(seen)
            }
            None => None,
        };
        txn = txn
            .set_json(at.clone(), now, DESCRIPTION, raw(&self.data.description).get().to_owned())
            .set_json(at.clone(), now, PRICE, raw(&self.data.price).get().to_owned())
            .set_json(at.clone(), now, EXTRA, self.data.extra.to_json());
        if let Some(rules) = &self.rules {
            txn = txn.set_json(at, now, RULES, raw(rules).get().to_owned());
        }
        txn = txn.returning_after();
        let rows = index::rows_of_product(pid, &ProductRecord::new(&self.data));
        txn = index::moved(txn, product.map_or(&[], |seen| &seen.rows), &rows, now);
        self.stock_moved(txn, stock, now, wanted, seen)
    }

    /// What is told of it; `left_by`: the operation that leaves the stock.
    fn told(&self, event: Event, product: Option<&Seen>, wanted: Option<&Wanted>, left_by: usize) -> Event {
        let Some(seen) = product else { return event };
        let rules = self.rules.unwrap_or(seen.product.rules);
        let updated = ProductRecord::new(&self.data).ruled(rules);
        let (before, after) =
            Facts::differences(Facts::of_product(&seen.product), Facts::of_product(&updated));
        let changed = seen.product.extra.differences(&self.data.extra);
        let event = event.after_version(seen.offset).facts(before, after).changing(changed);
        match wanted.and_then(|wanted| wanted.seen.as_ref().map(|(seen, _)| wanted.quantity - seen.available))
        {
            Some(difference) if difference != 0 => event.adjusting(difference, rules.low_stock, left_by),
            _ => event,
        }
    }

    /// Adds what becomes of the stock.
    fn stock_moved(
        &self,
        mut txn: Txn,
        stock: Bytes,
        now: i64,
        wanted: Option<&Wanted>,
        seen: Option<&StockRecord>,
    ) -> Txn {
        let difference = wanted.zip(seen).map(|(wanted, seen)| wanted.quantity - seen.available);
        let least = self.rules.map(|rules| rules.least());
        if let Some(least) = least {
            txn = txn.set_json(stock.clone(), now, LEAST, least.to_string());
        }
        match (difference, least.or(seen.map(|seen| seen.least))) {
            (Some(difference), least) => txn
                .add(stock.clone(), now, ADJUSTED, difference, None)
                .add(stock, now, AVAILABLE, difference, Some(least.unwrap_or(0)))
                .returning_after(),
            // Moves nothing, and fails if fewer are available than the rules allow.
            (None, Some(least)) => txn.add(stock, now, AVAILABLE, 0, Some(least)).returning_after(),
            (None, None) => txn.get(stock),
        }
    }

    /// Why it is not done; `None`: what it rests on has changed.
    fn refused(&self, pid: &Pid, answer: &TxnResponse) -> Result<Option<Error>, Error> {
        if let Some(error) = refused(pid, self.input.if_match, answer) {
            return Ok(Some(error));
        }
        let stock_at = key::stock(pid);
        let of_stock: Vec<&FailedGuard> =
            answer.failed.iter().filter(|failed| failed.key == stock_at).collect();
        if self.input.if_match_stock != 0 {
            let etag = of_stock.first().and_then(|failed| failed.record.as_ref()).map_or(0, Record::offset);
            if etag != self.input.if_match_stock {
                return Ok(Some(Error::Changed { kind: Kind::Product, id: pid.to_string(), etag }));
            }
        }
        let Some(record) = of_stock.first().and_then(|failed| failed.record.as_ref()) else {
            return Ok(None);
        };
        let is_below = of_stock.iter().all(|failed| failed.reason() == Reason::BelowMinimum);
        if !is_below || record.data.is_empty() {
            return Ok(None);
        }
        let stock = StockRecord::read(&stock_at, record)?;
        let least = self.rules.map_or(stock.least, |rules| rules.least());
        let available = self.data.quantity.unwrap_or(stock.available);
        Ok(Some(Error::RuleBroken { pid: pid.to_string(), least, available }))
    }
}

pub(crate) async fn get_product(portal: &Portal, input: &GetProductRequest) -> Result<Product, Error> {
    product(portal, &portal.pid("pid", &input.pid).await?).await
}

pub(crate) async fn list_products(
    portal: &Portal,
    input: &ListRequest,
) -> Result<ListProductsResponse, Error> {
    let page = portal.products(&Query::products(input)?).await?;
    Ok(ListProductsResponse { products: page.products, next: page.next, damage: page.damage })
}
