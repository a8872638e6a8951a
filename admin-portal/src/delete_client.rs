//! DeleteClient. Open orders hold a client; with cascade they are cancelled first.
//!
//! Its confirmed and cancelled orders stay: confirmed ones are the shop's sales and account for the stock they hold
//! for good (the audit counts them), cancelled ones are history. They are under the CID, so a client that is inserted
//! again with it sees them: a new person takes a new CID.
//!
//! A cascade: (1) state closing, from when on nothing new can come; (2) every open order is cancelled, in batches;
//! (3) the record is deleted, guarded by `open_orders` = 0. Each is repeated harmlessly; (1) and (3) carry the user's
//! request id, so that a repeated request is answered as the first; (2) and (3) guard that the state is closing, so that
//! nothing happens to a client who was registered anew under the CID since.

use portal::attempt::{Attempts, Request, shown};
use portal::document::client::ClientRecord;
use portal::document::{OPEN_ORDERS, STATE, State};
use portal::error::Kind;
use portal::id::Cid;
use portal::{Error, Portal, key};
use proto::portal::{DeleteClientRequest, DeleteResponse};
use proto::store::failed_guard::Reason;
use proto::store::{FailedGuard, Txn, TxnResponse};
use store_client::now_ms;

use crate::clients::{guard_match, refused};
use crate::holders;

pub(crate) async fn delete_client(
    portal: &Portal,
    mut asked: DeleteClientRequest,
) -> Result<DeleteResponse, Error> {
    let given = asked.request.take();
    let request = Request::new("DeleteClient", given, &asked)?;
    let cid = Cid::parse("cid", &asked.cid)?;
    if asked.cascade {
        close(portal, &cid, asked.if_match, request.part("close")).await?;
        holders::cancel_all(portal, &cid).await?;
    }
    // A closed record is of another version than the administrator saw.
    let if_match = if asked.cascade { 0 } else { asked.if_match };
    let at = key::client(&cid);
    let mut txn = guard_match(Txn::new(), &cid, if_match);
    if asked.cascade {
        txn = txn.guard_json(at.clone(), STATE, State::Closing.json());
    }
    let txn = txn.guard_json(at.clone(), OPEN_ORDERS, "0").delete(at.clone()).returning_before();
    let answer = Attempts::new(portal, request).send(txn).await?;
    if !answer.success {
        return Err(held(portal, &cid, asked.cascade, &answer).await?);
    }
    let record = shown(&answer, &at).map(|record| ClientRecord::read(&at, record)).transpose()?;
    let data = record.map_or_else(|| "{}".to_owned(), |record| record.data.get().to_owned());
    Ok(DeleteResponse { data })
}

/// From now on the client's orders do not change, but by a cascade.
async fn close(portal: &Portal, cid: &Cid, if_match: u64, request: Request) -> Result<(), Error> {
    let txn = guard_match(Txn::new(), cid, if_match).set_json(
        key::client(cid),
        now_ms(),
        STATE,
        State::Closing.json(),
    );
    let answer = Attempts::new(portal, request).send(txn).await?;
    if answer.success || answer.failed.first().is_some_and(is_absent) || is_closing(&answer)? {
        // Absent: perhaps this very request has deleted it. The deletion says.
        return Ok(());
    }
    Err(refused(cid, &answer))
}

fn is_absent(failed: &FailedGuard) -> bool {
    failed.reason() == Reason::Absent
}

/// An interrupted cascade had closed it: it is taken up again, whatever version it was begun from.
fn is_closing(answer: &TxnResponse) -> Result<bool, Error> {
    let Some(failed) = answer.failed.first() else { return Ok(false) };
    match failed.record.as_ref().filter(|record| !record.data.is_empty()) {
        Some(record) => Ok(ClientRecord::read(&failed.key, record)?.state == State::Closing),
        None => Ok(false),
    }
}

/// Why the deletion was refused.
async fn held(portal: &Portal, cid: &Cid, cascade: bool, answer: &TxnResponse) -> Result<Error, Error> {
    let counted = answer.failed.iter().find(|failed| failed.reason() == Reason::WrongValue);
    let Some(FailedGuard { key: at, record: Some(record), .. }) = counted else {
        return Ok(refused(cid, answer));
    };
    if answer.failed.iter().any(|failed| failed.reason() == Reason::WrongOffset) {
        return Ok(refused(cid, answer));
    }
    let client = ClientRecord::read(at, record)?;
    if cascade && client.state != State::Closing {
        // What was closed is gone, and the CID was inserted anew: that one is not this request's to delete.
        return Ok(Error::Changed { kind: Kind::Client, id: cid.to_string(), etag: record.offset() });
    }
    let open = u64::try_from(client.open_orders).unwrap_or(0);
    let by = holders::of_client(portal, cid).await?;
    let more = open.saturating_sub(by.len() as u64);
    Ok(Error::Held { kind: Kind::Client, id: cid.to_string(), by, more })
}
