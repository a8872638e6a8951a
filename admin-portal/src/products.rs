//! InsertProduct, UpdateProduct, GetProduct, ListProducts: to people one document, in the store `p` and `s`.

use portal::attempt::{Attempts, Request, shown};
use portal::document::product::{ProductData, ProductRecord};
use portal::document::stock::{ADJUSTED, AVAILABLE, StockRecord};
use portal::document::{STATE, State, write};
use portal::error::Kind;
use portal::id::{Pid, slug};
use portal::{Error, Portal, key};
use proto::portal::{
    GetProductRequest, InsertProductRequest, ListProductsResponse, ListRequest, Product, UpdateProductRequest,
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
    let pid = match input.pid.as_str() {
        "" => {
            let why = "is empty, and the description has no letters or digits to make one from";
            Pid::chosen("pid", &slug(&data.description).ok_or_else(|| Error::invalid("pid", why))?)?
        }
        pid => Pid::chosen("pid", pid)?,
    };
    let mut attempts = Attempts::new(portal, request);
    let mut remains: Option<(StockRecord, u64)> = None;
    loop {
        let answer = attempts.send(insertion(&pid, &data, quantity, remains.as_ref())).await?;
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

/// `remains`: the stock that an earlier product of this PID left, because orders hold or have sold some of it, and its version. What
/// came back since is among the quantity.
fn insertion(pid: &Pid, data: &ProductData, quantity: i64, remains: Option<&(StockRecord, u64)>) -> Txn {
    let (at, stock, now) = (key::product(pid), key::stock(pid), now_ms());
    let product = write(&ProductRecord::new(data));
    let txn = Txn::new().guard_absent(at.clone());
    let txn = match remains {
        None => txn.guard_absent(stock.clone()),
        Some((_, offset)) => txn.guard_offset(stock.clone(), *offset),
    };
    let txn = txn.put(at, now, product).returning_after();
    match remains {
        None => txn.put(stock, now, write(&StockRecord::new(quantity))).returning_after(),
        Some((seen, _)) => {
            let difference = quantity - seen.available;
            txn.add(stock.clone(), now, ADJUSTED, difference, None)
                .add(stock, now, AVAILABLE, difference, Some(0))
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

/// The product must exist, and be of the version that the administrator saw, if one was named.
pub(crate) fn guard_match(txn: Txn, pid: &Pid, if_match: u64) -> Txn {
    match if_match {
        0 => txn.guard_exists(key::product(pid)),
        offset => txn.guard_offset(key::product(pid), offset),
    }
}

/// Why a guard on the product's own record failed; `None`: none did.
pub(crate) fn refused(pid: &Pid, answer: &TxnResponse) -> Option<Error> {
    let at = key::product(pid);
    let failed: Vec<&FailedGuard> = answer.failed.iter().filter(|failed| failed.key == at).collect();
    let (kind, id) = (Kind::Product, pid.to_string());
    if let Some(changed) = failed.iter().find(|failed| failed.reason() == Reason::WrongOffset) {
        return Some(Error::Changed { kind, id, etag: changed.record.as_ref().map_or(0, Record::offset) });
    }
    match failed.first()?.reason() {
        Reason::Absent => Some(Error::NotFound { kind, id }),
        _ => Some(Error::Closing { kind, id }),
    }
}

/// What the stock is to be, and the version of it that this rests on.
struct Wanted {
    quantity: i64,
    seen: Option<(StockRecord, u64)>,
}

pub(crate) async fn update_product(
    portal: &Portal,
    mut input: UpdateProductRequest,
) -> Result<Product, Error> {
    let given = input.request.take();
    let request = Request::new("UpdateProduct", given, &input)?;
    let data = ProductData::parse(&input.data)?;
    if data.quantity.is_none() && input.if_match_stock != 0 {
        return Err(Error::invalid("if_match_stock", "is given, but the data has no \"quantity\""));
    }
    let pid = portal.pid("pid", &input.pid).await?;
    let stock_at = key::stock(&pid);
    let mut attempts = Attempts::new(portal, request);
    loop {
        let wanted = match data.quantity {
            None => None,
            Some(quantity) => {
                let record = portal.read_through(&stock_at).await?.record;
                let read = |record: Record| {
                    Ok::<_, Error>((StockRecord::read(&stock_at, &record)?, record.offset()))
                };
                Some(Wanted { quantity, seen: record.map(read).transpose()? })
            }
        };
        let answer = attempts.send(update(&pid, &data, &input, wanted.as_ref())).await?;
        if answer.success {
            return answered(portal, &pid, &answer).await;
        }
        if let Some(error) = refused(&pid, &answer) {
            return Err(error);
        }
        if input.if_match_stock != 0 {
            let moved = answer.failed.iter().find(|failed| failed.key == stock_at);
            let etag = moved.and_then(|failed| failed.record.as_ref()).map_or(0, Record::offset);
            if etag != input.if_match_stock {
                return Err(Error::Changed { kind: Kind::Product, id: pid.to_string(), etag });
            }
        }
        attempts.again(&answer).await?;
    }
}

/// Replaces the description, and moves the stock by the difference to what was seen of it.
fn update(pid: &Pid, data: &ProductData, input: &UpdateProductRequest, wanted: Option<&Wanted>) -> Txn {
    let (at, stock, now) = (key::product(pid), key::stock(pid), now_ms());
    let mut txn =
        guard_match(Txn::new(), pid, input.if_match).guard_json(at.clone(), STATE, State::Active.json());
    if input.if_match_stock != 0 {
        txn = txn.guard_offset(stock.clone(), input.if_match_stock);
    }
    let put = write(&ProductRecord::new(data));
    match wanted {
        None => txn.put(at, now, put).returning_after().get(stock),
        Some(Wanted { quantity, seen: Some((seen, offset)) }) => {
            let difference = quantity - seen.available;
            txn.guard_offset(stock.clone(), *offset)
                .put(at, now, put)
                .returning_after()
                .add(stock.clone(), now, ADJUSTED, difference, None)
                .add(stock, now, AVAILABLE, difference, Some(0))
                .returning_after()
        }
        // There is no stock, hence no product: the guards say so.
        Some(Wanted { seen: None, .. }) => txn.guard_exists(stock.clone()).get(stock),
    }
}

pub(crate) async fn get_product(portal: &Portal, input: &GetProductRequest) -> Result<Product, Error> {
    product(portal, &portal.pid("pid", &input.pid).await?).await
}

pub(crate) async fn list_products(
    portal: &Portal,
    input: &ListRequest,
) -> Result<ListProductsResponse, Error> {
    let page = portal.products(&input.prefix, input.limit, &input.after).await?;
    Ok(ListProductsResponse { products: page.products, next: page.next, damage: page.damage })
}
