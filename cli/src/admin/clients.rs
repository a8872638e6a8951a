//! The calls about clients.

use proto::portal::admin_client::AdminClient;
use proto::portal::{
    Client, DeleteClientRequest, DeleteResponse, GetClientRequest, InsertClientRequest, ListRequest,
    UpdateClientRequest,
};

use super::paging::{Listing, Part, gather};
use crate::document::{Document, Members};
use crate::failure::Failure;
use crate::names::Names;
use crate::reach::places::{Call, READ};
use crate::reach::portals::Portals;
use crate::reach::request::request_id;

/// Registers a client.
///
/// # Errors
/// ALREADY_EXISTS, or as every call.
pub async fn insert(
    portals: &Portals,
    cid: &str,
    data: &str,
    request: Option<&str>,
) -> Result<Client, Failure> {
    let request = request_id(request);
    let message =
        InsertClientRequest { cid: cid.to_owned(), data: data.to_owned(), request: Some(request.clone()) };
    let rpc = |channel, message| async move { AdminClient::new(channel).insert_client(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// A client.
///
/// # Errors
/// NOT_FOUND, or as every call.
pub async fn get(portals: &Portals, cid: &str) -> Result<Client, Failure> {
    let message = GetClientRequest { cid: cid.to_owned() };
    let rpc = |channel, message| async move { AdminClient::new(channel).get_client(message).await };
    portals.send(READ, message, rpc).await
}

/// Replaces a client's data, or sets members of what is there (then only if nobody changes it meanwhile).
///
/// # Errors
/// NOT_FOUND; ABORTED if it is of another version; or as every call.
pub async fn update(
    portals: &Portals,
    cid: &str,
    document: &Document,
    names: &Names<'_>,
    if_match: u64,
    request: Option<&str>,
) -> Result<Client, Failure> {
    let request = request_id(request);
    let given = document.members()?;
    let (data, if_match) = match document {
        Document::Whole(text) => {
            names.check(&given, &Members::new())?;
            (text.clone(), if_match)
        }
        Document::Members(_) => {
            let there = get(portals, cid).await?;
            let mut members = crate::document::members_of(&there.data)?;
            names.check(&given, &members)?;
            members.extend(given);
            (crate::document::text_of(&members), if if_match == 0 { there.etag } else { if_match })
        }
    };
    let message = UpdateClientRequest { cid: cid.to_owned(), data, if_match, request: Some(request.clone()) };
    let rpc = |channel, message| async move { AdminClient::new(channel).update_client(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// Deletes a client; returns its data, and the orders that were cancelled for it.
///
/// # Errors
/// NOT_FOUND; FAILED_PRECONDITION if orders hold it; or as every call.
pub async fn delete(
    portals: &Portals,
    cid: &str,
    cascade: bool,
    if_match: u64,
    request: Option<&str>,
) -> Result<DeleteResponse, Failure> {
    let request = request_id(request);
    let message =
        DeleteClientRequest { cid: cid.to_owned(), if_match, cascade, request: Some(request.clone()) };
    let rpc = |channel, message| async move { AdminClient::new(channel).delete_client(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// Clients in an order, with filters; `wanted` has no page.
///
/// # Errors
/// FAILED_PRECONDITION: their index is not complete; or as every call.
pub async fn list(
    portals: &Portals,
    wanted: &ListRequest,
    part: Part<'_>,
) -> Result<Listing<Client>, Failure> {
    gather(part, async |limit, after| {
        let message = ListRequest { limit, after, ..wanted.clone() };
        let rpc = |channel, message| async move { AdminClient::new(channel).list_clients(message).await };
        portals.send(READ, message, rpc).await.map(|page| (page.clients, page.next, page.damage))
    })
    .await
}
