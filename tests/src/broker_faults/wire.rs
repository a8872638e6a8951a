//! The wire to a broker: a TCP proxy on loopback whose connections can be dropped, or silenced for a time, while both ends run.
//!
//! Nothing is invented and nothing reordered. A silent connection holds what is said, in both directions, until it may speak again or
//! one of its ends gives it up; a dropped one is gone at once for both ends, with whatever was under way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::port::Port;

/// Bytes taken at once.
const CHUNK_BYTES: usize = 16 << 10;

/// What is done to one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Carry,
    Hold,
    Drop,
}

/// The connections that there are, by number.
type Connections = Arc<Mutex<BTreeMap<u64, watch::Sender<Order>>>>;

/// The wire.
#[derive(Debug)]
pub struct Wire {
    /// Where it is dialled.
    port: Port,
    connections: Connections,
    /// What serves it; ends with the value.
    _serving: JoinSet<()>,
}

impl Wire {
    /// Lays a wire to this address.
    ///
    /// # Panics
    /// If no port can be bound.
    #[must_use]
    pub fn to(address: SocketAddr) -> Wire {
        let (port, listener) = Port::lease_bound();
        listener.set_nonblocking(true).expect("a socket can be told not to block");
        let listener = TcpListener::from_std(listener).expect("inside a runtime");
        let connections = Connections::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, address, Arc::clone(&connections)));
        Wire { port, connections, _serving: serving }
    }

    /// Where it is dialled.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number))
    }

    /// Drops some connections, those that `chooses` takes; how many.
    pub fn drop_some(&self, chooses: impl FnMut() -> bool) -> u64 {
        self.order(Order::Drop, chooses)
    }

    /// Silences some connections, those that `chooses` takes, until [`Wire::release`]; how many.
    pub fn hold_some(&self, chooses: impl FnMut() -> bool) -> u64 {
        self.order(Order::Hold, chooses)
    }

    /// All may speak again.
    pub fn release(&self) {
        self.order(Order::Carry, || true);
    }

    fn order(&self, order: Order, mut chooses: impl FnMut() -> bool) -> u64 {
        let connections = self.connections.lock();
        let chosen = connections.values().filter(|_| chooses());
        // One that is to be dropped hears nothing else any more.
        let heard = |one: &watch::Sender<Order>| {
            one.send_if_modified(|now| *now != Order::Drop && std::mem::replace(now, order) != order)
        };
        chosen.map(|one| u64::from(heard(one))).sum()
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, connections: Connections) {
    let (mut carried, numbers) = (JoinSet::new(), AtomicU64::new(0));
    loop {
        tokio::select! {
            taken = listener.accept() => {
                let Ok((near, _)) = taken else { continue };
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let (orders, ordered) = watch::channel(Order::Carry);
                connections.lock().insert(number, orders);
                let connections = Arc::clone(&connections);
                carried.spawn(async move {
                    carry(near, to, ordered).await;
                    connections.lock().remove(&number);
                });
            }
            Some(_) = carried.join_next() => {}
        }
    }
}

/// One connection, until either end is done or it is dropped.
async fn carry(near: TcpStream, to: SocketAddr, ordered: watch::Receiver<Order>) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let mut dropped = ordered.clone();
    tokio::select! {
        () = replicate(near_read, far_write, ordered.clone()) => {}
        () = replicate(far_read, near_write, ordered) => {}
        // An error: nobody can order any more.
        _ = dropped.wait_for(|order| *order == Order::Drop) => {}
    }
}

async fn replicate(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut ordered: watch::Receiver<Order>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk).await.unwrap_or(0);
        // The end of a connection is news too, and is held as other news are.
        let may_pass = ordered.wait_for(|order| *order == Order::Carry).await.is_ok();
        if !may_pass || bytes == 0 || to.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Somebody who echoes, behind a wire.
    async fn echo() -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Wire::to(address)
    }

    async fn heard(stream: &mut TcpStream) -> Option<std::io::Result<u8>> {
        tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await.ok()
    }

    #[tokio::test]
    async fn a_silent_connection_holds_what_is_said_and_a_dropped_one_is_gone_for_its_end() {
        let wire = echo().await;
        let mut stream = TcpStream::connect(wire.address()).await.expect("a wire takes connections");
        stream.write_u8(1).await.expect("sent");
        assert!(matches!(heard(&mut stream).await, Some(Ok(1))));
        assert_eq!(wire.hold_some(|| true), 1);
        stream.write_u8(2).await.expect("sent");
        assert!(heard(&mut stream).await.is_none(), "it is silent");
        wire.release();
        assert!(matches!(heard(&mut stream).await, Some(Ok(2))));
        assert_eq!(wire.drop_some(|| true), 1);
        assert!(matches!(heard(&mut stream).await, Some(Err(_))), "it is gone");
        let mut again = TcpStream::connect(wire.address()).await.expect("a wire takes connections");
        again.write_u8(3).await.expect("sent");
        assert!(matches!(heard(&mut again).await, Some(Ok(3))), "the next one is whole");
        assert_eq!(wire.drop_some(|| false), 0);
    }
}
