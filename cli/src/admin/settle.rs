//! `settle`: what became of a request of staff.

use std::sync::Arc;

use admin_portal::operations::Settle;
use portal::settle::DONE;
use proto::portal::StaffSettleRequest;

use super::asking::ask;
use super::{clients, order_view, products, shop, view};
use crate::failure::{Failure, Reader};
use crate::reach::matter::Matter;
use crate::reach::open_requests::OpenRequests;
use crate::reach::places::READ;
use crate::reach::portals::Portals;
use crate::reach::request::request_id;
use crate::shop::settled;
use crate::show::answer::Answer;
use crate::show::written::in_line;
use crate::verb::admin::Admin;
use crate::verb::call::Call;

/// Settles the request that a command names: about the client, the product or the shop's rules, as it says or else as it is remembered.
///
/// # Errors
/// Neither says what it was about; the store's answer did not come; or as every call.
pub async fn run(portals: &Portals, open: &Arc<OpenRequests>, call: &Call<Admin>) -> Result<Answer, Failure> {
    let id = call.text("ID");
    let given = Matter::given(call.get("--cid"), call.get("--pid"), call.has("--shop"))?;
    let matter = if given.is_known() { given } else { remembered(open, id)? };
    let Matter { cid, pid, is_shop: shop } = matter.clone();
    let message = StaffSettleRequest { cid, pid, shop, request: Some(request_id(Some(id))) };
    let settled = ask::<Settle>(portals, READ, message).await;
    let settled = settled.map_err(|failure| settled::not_known(failure, id, &matter))?;
    open.settled(id, &matter);
    let shown = match &settled.order {
        Some(order) => Some(order_view::order("", order)),
        None if settled.outcome == DONE => as_it_is(portals, &matter).await,
        None => None,
    };
    Ok(settled::answer(id, &matter, &settled, shown))
}

/// What the request of this id was about. Asked for elsewhere, what was done would be told as never to be.
fn remembered(open: &OpenRequests, id: &str) -> Result<Matter, Failure> {
    let kept = open.find(id).map(|one| one.matter()).filter(Matter::is_known);
    kept.ok_or_else(|| {
        Failure::usage(format!("what the request {} was about is not known here", in_line(id))).next(
            "say it: --cid CID (a client, or one of its orders), --pid PID, or --shop for the shop's rules",
        )
    })
}

/// What the request was about, as it is now; `None`: it cannot be shown, as after a deletion.
async fn as_it_is(portals: &Portals, matter: &Matter) -> Option<Answer> {
    match matter {
        Matter { is_shop: true, .. } => shop::show(portals).await.ok(),
        Matter { cid, pid, .. } if cid.is_empty() => {
            let product = products::get(portals, pid).await.ok()?;
            Some(view::product(String::new(), &product, Reader::Staff))
        }
        Matter { cid, .. } => Some(view::client(String::new(), &clients::get(portals, cid).await.ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use proto::portal::{AdjustStockRequest, RequestId, UpdateShopRequest};

    use super::*;

    /// Requests are remembered by what they are about: a guess would close another place, and say "never" of what was done.
    #[test]
    fn a_request_is_settled_as_it_is_remembered_and_never_by_a_guess() {
        let folder = tempfile::tempdir().unwrap();
        let open = OpenRequests::beside(Some(folder.path().join("history")), "admin", "5".into(), false);
        let refused = remembered(&open, "r1").unwrap_err();
        assert!(
            refused.to_string().contains("--cid CID") && refused.to_string().contains("--shop"),
            "{refused}"
        );
        let request = |id: &str| RequestId { id: id.to_owned(), created_ms: 7 };
        open.begin(("r1", false), &["set-shop".to_owned()], "");
        open.sending(&request("r1"), UpdateShopRequest::default());
        open.ended(true, false);
        open.begin(("r2", false), &["adjust-stock".to_owned()], "");
        open.sending(&request("r2"), AdjustStockRequest { pid: "fig".into(), ..Default::default() });
        open.ended(true, false);
        assert_eq!(remembered(&open, "r1").unwrap().shown(), "of the shop's rules");
        let product = remembered(&open, "r2").unwrap();
        assert_eq!(product.shown(), "of product fig");
        open.settled("r2", &Matter::of_client("fig"));
        assert!(open.find("r2").is_some(), "that is another request");
        open.settled("r2", &product);
        assert!(open.find("r2").is_none() && remembered(&open, "r2").is_err());
    }
}
