//! The socket of a connection to a broker: what is written to it goes out at once.
//!
//! rumqttc 0.25.1 leaves Nagle's algorithm on. An acknowledgement that it has just sent then holds back the next packet until the other
//! side acknowledges it by TCP, which waits 40 ms for something to send along: each request of a caller that asks one after another
//! would take so long (`findings/rumqttc-nagle.sh`).

use rumqttc::NetworkOptions;

/// Options of a socket that holds nothing back.
pub(crate) fn prompt() -> NetworkOptions {
    let mut options = NetworkOptions::new();
    options.set_tcp_nodelay(true);
    options
}
