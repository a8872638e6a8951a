//! The meaning of a refused import of an order. Judged by keys and records, as `order_refusal` does.

use proto::store::failed_guard::Reason;
use proto::store::{FailedGuard, TxnResponse};

use crate::change::Imported;
use crate::document::State;
use crate::document::client::ClientRecord;
use crate::document::order::{Line, Phase};
use crate::document::product::ProductRecord;
use crate::document::stock::StockRecord;
use crate::error::{Error, Kind, Short};
use crate::id::{Cid, Oid};
use crate::key;
use crate::order_refusal::Refused;

/// What a refused import means.
///
/// # Errors
/// What is stored is damaged.
pub fn import_refused(
    (cid, oid): (&Cid, &Oid),
    import: &Imported,
    refused: &TxnResponse,
) -> Result<Refused, Error> {
    let by_letter =
        |letter: u8| refused.failed.iter().filter(move |failed| failed.key.first() == Some(&letter));
    if let Some(failed) = by_letter(b'c').next() {
        return client_refused(cid, import.client_removed, failed);
    }
    if by_letter(b'o').any(|failed| failed.reason() == Reason::Present) {
        let error = Error::AlreadyExists { kind: Kind::Order, id: oid.to_string() };
        return Ok(Refused::For(error));
    }
    for failed in by_letter(b'p') {
        if let Some(error) = product_refused(import, failed)? {
            return Ok(Refused::For(error));
        }
    }
    let mut short = Vec::new();
    for failed in by_letter(b's') {
        short.extend(stock_refused(import, failed)?);
    }
    let is_short = !short.is_empty();
    Ok(if is_short { Refused::For(Error::ShortStock { short, more: 0 }) } else { Refused::Again(None) })
}

fn client_refused(cid: &Cid, was_removed: bool, failed: &FailedGuard) -> Result<Refused, Error> {
    let (kind, id) = (Kind::Client, cid.to_string());
    let Some(record) = &failed.record else {
        // Of a removed client: nobody has the id any more.
        return Ok(if was_removed {
            Refused::Again(None)
        } else {
            Refused::For(Error::NotFound { kind, id })
        });
    };
    if record.data.is_empty() {
        return Ok(Refused::Again(None));
    }
    let client = ClientRecord::read(&failed.key, record)?;
    Ok(match client.state {
        State::Gone if was_removed => Refused::Again(None),
        // Somebody else has it now, and is given nobody's orders.
        State::Active | State::Closing if was_removed => Refused::For(Error::AlreadyExists { kind, id }),
        State::Gone => Refused::For(Error::Gone { id }),
        State::Closing => Refused::For(Error::Closing { kind, id }),
        State::Active => {
            let why = format!("refused for {:?}, open_orders {}", failed.reason(), client.open_orders);
            return Err(Error::damaged(&failed.key, why));
        }
    })
}

fn product_refused(import: &Imported, failed: &FailedGuard) -> Result<Option<Error>, Error> {
    let id = key::id_in(&failed.key).ok_or_else(|| Error::damaged(&failed.key, "not a product's key"))?;
    let Some(record) = &failed.record else {
        return Ok(Some(Error::NotFound { kind: Kind::Product, id }));
    };
    if record.data.is_empty() || import.order.phase != Phase::Open {
        return Ok(None);
    }
    let product = ProductRecord::read(&failed.key, record)?;
    let is_closing = product.state == State::Closing;
    Ok(is_closing.then_some(Error::Closing { kind: Kind::Product, id }))
}

fn stock_refused(import: &Imported, failed: &FailedGuard) -> Result<Option<Short>, Error> {
    let pid = key::id_in(&failed.key).ok_or_else(|| Error::damaged(&failed.key, "not a stock's key"))?;
    let Some(record) = failed.record.as_ref().filter(|record| !record.data.is_empty()) else {
        return Ok(None);
    };
    let line = import.order.lines.iter().find(|line| line.pid == pid);
    let wanted = line.map_or(0, Line::taken);
    if failed.reason() != Reason::BelowMinimum || wanted == 0 {
        return Ok(None);
    }
    let left = StockRecord::read(&failed.key, record)?.orderable();
    Ok(Some(Short { pid, wanted, left, holds: 0 }))
}
