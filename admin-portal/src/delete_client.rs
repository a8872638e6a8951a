//! DeleteClient. Open orders hold a client; with cascade they are cancelled first.
//!
//! Its confirmed and cancelled orders stay: confirmed ones are the shop's sales and account for the stock they hold
//! for good (the audit counts them), cancelled ones are history. They are under the CID, so while there are any the CID
//! stays taken: the deletion leaves a record of state gone there, and nobody is registered under it again. Without
//! orders the record goes, and the CID is free.
//!
//! Whether there are orders is looked up before the deletion, which guards the offset of the client's record: every order
//! that is created moves it, so that none can come in between.
//!
//! The row of the index goes with the client: each step guards the version of the record whose row it changes.
//!
//! A cascade: (1) state closing, from when on nothing new can come; (2) every open order is cancelled, in batches;
//! (3) the deletion, guarded by `open_orders` = 0. Each is repeated harmlessly; (1) and (3) carry the user's
//! request id, so that a repeated request is answered as the first; (2) and (3) guard that the state is closing, so that
//! nothing happens to a later client of the same CID.

use portal::attempt::{Attempts, Request, shown};
use portal::deletion::{Doomed, Work};
use portal::document::client::ClientRecord;
use portal::document::event::{Subject, What};
use portal::document::{OPEN_ORDERS, STATE, State, write};
use portal::error::Kind;
use portal::id::Cid;
use portal::index::{self, Row};
use portal::settle::CLOSE;
use portal::{Error, Portal, key};
use proto::portal::{DeleteClientRequest, DeleteResponse};
use proto::store::failed_guard::Reason;
use proto::store::{FailedGuard, Record, Txn, TxnResponse};
use store_client::now_ms;

use crate::clients::{self, NEVER, guard_seen, refused};
use crate::holders::{self, Begun, Done};

/// What a deletion rests on.
struct Seen {
    /// The version of the client's record.
    offset: u64,
    /// Whether orders lie under its id, in whatever state.
    has_orders: bool,
    /// A cascade has begun on it.
    is_closing: bool,
    /// Its rows in the index; none if the record cannot be read.
    rows: Vec<Row>,
}

pub(crate) async fn delete_client(
    portal: &Portal,
    mut input: DeleteClientRequest,
) -> Result<DeleteResponse, Error> {
    let given = input.request.take();
    let request = Request::new("DeleteClient", given, &input)?;
    let cid = portal.cid("cid", &input.cid).await?;
    if !input.cascade {
        return end(portal, &cid, &input, request, Done::default()).await;
    }
    let mut begun = close(portal, &cid, input.if_match, &request).await?;
    let changed = holders::cancel_all(portal, &cid, begun.work()).await?;
    let done = begun.done(portal, changed).await?;
    end(portal, &cid, &input, request, done).await
}

/// Goes on with a deletion that was begun by another portal, and ends it under `request`.
pub(crate) async fn go_on(
    portal: &Portal,
    cid: &Cid,
    work: &mut Work,
    request: Request,
) -> Result<(), Error> {
    let input = DeleteClientRequest { cid: cid.to_string(), cascade: true, ..DeleteClientRequest::default() };
    let changed = holders::cancel_all(portal, cid, Some(work)).await?;
    end(portal, cid, &input, request, Done { changed, continued: true, was_closing: false }).await.map(drop)
}

/// The last step, which deletes the client.
async fn end(
    portal: &Portal,
    cid: &Cid,
    input: &DeleteClientRequest,
    request: Request,
    done: Done,
) -> Result<DeleteResponse, Error> {
    let at = key::client(cid);
    let mut attempts = Attempts::new(portal, request);
    loop {
        let seen = look(portal, cid).await?;
        let event = portal.event(Subject::Client, What::Deleted);
        let event = event.after_version(seen.as_ref().map_or(0, |seen| seen.offset));
        let txn = event.append_to(deletion(cid, input, seen.as_ref()), cid.encoded());
        let answer = attempts.send(txn).await?;
        if answer.success {
            let record = shown(&answer, &at).map(|record| ClientRecord::read(&at, record)).transpose()?;
            let data = record.map_or_else(|| "{}".to_owned(), |record| record.data.get().to_owned());
            return Ok(done.deleted(data, input.cascade && answer.remembered));
        }
        if let Some(error) = refusal(portal, cid, input, &answer).await? {
            return done.refused(error);
        }
        attempts.again(&answer).await?;
    }
}

/// The client's record, and after it its orders; `None`: there is nobody to delete.
async fn look(portal: &Portal, cid: &Cid) -> Result<Option<Seen>, Error> {
    let at = key::client(cid);
    let record = portal.read_through(&at).await?.record;
    let Some(record) = record.filter(|record| ClientRecord::registers(&at, record)) else { return Ok(None) };
    let has_orders = holders::any_order(portal, cid).await?.is_some();
    // What no portal wrote can be deleted, too, and has no rows.
    let rows = index::rows_of(&at, &record).unwrap_or_default();
    let is_closing = ClientRecord::read(&at, &record).is_ok_and(|client| client.state == State::Closing);
    Ok(Some(Seen { offset: record.offset(), has_orders, is_closing, rows }))
}

