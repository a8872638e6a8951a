//! Settle: what became of an earlier request of a client.

use portal::{Error, Portal, key};
use proto::portal::{SettleRequest, Settled};

pub(crate) async fn settle(portal: &Portal, mut requested: SettleRequest) -> Result<Settled, Error> {
    let cid = portal.registered(&requested.cid).await?;
    portal.settle(key::client(&cid), requested.request.take()).await
}
