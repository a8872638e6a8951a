//! A request on its way in: a message that is not short needs room before it is read further, and what has not come whole
//! is nobody's work.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use crate::arrival::{Arrival, Room};
use crate::limits::{PIECE_BYTES, REQUEST_BYTES_FREE, REQUEST_MS_MAX};
use crate::place::{Charge, Class, Place, Side};
use crate::rules::Rules;

/// Bytes before each message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// How the messages of a request are told apart.
enum Framing {
    /// As in gRPC: each behind its length.
    Prefixed(Prefixed),
    /// The whole body is one.
    Whole(Whole),
}

impl Framing {
    /// By the path of the request: what its caller says of the body decides nothing.
    fn of(is_plain: bool, headers: &HeaderMap) -> Framing {
        if !is_plain {
            return Framing::Prefixed(Prefixed::default());
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Framing::Whole(Whole { length, have: 0 })
    }

    /// Takes bytes; the length of the last message that they began and did not end.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Framing::Prefixed(messages) => messages.take(bytes),
            Framing::Whole(body) => body.take(bytes),
        }
    }

    fn in_message(&self) -> bool {
        match self {
            Framing::Prefixed(messages) => messages.left > 0,
            Framing::Whole(body) => body.is_large(),
        }
    }

    /// Messages that have come whole.
    fn whole(&self) -> u64 {
        match self {
            Framing::Prefixed(messages) => messages.whole,
            Framing::Whole(_) => 0,
        }
    }
}

/// One body, of which nobody may know how long it will be.
struct Whole {
    length: Option<usize>,
    have: usize,
}

impl Whole {
    /// It takes room as soon as it is seen not to be short; without a length, as much as there may be.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let was_large = self.have > 0 && self.is_large();
        self.have += bytes.len();
        (self.is_large() && !was_large).then_some(self.length.unwrap_or(usize::MAX))
    }

    fn is_large(&self) -> bool {
        match self.length {
            Some(length) => length > REQUEST_BYTES_FREE && self.have < length,
            None => self.have > REQUEST_BYTES_FREE,
        }
    }
}

/// Where in a sequence of messages with lengths the bytes are.
#[derive(Default)]
struct Prefixed {
    prefix: [u8; PREFIX_BYTES],
    have: usize,
    /// Bytes of the current message that have not come.
    left: usize,
    /// Messages that have come whole.
    whole: u64,
}

impl Prefixed {
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
                    self.whole += u64::from(self.left == 0);
                }
            } else {
                let count = bytes.len().min(self.left);
                self.left -= count;
                self.whole += u64::from(self.left == 0);
                bytes.advance(count);
            }
        }
        unended.filter(|_| self.left > 0)
    }
}

/// What a request is part of.
pub(crate) enum Of {
    /// A call: it begins when its request has come whole, and a message is done with when the call ends.
    Call(Arrival),
    /// A stream: a message is done with when the next is asked for, which may be long after: the service may have no room.
    Stream {
        /// Its connection is a user's from the first message on that has come whole.
        is_users: bool,
    },
}

/// See the module.
pub(crate) struct Incoming<B> {
    inner: B,
    place: Place,
    rules: Rules,
    of: Of,
    messages: Framing,
    charge: Option<Charge>,
    room: Option<Room>,
    /// The end of the request, which waits for room for the answer.
    end: Option<Option<Frame<Bytes>>>,
    /// Bytes since its connection was seen to do something.
    unseen_bytes: usize,
}

impl<B> Incoming<B> {
    /// The body of this request.
    pub(crate) fn new(inner: B, head: &Parts, place: Place, rules: Rules, of: Of) -> Incoming<B> {
        let messages = Framing::of((rules.is_plain)(head.uri.path()), &head.headers);
        Incoming { inner, place, rules, of, messages, charge: None, room: None, end: None, unseen_bytes: 0 }
    }

    /// What has come is part of a message: room for all of it, or none is needed any more.
    fn took(&mut self, data: &[u8]) {
        let whole = self.messages.whole();
        let began = self.messages.take(data);
        self.seen(data.len(), self.messages.whole() > whole);
        if !self.messages.in_message() {
            // In a call the caller is waited for until the request has ended. In a stream the service asks for the next message
            // soon, or waits for the store, which is nothing that the caller has to do; a service that does not ask for long
            // is one whose answers he does not take.
            if let (Of::Stream { .. }, Some(charge)) = (&self.of, &mut self.charge) {
                charge.wait_for_caller_in(REQUEST_MS_MAX);
            }
            return;
        }
        if let Some(length) = began
            && length > REQUEST_BYTES_FREE
            && self.place.class() != Class::Member
        {
            let (place, bytes) = (self.place.clone(), length.min(self.rules.message_bytes_max));
            self.charge = None;
            self.room = Some(match self.of {
                Of::Call(_) => Box::pin(async move { place.charge(Side::Requests, bytes).await }),
                Of::Stream { .. } => {
                    Box::pin(async move { Ok(place.charge_some_time(Side::Requests, bytes).await) })
                }
            });
        }
    }

