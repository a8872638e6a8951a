//! Connections to peers: where a member is reached now, and how soon a silent one counts as gone.

use std::time::Duration;

use store_core::NodeId;
use tonic::transport::{Channel, Endpoint};

use crate::shared::Shared;

const CONNECT_MS_MAX: u64 = 500;
/// A peer that answers no ping for this long is gone.
const PING_MS: u64 = 1_000;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// A connection to a peer, made when it is first used. It reconnects by itself.
pub(super) fn dial(shared: &Shared, peer: NodeId) -> Result<Channel, String> {
    let members = shared.members();
    let member = members.by_node.get(&peer.0).ok_or_else(|| format!("{peer} is not a member"))?;
    let endpoint = Endpoint::from_shared(format!("http://{}", member.address))
        .map_err(|error| format!("the address {:?} of {peer}: {error}", member.address))?;
    Ok(endpoint
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_millis(PING_MS))
        .keep_alive_timeout(Duration::from_millis(PING_MS))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_lazy())
}
