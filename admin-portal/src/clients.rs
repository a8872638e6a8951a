//! InsertClient, UpdateClient, GetClient, ListClients.
//!
//! The row of the index by name is written with the record: an update guards the version whose row it removes (`portal::index`). Orders
//! move that version, too, so that an update may have to be decided anew.

use portal::attempt::{Attempts, Request, shown};
use portal::document::client::{ClientData, ClientRecord, DATA};
use portal::document::event::{Event, Subject, What};
use portal::document::{STATE, State, write};
use portal::error::Kind;
use portal::id::{Cid, slug};
use portal::index::{self, Row};
use portal::limits::{FREE_IDS_MAX, ID_BYTES_MAX};
use portal::list::{Found, Query};
use portal::{Error, Portal, key};
use proto::portal::{
    Client, GetClientRequest, InsertClientRequest, ListClientsResponse, ListRequest, UpdateClientRequest,
};
use proto::store::failed_guard::Reason;
use proto::store::{FailedGuard, KeyRecord, Record, Txn, TxnResponse};
use store_client::now_ms;

use crate::holders;

pub(crate) async fn insert_client(portal: &Portal, mut input: InsertClientRequest) -> Result<Client, Error> {
    let given = input.request.take();
    let request = Request::new("InsertClient", given, &input)?;
    let data = ClientData::parse(&input.data)?;
    let cid = match input.cid.as_str() {
        "" => {
            let made = data.name.as_deref().and_then(slug);
            let why = "is empty, and the data has no member \"name\" to make one from";
            Cid::chosen("cid", &made.ok_or_else(|| Error::invalid("cid", why))?)?
        }
        cid => Cid::chosen("cid", cid)?,
    };
    portal.begin_index(Kind::Client).await?;
    let at = key::client(&cid);
    let mut txn = Txn::new().guard_absent(at.clone());
    // Orders come only to a client that is there, and one that was removed since leaves its mark: what is not found here
    // is not there when the client is inserted. An order without either is from before there were such marks.
    if let Some(order) = holders::any_order(portal, &cid).await? {
        txn = txn.guard_absent(order);
    }
    let (now, client) = (now_ms(), ClientRecord::new(data));
    let txn = txn.put(at.clone(), now, write(&client)).returning_after();
    let txn = index::moved(txn, &[], &index::rows_of_client(&cid, &client), now);
    let txn = portal.event(Subject::Client, What::Inserted).append_to(txn, cid.encoded());
    let answer = Attempts::new(portal, request).send(txn).await?;
    if answer.success {
        return answered(portal, &cid, &answer).await;
    }
    let there = answer.failed.iter().find(|failed| failed.key == at);
    if there.is_some_and(registers) {
        return Err(Error::AlreadyExists { kind: Kind::Client, id: cid.to_string() });
    }
    let free = free_like(portal, &cid).await?;
    Err(Error::IdKept { id: cid.to_string(), free: free.map(|free| free.to_string()) })
}

/// Whether the record on which a guard failed registers somebody.
fn registers(failed: &FailedGuard) -> bool {
    failed.record.as_ref().is_none_or(|record| ClientRecord::registers(&failed.key, record))
}

/// An id like this one that nobody has and under which no orders lie: `ana-2`, then `ana-3`.
async fn free_like(portal: &Portal, cid: &Cid) -> Result<Option<Cid>, Error> {
    let (base, from) = numbered(cid.as_str());
    for number in (from..).take(FREE_IDS_MAX as usize) {
        let Ok(free) = Cid::chosen("cid", &with_number(base, number)) else { return Ok(None) };
        let taken = portal.read_through(&key::client(&free)).await?.record.is_some();
        if !taken && holders::any_order(portal, &free).await?.is_none() {
            return Ok(Some(free));
        }
    }
    Ok(None)
}

/// An id without the number at its end, and the next number.
fn numbered(id: &str) -> (&str, u64) {
    let parts = id.rsplit_once('-').filter(|(base, _)| !base.is_empty());
    let next = |digits: &str| digits.parse::<u32>().ok().map(|number| u64::from(number) + 1);
    parts.and_then(|(base, digits)| Some((base, next(digits)?))).unwrap_or((id, 2))
}

