//! The meaning of a refused order change.
//!
//! Judged by keys and records, never by the places of guards in our transaction: a remembered refusal may be of
//! another transaction of the same request.

use proto::store::failed_guard::Reason;
use proto::store::{FailedGuard, TxnResponse};

use crate::change::{Demand, Demands, Known, repriced};
use crate::document::State;
use crate::document::client::ClientRecord;
use crate::document::product::ProductRecord;
use crate::document::stock::StockRecord;
use crate::error::{Error, Kind, Short};
use crate::id::{Cid, Oid, Pid};
use crate::key;

/// What a refused transaction means.
#[derive(Debug)]
pub enum Refused {
    /// The answer to the user.
    For(Error),
    /// What the change was made from has changed: decide anew. The order as it is, if the refusal showed it.
    Again(Option<Known>),
}

/// What a refused order change means.
///
/// # Errors
/// What is stored is damaged.
pub fn evaluate(cid: &Cid, oid: &Oid, demands: &Demands, refused: &TxnResponse) -> Result<Refused, Error> {
    let by_letter =
        |letter: u8| refused.failed.iter().filter(move |failed| failed.key.first() == Some(&letter));
    if let Some(failed) = by_letter(b'c').next() {
        return client_refused(cid, failed);
    }
    let mut again = None;
    if let Some(failed) = by_letter(b'o').next() {
        match order_refused(oid, failed, refused.remembered)? {
            Refused::Again(known) => again = Some(Refused::Again(known)),
            refusal @ Refused::For(_) => return Ok(refusal),
        }
    }
    let mut changed = Vec::new();
    for failed in by_letter(b'p') {
        match product_refused(failed, demands)? {
            Some(Error::PriceChanged { changed: one, .. }) => changed.extend(one),
            Some(error) => return Ok(Refused::For(error)),
            None => {}
        }
    }
    // If the order has moved, what its lines cost is not known: a line that is there keeps its price.
    if !changed.is_empty() && again.is_none() {
        return Ok(Refused::For(Error::PriceChanged { changed, more: 0 }));
    }
    let mut short = Vec::new();
    for failed in by_letter(b's') {
        short.extend(stock_refused(failed, demands)?);
    }
    if short.is_empty() || again.is_some() {
        return Ok(again.unwrap_or(Refused::Again(None)));
    }
    Ok(Refused::For(Error::ShortStock { short, more: 0 }))
}

fn client_refused(cid: &Cid, failed: &FailedGuard) -> Result<Refused, Error> {
    let Some(record) = &failed.record else {
        return Ok(Refused::For(Error::UnknownClient { cid: cid.to_string() }));
    };
    if record.data.is_empty() {
        // Remembered without data: that the client is not active is all that is ever guarded.
        return Ok(Refused::For(Error::Closing { kind: Kind::Client, id: cid.to_string() }));
    }
    let client = ClientRecord::read(&failed.key, record)?;
    let why = || format!("refused for {:?}, open_orders {}", failed.reason(), client.open_orders);
    match client.state {
        State::Closing => Ok(Refused::For(Error::Closing { kind: Kind::Client, id: cid.to_string() })),
        State::Gone => Ok(Refused::For(Error::UnknownClient { cid: cid.to_string() })),
        State::Active => Err(Error::damaged(&failed.key, why())),
    }
}

fn order_refused(oid: &Oid, failed: &FailedGuard, remembered: bool) -> Result<Refused, Error> {
    let id = oid.to_string();
    match (failed.reason(), &failed.record) {
        (Reason::Absent, _) => Ok(Refused::For(Error::NotFound { kind: Kind::Order, id })),
        (Reason::Present, _) => Ok(Refused::For(Error::AlreadyExists { kind: Kind::Order, id })),
        (Reason::WrongValue, _) => Ok(Refused::For(Error::OrderEmpty { oid: id })),
        (Reason::TooLarge, _) => Err(Error::damaged(&failed.key, "it would outgrow a record")),
        (_, Some(record)) if !remembered && !record.data.is_empty() => {
            Ok(Refused::Again(Some(Known::read(&failed.key, record)?)))
        }
        _ => Ok(Refused::Again(None)),
    }
}

