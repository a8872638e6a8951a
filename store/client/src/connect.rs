//! Connections to store nodes: how soon a silent one counts as gone, the same for handles and for peers.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Error};

/// A node must take a connection within this.
const CONNECT_MS_MAX: u64 = 500;
/// A node that answers no ping for this long is gone.
const PING_MS: u64 = 1_000;

/// Flow control: bytes under way.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// On one stream.
    pub stream_bytes: u32,
    /// On one connection.
    pub connection_bytes: u32,
}

/// A connection to `host:port`, made when it is first used. It reconnects by itself, to the same address.
///
/// # Errors
/// The address is none.
pub fn connect(address: &str, windows: Windows) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_millis(PING_MS))
        .keep_alive_timeout(Duration::from_millis(PING_MS))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(windows.stream_bytes)
        .initial_connection_window_size(windows.connection_bytes)
        .connect_lazy())
}