    /// Whoever sends a request of a stream does something, and whoever sends many bytes; a byte now and then is nothing.
    fn seen(&mut self, bytes: usize, is_whole: bool) {
        self.unseen_bytes += bytes;
        match &mut self.of {
            Of::Stream { is_users } if is_whole => match std::mem::take(is_users) {
                true => self.place.asks(),
                false => self.place.touch(),
            },
            _ if self.unseen_bytes >= PIECE_BYTES => {
                self.place.touch();
                // Whoever sends slowly, and goes on, is not to be cut before those who stopped.
                if let Some(charge) = &mut self.charge {
                    charge.caller_does();
                }
            }
            _ => return,
        }
        self.unseen_bytes = 0;
    }

    /// Nothing more comes: the service is told when the call may run.
    fn poll_end(
        &mut self,
        last: Option<Frame<Bytes>>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(charge) = &mut self.charge {
            charge.caller_did();
        }
        if let Of::Call(arrival) = &mut self.of {
            match arrival.poll_begin(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(refused)) => return Poll::Ready(Some(Err(refused))),
                Poll::Pending => {
                    self.end = Some(last);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(last.map(Ok))
    }

    fn poll_request_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Some(room) = &mut self.room else { return Poll::Ready(Ok(())) };
        let granted = ready!(room.as_mut().poll(context));
        self.room = None;
        if let Of::Call(arrival) = &mut self.of {
            arrival.waited();
        }
        Poll::Ready(match granted {
            Ok(mut charge) => {
                charge.wait_for_caller();
                self.charge = Some(charge);
                Ok(())
            }
            Err(full) => Err((self.rules.full)(full)),
        })
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Incoming<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some(last) = this.end.take() {
            return this.poll_end(last, context);
        }
        if let Of::Stream { .. } = this.of
            && !this.messages.in_message()
        {
            this.charge = None;
        }
        if let Err(full) = ready!(this.poll_request_room(context)) {
            return Poll::Ready(Some(Err(full)));
        }
        match (Pin::new(&mut this.inner).poll_frame(context), &mut this.of) {
            (Poll::Pending, Of::Call(arrival)) => arrival.poll_late(context).map(|late| Some(Err(late))),
            (Poll::Pending, Of::Stream { .. }) => Poll::Pending,
            (Poll::Ready(Some(Err(broken))), _) => Poll::Ready(Some(Err(broken))),
            (Poll::Ready(Some(Ok(frame))), _) => {
                let Some(data) = frame.data_ref() else { return this.poll_end(Some(frame), context) };
                this.took(data);
                Poll::Ready(Some(Ok(frame)))
            }
            (Poll::Ready(None), _) => this.poll_end(None, context),
        }
    }

    fn is_end_stream(&self) -> bool {
        let has_begun = match &self.of {
            Of::Call(arrival) => arrival.is_over(),
            Of::Stream { .. } => true,
        };
        has_begun && self.inner.is_end_stream()
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
            let mut messages = Prefixed::default();
            let began: Vec<usize> = all.chunks(chunk).filter_map(|bytes| messages.take(bytes)).collect();
            assert!(messages.left == 0 && messages.whole == 4, "{chunk}");
            assert!(began.contains(&40_000) || chunk > 40_000, "{chunk}: {began:?}");
        }
    }

    #[test]
    fn a_body_that_is_no_message_of_grpc_takes_room_once_it_is_not_short() {
        let framed = |length: Option<usize>| {
            let mut headers = HeaderMap::new();
            headers.extend(length.map(|length| (CONTENT_LENGTH, length.into())));
            Framing::of(true, &headers)
        };
        let began = |length: Option<usize>, bytes: usize| {
            let mut framing = framed(length);
            let all = vec![b'{'; bytes];
            all.chunks(1_000).filter_map(|bytes| framing.take(bytes)).collect::<Vec<_>>()
        };
        assert_eq!(began(Some(300), 300), Vec::<usize>::new());
        assert_eq!(began(None, 300), Vec::<usize>::new());
        assert_eq!(began(Some(40_000), 40_000), [40_000]);
        assert_eq!(began(None, 40_000), [usize::MAX], "nobody knows how much comes");
        let mut large = framed(Some(40_000));
        assert_eq!((large.take(&[b'{'; 30_000]), large.in_message()), (Some(40_000), true));
        assert_eq!((large.take(&[b'{'; 10_000]), large.in_message()), (None, false));
    }
}
