//! Settle: what became of an earlier request, of staff or of a client.

use portal::{Error, Portal, key};
use proto::portal::{Settled, StaffSettleRequest};

pub(crate) async fn settle(portal: &Portal, mut input: StaffSettleRequest) -> Result<Settled, Error> {
    let tag = match (input.cid.as_str(), input.pid.as_str()) {
        ("", "") => key::shop(),
        (cid, "") => key::client(&portal.cid("cid", cid).await?),
        ("", pid) => key::product(&portal.pid("pid", pid).await?),
        _ => {
            return Err(Error::invalid(
                "pid",
                "is not together with a client: a request is about one of both",
            ));
        }
    };
    portal.settle(tag, input.request.take()).await
}