fn deletion(cid: &Cid, input: &DeleteClientRequest, seen: Option<&Seen>) -> Txn {
    let at = key::client(cid);
    // With cascade the record was closed, and is of another version than the administrator saw.
    let is_meant = |seen: &&Seen| input.cascade || [0, seen.offset].contains(&input.if_match);
    let seen = seen.filter(is_meant);
    let mut txn = Txn::new().guard_offset(at.clone(), seen.map_or(NEVER, |seen| seen.offset));
    if input.cascade {
        txn = txn.guard_json(at.clone(), STATE, State::Closing.json());
    }
    let mut txn = txn.guard_json(at.clone(), OPEN_ORDERS, "0");
    if input.cascade || seen.is_some_and(|seen| seen.is_closing) {
        txn = txn.delete(Doomed::Client(cid.clone()).note());
    }
    let txn = match seen {
        Some(Seen { has_orders: true, .. }) => txn.put(at, now_ms(), write(&ClientRecord::gone())),
        _ => txn.delete(at),
    };
    index::moved(txn.returning_before(), seen.map_or(&[], |seen| &seen.rows), &[], now_ms())
}

/// From now on the client's orders do not change, but by a cascade, which is noted as this request's.
async fn close(portal: &Portal, cid: &Cid, if_match: u64, request: &Request) -> Result<Begun, Error> {
    let mut attempts = Attempts::new(portal, request.part(CLOSE));
    let doomed = Doomed::Client(cid.clone());
    loop {
        let seen = clients::look(portal, cid).await?;
        let event = portal.event(Subject::Client, What::Closing);
        let event = event.after_version(seen.as_ref().map_or(0, |seen| seen.offset));
        let txn = closing(cid, if_match, seen.as_ref());
        let txn = event.append_to(doomed.noted(txn, request, portal.log_time_ms()), cid.encoded());
        let answer = attempts.send(txn).await?;
        if answer.success {
            let is_new = !answer.remembered;
            return Ok(match is_new {
                true => Begun::Mine(Work::begun(doomed, request.clone(), answer.offset())),
                false => Begun::Before,
            });
        }
        // Absent or gone: perhaps this very request has deleted it; the deletion says. Closing: an interrupted cascade is
        // taken up again, whatever version it was begun from.
        let is_over = |failed: &FailedGuard| matches!(failed.reason(), Reason::Absent | Reason::WrongValue);
        if answer.failed.iter().any(is_over) {
            let is_closing = seen.is_some_and(|seen| seen.client.state == State::Closing);
            return Ok(if is_closing { Begun::Before } else { Begun::Nothing });
        }
        if let Some(error) = refused(cid, if_match, &answer) {
            return Err(error);
        }
        attempts.again(&answer).await?;
    }
}

fn closing(cid: &Cid, if_match: u64, seen: Option<&clients::Seen>) -> Txn {
    let (at, now) = (key::client(cid), now_ms());
    let txn = guard_seen(Txn::new(), cid, if_match, seen.map(|seen| seen.offset))
        .guard_json(at.clone(), STATE, State::Active.json())
        .set_json(at, now, STATE, State::Closing.json());
    let Some(seen) = seen else { return txn };
    let closed = ClientRecord { state: State::Closing, ..seen.client.clone() };
    index::moved(txn, &seen.rows, &index::rows_of_client(cid, &closed), now)
}

/// Why the deletion was refused; `None`: the client changed meanwhile, and it is to be tried again.
async fn refusal(
    portal: &Portal,
    cid: &Cid,
    input: &DeleteClientRequest,
    answer: &TxnResponse,
) -> Result<Option<Error>, Error> {
    let Some(FailedGuard { key: at, record: Some(record), .. }) = answer.failed.first() else {
        let absent = || Error::NotFound { kind: Kind::Client, id: cid.to_string() };
        return Ok(Some(refused(cid, 0, answer).unwrap_or_else(absent)));
    };
    if !ClientRecord::registers(at, record) {
        return Ok(Some(Error::Gone { id: cid.to_string() }));
    }
    if record.data.is_empty() {
        // Remembered without its data: what is there now decides, unless a version was asked for.
        let is_other = !input.cascade && ![0, record.offset()].contains(&input.if_match);
        return Ok(is_other.then(|| changed(cid, record)));
    }
    let client = ClientRecord::read(at, record)?;
    let is_other = if input.cascade {
        // What was closed is gone, and the CID was inserted anew: that one is not this request's to delete.
        client.state != State::Closing
    } else {
        ![0, record.offset()].contains(&input.if_match)
    };
    if is_other {
        return Ok(Some(changed(cid, record)));
    }
    if client.open_orders == 0 {
        return Ok(None);
    }
    let open = u64::try_from(client.open_orders).unwrap_or(0);
    let by = holders::of_client(portal, cid).await?;
    let more = open.saturating_sub(by.len() as u64);
    Ok(Some(Error::Held { kind: Kind::Client, id: cid.to_string(), by, more }))
}

fn changed(cid: &Cid, record: &Record) -> Error {
    Error::Changed { kind: Kind::Client, id: cid.to_string(), etag: record.offset() }
}
