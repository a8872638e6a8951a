//! Fetching a snapshot, as a driver does it: the receiver asks for a piece, the sender sends it, until all is there;
//! what does not come is asked for again, and what was received stays on disk for the next attempt.

use bytes::Bytes;
use store_core::{Member, NodeId, Position};
use store_engine::{Error, Job};
use store_log::SnapshotFile;

use crate::driver::{Driver, Up};
use crate::fetching::{Fetching, Progress, finish, take};
use crate::network::{Body, Channel, Packet};
use crate::time::{MS, Micros};

/// Bytes of a piece.
const PIECE_BYTES: usize = 16 << 10;
/// What does not come within this is asked for again.
const PIECE_US_MAX: Micros = 700 * MS;

impl Up {
    /// The node wants a snapshot; an offer that is repeated changes nothing.
    pub(crate) fn want(&mut self, own: Member, from: NodeId, at: Position, now: Micros) -> Option<Packet> {
        // Who pushes may be another folder than the membership here knows, which is older.
        let from = self.lines.asker(from).or_else(|| self.lines.at(from))?;
        if let Some(fetching) = &self.fetching
            && fetching.from == from
            && now < fetching.asked_at + PIECE_US_MAX
        {
            return None;
        }
        self.fetching = Some(Fetching { from, at, incoming: None, asked_at: now });
        Some(ask(own, from, at, 0))
    }
}

fn ask(own: Member, to: Member, at: Position, from_byte: u64) -> Packet {
    Packet::new(own, to, Channel::Snapshot, Body::Ask { at, from_byte })
}

impl Driver {
    /// A peer asks for a piece of a snapshot.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn serve(
        &mut self,
        to: Member,
        at: Position,
        from_byte: u64,
    ) -> Result<Option<Packet>, Error> {
        // What a replica gives away before it is found out is as wrong as it is: that nothing can find out, and it does
        // not happen here.
        let Some(up) = self.up.as_mut().filter(|_| !self.wrong) else { return Ok(None) };
        if from_byte == 0 || !up.serving.contains_key(&to) {
            up.serving.remove(&to);
            let Some(streaming) = up.snapshots.open(at)? else {
                up.hear(Job::SnapshotWanted { at: at.offset });
                return Ok(None);
            };
            up.serving.insert(to, streaming);
        }
        let streaming = &up.serving[&to];
        let file = streaming.listed();
        let data = match streaming.raw(from_byte.min(file.bytes), PIECE_BYTES) {
            Ok(data) => data,
            Err(error) if !error.is_fatal() => {
                up.serving.remove(&to);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if from_byte + data.len() as u64 >= file.bytes {
            up.serving.remove(&to);
        }
        let body = Body::Block { file, at_byte: from_byte, data };
        Ok(Some(Packet::new(self.member, to, Channel::Snapshot, body)))
    }

    /// A piece has come. Returns what to ask for next. What cannot be taken is dropped: the leader offers it again.
    ///
    /// # Errors
    /// A sync failed: the process must end.
    pub(crate) fn receive(
        &mut self,
        from: Member,
        file: &SnapshotFile,
        at_byte: u64,
        data: &Bytes,
        now: Micros,
    ) -> Result<Option<Packet>, Error> {
        let own = self.member;
        let Some(up) = &mut self.up else { return Ok(None) };
        let Some(mut fetching) = up.fetching.take_if(|fetching| fetching.from == from) else {
            return Ok(None);
        };
        let taken = take(&up.snapshots, &mut fetching, file, at_byte, data);
        match taken.and_then(|is_complete| finish(&up.snapshots, &mut fetching, is_complete)) {
            Ok(Progress::Until(received)) => {
                fetching.asked_at = now;
                let next = ask(own, from, fetching.at, received);
                up.fetching = Some(fetching);
                Ok(Some(next))
            }
            Ok(Progress::Done(job)) => {
                self.done_in_background(job);
                Ok(None)
            }
            Err(error) if !error.is_fatal() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
