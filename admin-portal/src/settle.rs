//! Settle: what became of an earlier request, of staff or of a client.

use portal::{Error, Portal, key};
use proto::portal::{Settled, StaffSettleRequest};

const ONE: &str = "is not together with another: a request is about a client, a product or the shop's rules";

pub(crate) async fn settle(portal: &Portal, mut input: StaffSettleRequest) -> Result<Settled, Error> {
    let tag = match (input.cid.as_str(), input.pid.as_str(), input.shop) {
        (cid, "", false) if !cid.is_empty() => key::client(&portal.cid("cid", cid).await?),
        ("", pid, false) if !pid.is_empty() => key::product(&portal.pid("pid", pid).await?),
        ("", "", true) => key::shop(),
        // An outcome that was asked for in a wrong place would say of what was done that it never will be.
        ("", "", false) => {
            let why =
                "is missing, and so are pid and shop: say what the request was about; it is remembered there";
            return Err(Error::invalid("cid", why));
        }
        ("", _, _) => return Err(Error::invalid("shop", ONE)),
        _ => return Err(Error::invalid("pid", ONE)),
    };
    portal.settle(tag, input.request.take()).await
}
