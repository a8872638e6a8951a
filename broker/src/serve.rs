//! The life of one broker: check, bind, report the address, run until told to stop.
//!
//! Binding happens before anything is reported, so that whoever waits for the address can connect at once.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use mqtt5::broker::MqttBroker;
use tokio::sync::{oneshot, watch};

use crate::config::Config;
use crate::error::Error;
use crate::limits::STOP_GRACE;

/// Runs a broker until `stop` holds `true` or its sender is gone, then ends its connections. `ready` gets the
/// address that was bound, which matters with port 0.
///
/// The future is boxed, so that the broker's code is compiled in this crate and not again in each caller's.
///
/// # Errors
/// [`Error::Config`] and [`Error::Bind`] before anything is served; [`Error::Run`] and [`Error::StopTimedOut`]
/// afterwards.
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
    let bound = MqttBroker::with_config(config.underneath()).await;
    let mut broker = bound.map_err(|error| Error::bind(config.at, &error))?;
    let at = broker.local_addr().unwrap_or(config.at);
    tracing::info!(%at, "broker listens");
    // Whoever started it may not care about the address; then the receiver is gone.
    let _ = ready.send(at);

    let handle = broker.shutdown_handle();
    let mut started = broker.ready_receiver();
    let running = broker.run();
    tokio::pin!(running);
    let asked_to_stop = async {
        // A sender that is gone means the same as `true`: nobody is left to say it.
        let _ = stop.wait_for(|stop| *stop).await;
        // The broker underneath hears a shutdown only once it runs.
        let _ = started.wait_for(|started| *started).await;
    };
    tokio::select! {
        ended = &mut running => return ended.map_err(Error::Run),
        () = asked_to_stop => handle.shutdown(),
    }
    match tokio::time::timeout(STOP_GRACE, running).await {
        Ok(ended) => ended.map_err(Error::Run)?,
        Err(_elapsed) => return Err(Error::StopTimedOut),
    }
    tracing::info!(%at, "broker stopped");
    Ok(())
}
