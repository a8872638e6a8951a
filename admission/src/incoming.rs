//! A request on its way in: a message that is not short needs room before it is read further.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::limits::REQUEST_BYTES_FREE;
use crate::place::{Charge, Class, Place, Side};

/// Bytes before each message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Where in the sequence of messages the bytes are.
#[derive(Default)]
struct Messages {
    prefix: [u8; PREFIX_BYTES],
    have: usize,
    /// Bytes of the current message that have not come.
    left: usize,
}

impl Messages {
    /// Takes bytes; the length of the last message that they began and did not end.
    fn take(&mut self, mut bytes: &[u8]) -> Option<usize> {
        let mut unended = None;
        while !bytes.is_empty() {
            if self.left == 0 {
                let count = bytes.len().min(PREFIX_BYTES - self.have);
                self.prefix[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes.advance(count);
                if self.have == PREFIX_BYTES {
                    self.have = 0;
                    let [_, length @ ..] = self.prefix;
                    self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    unended = Some(self.left);
                }
            } else {
                let count = bytes.len().min(self.left);
                self.left -= count;
                bytes.advance(count);
            }
        }
        unended.filter(|_| self.left > 0)
    }

    fn in_message(&self) -> bool {
        self.left > 0
    }
}

/// See the module.
pub(crate) struct Incoming<B> {
    inner: B,
    place: Place,
    messages: Messages,
    /// The largest message that is read whole; of a longer one nothing more is kept than that.
    message_bytes_max: usize,
    /// Whether a message is done with when the next is asked for, or only when the call ends.
    is_stream: bool,
    charge: Option<Charge>,
    room: Option<Pin<Box<dyn Future<Output = Charge> + Send>>>,
}

impl<B> Incoming<B> {
    pub(crate) fn new(inner: B, place: Place, message_bytes_max: usize, is_stream: bool) -> Incoming<B> {
        let messages = Messages::default();
        Incoming { inner, place, messages, message_bytes_max, is_stream, charge: None, room: None }
    }

    /// What has come is part of a message: room for all of it, or none is needed any more.
    fn took(&mut self, data: &[u8]) {
        self.place.touch();
        let began = self.messages.take(data);
        if !self.messages.in_message() {
            match &mut self.charge {
                Some(_) if self.is_stream => self.charge = None,
                Some(charge) => charge.caller_did(),
                None => {}
            }
            return;
        }
        if let Some(length) = began
            && length > REQUEST_BYTES_FREE
            && self.place.class() != Class::Member
        {
            let (place, bytes) = (self.place.clone(), length.min(self.message_bytes_max));
            self.charge = None;
            self.room = Some(Box::pin(async move { place.charge_some_time(Side::Requests, bytes).await }));
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Incoming<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if let Some(room) = &mut this.room {
            let mut charge = ready!(room.as_mut().poll(context));
            charge.wait_for_caller();
            this.room = None;
            this.charge = Some(charge);
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.took(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_their_bytes_come() {
        let mut all = Vec::new();
        for length in [3u32, 0, 40_000, 7] {
            all.push(0);
            all.extend(length.to_be_bytes());
            all.extend(std::iter::repeat_n(1, length as usize));
        }
        for chunk in [1, 2, 5, 1_000, 16_384, all.len()] {
            let mut messages = Messages::default();
            let began: Vec<usize> = all.chunks(chunk).filter_map(|bytes| messages.take(bytes)).collect();
            assert!(!messages.in_message(), "{chunk}");
            assert!(began.contains(&40_000) || chunk > 40_000, "{chunk}: {began:?}");
        }
    }
}
