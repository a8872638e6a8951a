//! The identity of a wrong server at an address, for the tool that mistook it.

use std::time::Duration;

use proto::portal::PortalStatusRequest;
use proto::portal::portal_client::PortalClient;
use proto::store::StatusRequest;
use proto::store::cluster_client::ClusterClient;
use tokio::time::timeout;

use super::named_channel::NamedChannel;
use crate::failure::Failure;

/// It answers at once, or it is not worth the wait.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Why `wanted` (such as "admin portal") at this address does not know the call.
pub async fn failure(wanted: &str, address: &str, channel: NamedChannel) -> Failure {
    let name = name(channel).await;
    let flag = "feira config shows the addresses; --portal names others";
    let message = match name {
        Some(name) => format!("at {address} answers {name}, which is no {wanted}"),
        None => format!("at {address} answers a program that is no {wanted}"),
    };
    Failure::refused(message).next(flag)
}

/// What it says that it is.
pub async fn name(channel: NamedChannel) -> Option<String> {
    let mut portal = PortalClient::new(channel.clone());
    if let Ok(Ok(status)) = timeout(ANSWER_MAX, portal.status(PortalStatusRequest {})).await {
        return Some(format!("the portal {:?}", status.into_inner().name));
    }
    let mut node = ClusterClient::new(channel);
    if let Ok(Ok(status)) = timeout(ANSWER_MAX, node.status(StatusRequest { route: None })).await {
        return Some(format!("node {} of the store", status.into_inner().node));
    }
    None
}
