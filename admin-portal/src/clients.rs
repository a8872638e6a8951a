//! InsertClient, UpdateClient, GetClient, ListClients.

use portal::attempt::{Attempts, Request, shown};
use portal::document::client::{ClientData, ClientRecord, DATA};
use portal::document::write;
use portal::error::Kind;
use portal::id::{Cid, slug};
use portal::page::{LeftOut, Page};
use portal::{Error, Portal, key, page};
use proto::portal::{
    Client, GetClientRequest, InsertClientRequest, ListClientsResponse, ListRequest, UpdateClientRequest,
};
use proto::store::failed_guard::Reason;
use proto::store::{KeyRecord, Record, Txn, TxnResponse};
use store_client::{Range, now_ms};

pub(crate) async fn insert_client(portal: &Portal, mut asked: InsertClientRequest) -> Result<Client, Error> {
    let given = asked.request.take();
    let request = Request::new("InsertClient", given, &asked)?;
    let data = ClientData::parse(&asked.data)?;
    let cid = match asked.cid.as_str() {
        "" => {
            let made = data.name.as_deref().and_then(slug);
            let why = "is empty, and the data has no member \"name\" to make one from";
            Cid::parse("cid", &made.ok_or_else(|| Error::invalid("cid", why))?)?
        }
        cid => Cid::chosen("cid", cid)?,
    };
    let at = key::client(&cid);
    let txn = Txn::new()
        .guard_absent(at.clone())
        .put(at, now_ms(), write(&ClientRecord::new(data)))
        .returning_after();
    let answer = Attempts::new(portal, request).send(txn).await?;
    if answer.success {
        return answered(portal, &cid, &answer).await;
    }
    Err(Error::AlreadyExists { kind: Kind::Client, id: cid.to_string() })
}

pub(crate) async fn update_client(portal: &Portal, mut asked: UpdateClientRequest) -> Result<Client, Error> {
    let given = asked.request.take();
    let request = Request::new("UpdateClient", given, &asked)?;
    let cid = Cid::parse("cid", &asked.cid)?;
    let data = ClientData::parse(&asked.data)?;
    let at = key::client(&cid);
    let txn = guard_match(Txn::new(), &cid, asked.if_match)
        .set_json(at, now_ms(), DATA, data.data.get().to_owned())
        .returning_after();
    let answer = Attempts::new(portal, request).send(txn).await?;
    if answer.success { answered(portal, &cid, &answer).await } else { Err(refused(&cid, &answer)) }
}

/// The client must exist, and be of the version that the administrator saw, if one was named.
pub(crate) fn guard_match(txn: Txn, cid: &Cid, if_match: u64) -> Txn {
    match if_match {
        0 => txn.guard_exists(key::client(cid)),
        offset => txn.guard_offset(key::client(cid), offset),
    }
}

/// Why [`guard_match`] failed.
pub(crate) fn refused(cid: &Cid, answer: &TxnResponse) -> Error {
    let id = cid.to_string();
    match answer.failed.first() {
        Some(failed) if failed.reason() == Reason::WrongOffset => {
            let etag = failed.record.as_ref().map_or(0, proto::store::Record::offset);
            Error::Changed { kind: Kind::Client, id, etag }
        }
        Some(failed) if failed.reason() != Reason::Absent => {
            Error::damaged(&failed.key, format!("refused for {:?}", failed.reason()))
        }
        _ => Error::NotFound { kind: Kind::Client, id },
    }
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
    match portal.read_certain_absence(&at).await?.record {
        Some(record) => Ok(ClientRecord::read(&at, &record)?.shown(cid, &record)),
        None => Err(Error::NotFound { kind: Kind::Client, id: cid.to_string() }),
    }
}

pub(crate) async fn get_client(portal: &Portal, asked: &GetClientRequest) -> Result<Client, Error> {
    client(portal, &Cid::parse("cid", &asked.cid)?).await
}

pub(crate) async fn list_clients(portal: &Portal, asked: &ListRequest) -> Result<ListClientsResponse, Error> {
    let (limit, prefix) = (page::limit(asked.limit)?, page::prefix(&asked.prefix)?);
    let after = match asked.after.as_str() {
        "" => None,
        cid => Some(key::client(&Cid::parse("after", cid)?)),
    };
    let range = Range::Prefix(key::beginning_with('c', prefix));
    let cursor_of = |key: &[u8]| key::id_in(key).filter(|id| Cid::parse("after", id).is_ok());
    let Page { records, next } = portal.page(range, limit, after, cursor_of).await?;
    let mut clients = Vec::with_capacity(records.len());
    let mut left_out = LeftOut::default();
    for KeyRecord { key: at, record } in &records {
        let Some(record) = record else { continue };
        clients.extend(left_out.or(listed(at, record))?);
    }
    Ok(ListClientsResponse { clients, next, damage: left_out.damage() })
}

fn listed(at: &[u8], record: &Record) -> Result<Client, Error> {
    let cid = key::id_in(at).and_then(|id| Cid::stored("cid", &id).ok());
    let cid = cid.ok_or_else(|| Error::damaged(at, "not a client's key"))?;
    Ok(ClientRecord::read(at, record)?.shown(&cid, record))
}
