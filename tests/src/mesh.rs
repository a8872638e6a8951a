//! The wires between the nodes of a cluster, each to be cut, slowed down or made lossy while the nodes run: a TCP
//! proxy on loopback for each directed pair. Node *i* dials node *j* on the wire (*i*, *j*); what *j* answers comes
//! back on the same wire. So what *i* says reaches *j* forth on (*i*, *j*) and back on (*j*, *i*), and a cut in one
//! direction cuts exactly those two.
//!
//! Nothing is invented and nothing reordered: TCP would not let it. A lost packet is a pause (a retransmission), a
//! cut holds what was said until it is healed or the connection is given up by its ends. Connections are taken
//! during a cut and then hear nothing; a network that drops the first packet too is not shown by this.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::port::Port;

/// Bytes taken at once: what one lost packet holds up.
const CHUNK_BYTES: usize = 16 << 10;
/// What a lost packet costs: the shortest retransmission timer of Linux.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// How one direction of a wire is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes at once.
    #[default]
    Fair,
    /// Nothing passes.
    Cut,
    /// Each piece takes so long.
    Slow(Duration),
    /// So many of a hundred pieces are lost once, and one of a thousand ends its connection.
    Lossy(u8),
}

/// The wires of a cluster.
#[derive(Debug)]
pub struct Mesh {
    /// By (who dials, who is dialled).
    wires: BTreeMap<(u64, u64), Wire>,
    /// What serves them; ends with the value.
    _serving: JoinSet<()>,
}

/// One wire.
#[derive(Debug)]
struct Wire {
    /// Where it is dialled.
    port: Port,
    /// From who dials to who is dialled.
    forth: watch::Sender<Weather>,
    /// The answers.
    back: watch::Sender<Weather>,
}

impl Mesh {
    /// Lays a wire between each two of these nodes, in both directions.
    ///
    /// # Panics
    /// If no port can be bound.
    #[must_use]
    pub fn between(nodes: &BTreeMap<u64, SocketAddr>) -> Mesh {
        let (mut wires, mut serving) = (BTreeMap::new(), JoinSet::new());
        for from in nodes.keys() {
            for (to, address) in nodes.iter().filter(|(to, _)| *to != from) {
                let (port, listener) = Port::lease_bound();
                listener.set_nonblocking(true).expect("a socket can be told not to block");
                let listener = TcpListener::from_std(listener).expect("inside a runtime");
                let wire = Wire { port, forth: watch::Sender::default(), back: watch::Sender::default() };
                serving.spawn(serve(listener, *address, wire.forth.subscribe(), wire.back.subscribe()));
                wires.insert((*from, *to), wire);
            }
        }
        Mesh { wires, _serving: serving }
    }

    /// Where `from` dials `to`.
    ///
    /// # Panics
    /// If there is no such wire.
    #[must_use]
    pub fn address(&self, from: u64, to: u64) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.wires[&(from, to)].port.number))
    }

    /// Sets the weather of everything that `from` says to `to`, on either wire.
    ///
    /// # Panics
    /// If there is no such wire.
    pub fn set(&self, from: u64, to: u64, weather: Weather) {
        self.wires[&(from, to)].forth.send_replace(weather);
        self.wires[&(to, from)].back.send_replace(weather);
    }

    /// Sets the weather between two nodes in both directions.
    pub fn set_both(&self, one: u64, other: u64, weather: Weather) {
        self.set(one, other, weather);
        self.set(other, one, weather);
    }

    /// Sets the weather between all nodes.
    pub fn set_all(&self, weather: Weather) {
        for wire in self.wires.values() {
            wire.forth.send_replace(weather);
            wire.back.send_replace(weather);
        }
    }
}

async fn serve(
    listener: TcpListener,
    to: SocketAddr,
    forth: watch::Receiver<Weather>,
    back: watch::Receiver<Weather>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => {
                if let Ok((near, _)) = taken {
                    connections.spawn(carry(near, to, forth.clone(), back.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either end is done.
async fn carry(
    near: TcpStream,
    to: SocketAddr,
    forth: watch::Receiver<Weather>,
    back: watch::Receiver<Weather>,
) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    let delays = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    if delays.is_err() {
        return;
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    // Whoever ends first ends both: half-open connections are nothing that gRPC uses.
    tokio::select! {
        () = replicate(near_read, far_write, forth) => {}
        () = replicate(far_read, near_write, back) => {}
    }
}

async fn replicate(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk).await.unwrap_or(0);
        // The end of a connection is news too, and waits for the weather as other news do.
        if !pass(&mut weather).await || bytes == 0 || to.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
}

/// Waits as the weather demands; false: the connection ends.
async fn pass(weather: &mut watch::Receiver<Weather>) -> bool {
    loop {
        let now = *weather.borrow_and_update();
        let delay = match now {
            Weather::Fair => return true,
            Weather::Cut => {
                if weather.changed().await.is_err() {
                    return false;
                }
                continue;
            }
            Weather::Slow(delay) => delay,
            Weather::Lossy(_) if fastrand::u16(..1_000) == 0 => return false,
            Weather::Lossy(percent) if fastrand::u8(..100) < percent => RETRANSMIT,
            Weather::Lossy(_) => return true,
        };
        if tokio::time::timeout(delay, weather.changed()).await.is_err() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that echoes, behind one wire, and a connection to it.
    async fn echo() -> (Mesh, TcpStream) {
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
        let mesh = Mesh::between(&BTreeMap::from([(1, address), (2, address)]));
        let stream = TcpStream::connect(mesh.address(1, 2)).await.expect("a wire takes connections");
        (mesh, stream)
    }

    async fn hears(stream: &mut TcpStream) -> Option<u8> {
        let heard = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
        heard.ok().map(|byte| byte.expect("the connection is whole"))
    }

    #[tokio::test]
    async fn a_cut_wire_holds_what_is_said_until_it_is_healed() {
        let (mesh, mut stream) = echo().await;
        stream.write_u8(1).await.expect("sent");
        assert_eq!(hears(&mut stream).await, Some(1));
        for (from, to) in [(1, 2), (2, 1)] {
            mesh.set(from, to, Weather::Cut);
            stream.write_u8(2).await.expect("sent");
            assert_eq!(hears(&mut stream).await, None, "{from} to {to} is cut");
            mesh.set(from, to, Weather::Fair);
            assert_eq!(hears(&mut stream).await, Some(2));
        }
    }

    #[tokio::test]
    async fn slow_and_lossy_wires_deliver_everything_in_order_or_end() {
        let (mesh, mut stream) = echo().await;
        mesh.set_all(Weather::Slow(Duration::from_millis(10)));
        stream.write_u8(1).await.expect("sent");
        assert_eq!(stream.read_u8().await.expect("whole"), 1);
        mesh.set_all(Weather::Lossy(5));
        for byte in 0..20 {
            if stream.write_u8(byte).await.is_err() {
                return;
            }
            match stream.read_u8().await {
                Ok(heard) => assert_eq!(heard, byte),
                Err(_) => return,
            }
        }
    }
}