/// `base-number`, the base cut so that it is an id.
fn with_number(base: &str, number: u64) -> String {
    let suffix = format!("-{number}");
    let mut end = base.len().min(ID_BYTES_MAX - suffix.len());
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

pub(crate) async fn update_client(portal: &Portal, mut input: UpdateClientRequest) -> Result<Client, Error> {
    let given = input.request.take();
    let request = Request::new("UpdateClient", given, &input)?;
    let data = ClientData::parse(&input.data)?;
    let cid = portal.cid("cid", &input.cid).await?;
    let mut attempts = Attempts::new(portal, request);
    loop {
        let seen = look(portal, &cid).await?;
        let txn = update(&cid, input.if_match, seen.as_ref(), &data);
        let event = portal.event(Subject::Client, What::Updated);
        let answer = attempts.send(told(event, seen.as_ref(), &data).append_to(txn, cid.encoded())).await?;
        if answer.success {
            return answered(portal, &cid, &answer).await;
        }
        if let Some(error) = refused(&cid, input.if_match, &answer) {
            return Err(error);
        }
        attempts.again(&answer).await?;
    }
}

fn update(cid: &Cid, if_match: u64, seen: Option<&Seen>, data: &ClientData) -> Txn {
    let (at, now) = (key::client(cid), now_ms());
    let txn = guard_seen(Txn::new(), cid, if_match, seen.map(|seen| seen.offset))
        .guard_json(at.clone(), STATE, State::Active.json())
        .set_json(at, now, DATA, data.data.get().to_owned())
        .returning_after();
    let rows = index::rows_of_client(cid, &ClientRecord::new(data.clone()));
    index::moved(txn, seen.map_or(&[], |seen| &seen.rows), &rows, now)
}

/// Which members of the client's data are others now.
fn told(event: Event, seen: Option<&Seen>, data: &ClientData) -> Event {
    let Some(seen) = seen else { return event };
    event.after_version(seen.offset).changing(seen.client.differences(data))
}

/// An offset that no record ever has: a guard on it fails and says what is there.
pub(crate) const NEVER: u64 = u64::MAX;

/// A client as it is, which is to be another, and its version.
pub(crate) struct Seen {
    pub(crate) client: ClientRecord,
    pub(crate) offset: u64,
    /// Its rows in the index.
    pub(crate) rows: Vec<Row>,
}

/// The client's record as it is, also of one that is gone; `None`: there is none.
///
/// # Errors
/// [`Error::Damaged`]; UNAVAILABLE.
pub(crate) async fn look(portal: &Portal, cid: &Cid) -> Result<Option<Seen>, Error> {
    let at = key::client(cid);
    let Some(record) = portal.read_through(&at).await?.record else { return Ok(None) };
    let client = ClientRecord::read(&at, &record)?;
    let rows = index::rows_of_client(cid, &client);
    Ok(Some(Seen { client, offset: record.offset(), rows }))
}

/// The client must be of the version that was seen, which must be the one that the administrator saw, if one was named. A guard that
/// never holds shows what is there instead.
pub(crate) fn guard_seen(txn: Txn, cid: &Cid, if_match: u64, seen: Option<u64>) -> Txn {
    let meant = seen.filter(|offset| [0, *offset].contains(&if_match));
    txn.guard_offset(key::client(cid), meant.unwrap_or(NEVER))
}

/// Why [`guard_seen`], or a guard on the client's state beside it, failed; `None`: the client was changed meanwhile.
pub(crate) fn refused(cid: &Cid, if_match: u64, answer: &TxnResponse) -> Option<Error> {
    let (kind, id) = (Kind::Client, cid.to_string());
    let Some(failed) = answer.failed.first() else { return Some(Error::NotFound { kind, id }) };
    if !registers(failed) {
        return Some(Error::Gone { id });
    }
    let etag = failed.record.as_ref().map_or(0, Record::offset);
    let is_of = |reason| answer.failed.iter().any(|failed| failed.reason() == reason);
    if is_of(Reason::Absent) {
        return Some(Error::NotFound { kind, id });
    }
    if if_match != 0 && is_of(Reason::WrongOffset) && etag != if_match {
        return Some(Error::Changed { kind, id, etag });
    }
    is_of(Reason::WrongValue).then_some(Error::Closing { kind, id })
}

/// The client as the transaction left it.
async fn answered(portal: &Portal, cid: &Cid, answer: &TxnResponse) -> Result<Client, Error> {
    let at = key::client(cid);
    match shown(answer, &at) {
        Some(record) => Ok(ClientRecord::read(&at, record)?.shown(cid, record)),
        // Too large to be remembered with the answer: as it is now.
        None => client(portal, cid).await,
    }
}

async fn client(portal: &Portal, cid: &Cid) -> Result<Client, Error> {
    let at = key::client(cid);
    let mut seen = portal.read_verifying_absence(&at).await?;
    if seen.hit && seen.record.as_ref().is_some_and(|record| !ClientRecord::registers(&at, record)) {
        seen = portal.read_through(&at).await?;
    }
    let Some(record) = seen.record else {
        return Err(Error::NotFound { kind: Kind::Client, id: cid.to_string() });
    };
    match ClientRecord::read(&at, &record)? {
        client if client.state == State::Gone => Err(Error::Gone { id: cid.to_string() }),
        client => Ok(client.shown(cid, &record)),
    }
}

pub(crate) async fn get_client(portal: &Portal, input: &GetClientRequest) -> Result<Client, Error> {
    client(portal, &portal.cid("cid", &input.cid).await?).await
}

pub(crate) async fn list_clients(portal: &Portal, input: &ListRequest) -> Result<ListClientsResponse, Error> {
    let Found { records, next, mut left_out, .. } = portal.found(&Query::clients(input)?).await?;
    let mut clients = Vec::with_capacity(records.len());
    for KeyRecord { key: at, record } in &records {
        let Some(record) = record else { continue };
        clients.extend(left_out.or(listed(at, record))?.flatten());
    }
    Ok(ListClientsResponse { clients, next, damage: left_out.damage() })
}

/// What a list shows of a record: nothing of a client who was removed.
fn listed(at: &[u8], record: &Record) -> Result<Option<Client>, Error> {
    let cid = key::id_in(at).and_then(|id| Cid::stored("cid", &id).ok());
    let cid = cid.ok_or_else(|| Error::damaged(at, "not a client's key"))?;
    let client = ClientRecord::read(at, record)?;
    Ok((client.state != State::Gone).then(|| client.shown(&cid, record)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_proposed_with_the_next_number_and_stays_an_id() {
        for (id, proposed) in
            [("ana", "ana-2"), ("ana-2", "ana-3"), ("ana-b", "ana-b-2"), ("-7", "-7-2"), ("0042", "0042-2")]
        {
            let (base, number) = numbered(id);
            assert_eq!(with_number(base, number), proposed);
        }
        let long = with_number(&"é".repeat(64), 10);
        assert!(long.len() <= ID_BYTES_MAX && long.ends_with("é-10"), "{long}");
    }
}
