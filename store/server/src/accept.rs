//! The door for connections: at most [`CONNECTIONS_MAX`] at once, and each must begin to speak soon.
//!
//! Promises: callers who only connect cannot take the file descriptors that the log and the database need, nor keep
//! others out for good; when the system lets no connection in, the node waits a moment and says so, instead of
//! asking again and again without a pause. Leaves out what a connection does once it speaks: HTTP/2 pings end it
//! when it falls silent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at once. Portals, tools and peers need one each; systems give a process 1,024 files unless told
/// otherwise, of which the rest is for the replica.
const CONNECTIONS_MAX: usize = 512;
/// Bytes with which every HTTP/2 connection begins (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
/// They must have come within this.
const PREFACE_MS_MAX: u64 = 5_000;
/// Wait after the system has refused a connection.
const REFUSED_MS: u64 = 100;

/// The connections that come in.
pub(crate) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    futures::stream::unfold((listener, places), |(listener, places)| async move {
        let connection = next(&listener, &places).await?;
        Some((Ok(connection), (listener, places)))
    })
}

async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Connection> {
    if places.available_permits() == 0 {
        tracing::warn!(most = CONNECTIONS_MAX, "no more connections are taken until one ends");
    }
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some(Connection::new(stream, place)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(REFUSED_MS)).await;
            }
        }
    }
}

/// One connection, which holds a place.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Until it has spoken: how many bytes are missing, and until when.
    silent: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Connection {
        // Without it answers are late, not wrong.
        let _ = stream.set_nodelay(true);
        let limit = Box::pin(tokio::time::sleep(Duration::from_millis(PREFACE_MS_MAX)));
        Connection { stream, silent: Some((PREFACE_BYTES, limit)), _place: place }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some((missing, limit)) = &mut self.silent else { return read };
        if read.is_pending() {
            ready!(limit.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            self.silent = None;
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn connections_that_only_connect_kept_everybody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let places = Arc::new(Semaphore::new(1));
        let mut silent = TcpStream::connect(address).await.expect("connected");
        let mut first = next(&listener, &places).await.expect("open");
        assert_eq!(places.available_permits(), 0, "each holds a place");
        silent.write_all(b"PRI * HTTP").await.expect("sent");
        let mut heard = [0; 64];
        assert_eq!(first.read(&mut heard).await.expect("heard"), 10);
        tokio::time::pause();
        let late = first.read(&mut heard).await.expect_err("nothing more came");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(first);
        assert_eq!(places.available_permits(), 1, "its place is free again");
    }

    #[tokio::test]
    async fn a_connection_that_has_spoken_may_be_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut speaking = TcpStream::connect(address).await.expect("connected");
        let incoming = connections(listener);
        tokio::pin!(incoming);
        let mut first = incoming.next().await.expect("open").expect("taken");
        speaking.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
        let mut heard = [0; PREFACE_BYTES];
        first.read_exact(&mut heard).await.expect("heard");
        assert!(first.silent.is_none(), "from here on pings look after it");
    }
}
