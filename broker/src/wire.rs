//! Packets from and to one connection: read whole within a time and a budget, written without a copy of what is large.

use std::time::{Duration, Instant};

use admission::Place;
use admission::place::{Charge, Side};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as Malformed;
use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::limits::{PACKET_BYTES_FREE, PACKET_TIME_MAX, WRITE_BYTES, WRITE_TIME_MAX};
use crate::session::Queued;

/// A DISCONNECT without a word, which the codec does not read.
const BARE_DISCONNECT: [u8; 2] = [0xe0, 0];
/// A payload up to this is written together with others.
const SMALL_BYTES: usize = 4 << 10;

/// Why nothing more is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The connection is gone, or takes nothing.
    Gone,
    /// What came is no packet.
    Malformed,
    /// It speaks another version of MQTT.
    OtherVersion,
    /// A packet is larger than may be.
    TooLarge,
    /// There is no room for a packet of this size now.
    NoRoom,
}

/// The reading side.
pub(crate) struct Reader<R> {
    from: R,
    buffer: BytesMut,
    place: Place,
    packet_bytes_max: usize,
    /// For the packet that comes or is worked on.
    charge: Option<Charge>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(from: R, place: Place, packet_bytes_max: usize) -> Reader<R> {
        Reader { from, buffer: BytesMut::new(), place, packet_bytes_max, charge: None }
    }

    /// The next packet. What it was charged is given back when the one after it is asked for.
    pub(crate) async fn next(&mut self) -> Result<Packet, Bad> {
        self.charge = None;
        if self.buffer.is_empty() {
            // A large one leaves no large buffer behind.
            self.buffer = BytesMut::new();
        }
        let mut began = None;
        loop {
            let missing = match self.whole() {
                Ok(packet) => return Ok(packet),
                Err(Malformed::InsufficientBytes(missing)) => missing,
                Err(Malformed::PayloadSizeLimitExceeded { .. }) => return Err(Bad::TooLarge),
                Err(Malformed::InvalidProtocolLevel(_)) => return Err(Bad::OtherVersion),
                Err(_) => return Err(Bad::Malformed),
            };
            self.make_room(self.buffer.len() + missing).await?;
            let limit = if self.buffer.is_empty() {
                None
            } else {
                let began = *began.get_or_insert_with(Instant::now);
                Some(PACKET_TIME_MAX.saturating_sub(began.elapsed()))
            };
            self.read(limit).await?;
        }
    }

    fn whole(&mut self) -> Result<Packet, Malformed> {
        if self.buffer.starts_with(&BARE_DISCONNECT) {
            let _ = self.buffer.split_to(BARE_DISCONNECT.len());
            return Ok(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)));
        }
        Packet::read(&mut self.buffer, u32::try_from(self.packet_bytes_max).ok())
    }

    async fn make_room(&mut self, bytes: usize) -> Result<(), Bad> {
        if bytes > PACKET_BYTES_FREE && self.charge.is_none() {
            let mut charge = self.place.charge(Side::Requests, bytes).await.map_err(|_full| Bad::NoRoom)?;
            charge.wait_for_caller();
            self.charge = Some(charge);
            self.buffer.reserve(bytes - self.buffer.len());
        }
        Ok(())
    }

    async fn read(&mut self, limit: Option<Duration>) -> Result<(), Bad> {
        let room = self.buffer.capacity() - self.buffer.len();
        if room == 0 {
            self.buffer.reserve(PACKET_BYTES_FREE);
        }
        let reading = self.from.read_buf(&mut self.buffer);
        let read = match limit {
            None => reading.await,
            Some(limit) => timeout(limit, reading).await.map_err(|_late| Bad::Gone)?,
        };
        match read {
            Ok(bytes) if bytes > 0 => Ok(()),
            _ => Err(Bad::Gone),
        }
    }
}

/// The writing side.
pub(crate) struct Writer<W> {
    to: W,
    buffer: BytesMut,
    /// The largest packet that the client takes.
    packet_bytes_max: usize,
    /// Something is half written: nothing else can follow.
    half: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(crate) fn new(to: W, packet_bytes_max: usize) -> Writer<W> {
        Writer { to, buffer: BytesMut::new(), packet_bytes_max, half: false }
    }

    /// Puts an answer behind what is to be written.
    pub(crate) fn answer(&mut self, packet: &Packet) -> Result<(), Bad> {
        packet.write(&mut self.buffer, None).map(drop).map_err(|_unwritable| Bad::Malformed)
    }

    /// Whether what is to be written should be, before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= WRITE_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Puts a message behind it; `false`: it is larger than the client takes.
    pub(crate) async fn message(&mut self, queued: &Queued) -> Result<bool, Bad> {
        let (message, max) = (&queued.message, self.packet_bytes_max);
        if !message.write_head(&queued.how, Instant::now(), max, &mut self.buffer) {
            return Ok(false);
        }
        if message.payload.len() <= SMALL_BYTES {
            self.buffer.extend_from_slice(&message.payload);
        } else {
            self.half = true;
            self.flush().await?;
            self.half = true;
            write(&mut self.to, &message.payload).await?;
            self.half = false;
        }
        Ok(true)
    }

    /// Writes what is to be written.
    pub(crate) async fn flush(&mut self) -> Result<(), Bad> {
        self.half = true;
        write(&mut self.to, &self.buffer).await?;
        self.half = false;
        if self.buffer.capacity() > 4 * WRITE_BYTES {
            self.buffer = BytesMut::new();
        } else {
            self.buffer.clear();
        }
        Ok(())
    }

    /// Tells the client why the connection ends, if it listens.
    pub(crate) async fn farewell(mut self, bytes: &[u8], limit: Duration) {
        if !self.half && matches!(timeout(limit, write(&mut self.to, bytes)).await, Ok(Ok(()))) {
            // It is the end in any case.
            let _ = timeout(limit, self.to.shutdown()).await;
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Bad> {
    let all = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    match timeout(WRITE_TIME_MAX, all).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Bad::Gone),
    }
}