fn product_refused(failed: &FailedGuard, demands: &Demands) -> Result<Option<Error>, Error> {
    let id = key::id_in(&failed.key).ok_or_else(|| Error::damaged(&failed.key, "not a product's key"))?;
    let Some(record) = &failed.record else { return Ok(Some(Error::NotFound { kind: Kind::Product, id })) };
    if record.data.is_empty() {
        return Ok(None);
    }
    let ProductRecord { state, rules, price, .. } = ProductRecord::read(&failed.key, record)?;
    let demand = demands.get(&Pid::stored("pid", &id)?);
    if state == State::Closing && demand.is_none_or(|demand| demand.more > 0) {
        return Ok(Some(Error::Closing { kind: Kind::Product, id }));
    }
    let outside = demand.map(Demand::quantity).filter(|quantity| !rules.allows(*quantity));
    let (least, most) = (rules.quantity_min, rules.quantity_max);
    if let Some(quantity) = outside {
        return Ok(Some(Error::OutsideQuantity { pid: id, quantity, least, most }));
    }
    let repriced = demand.and_then(|demand| repriced(&id, demand.expects, price));
    Ok(repriced.map(|one| Error::PriceChanged { changed: vec![one], more: 0 }))
}

fn stock_refused(failed: &FailedGuard, demands: &Demands) -> Result<Option<Short>, Error> {
    let id = key::id_in(&failed.key).ok_or_else(|| Error::damaged(&failed.key, "not a stock's key"))?;
    let pid = Pid::stored("pid", &id)?;
    let Some(record) = failed.record.as_ref().filter(|record| !record.data.is_empty()) else {
        return Ok(None);
    };
    let stock = StockRecord::read(&failed.key, record)?;
    match demands.get(&pid).copied() {
        // Whether it takes is not asked: the refusal may be remembered from when the product was tracked.
        Some(Demand { more, holds, .. }) if more > 0 && failed.reason() == Reason::BelowMinimum => {
            Ok(Some(Short { pid: id, wanted: more, left: stock.orderable(), holds }))
        }
        // Remembered from another transaction of this request: the order has changed since.
        _ if !stock.is_conserved() => Err(Error::damaged(&failed.key, "its numbers do not add up")),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proto::store::{Position, Record};

    use super::*;
    use crate::change::tests::{cid, known, pid, ruled};
    use crate::document::rules::Rules;
    use crate::document::write;

    fn refusal(key: bytes::Bytes, reason: Reason, data: Option<&str>, remembered: bool) -> TxnResponse {
        let record = data.map(|data| Record {
            data: bytes::Bytes::copy_from_slice(data.as_bytes()),
            position: Some(Position { epoch: 1, offset: 9 }),
            ..Record::default()
        });
        let failed = FailedGuard { key, reason: reason.into(), record, ..FailedGuard::default() };
        TxnResponse { failed: vec![failed], remembered, ..TxnResponse::default() }
    }

    #[test]
    fn refusals_are_read_from_the_records_that_failed() {
        let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
        let evaluated = |refused: &TxnResponse| {
            evaluate(
                &cid,
                &oid,
                &HashMap::from([(pid("x"), Demand { more: 5, holds: 1, takes: true, expects: None })]),
                refused,
            )
        };
        let error = |refused: TxnResponse| match evaluated(&refused) {
            Ok(Refused::For(error)) => error,
            other => panic!("a refusal: {other:?}"),
        };
        let closing = r#"{"state":"closing","open_orders":1,"data":{}}"#;
        let stock = r#"{"initial":9,"adjusted":0,"available":3,"held":6,"open_orders":2}"#;
        assert!(matches!(
            error(refusal(key::client(&cid), Reason::Absent, None, false)),
            Error::UnknownClient { .. }
        ));
        assert!(matches!(
            error(refusal(key::client(&cid), Reason::WrongValue, Some(closing), false)),
            Error::Closing { kind: Kind::Client, .. }
        ));
        assert!(matches!(
            error(refusal(key::product(&pid("x")), Reason::Absent, None, false)),
            Error::NotFound { kind: Kind::Product, .. }
        ));
        let short = vec![Short { pid: "x".to_owned(), wanted: 5, left: 3, holds: 1 }];
        assert_eq!(
            error(refusal(key::stock(&pid("x")), Reason::BelowMinimum, Some(stock), false)),
            Error::ShortStock { short, more: 0 }
        );
        let order = String::from_utf8(known(&[("x", 1, "1.00")]).order.to_bytes()).expect("JSON");
        let moved =
            |remembered| refusal(key::order(&cid, &oid), Reason::WrongOffset, Some(&order), remembered);
        assert!(matches!(evaluated(&moved(false)), Ok(Refused::Again(Some(Known { offset: 9, .. })))));
        assert!(
            matches!(evaluated(&moved(true)), Ok(Refused::Again(None))),
            "what is remembered is not what is"
        );
    }

    /// A line that is there keeps its price: what a new one costs may be no matter to the order as it is.
    #[test]
    fn another_price_is_no_refusal_if_the_order_has_moved() {
        let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
        let product = String::from_utf8(write(&ruled(Rules::default()).product)).expect("JSON");
        let order = String::from_utf8(known(&[("x", 1, "9.99")]).order.to_bytes()).expect("JSON");
        let expects = crate::money::Price::parse("9.99").ok();
        let demands = HashMap::from([(pid("x"), Demand { more: 1, holds: 0, takes: true, expects })]);
        let priced = refusal(key::product(&pid("x")), Reason::WrongOffset, Some(&product), false);
        let told = evaluate(&cid, &oid, &demands, &priced).expect("a meaning");
        assert!(matches!(told, Refused::For(Error::PriceChanged { .. })), "{told:?}");
        let mut both = refusal(key::order(&cid, &oid), Reason::WrongOffset, Some(&order), false);
        both.failed.extend(priced.failed);
        let told = evaluate(&cid, &oid, &demands, &both).expect("a meaning");
        assert!(matches!(told, Refused::Again(Some(Known { offset: 9, .. }))), "{told:?}");
    }

    #[test]
    fn a_quantity_outside_the_products_bounds_is_refused_by_what_the_store_shows() {
        let (cid, oid) = (cid(), Oid::derive(&cid(), b"r"));
        let bounded = ruled(Rules { quantity_min: 2, quantity_max: 4, ..Rules::default() });
        let record = String::from_utf8(write(&bounded.product)).expect("JSON");
        let evaluated = |more: i64, state: &str| {
            let record = record.replace("active", state);
            let refused = refusal(key::product(&pid("x")), Reason::WrongOffset, Some(&record), false);
            let demand = Demand { more, holds: 3, takes: true, expects: None };
            evaluate(&cid, &oid, &HashMap::from([(pid("x"), demand)]), &refused).expect("a meaning")
        };
        for (more, outside) in [(2, Some(5)), (-2, Some(1)), (1, None), (-1, None)] {
            let error = match evaluated(more, "active") {
                Refused::For(error) => Some(error),
                Refused::Again(_) => None,
            };
            let outside = outside.map(|quantity| Error::OutsideQuantity {
                pid: "x".to_owned(),
                quantity,
                least: 2,
                most: 4,
            });
            assert_eq!(error, outside, "{more}");
        }
        assert!(matches!(evaluated(1, "closing"), Refused::For(Error::Closing { .. })));
        assert!(
            matches!(evaluated(-1, "closing"), Refused::Again(_)),
            "what shrinks may be of what is deleted"
        );
    }
}
