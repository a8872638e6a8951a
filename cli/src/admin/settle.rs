//! `settle`: what became of a request of staff.

use std::sync::Arc;

use admin_portal::operations::Settle;
use portal::settle::DONE;
use proto::portal::StaffSettleRequest;

use super::asking::ask;
use super::{clients, order_view, products, shop, view};
use crate::failure::{Failure, Reader};
use crate::reach::open_requests::{OpenRequests, Sent};
use crate::reach::places::READ;
use crate::reach::portals::Portals;
use crate::reach::request::request_id;
use crate::shop::settled;
use crate::show::answer::Answer;
use crate::verb::admin::Admin;
use crate::verb::call::Call;

/// Settles the request that a command names: about the client or product that it names, else as it is remembered, else about the shop.
///
/// # Errors
/// The store cannot be asked: nothing was closed; or as every call.
pub async fn run(portals: &Portals, open: &Arc<OpenRequests>, call: &Call<Admin>) -> Result<Answer, Failure> {
    let id = call.text("ID");
    let (mut cid, mut pid) =
        (call.get("--cid").unwrap_or("").to_owned(), call.get("--pid").unwrap_or("").to_owned());
    if cid.is_empty() && pid.is_empty() {
        (cid, pid) = match open.find(id).map(|one| one.sent) {
            // An order of a client, or the client; a request about a product names no client.
            Some(Some(Sent { cid, pid, .. })) if cid.is_empty() => (cid, pid),
            Some(Some(Sent { cid, .. })) => (cid, String::new()),
            Some(None) | None => (cid, pid),
        };
    }
    let request = Some(request_id(Some(id)));
    let message = StaffSettleRequest { cid: cid.clone(), pid: pid.clone(), request };
    let settled = ask::<Settle>(portals, READ, message).await;
    let settled = settled.map_err(|failure| settled::not_known(failure, id))?;
    open.forget(id);
    let shown = match &settled.order {
        Some(order) => Some(order_view::order("", order)),
        None if settled.outcome == DONE => as_it_is(portals, &cid, &pid).await,
        None => None,
    };
    Ok(settled::answer(id, &settled, shown))
}

/// What the request was about, as it is now; `None`: it cannot be shown, as after a deletion.
async fn as_it_is(portals: &Portals, cid: &str, pid: &str) -> Option<Answer> {
    match (cid, pid) {
        ("", "") => shop::show(portals).await.ok(),
        ("", pid) => {
            let product = products::get(portals, pid).await.ok()?;
            Some(view::product(String::new(), &product, Reader::Staff))
        }
        (cid, _) => Some(view::client(String::new(), &clients::get(portals, cid).await.ok()?)),
    }
}
