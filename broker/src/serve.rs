//! The life of one broker: check, bind, report the address, run until told to stop.
//!
//! Binding happens before any report, so a process that waits for the address can connect at once.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use admission::{Guard, Limits};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client;
use crate::config::Config;
use crate::error::Error;
use crate::hub::Hub;
use crate::limits::{DESCRIPTORS_RESERVED, STOP_GRACE, SWEEP};

/// Bytes with which every connection begins: the head of its CONNECT.
const FIRST_BYTES: usize = 2;

/// Runs a broker until `stop` holds `true` or its sender is gone, then ends its connections. `ready` gets the
/// address that was bound, which matters with port 0.
///
/// The future is boxed, so that the broker's code is compiled in this crate and not again in each caller's.
///
/// # Errors
/// [`Error::Config`] and [`Error::Bind`], before anything is served.
pub fn serve(
    config: Config,
    stop: watch::Receiver<bool>,
    ready: oneshot::Sender<SocketAddr>,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    Box::pin(run(config, stop, ready))
}

async fn run(
    config: Config,
    mut stop: watch::Receiver<bool>,
    ready: oneshot::Sender<SocketAddr>,
) -> Result<(), Error> {
    config.check()?;
    let failed = |error: std::io::Error| Error::Bind { at: config.at, cause: error.to_string() };
    let listener = TcpListener::bind(config.at).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    tracing::info!(%at, "broker listens");
    // Whoever started it may not care about the address; then the receiver is gone.
    let _ = ready.send(at);

    let hub = Arc::new(Hub::new(config.clone()));
    let (stopping, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    tokio::select! {
        () = take_clients(&listener, &hub, config.packet_bytes_max, &stopped, &mut clients) => {}
        () = sweep(&hub) => {}
        // A sender that is gone means the same as `true`: nobody is left to say it.
        _ = stop.wait_for(|stop| *stop) => {}
    }
    drop(listener);
    stopping.send_replace(true);
    let all = async { while clients.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, all).await.is_err() {
        tracing::warn!("some connections did not end in time and are cut");
        clients.abort_all();
    }
    tracing::info!(%at, "broker stopped");
    Ok(())
}

async fn take_clients(
    listener: &TcpListener,
    hub: &Arc<Hub>,
    packet_bytes_max: usize,
    stopped: &watch::Receiver<bool>,
    clients: &mut JoinSet<()>,
) {
    let guard = Guard::new(Limits::of_process(DESCRIPTORS_RESERVED, 0), FIRST_BYTES);
    loop {
        let connection = guard.accept(listener).await;
        while clients.try_join_next().is_some() {}
        clients.spawn(client::serve(connection, Arc::clone(hub), packet_bytes_max, stopped.clone()));
    }
}

async fn sweep(hub: &Hub) {
    let mut due = tokio::time::interval(SWEEP);
    loop {
        due.tick().await;
        hub.sweep();
    }
}
