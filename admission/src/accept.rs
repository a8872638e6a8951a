//! The accept loop: each connection finds a place, or is dropped; a system that lets none in is asked again after a pause.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::net::{TcpListener, TcpStream};

use crate::connection::Connection;
use crate::guard::Guard;
use crate::limits::{PAUSE_MS_MAX, PAUSE_MS_MIN, PLACE_MS_MAX};
use crate::place::Place;

impl Guard {
    /// The connections that come in, for ever.
    pub fn connections(
        self: Arc<Guard>,
        listener: TcpListener,
    ) -> impl Stream<Item = io::Result<Connection>> {
        futures::stream::unfold((self, listener), |(guard, listener)| async move {
            let connection = guard.accept(&listener).await;
            Some((Ok(connection), (guard, listener)))
        })
    }

    /// The next connection that finds a place.
    pub async fn accept(self: &Arc<Guard>, listener: &TcpListener) -> Connection {
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    pause_ms = PAUSE_MS_MIN;
                    if let Some(connection) = self.admit(stream).await {
                        return connection;
                    }
                }
                // Of one caller, who has gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.refused(&error, pause_ms);
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    pause_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
                }
            }
        }
    }

    async fn admit(self: &Arc<Guard>, stream: TcpStream) -> Option<Connection> {
        if self.is_full() && !self.make_place() {
            return None;
        }
        // One that was closed for it ends soon.
        let limit = Duration::from_millis(PLACE_MS_MAX);
        let permit = tokio::time::timeout(limit, self.places().acquire_owned()).await.ok()?.ok()?;
        let place = Place::new(self.seat(), Arc::clone(self));
        Some(Connection::new(stream, place, self.first_bytes(), permit))
    }
}
